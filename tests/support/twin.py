"""A plain-Python twin of the TDX module, of KVM's fault path and of the guests, written from the facts.

Nothing here comes from ``kernels``: S-EPT pages are lists of 512 integers at their HPA, the PAMT is a dict of
entries with a lock word, a type, an owner and a bepoch at three levels, and a SEAMCALL takes and releases each
lock with the module's primitive. Sources: ``facts/tdx-module.md`` sections 1 to 7, 11.2 and 12,
``facts/kvm-path.md`` section 1, ``vectors/FORMAT.md`` sections 3, 4 and 7, design sections 4 and 5.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# Completion statuses, RAX with L2 = 0, and operand ids (tdx-module.md 1)
SUCCESS = 0
OPERAND_INVALID = 0xC000010000000000
ADDR_RANGE_ERROR = 0xC000010100000000
OPERAND_BUSY = 0x8000020000000000
HOST_PRIORITY_BUSY = 0x8000020400000000
PAGE_METADATA_INCORRECT = 0xC000030000000000
EPT_WALK_FAILED = 0xC0000B0000000000
PAGE_ALREADY_ACCEPTED = 0x00000B0A00000000
PAGE_SIZE_MISMATCH = 0xC0000B0B00000000
EPT_ENTRY_STATE_INCORRECT = 0xC0000B0D00000000
EXIT = 0x30  # RAX of a TD exit on an EPT violation: basic exit reason 48
RCX, RDX, R8 = 1, 2, 8

# Raw S-EPT entries without HPA (tdx-module.md 2.1 and 2.2)
FREE = 0x80E0000000000000
REMOVED = 0x80C0000000000000
NL_MAPPED = 0x8000000000000007
NL_BLOCKED = 0x8080000000000000
MAPPED = 0x80000000000000F7
BLOCKED = 0x80800000000000F0
PENDING = 0x81000000000000F0
PENDING_BLOCKED = 0x81800000000000F0
HPA = 0x000FFFFFFFFFF000
ENTRY_LOCK, ENTRY_HP = 1 << 11, 1 << 52

STATE_CODES = {
    "FREE": 0x0E, "REMOVED": 0x0C, "NL_MAPPED": 0x00, "NL_BLOCKED": 0x08, "MAPPED": 0x60, "BLOCKED": 0x68,
    "PENDING": 0x70, "PENDING_BLOCKED": 0x78, "BLOCKEDW": 0x64, "PENDING_BLOCKEDW": 0x74, "EXP_BLOCKEDW": 0x66,
    "PEND_EXP_BLOCKEDW": 0x76, "EXP_DIRTY": 0x63, "PEND_EXP_DIRTY": 0x73, "EXP_DIRTY_BLOCKEDW": 0x67,
    "PEND_EXP_DIRTY_BLOCKEDW": 0x77,
}  # fmt: skip
STATE_NAMES = {code: name for name, code in STATE_CODES.items()}
ACCESSIBLE = {"MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW"}
NON_LEAF = {"NL_MAPPED", "NL_BLOCKED"}

# PAMT (tdx-module.md 3 and 4.1)
NDA, RSVD, REG, TDR, TDCX, TDVPR, EPT = 0, 1, 3, 4, 5, 6, 8
EXCLUSIVE, HP, READER = 1, 2, 4

PAGES = {0: 1, 1: 512, 2: 512 * 512}
"""4K pages by level."""


def state_code(raw: int) -> int:
    """Collect D, TDEX, TDBW, TDB, TDP, IPAT, PS into bits 0 to 6."""
    return sum(((raw >> bit) & 1) << i for i, bit in enumerate((9, 53, 54, 55, 56, 6, 7)))


def state(raw: int) -> str:
    """Return the name of the state of a raw entry."""
    return STATE_NAMES[state_code(raw)]


def is_leaf(raw: int) -> bool:
    """Whether bit 7 is set."""
    return bool(raw >> 7 & 1)


@dataclass
class PamtEntry:
    lock: int = 0
    type: int = NDA
    owner: int = 0  # TDR HPA >> 12
    bepoch: int = 0

    @property
    def words(self) -> tuple[int, int]:
        """The entry's 16 bytes as two little-endian words: lock 0-1, type 2, owner 3-7, bepoch 8-15."""
        raw = self.lock.to_bytes(2, "little") + self.type.to_bytes(1, "little") + self.owner.to_bytes(5, "little")
        return int.from_bytes(raw, "little"), self.bepoch

    def share(self) -> bool:
        """XADD a reader, as a host call does; return whether the lock was granted."""
        was_exclusive = self.lock & EXCLUSIVE
        self.lock += READER
        if was_exclusive:
            self.lock |= HP  # the reader stays until the writer's release wipes it
            return False
        self.lock &= ~HP
        return True

    def unshare(self) -> None:
        self.lock -= READER

    def exclude(self) -> bool:
        """CMPXCHG 0 -> 1, and once more if only host priority was set."""
        if self.lock in (0, HP):
            self.lock = EXCLUSIVE
            return True
        self.lock |= HP
        return False

    def promote(self) -> bool:
        """CMPXCHG from one reader to exclusive; on failure the caller still holds its reader."""
        if self.lock == READER:
            self.lock = EXCLUSIVE
            return True
        self.lock |= HP
        return False

    def unexclude(self) -> None:
        self.lock &= HP


@dataclass
class Twin:
    """One RUNNABLE TD: its S-EPT, the PAMT, TDR.CHLDCNT, and one SEAMCALL or TDCALL at a time.

    ``root`` is TDCS page 3; ``blocks`` are the 1 GiB blocks (HPA >> 30) of initialised TDMRs.
    """

    tdr: int
    root: int
    levels: int
    shared_bit: int
    blocks: set[int]
    hkid_start_bit: int = 52
    chldcnt: int = 0
    pages: dict[int, list[int]] = field(default_factory=dict)
    pamt: dict[tuple[int, int], PamtEntry] = field(default_factory=dict)
    walk_reads: int = 0  # entries that the last call's walk read
    next_table: int = 0  # HPA that KVM gives to SEPT.ADD next

    def __post_init__(self) -> None:
        self.pages[self.root] = [FREE] * 512

    # --- PAMT

    def entry(self, level: int, hpa: int) -> PamtEntry:
        """Return the PAMT entry of ``hpa`` at ``level``."""
        return self.pamt.setdefault((level, hpa >> (12 + 9 * level)), PamtEntry())

    def lookup(self, hpa: int) -> tuple[int, PamtEntry] | None:
        """Find the leaf PAMT entry: the first of 1G and 2M that is REG, else 4K; None outside every TDMR."""
        if hpa >> 30 not in self.blocks:
            return None
        for level in (2, 1):
            if self.entry(level, hpa).type == REG:
                return level, self.entry(level, hpa)
        return 0, self.entry(0, hpa)

    def _lock_page(self, hpa: int, level: int, exclusive: bool) -> tuple[int, list[Callable[[], None]], int]:
        """Do ``pamt_walk``; return (busy or metadata status, what to undo, leaf level)."""
        held: list[Callable[[], None]] = []
        for at in (2, 1, 0):
            entry = self.entry(at, hpa)
            if at == 0 and exclusive:
                if not entry.exclude():
                    return OPERAND_BUSY, held, at
                return SUCCESS, [*held, entry.unexclude], at
            if not entry.share():
                return OPERAND_BUSY, held, at
            if at == 0 or entry.type == REG or at == level:
                if exclusive:
                    if not entry.promote():
                        entry.unshare()
                        return OPERAND_BUSY, held, at
                    return SUCCESS, [*held, entry.unexclude], at
                return SUCCESS, [*held, entry.unshare], at
            held.append(entry.unshare)
        raise AssertionError

    def _take(self, hpa: int, level: int, new_type: int) -> int:
        """Check a free page operand, give it to the TD; return the status with R8's id."""
        if hpa & ((4096 << (9 * level)) - 1) or hpa >> self.hkid_start_bit:
            return OPERAND_INVALID + R8
        if hpa >> 30 not in self.blocks:
            return ADDR_RANGE_ERROR + R8
        status, undo, at = self._lock_page(hpa, level, exclusive=True)
        entry = self.entry(at, hpa)
        if status == SUCCESS and (at != level or entry.type != NDA):
            status = PAGE_METADATA_INCORRECT
        if status == SUCCESS and level == 1 and not self._children_free(hpa):
            status = PAGE_METADATA_INCORRECT
        if status == SUCCESS:
            entry.type, entry.owner, entry.bepoch = new_type, self.tdr >> 12, 0
        for release in reversed(undo):
            release()
        return status + R8 if status else SUCCESS

    def _children_free(self, hpa: int) -> bool:
        """``pamt_is_2mb_range_free``: the types of all 512, whatever their locks."""
        below = (self.pamt.get((0, (hpa >> 12) + i)) for i in range(512))
        return all(entry is None or entry.type == NDA for entry in below)

    # --- S-EPT

    def walk(self, gpa: int, level: int) -> tuple[int, int, int]:
        """Return (level reached, HPA of the table, index) and count the entries read."""
        table, at = self.root, self.levels - 1
        self.walk_reads = 0
        while True:
            index = gpa >> (12 + 9 * at) & 511
            raw = self.pages[table][index]
            self.walk_reads += 1
            if at == level or raw & 7 == 0 or is_leaf(raw):
                return at, table, index
            table, at = raw & HPA, at - 1

    def _valid(self, gpa: int, level: int) -> bool:
        return 0 <= gpa < 1 << self.shared_bit and gpa % (4096 << (9 * level)) == 0

    def _host_call(self, gpa: int, level: int, allowed: set[str], body: Callable[[int, int], int]) -> int:
        """TDR shared, tree shared, walk, entry lock, allow-list, then ``body(table, index)``."""
        status, undo, at = self._lock_page(self.tdr, 0, exclusive=False)
        if status == SUCCESS and (at != 0 or self.entry(0, self.tdr).type != TDR):
            status = PAGE_METADATA_INCORRECT
        if status:
            for release in reversed(undo):
                release()
            return status + RDX
        try:
            reached, table, index = self.walk(gpa, level)
            if reached != level:
                return EPT_WALK_FAILED + RCX
            entries = self.pages[table]
            if entries[index] & ENTRY_LOCK:
                entries[index] |= ENTRY_HP
                return OPERAND_BUSY + RCX
            entries[index] = (entries[index] | ENTRY_LOCK) & ~ENTRY_HP
            status = EPT_ENTRY_STATE_INCORRECT + RCX
            if state(entries[index]) in allowed:
                status = body(table, index)
            self.pages[table][index] &= ~ENTRY_LOCK
            return status
        finally:
            for release in reversed(undo):
                release()

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        """TDH.MEM.PAGE.AUG."""
        self.walk_reads = 0
        if level not in (0, 1) or not self._valid(gpa, level):
            return OPERAND_INVALID + RCX

        def body(table: int, index: int) -> int:
            status = self._take(hpa, level, REG)
            if status == SUCCESS:
                self.pages[table][index] = PENDING | hpa
                self.chldcnt += PAGES[level]
            return status

        return self._host_call(gpa, level, {"FREE", "REMOVED"}, body)

    def sept_add(self, gpa: int, level: int, hpa: int) -> int:
        """TDH.MEM.SEPT.ADD, version 0; ``level`` is the parent entry's."""
        self.walk_reads = 0
        if not 1 <= level < self.levels or not self._valid(gpa, level):
            return OPERAND_INVALID + RCX

        def body(table: int, index: int) -> int:
            status = self._take(hpa, 0, EPT)
            if status == SUCCESS:
                self.pages[hpa] = [FREE] * 512
                self.chldcnt += 1
                self.pages[table][index] = NL_MAPPED | hpa
            return status

        return self._host_call(gpa, level, {"FREE"}, body)

    def accept(self, gpa: int, level: int) -> int:
        """TDG.MEM.PAGE.ACCEPT; the status of the TDCALL, or ``EXIT``."""
        self.walk_reads = 0
        if level not in (0, 1) or not self._valid(gpa, level):
            return OPERAND_INVALID + RCX
        reached, table, index = self.walk(gpa, level)
        raw = self.pages[table][index]
        if reached != level:
            return PAGE_ALREADY_ACCEPTED + reached if is_leaf(raw) and state(raw) in ACCESSIBLE else EXIT
        if raw & ENTRY_LOCK:
            return OPERAND_BUSY + RCX
        if raw & ENTRY_HP:
            return HOST_PRIORITY_BUSY + RCX
        if not is_leaf(raw) and state(raw) != "FREE":  # REMOVED too: the vectors show it
            return PAGE_SIZE_MISMATCH + level
        if state(raw) in ACCESSIBLE:
            return PAGE_ALREADY_ACCEPTED + level
        if state(raw) not in ("PENDING", "PEND_EXP_DIRTY"):
            return EXIT
        counter = 511 << 12 if level == 1 else 0
        self.pages[table][index] = raw & ~(1 << 56) & ~counter | 7
        return SUCCESS

    # --- what KVM's mirror of the S-EPT knows

    def has_table(self, gpa: int, level: int) -> bool:
        """Whether the table below the entry of ``gpa`` at ``level`` is there."""
        reads = self.walk_reads
        at, table, index = self.walk(gpa, level)
        self.walk_reads = reads
        raw = self.pages[table][index]
        return at == level and state(raw) in NON_LEAF

    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]:
        """Return the 64 B lines of the S-EPT entry and of the PAMT leaf entry that an AUG writes."""
        reads = self.walk_reads
        _, table, index = self.walk(gpa, level)
        self.walk_reads = reads
        return (table + 8 * index) // 64, (level, (hpa >> (12 + 9 * level)) * 16 // 64)


class Module(Protocol):
    """What KVM and the guest need of a module; the twin and a driver of single-call kernels have it."""

    levels: int
    walk_reads: int
    next_table: int

    def sept_add(self, gpa: int, level: int, hpa: int) -> int: ...
    def page_aug(self, gpa: int, level: int, hpa: int) -> int: ...
    def accept(self, gpa: int, level: int) -> int: ...
    def has_table(self, gpa: int, level: int) -> bool: ...
    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]: ...


class CallError(Exception):
    """A call returned a status that stops the run; ``args[0]`` is RAX."""


@dataclass
class Flow:
    """KVM and a Linux-like guest on one private address space; ``n`` counts what they do.

    ``pfn_of`` and ``level_of`` give, for a GFN, the page behind it and the level the policy allows.
    """

    module: Module
    pfn_of: Callable[[int], int]
    level_of: Callable[[int], int]
    n: Counter[str] = field(default_factory=Counter)
    last: tuple[object, object] = (None, None)

    def _host(self, call: Callable[..., int], gpa: int, level: int, hpa: int) -> None:
        status = call(gpa, level, hpa)
        if status != SUCCESS:
            raise CallError(status)
        self.n["WALK_READS_HOST"] += self.module.walk_reads

    def fault(self, gfn: int) -> int:
        """Complete a private fault at ``gfn``: tables from the top, then the leaf; return its level."""
        level = self.level_of(gfn)
        if level == 1 and self.module.has_table(gfn << 12, 1):
            level = 0
        gfn -= gfn % PAGES[level]
        gpa = gfn << 12
        for parent in range(self.module.levels - 1, level, -1):
            if not self.module.has_table(gpa, parent):
                aligned = gpa - gpa % (4096 << (9 * parent))
                self._host(self.module.sept_add, aligned, parent, self.module.next_table)
                self.module.next_table += 4096
                self.n["SEPT_ADD"] += 1
        hpa = self.pfn_of(gfn) << 12
        self._host(self.module.page_aug, gpa, level, hpa)
        self.n["AUG_2M" if level else "AUG_4K"] += 1
        self.n["FAULT"] += 1
        here = self.module.lines(gpa, level, hpa)
        self.n["SEPT_LINES"] += here[0] != self.last[0]
        self.n["PAMT_LINES"] += here[1] != self.last[1]
        self.last = here
        return level

    def prefault(self, gfns: Sequence[int]) -> None:
        """KVM_PRE_FAULT_MEMORY over ascending ``gfns``: each call goes on behind the leaf it mapped."""
        end = -1
        for gfn in gfns:
            if gfn >= end:
                level = self.fault(gfn)
                self.n["PREFAULT"] += 1
                end = gfn - gfn % PAGES[level] + PAGES[level]

    def _try_accept(self, gfn: int, level: int) -> bool:
        """``try_accept_one``: the TDCALL, again after every TD exit; whether it succeeded."""
        while True:
            status = self.module.accept(gfn << 12, level)
            self.n["WALK_READS_GUEST"] += self.module.walk_reads
            if status == SUCCESS:
                self.n["ACCEPT_2M" if level else "ACCEPT_4K"] += 1
                return True
            if status == EXIT:
                self.n["ACCEPT_EXIT"] += 1
                self.n["TD_EXIT"] += 1
                self.fault(gfn)
                self.n["VP_ENTER"] += 1
                continue
            if status == OPERAND_INVALID + RCX and level == 2:
                self.n["ACCEPT_1G_INVALID"] += 1
                return False
            if status == PAGE_SIZE_MISMATCH + level and level == 1:
                self.n["ACCEPT_SIZE_MISMATCH"] += 1
                return False
            raise CallError(status)

    def accept_memory(self, start: int, end: int) -> None:
        """``tdx_accept_memory`` over GFNs: 1G, 2M, 4K, each where aligned and still that long."""
        while start < end:
            for level in (2, 1, 0):
                pages = PAGES[level]
                if start % pages == 0 and end - start >= pages and self._try_accept(start, level):
                    start += pages
                    break
            else:
                raise AssertionError("accept_memory() fails: the guest panics")


def runs(gfns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ascending ``gfns`` as half-open runs."""
    start = end = None
    for gfn in gfns:
        if gfn != end:
            if start is not None:
                yield start, end
            start = gfn
        end = gfn + 1
    if start is not None:
        yield start, end


CHUNK = 1024  # 4 MiB: the largest page-allocator order


def populate(flow: Flow, gfns: Sequence[int], chunks: Sequence[int] | None, prefault: bool = False) -> None:
    """Run a guest over its private, convertible ``gfns`` (ascending).

    ``chunks`` is the order of 4 MiB chunks (GFN >> 10) in which a Linux guest takes memory up; None is the one
    accept loop of firmware over each private range.
    """
    if prefault:
        flow.prefault(gfns)
    if chunks is None:
        for start, end in runs(gfns):
            flow.accept_memory(start, end)
        return
    by_chunk: dict[int, list[int]] = {}
    for gfn in gfns:
        by_chunk.setdefault(gfn // CHUNK, []).append(gfn)
    for chunk in chunks:
        for start, end in runs(by_chunk.get(chunk, [])):
            flow.accept_memory(start, end)


# --- which 2M ranges stay 4K (design section 4)

NONE, ASKED, SHARED, REFUSED = range(4)
INTERFACES = ("page-4k", "folio-strict", "folio-lenient", "pfn")


def split_order(order: int, strict: bool, shared_in_folio: bool) -> int:
    """Order of the folio that holds a page, after guest_memfd has split; its own 2M has no shared page."""
    if not shared_in_folio:
        return order
    return 0 if strict else min(order, 9)


def refusal(
    interface: str,
    pfn: Sequence[int],
    use: Sequence[int],
    order: Sequence[int],
    first: int,
    shared: Sequence[int],
    module_demotes: bool,
) -> str | None:
    """Return the first cause that applies to the 2M range at page ``first`` of a region.

    "mapped" if none does, None if no private page of it is asked for. ``shared`` lists the region's shared
    pages, ascending; a folio of order above 9 is a GPA range aligned to its size.
    """
    pages = range(first, first + 512)
    guest = [i for i in pages if use[i] != NONE]
    private = [i for i in guest if use[i] != SHARED]
    if not private:
        return None
    if interface == "page-4k":
        return "policy"
    if not module_demotes:
        return "module"
    if len(guest) < 512:
        return "partial"
    if len(private) < 512:
        return "mixed"
    if (private[0] - pfn[private[0]]) % 512:
        return "alignment"
    if any(pfn[i] != pfn[first] + i - first for i in guest):
        return "discontiguous"
    if interface != "pfn":
        for i in guest:
            size = 1 << order[i]
            start = i - i % size
            in_folio = order[i] > 9 and bisect_left(shared, start) < bisect_left(shared, start + size)
            if split_order(order[i], interface == "folio-strict", in_folio) < 9:
                return "folio"
    if any(use[i] == REFUSED for i in guest):
        return "not-convertible"
    return "mapped"
