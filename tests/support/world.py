"""The exact module and the plain-Python twin side by side: every call on both, everything compared after it.

Two TDs of 4 and 5 levels share two TDMRs, one with reserved pages, one initialised in part.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import twin_words as tw
from twin_calls import seamcall
from twin_guest import accept, enter, ept_violation, leave
from twin_module import TEARDOWN, Answer, Td, TwinModule

from kernels.module import state as ms
from perfmodel.module import ModulePlatform, ModuleTdmr, TdxModule
from perfmodel.module_platform import LIFECYCLES, OP_STATES, Seamrr

G, M, K = 1 << 30, 1 << 21, 1 << 12
FIRST, OTHER = G, 3 * G  # TDMRs; of the second only the first GiB is initialised
RESERVED = FIRST + 8 * M
TDRS = (FIRST, FIRST + 16 * K)
SEAMRR = 20 * G
PLATFORM = ModulePlatform(
    tdmr=(ModuleTdmr(FIRST, G, reserved=((RESERVED - FIRST, 2 * K),)), ModuleTdmr(OTHER, 2 * G, initialized=G + M)),
    seamrr=Seamrr(SEAMRR, M), lps=2,
)  # fmt: skip


class Entry(NamedTuple):
    """An S-EPT entry in use."""

    gpa: int
    level: int
    raw: int


class World:
    """The exact module and the twin, in the same state."""

    def __init__(self, op_state: str) -> None:
        self.module = TdxModule(PLATFORM)
        tds = []
        for i, tdr in enumerate(TDRS):
            tdcx = [tdr + n * K for n in range(1, 7)]
            self.module.add_td(tdr=tdr, tdcx=tdcx, hkid=70 + i, gpaw=i, levels=4 + i, op_state=op_state, epoch=1 + i)
            tds.append(Td(tdr, tdcx[3], 4 + i, (47, 51)[i], OP_STATES.index(op_state), epoch=1 + i))
        self.twin = TwinModule({FIRST // G, OTHER // G}, tds, 45, 64, range(SEAMRR, SEAMRR + M))
        for tdr in TDRS:
            for n in range(1, 7):
                self.twin.entry(0, tdr + n * K).type = tw.TDCX
                self.twin.entry(0, tdr + n * K).owner = tdr >> 12
        for page in (RESERVED, RESERVED + K):
            self.twin.entry(0, page).type = tw.RSVD
        self.inside: set[tuple[int, int]] = set()
        self.locks: list[dict[str, Any]] = []
        self.told: Counter[tuple[str, int]] = Counter()
        self.assert_same()

    # Calls

    def call(self, op: str, lp: int = 0, **given: int) -> int:
        """Make a SEAMCALL on both."""
        result = getattr(self.module, op.lower().replace(".", "_"))(**given, lp=lp)
        return self._same(op, result, seamcall(self.twin, op, **given))

    def accept(self, td: int, rcx: int, interrupt_after: int | None = None) -> int:
        result = self.module.tdg_mem_page_accept(td, rcx, interrupt_after)
        return self._same("ACCEPT", result, accept(self.twin, self.twin.tds[td], rcx, interrupt_after))

    def violation(self, td: int, rcx: int, rdx: int) -> int:
        result = self.module.td_ept_violation(td, rcx=rcx, rdx=rdx)
        return self._same("VIOLATION", result, ept_violation(self.twin, self.twin.tds[td], rcx, rdx))

    def enter(self, td: int, vcpu: int, new_assoc: bool) -> int:
        result = self.module.vcpu_enter(td, vcpu, new_assoc=new_assoc)
        answer, epoch, flushed = enter(self.twin, self.twin.tds[td], vcpu, new_assoc)
        assert (result.epoch, result.invept) == (epoch, flushed)
        if result.rax == 0:
            self.inside.add((td, vcpu))
        return self._same("ENTER", result, answer)

    def enter_free(self, td: int) -> None:
        """Let in the first vCPU that is outside."""
        vcpu = next((v for v in range(2) if (td, v) not in self.inside), None)
        if vcpu is not None:
            self.enter(td, vcpu, False)

    def leave(self, td: int, vcpu: int) -> None:
        self.module.vcpu_exit(td, vcpu)
        leave(self.twin.tds[td], vcpu)
        self.inside.remove((td, vcpu))
        self.assert_same()

    def set(self, td: int, field: str, value: int) -> None:
        """Set a field of a TD, as no call here could."""
        setattr(self.twin.tds[td], field, value)
        shown = {"op_state": OP_STATES, "lifecycle": LIFECYCLES}.get(field)
        getattr(self.module, f"set_{field}")(td, shown[value] if shown else value)

    def lock(self, lock: dict[str, Any]) -> None:
        """Let another LP take a lock, and remember it."""
        status = self.module.lock(**lock)
        rest = {"td": -1, "hpa": 0, "gpa": 0, "level": 0} | {k: v for k, v in lock.items() if k != "side"}
        rax = self.twin.lock(**rest, guest=lock["side"] == "guest")
        assert status == {0: "SUCCESS", tw.OPERAND_BUSY: "OPERAND_BUSY"}.get(rax, "OPERAND_BUSY_HOST_PRIORITY")
        if rax == 0:
            self.locks.append(lock)
        self.assert_same()

    def unlock(self) -> None:
        lock = self.locks.pop()
        self.module.unlock(**lock)
        self.twin.unlock(**{"td": -1, "hpa": 0, "gpa": 0, "level": 0} | {k: v for k, v in lock.items() if k != "side"})
        self.assert_same()

    # Comparison

    def _same(self, op: str, result: Any, answer: Answer) -> int:
        assert result[:9] == answer, (op, [hex(r) for r in result[:9]], [hex(r) for r in answer])
        self.told[op, answer.rax] += 1
        self.assert_same()
        return answer.rax

    def assert_same(self) -> None:
        """TD fields and lock words, all tables of living TDs, and every PAMT entry are equal."""
        state = self.module._state
        for i, td in enumerate(self.twin.tds):
            view, fields = self.module.td(i), state.tds[i].tolist()
            assert (view.chldcnt, view.epoch, list(view.refcount)) == (td.chldcnt, td.epoch, td.refcount)
            assert (view.op_state, view.lifecycle) == (OP_STATES[td.op_state], LIFECYCLES[td.lifecycle])
            words = td.op_state_lock.lock, td.tree.lock, td.epoch_lock.lock
            assert (view.op_state_lock, view.tree_lock, view.epoch_lock) == words
            assert [fields[ms.VCPU_EPOCH + v] for v in range(2)] == [td.entered.get(v, 0) for v in range(2)]
            for table in self.tables(td):
                assert state.sept[(table >> 12) - state.sept_pfn].tolist() == self.twin.pages[table]
        expected: list[dict[int, tuple[int, int]]] = [{}, {}, {}]
        for (level, page), entry in self.twin.pamt.items():
            if any(entry.words):
                per_block = (1 << 18) >> (9 * level)
                at = page if level == 2 else int(state.slot[page // per_block]) * per_block + page % per_block
                expected[level][at] = entry.words
        for level, words in enumerate((state.pamt_4k, state.pamt_2m, state.pamt_1g)):
            used = np.unique(np.flatnonzero(words) // 2)
            assert dict(zip(used.tolist(), map(tuple, words[used].tolist()), strict=True)) == expected[level]

    def tables(self, td: Td) -> Iterator[int]:
        """Yield the HPA of the root and of every table below it."""
        if td.lifecycle != TEARDOWN:
            yield td.root
        for entry in self.entries(td):
            if tw.state(entry.raw) in tw.NON_LEAF:
                yield entry.raw & tw.HPA

    def entries(self, td: Td) -> Iterator[Entry]:
        """Yield the entries in use, from the root down; RECLAIM leaves entries that dangle."""
        tables = [] if td.lifecycle == TEARDOWN else [(td.root, td.levels - 1, 0)]
        while tables:
            table, level, base = tables.pop()
            for index, raw in enumerate(self.twin.pages[table]):
                if raw != tw.FREE:
                    gpa = base + index * tw.page_bytes(level)
                    yield Entry(gpa, level, raw)
                    if tw.state(raw) in tw.NON_LEAF:
                        tables.append((raw & tw.HPA, level - 1, gpa))
