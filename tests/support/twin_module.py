"""The state of a plain-Python twin of the TDX module, and the steps that its calls have in common.

S-EPT pages are lists of 512 integers at their HPA, the PAMT is a dict of entries at three levels, and a SEAMCALL
takes and releases each lock with the module's primitive. Sources: ``facts/tdx-module.md`` sections 2 to 6,
``vectors/FORMAT.md`` sections 3 and 4.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import twin_words as tw

KEYS_CONFIGURED, TEARDOWN = 1, 3
RUNNING = {2, 3, 9}
"""Op-states in which pages are taken away only after BLOCK and TRACK."""


class Answer(NamedTuple):
    """Output registers, and whether the guest exits or executes its ACCEPT again."""

    rax: int = tw.SUCCESS
    rcx: int = 0
    rdx: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    exit: bool = False
    interrupted: bool = False


class RefusedError(Exception):
    """A check has failed; ``args`` are the call's RAX, RCX and RDX."""


class Place(NamedTuple):
    """An S-EPT entry: its level, the HPA of its table, its index there."""

    level: int
    table: int
    index: int


@dataclass
class Td:
    """A TD's fields and lock words; ``gpa_bits`` is the position of the shared bit."""

    tdr: int
    root: int
    levels: int = 4
    gpa_bits: int = 47
    op_state: int = 2
    lifecycle: int = KEYS_CONFIGURED
    fatal: int = 0
    num_tdcx: int = 6
    num_vcpus: int = 1
    chldcnt: int = 6
    epoch: int = 1
    refcount: list[int] = field(default_factory=lambda: [0, 0])
    tree: tw.PlainLock = field(default_factory=tw.PlainLock)
    op_state_lock: tw.HpLock = field(default_factory=tw.HpLock)
    epoch_lock: tw.PlainLock = field(default_factory=tw.PlainLock)
    entered: dict[int, int] = field(default_factory=dict)  # vCPU -> epoch that it last entered with

    def tracked(self, bepoch: int) -> bool:
        """Whether no vCPU can hold a translation from ``bepoch``; a migration epoch (bit 63) never is."""
        if bepoch >> 63:
            return False
        return bepoch < self.epoch - 1 or (bepoch == self.epoch - 1 and self.refcount[bepoch & 1] == 0)


@dataclass
class TwinModule:
    """TDs, their S-EPT and the PAMT; ``blocks`` are the 1 GiB blocks (HPA >> 30) of initialised TDMRs."""

    blocks: set[int]
    tds: list[Td]
    hkid_start_bit: int = 52
    private_hkid_min: int = 0
    seamrr: range = range(0)
    pages: dict[int, list[int]] = field(default_factory=dict)
    pamt: dict[tuple[int, int], tw.PamtEntry] = field(default_factory=dict)
    walk_reads: int = 0  # entries that the last walk read

    def __post_init__(self) -> None:
        for td in self.tds:
            self.pages[td.root] = [tw.FREE] * 512
            self.entry(0, td.tdr).type = tw.TDR

    # --- PAMT

    def entry(self, level: int, hpa: int) -> tw.PamtEntry:
        """Return the PAMT entry of ``hpa`` at ``level``."""
        return self.pamt.setdefault((level, hpa >> (12 + 9 * level)), tw.PamtEntry())

    def check_hpa(self, hpa: int, level: int, operand: int) -> None:
        """Check a page operand's alignment, its HKID bits, and that an initialised TDMR holds it."""
        if hpa % tw.page_bytes(level) or hpa >> self.hkid_start_bit:
            raise RefusedError(tw.OPERAND_INVALID + operand)
        if hpa >> 30 not in self.blocks:
            raise RefusedError(tw.ADDR_RANGE_ERROR + operand)

    def lock_page(self, held: ExitStack, hpa: int, level: int, exclusive: bool, operand: int) -> int:
        """Do ``pamt_walk`` to ``level`` or a larger leaf above it; return the leaf's level."""
        busy = tw.OPERAND_BUSY + operand
        for at in (2, 1):
            entry = self.entry(at, hpa)
            if not entry.share():
                raise RefusedError(busy)
            if entry.type != tw.REG and at != level:
                held.callback(entry.unshare)
                continue
            if not exclusive:
                held.callback(entry.unshare)
            elif entry.promote():
                held.callback(entry.unexclude)
            else:
                entry.unshare()
                raise RefusedError(busy)
            return at
        self.lock_word(held, self.entry(0, hpa), exclusive, busy)
        return 0

    @staticmethod
    def lock_word(held: ExitStack, word: tw.HpLock | tw.PlainLock, exclusive: bool, busy: int) -> None:
        """Take one lock, or refuse the call with ``busy``."""
        if not (word.exclude() if exclusive else word.share()):
            raise RefusedError(busy)
        held.callback(word.unexclude if exclusive else word.unshare)

    def lock_operand(
        self, held: ExitStack, hpa: int, level: int, page_type: int, operand: int, exclusive: bool = True
    ) -> tw.PamtEntry:
        """Check and lock a page that must be of a size and type; return its PAMT entry."""
        self.check_hpa(hpa, level, operand)
        at = self.lock_page(held, hpa, level, exclusive, operand)
        entry = self.entry(at, hpa)
        if at != level or entry.type != page_type:
            raise RefusedError(tw.PAGE_METADATA_INCORRECT + operand)
        return entry

    def give(self, td: Td, hpa: int, level: int, page_type: int) -> None:
        """Make a page the TD's."""
        entry = self.entry(level, hpa)
        entry.type, entry.owner, entry.bepoch = page_type, td.tdr >> 12, 0
        td.chldcnt += tw.PAGES[level]

    def free(self, td: Td, hpa: int, level: int) -> None:
        """Take a page from the TD; owner and bepoch stay."""
        self.entry(level, hpa).type = tw.NDA
        td.chldcnt -= tw.PAGES[level]

    # --- the TD

    def td_at(self, tdr: int) -> Td | None:
        """Return the TD of a TDR page."""
        return next((td for td in self.tds if td.tdr == tdr), None)

    def check_td(self, td: Td) -> None:
        """Check what comes before the op-state."""
        if td.fatal:
            raise RefusedError(tw.TD_FATAL)
        if td.lifecycle != KEYS_CONFIGURED:
            raise RefusedError(tw.TD_KEYS_NOT_CONFIGURED)
        if td.num_tdcx < 6:
            raise RefusedError(tw.TDCS_NOT_ALLOCATED)

    def begin(self, held: ExitStack, tdr: int, operand: int, op_states: set[int], exclusive: bool = False) -> Td:
        """Lock and check a TD; an exclusive TDR stands for the op-state lock too."""
        self.lock_operand(held, tdr, 0, tw.TDR, operand, exclusive)
        td = self.td_at(tdr)
        if td is None:
            raise RefusedError(tw.PAGE_METADATA_INCORRECT + operand)
        self.check_td(td)
        if not exclusive:
            self.lock_word(held, td.op_state_lock, False, tw.OPERAND_BUSY + tw.OP_STATE)
        if td.op_state not in op_states:
            raise RefusedError(tw.OP_STATE_INCORRECT)
        return td

    # --- S-EPT

    def raw(self, at: Place) -> int:
        """Return the entry at a place."""
        return self.pages[at.table][at.index]

    def store(self, at: Place, raw: int) -> None:
        """Write an entry, its lock bit included."""
        self.pages[at.table][at.index] = raw

    def descend(self, td: Td, gpa: int, stops: Callable[[Place], bool]) -> Place:
        """Go down from the root to the first entry where ``stops`` says so."""
        at = Place(td.levels - 1, td.root, gpa >> (12 + 9 * (td.levels - 1)) & 511)
        self.walk_reads = 1
        while not stops(at):
            level = at.level - 1
            at = Place(level, self.raw(at) & tw.HPA, gpa >> (12 + 9 * level) & 511)
            self.walk_reads += 1
        return at

    def walk(self, td: Td, gpa: int, level: int) -> Place:
        """Do ``secure_ept_walk``: to ``level``, an entry without permissions, or a leaf."""
        return self.descend(td, gpa, lambda at: at.level == level or self.raw(at) & 0x87 != 7)

    def find(self, td: Td, gpa: int, level: int) -> Place:
        """Go down through blocked tables too, as the harness of the vectors does (FORMAT.md 1, ``se``)."""

        def stops(at: Place) -> bool:
            return at.level <= level or tw.state(self.raw(at)) not in tw.NON_LEAF

        return self.descend(td, gpa, stops)

    def refuse(self, status: int, at: Place, hidden: int = 0) -> RefusedError:
        """Return a refusal that tells the entry, but for the bits ``hidden``, in RCX and RDX."""
        raw = self.raw(at) & ~hidden
        return RefusedError(status + tw.RCX, tw.shown(raw), at.level | tw.API_STATES[tw.state(raw)] << 8)

    def split(self, td: Td, rcx: int, lowest: int, highest: int) -> tuple[int, int]:
        """Return the GPA and the level in RCX."""
        gpa, level = rcx & ~7, rcx & 7
        if not lowest <= level <= highest or gpa % tw.page_bytes(level) or gpa >> td.gpa_bits:
            raise RefusedError(tw.OPERAND_INVALID + tw.RCX)
        return gpa, level

    def locate(
        self, held: ExitStack, td: Td, rcx: int, lowest: int, highest: int, states: set[str], exclusive: bool = False
    ) -> Place:
        """Lock the tree, walk, lock the entry, check its state."""
        gpa, level = self.split(td, rcx, lowest, highest)
        self.lock_word(held, td.tree, exclusive, tw.OPERAND_BUSY + tw.TREE)
        at = self.walk(td, gpa, level)
        if at.level != level:
            raise self.refuse(tw.EPT_WALK_FAILED, at)
        if not self.lock_entry(at):
            raise self.refuse(tw.OPERAND_BUSY, at)
        held.callback(self.unlock_entry, at)
        if tw.state(self.raw(at)) not in states:
            raise self.refuse(tw.EPT_ENTRY_STATE_INCORRECT, at)
        return at

    def lock_entry(self, at: Place) -> bool:
        """LOCK BTS of the lock bit, as a host call does it; return whether the entry was free."""
        raw = self.raw(at)
        if raw & tw.ENTRY_LOCK:
            self.store(at, raw | tw.ENTRY_HP)
            return False
        self.store(at, (raw | tw.ENTRY_LOCK) & ~tw.ENTRY_HP)
        return True

    def lock_entry_as_guest(self, at: Place) -> int:
        """Take an entry's lock from inside the TD; return the status without an operand."""
        raw = self.raw(at)
        if raw & tw.ENTRY_LOCK:
            return tw.OPERAND_BUSY
        if raw & tw.ENTRY_HP:
            return tw.HOST_PRIORITY_BUSY
        self.store(at, raw | tw.ENTRY_LOCK)
        return tw.SUCCESS

    def unlock_entry(self, at: Place) -> None:
        """LOCK BTR of the lock bit."""
        self.store(at, self.raw(at) & ~tw.ENTRY_LOCK)

    def check_removable(self, td: Td, at: Place, bepoch: int) -> None:
        """In a TD that runs: the entry is blocked, and no vCPU holds a translation from before."""
        state, leaf = tw.state(self.raw(at)), tw.is_leaf(self.raw(at))
        if td.op_state in RUNNING and state not in tw.UNTRACKED:
            if state not in tw.BLOCKED_STATES:
                raise self.refuse(tw.GPA_RANGE_NOT_BLOCKED, at, tw.COUNTER if at.level == 1 and leaf else 0)
            if not td.tracked(bepoch):
                raise RefusedError(tw.TLB_TRACKING_NOT_DONE + tw.RCX)

    # --- locks that another LP takes (FORMAT.md 2, LOCK and UNLOCK)

    def lock(self, kind: str, exclusive: bool, td: int, hpa: int, gpa: int, level: int, guest: bool) -> int:
        """Take a lock; return the status without an operand."""
        if kind != "septe":
            word = self._word(kind, td, hpa, level)
            return tw.SUCCESS if (word.exclude() if exclusive else word.share()) else tw.OPERAND_BUSY
        at = self.find(self.tds[td], gpa, level)
        if guest:
            return self.lock_entry_as_guest(at)
        return tw.SUCCESS if self.lock_entry(at) else tw.OPERAND_BUSY

    def unlock(self, kind: str, exclusive: bool, td: int, hpa: int, gpa: int, level: int) -> None:
        """Release it."""
        if kind == "septe":
            self.unlock_entry(self.find(self.tds[td], gpa, level))
            return
        word = self._word(kind, td, hpa, level)
        word.unexclude() if exclusive else word.unshare()

    def _word(self, kind: str, td: int, hpa: int, level: int) -> tw.HpLock | tw.PlainLock:
        if kind == "pamt":
            return self.entry(level, hpa)
        fields = self.tds[td]
        return {"tree": fields.tree, "opstate": fields.op_state_lock, "epoch": fields.epoch_lock}[kind]
