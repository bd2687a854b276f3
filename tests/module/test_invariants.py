"""Whatever is called with whatever operands: S-EPT, PAMT and TD agree, and nothing is left locked or mapped.

Two TDs share two TDMRs and two LPs. After every call the whole state is looked at; a call that fails may have
changed host-priority bits, blocking epochs and free pages, nothing else.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from kernels.keyhole import DYNAMIC_SLOTS, REFERENCES
from kernels.module import state as ms
from kernels.module.block_calls import mem_track, range_block, range_unblock
from kernels.module.build_calls import mr_extend, mr_finalize
from kernels.module.guest_calls import ept_violation, mem_page_accept, vcpu_enter, vcpu_exit
from kernels.module.page_calls import page_add, page_aug, page_relocate, page_remove
from kernels.module.phymem_calls import page_rdmd, page_reclaim, page_wbinvd
from kernels.module.resize_calls import page_demote, page_promote
from kernels.module.table_calls import sept_add, sept_rd, sept_remove
from kernels.module.trace import LP, start
from kernels.pamt_entry import PT_EPT, PT_NDA, PT_REG, PT_RSVD, PT_TDR
from kernels.sept_entry import HOST_PRIORITY, HPA_MASK, LEAF, LOCK, STATE_FREE, STATE_MASK, STATE_REMOVED
from kernels.status import as_unsigned
from perfmodel.module_state import build_module

G, M, K = 1 << 30, 1 << 21, 1 << 12
FIRST_BLOCK, OTHER_BLOCK = 4 * G, 6 * G
RESERVED = FIRST_BLOCK + 8 * M
TDS = (FIRST_BLOCK, FIRST_BLOCK + 16 * K)  # the TDRs, each with its TDCX pages behind it
SMALL = tuple(FIRST_BLOCK + M + i * K for i in range(40)) + tuple(OTHER_BLOCK + i * 3 * K for i in range(8))
LARGE = tuple(OTHER_BLOCK + i * M for i in range(1, 4))
PAGES_OF = (1, 512, 512 * 512)
VERSION = np.int8(0)  # as the records of a replay give it

INTACT = ~(HOST_PRIORITY | LOCK)
PAMT_LOCK_LEFT = np.uint64(0xFFFF & ~2)  # all of a lock word but host priority
TYPE_AND_LOCK = np.uint64(0xFFFFFF)


class Call(NamedTuple):
    """One call with its operands; ``extra`` is the vCPU, the pending interrupt, or the op-state to set."""

    op: str
    td: int = 0
    gpa: int = 0
    level: int = 0
    page: int = 0
    tdr: int = 0  # 0: that of ``td``
    lp: int = 0
    extra: int = 0


class Seen(NamedTuple):
    """What is assigned: (level, HPA) -> (type, TDR) in the PAMT; (TD, GPA, level) -> raw entry in the S-EPTs."""

    pamt: dict[tuple[int, int], tuple[int, int]]
    sept: dict[tuple[int, int, int], int]
    chldcnt: list[int]


def make_module(op_state: int) -> ms.Module:
    """Return two TDs, of 4 and of 5 levels, whose pages lie side by side."""
    tdmr = [
        SimpleNamespace(
            base=base, size=size, initialized=G, pamt_4k=(7 + i) << 36, pamt_2m=(17 + i) << 36, pamt_1g=(27 + i) << 36,
            reserved=((RESERVED - FIRST_BLOCK, 2 * K),) if i == 0 else (),
        )
        for i, (base, size) in enumerate([(FIRST_BLOCK, G), (OTHER_BLOCK, 2 * G)])
    ]  # fmt: skip
    platform = SimpleNamespace(
        tdmr=tdmr, hkid_start_bit=45, global_hkid=66, private_hkid_min=64, seamrr=SimpleNamespace(base=30 * G, size=M)
    )
    tds = [
        SimpleNamespace(
            tdr=tdr, hkid=70 + i, tdcx=[tdr + n * K for n in range(1, 7)], gpaw=i, levels=4 + i, lifecycle=1, fatal=0,
            num_tdcx=6, op_state=op_state, td_epoch=1 + i, refcount=(0, 0), num_vcpus=2, pending_ve_disable=1,
            chldcnt=6,
        )
        for i, tdr in enumerate(TDS)
    ]  # fmt: skip
    return build_module(platform, tds, 2)


def regs(**values: int) -> npt.NDArray[np.uint64]:
    registers = np.zeros(16, np.uint64)
    for name, value in values.items():
        registers[{"rcx": 1, "rdx": 2, "r8": 8, "r9": 9}[name]] = value
    return registers


Handler = Callable[[ms.Module, npt.NDArray[np.uint64], Any, npt.NDArray[np.uint64]], Any]
ON_MEMORY: dict[str, Handler] = {  # RCX gpa and level, RDX TDR, R8 page, R9 source
    "SEPT.ADD": lambda module, given, extra, out: sept_add(module, given, VERSION, out),
    "SEPT.REMOVE": lambda module, given, extra, out: sept_remove(module, given, VERSION, out),
    "SEPT.RD": lambda module, given, extra, out: sept_rd(module, given, out),
    "ADD": lambda module, given, extra, out: page_add(module, given, out),
    "AUG": lambda module, given, extra, out: page_aug(module, given, out),
    "REMOVE": lambda module, given, extra, out: page_remove(module, given, out),
    "RELOCATE": lambda module, given, extra, out: page_relocate(module, given, out),
    "PROMOTE": lambda module, given, extra, out: page_promote(module, given, VERSION, extra == 7, out),
    "DEMOTE": lambda module, given, extra, out: page_demote(module, given, extra == 7, out),
    "BLOCK": lambda module, given, extra, out: range_block(module, given, out),
    "UNBLOCK": lambda module, given, extra, out: range_unblock(module, given, out),
    "EXTEND": lambda module, given, extra, out: mr_extend(module, given, out),
}
ON_TD: dict[str, Handler] = {  # RCX TDR
    "TRACK": lambda module, given, extra, out: mem_track(module, given, out),
    "FINALIZE": lambda module, given, extra, out: mr_finalize(module, given, out),
}
ON_PAGE: dict[str, Handler] = {  # RCX page
    "RDMD": lambda module, given, extra, out: page_rdmd(module, given, out),
    "RECLAIM": lambda module, given, extra, out: page_reclaim(module, given, out),
    "WBINVD": lambda module, given, extra, out: page_wbinvd(module, given, out),
}
GUEST = ("ACCEPT", "VIOLATION", "ENTER", "EXIT")
EXCEPTED = (0, 0x30, (1 << 64) - 1)  # RAX of success, of a TD exit, of an interrupted ACCEPT


@dataclass
class World:
    """The module, who is inside, and what was assigned after the last call."""

    module: ms.Module
    inside: dict[tuple[int, int], int] = field(default_factory=dict)  # (TD, vCPU) -> epoch it entered with
    told: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.seen = self.look()

    def call(self, call: Call) -> int | None:
        """Make one call, check the state that it leaves, return RAX (None: the guest or the TD is gone)."""
        module = self.module
        module.trace.context[LP] = call.lp
        start(module.trace)
        running = module.tds[call.td, ms.LIFECYCLE] == ms.KEYS_CONFIGURED
        if call.op == "STATE":
            module.tds[call.td, ms.OP_STATE] = call.extra
            return None
        if call.op == "TEARDOWN":
            if not any(td == call.td for td, _ in self.inside):
                module.tds[call.td, ms.LIFECYCLE] = ms.TEARDOWN
                self.seen = self.look()
            return None
        if call.op in GUEST and not running:
            return None
        rax = self._execute(call, regs())
        if rax is None:
            return None
        self.told[call.op, rax] += 1
        before, self.seen = self.seen, self.look()
        if rax not in EXCEPTED:
            assert self.seen == before, (call, hex(rax))
        return rax

    def _execute(self, call: Call, out: npt.NDArray[np.uint64]) -> int | None:
        module, rcx = self.module, call.gpa | call.level
        tdr = call.tdr or TDS[call.td]
        if call.op in ON_MEMORY:
            given = regs(rcx=rcx, rdx=tdr, r8=call.page, r9=K)
            return as_unsigned(ON_MEMORY[call.op](module, given, call.extra, out))
        if call.op in ON_TD:
            return as_unsigned(ON_TD[call.op](module, regs(rcx=tdr), 0, out))
        if call.op in ON_PAGE:
            return as_unsigned(ON_PAGE[call.op](module, regs(rcx=call.page), 0, out))
        if call.op == "ACCEPT":
            return as_unsigned(
                mem_page_accept(module, call.td, regs(rcx=rcx), call.extra if call.extra == 3 else -1, out)
            )
        if call.op == "VIOLATION":
            return as_unsigned(ept_violation(module, call.td, regs(rcx=rcx, rdx=0x182), out))
        return self._cross(call.op, (call.td, call.extra % 2))

    def _cross(self, op: str, vcpu: tuple[int, int]) -> int | None:
        """Let a vCPU in or out, where it is outside or inside."""
        if (vcpu in self.inside) == (op == "ENTER"):
            return None
        if op == "EXIT":
            vcpu_exit(self.module, *vcpu)
            del self.inside[vcpu]
            return 0
        status, _ = vcpu_enter(self.module, *vcpu, False)
        if status == 0:
            self.inside[vcpu] = int(self.module.tds[vcpu[0], ms.EPOCH])
        return as_unsigned(status)

    def look(self) -> Seen:
        """Check everything, and return what is assigned."""
        self._nothing_is_held()
        pamt = self._pamt()
        sept: dict[tuple[int, int, int], int] = {}
        owned: dict[tuple[int, int], tuple[int, int]] = {}
        alive = set()
        for td, tdr in enumerate(TDS):
            assert self.module.tds[td, ms.CHLDCNT] == sum(
                PAGES_OF[level] for (level, _), (_, owner) in pamt.items() if owner == tdr
            )
            if self.module.tds[td, ms.LIFECYCLE] != ms.TEARDOWN:
                alive.add(tdr)
                self._descend(td, sept, owned)
        mapped = {page: use for page, use in pamt.items() if use[0] in (PT_REG, PT_EPT) and use[1] in alive}
        assert mapped == owned
        return Seen(pamt, sept, self.module.tds[:, ms.CHLDCNT].tolist())

    def _nothing_is_held(self) -> None:
        module = self.module
        assert not module.locks[:, (ms.TREE_LOCK, ms.EPOCH_LOCK)].any()
        assert not (module.locks[:, ms.OP_STATE_LOCK] & PAMT_LOCK_LEFT).any()
        assert not module.trace.keyholes[:, REFERENCES : REFERENCES + DYNAMIC_SLOTS].any()
        for td in range(len(TDS)):
            epoch = int(module.tds[td, ms.EPOCH])
            entered = [e for (t, _), e in self.inside.items() if t == td]
            assert all(epoch - 1 <= e <= epoch for e in entered)
            counts = module.tds[td, ms.REFCOUNT : ms.REFCOUNT + 2].tolist()
            assert counts == [sum(e % 2 == parity for e in entered) for parity in (0, 1)]

    def _pamt(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Return what every page that is not free is used for; no page is used at two sizes."""
        module, found = self.module, {}
        block_of = {int(slot): block for block, slot in enumerate(module.slot) if slot >= 0}
        for level, words in enumerate((module.pamt_4k, module.pamt_2m, module.pamt_1g)):
            per_block = (1 << 18) >> (9 * level)
            at = np.flatnonzero(words[:, 0] & TYPE_AND_LOCK)
            assert not (words[at, 0] & PAMT_LOCK_LEFT).any()
            for i, word in zip(at.tolist(), words[at, 0].tolist(), strict=True):
                block = i if level == 2 else block_of[i // per_block]
                kind = word >> 16 & 0xFF
                if kind not in (PT_NDA, PT_RSVD):
                    found[level, block * G + i % per_block * (K << 9 * level)] = kind, word >> 24 << 12
        for level, hpa in found:
            for larger in range(level + 1, 3):
                assert (larger, hpa - hpa % (K << 9 * larger)) not in found
            assert level == 0 or found[level, hpa][0] == PT_REG
        return found

    def _descend(self, td: int, sept: dict[Any, int], owned: dict[Any, tuple[int, int]]) -> None:
        """Add a TD's entries to ``sept`` and the pages and tables behind them to ``owned``."""
        module = self.module
        tables = [(int(module.tds[td, ms.ROOT_PFN]), int(module.tds[td, ms.LEVELS]) - 1, 0)]
        while tables:
            pfn, level, base = tables.pop()
            table = module.sept[pfn - module.sept_pfn]
            assert not (table & LOCK).any()
            for index in np.flatnonzero(table & STATE_MASK != STATE_FREE).tolist():
                entry = table[index]
                gpa = base + index * (K << 9 * level)
                sept[td, gpa, level] = int(entry & INTACT)
                if entry & STATE_MASK == STATE_REMOVED:
                    continue
                hpa, size, kind = int(entry & HPA_MASK), level, PT_REG
                if entry & LEAF:
                    hpa -= hpa % (K << 9 * level)  # without the accept counter
                else:
                    size, kind = 0, PT_EPT
                    tables.append((hpa >> 12, level - 1, gpa))
                assert (size, hpa) not in owned, "a page or table is mapped twice"
                owned[size, hpa] = kind, TDS[td]


# --- drawn calls

GPAS = (0, K, 511 * K, M, M + K, 3 * M, G, G + M)
BAD_GPAS = (*GPAS, 1 << 47, 1 << 51, 1 << 60, 8, K + 0x800)
LEVELS = (0, 0, 0, 1, 1, 1, 2, 3)
PAGES = SMALL + LARGE * 6
BAD_PAGES = (
    *TDS, TDS[0] + K, TDS[1] + 4 * K, FIRST_BLOCK + M + 8, RESERVED, 5 * G, 7 * G, OTHER_BLOCK | 1 << 46, 1 << 60, 0,
)  # fmt: skip
BAD_TDRS = (*TDS, K, 1 << 62, *SMALL[:2])
OPS = (*ON_MEMORY, *ON_TD, *ON_PAGE, *GUEST, "ENTER", "EXIT", "AUG", "ACCEPT")
CHANGES = ("REMOVE", "DEMOTE", "PROMOTE", "SEPT.REMOVE", "RELOCATE", "UNBLOCK")
STATES = (1, 2, 2, 2, 3, 4, 8, 9, 10)


def _map(td: int, at: tuple[int, int], page: int, lp: int, accepted: bool) -> list[Call]:
    """The tables for a GPA, from the top, and a page."""
    gpa, level = at
    tables = [Call("SEPT.ADD", td, gpa - gpa % (K << 9 * n), n, SMALL[(page // K + n) % len(SMALL)], 0, lp)
              for n in range(3 + td, level, -1)]  # fmt: skip
    return [*tables, Call("AUG", td, gpa, level, page, 0, lp), *[Call("ACCEPT", td, gpa, level)] * accepted]


def _change(op: str, td: int, at: tuple[int, int], page: int, lp: int, tracked: int) -> list[Call]:
    """Block, track and take away, split, merge or move."""
    on = Call("BLOCK", td, *at, page, 0, lp)
    return [
        on,
        *[Call("TRACK", td)] * tracked,
        *[Call("EXIT", td, extra=v) for v in range(tracked)],
        on._replace(op=op),
    ]


def flow(draw: Random, seen: Seen) -> list[Call]:
    """Draw a few calls that belong together, often about an entry in use; now and then with an invalid operand."""
    td, lp, level = draw.randrange(2), draw.randrange(2), draw.choice(LEVELS)
    gpa, page = draw.choice(GPAS), draw.choice(PAGES)
    at = gpa - gpa % (K << 9 * level), level
    entries = sorted(entry[1:] for entry in seen.sept if entry[0] == td and entry[1] in GPAS)
    if entries and draw.random() < 0.6:
        at = draw.choice(entries)
    kind = draw.random()
    if kind < 0.2:
        return _map(td, at, page, lp, draw.random() < 0.7)
    if kind < 0.5:
        return _change(draw.choice(CHANGES), td, at, page, lp, draw.randrange(3))
    if kind < 0.55:
        return [Call("STATE", td, extra=draw.choice(STATES))]
    if kind < 0.56:
        return [Call("TEARDOWN", td)]
    tdr = draw.choice(BAD_TDRS) if draw.random() < 0.05 else 0
    if draw.random() < 0.1:
        at = draw.choice(BAD_GPAS), draw.randrange(8)
    if draw.random() < 0.1:
        page = draw.choice(BAD_PAGES)
    return [Call(draw.choice(OPS), td, *at, page, tdr, lp, draw.randrange(8))]


SPLIT = [*_map(0, (0, 1), LARGE[0], 0, True), *_change("DEMOTE", 0, (0, 1), SMALL[30], 1, 1)]
"""A 2M page that was split: what PROMOTE needs."""


@pytest.mark.parametrize("seed", range(10))
def test_every_call_leaves_a_consistent_state(seed: int) -> None:
    draw = Random(seed)
    world = World(make_module(draw.choice([1, 2, 2, 3, 9])))
    for call in SPLIT:
        world.call(call)
    for _ in range(60):
        for call in flow(draw, world.seen):
            world.call(call)


def test_a_life_from_build_to_reclaim() -> None:
    """Every call succeeds at least once, so the checks above have seen each of them change the state."""
    world = World(make_module(ms.INITIALIZED))

    def run(*calls: Call, rax: int = 0) -> None:
        for call in calls:
            got = world.call(call)
            assert got in (None, rax), (call, got and hex(got))

    run(Call("SEPT.ADD", 0, 0, 3, SMALL[0]), Call("SEPT.ADD", 0, 0, 2, SMALL[1]), Call("SEPT.ADD", 0, 0, 1, SMALL[2]))
    run(Call("ADD", 0, K, 0, SMALL[3]), Call("EXTEND", 0, K), Call("FINALIZE", 0))
    run(Call("ENTER", 0))
    run(Call("VIOLATION", 0, 5 * K), rax=0x30)
    run(Call("AUG", 0, 5 * K, 0, SMALL[4]), Call("ACCEPT", 0, 5 * K), Call("AUG", 0, M, 1, LARGE[0]))
    run(Call("ACCEPT", 0, M, 1, extra=3), rax=(1 << 64) - 1)
    run(Call("ACCEPT", 0, M, 1), Call("BLOCK", 0, M, 1), Call("TRACK", 0))
    run(Call("TRACK", 0), rax=0x8000_0201_0000_0000)
    run(Call("DEMOTE", 0, M, 1, SMALL[5]), rax=0xC000_0B08_0000_0001)
    run(Call("EXIT", 0), Call("DEMOTE", 0, M, 1, SMALL[5]), Call("BLOCK", 0, M, 1), Call("TRACK", 0))
    run(Call("PROMOTE", 0, M, 1, extra=7), rax=0x8000_0004_0000_0000)
    run(Call("PROMOTE", 0, M, 1), Call("SEPT.RD", 0, M, 1))
    for op, gpa, page in (("RELOCATE", 5 * K, SMALL[6]), ("UNBLOCK", 5 * K, 0), ("REMOVE", 5 * K, 0)):
        run(Call("BLOCK", 0, gpa, 0), Call("TRACK", 0), Call("TRACK", 0), Call(op, 0, gpa, 0, page))
    run(Call("WBINVD", page=SMALL[6]), Call("RDMD", page=SMALL[6]), Call("STATE", 0, extra=ms.INITIALIZED))
    run(Call("REMOVE", 0, K), Call("SEPT.REMOVE", 0, 0, 1), Call("TEARDOWN", 0))
    pages = [hpa for (_, hpa), (kind, owner) in world.seen.pamt.items() if owner == TDS[0] and kind != PT_TDR]
    run(Call("RECLAIM", page=TDS[0]), rax=0xC000_0400_0000_0000)
    run(*(Call("RECLAIM", page=page) for page in pages), Call("RECLAIM", page=TDS[0]))
    assert {owner for _, owner in world.seen.pamt.values()} <= {0, TDS[1]}
    assert {op for op, rax in world.told if rax in EXCEPTED} == {*ON_MEMORY, *ON_TD, *ON_PAGE, *GUEST}
