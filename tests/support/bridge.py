"""The same TD as kernel tables and as a twin, and a driver that runs the single-call kernels under KVM's flow."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import twin_words as tw
from twin_module import Td
from twin_td import Twin

from kernels.build import tdh_mem_page_add
from kernels.counters import ALL_COUNTERS, COUNTERS, Counter
from kernels.demote import tdh_mem_page_demote
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK
from kernels.promote import tdh_mem_page_promote
from kernels.seamcall import tdg_mem_page_accept, tdh_mem_page_aug, tdh_mem_sept_add
from kernels.shrink import tdh_mem_page_remove, tdh_mem_range_block
from kernels.status import as_unsigned
from kernels.tables import TD_CHLDCNT, TD_GPA_BITS, TD_LEVELS, TD_NEXT_SEPT, TD_ROOT, TD_TDR_PFN, Tables
from kernels.walk import walk
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform
from perfmodel.td_tables import TdTables

FIRST_BLOCK = 4
FIRST_ROW = 3
"""Row of the first table page that KVM gives."""


def make_tables(
    levels: int = 4, blocks: int = 1, regions: int = 1, reserved: Sequence[tuple[int, int]] = ()
) -> TdTables:
    """Return empty tables with ``blocks`` 1 GiB blocks from 4 GiB on; ``reserved`` is (offset, bytes)."""
    tdmr = Tdmr(FIRST_BLOCK << 30, blocks << 30, tuple(reserved))
    held = TdTables(Platform((tdmr,), FIRST_BLOCK + blocks), levels, regions)
    held.load(range(FIRST_BLOCK, FIRST_BLOCK + blocks))
    return held


def make_twin(held: TdTables, reserved: Sequence[tuple[int, int]] = ()) -> Twin:
    """Return the twin of empty tables: TDR, six TDCX pages of which page 3 is the root, then KVM's pool."""
    td = held.tables.td
    tdr = int(td[TD_TDR_PFN]) << 12
    twin_td = Td(tdr, tdr + 4 * 4096, int(td[TD_LEVELS]), int(td[TD_GPA_BITS]), chldcnt=0)
    blocks = set(np.flatnonzero(held.tables.slot >= 0).tolist())
    module = Twin(blocks, [twin_td], next_table=tdr + 7 * 4096)
    for i in range(1, 7):
        module.entry(0, tdr + i * 4096).type = tw.TDCX
        module.entry(0, tdr + i * 4096).owner = tdr >> 12
    for offset, size in reserved:
        for hpa in range((FIRST_BLOCK << 30) + offset, (FIRST_BLOCK << 30) + offset + size, 4096):
            module.entry(0, hpa).type = tw.RSVD
    return module


def copy_to_twin(held: TdTables, op_state: int) -> Twin:
    """Return the twin of tables that are in use."""
    tables, module = held.tables, make_twin(held)
    module.td.op_state, module.td.chldcnt = op_state, int(tables.td[TD_CHLDCNT])
    module.next_table = (tables.sept_pfn + int(tables.td[TD_NEXT_SEPT])) << 12
    module.pages = sept_pages(tables, ((tables.sept_pfn + row) << 12 for row in rows(tables)))
    for (level, page), (word, bepoch) in pamt_entries(tables).items():
        module.pamt[level, page] = tw.PamtEntry(word & 0xFFFF, word >> 16 & 0xFF, word >> 24, bepoch)
    return module


def rows(tables: Tables) -> list[int]:
    """Return the rows of the root and of the tables; rows 1 and 2 are TDCX pages."""
    return [0, *range(FIRST_ROW, int(tables.td[TD_NEXT_SEPT]))]


def sept_pages(tables: Tables, hpas: Iterable[int]) -> dict[int, list[int]]:
    """Return the table pages at ``hpas`` as lists of raw entries."""
    return {hpa: tables.sept[(hpa >> 12) - tables.sept_pfn].tolist() for hpa in hpas}


def pamt_entries(tables: Tables) -> dict[tuple[int, int], tuple[int, int]]:
    """Return every PAMT entry that is not all zero, by (level, page number at that level)."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    block_of = {int(slot): block for block, slot in enumerate(tables.slot) if slot >= 0}
    for level, array, per_block in (
        (2, tables.pamt_1g, 1),
        (1, tables.pamt_2m, ENTRIES_2M_PER_BLOCK),
        (0, tables.pamt_4k, ENTRIES_4K_PER_BLOCK),
    ):
        used = np.unique(np.flatnonzero(array) // 2)
        for i, words in zip(used.tolist(), array[used].tolist(), strict=True):
            page = i if level == 2 else block_of[i // per_block] * per_block + i % per_block
            found[level, page] = tuple(words)
    return found


def assert_same(held: TdTables, module: Twin) -> None:
    """Every S-EPT entry, every PAMT entry and TDR.CHLDCNT are equal."""
    tables = held.tables
    assert (int(tables.td[TD_TDR_PFN]) + 4) << 12 == module.td.root == (tables.sept_pfn + tables.td[TD_ROOT]) << 12
    assert sept_pages(tables, module.pages) == module.pages
    assert pamt_entries(tables) == {k: e.words for k, e in module.pamt.items() if any(e.words)}
    assert tables.td[TD_CHLDCNT] == module.td.chldcnt


def assert_equal_tables(one: TdTables, other: TdTables) -> None:
    """Two sets of kernel tables are equal, entry by entry."""
    assert one.tables.td.tolist() == other.tables.td.tolist()
    for row in rows(one.tables):
        np.testing.assert_array_equal(one.tables.sept[row], other.tables.sept[row])
    for name in ("pamt_1g", "pamt_2m", "pamt_4k", "slot"):
        np.testing.assert_array_equal(getattr(one.tables, name), getattr(other.tables, name))


class KernelModule:
    """The single-call kernels on one set of tables, under the names that the twin of one TD has too."""

    def __init__(self, held: TdTables) -> None:
        self._tables = held.tables
        self.levels = int(held.tables.td[TD_LEVELS])
        self.walk_reads = 0
        self.set_epoch(1, False)

    def set_epoch(self, epoch: int, busy: bool) -> None:
        """Set TD_EPOCH, and whether vCPUs of the epoch before are still inside."""
        self._epoch, self._busy = epoch, busy

    @property
    def next_table(self) -> int:
        return (self._tables.sept_pfn + int(self._tables.td[TD_NEXT_SEPT])) << 12

    @next_table.setter
    def next_table(self, hpa: int) -> None:
        self._tables.td[TD_NEXT_SEPT] = (hpa >> 12) - self._tables.sept_pfn

    def _at(self, gpa: int, level: int) -> tuple[int, int, int, int]:
        reached, row, index, raw = walk(self._tables, gpa >> 12, level)
        return int(reached), int(row), int(index), int(raw)

    def _count(self, gpa: int, level: int) -> None:
        self.walk_reads = self.levels - self._at(gpa, level)[0] if level < self.levels else 0

    def sept_add(self, gpa: int, level: int, hpa: int) -> int:
        self._count(gpa, level)
        return as_unsigned(tdh_mem_sept_add(self._tables, gpa, level, (hpa >> 12) - self._tables.sept_pfn))

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        self._count(gpa, level)
        return as_unsigned(tdh_mem_page_aug(self._tables, gpa, level, hpa >> 12))

    def accept(self, gpa: int, level: int) -> int:
        if level > 1:
            self.walk_reads = 0  # refused before any walk
        else:
            self._count(gpa, level)
        return as_unsigned(tdg_mem_page_accept(self._tables, gpa, level))

    def page_add(self, gpa: int, hpa: int) -> int:
        return as_unsigned(tdh_mem_page_add(self._tables, gpa, hpa >> 12))

    def block(self, gpa: int, level: int) -> int:
        return as_unsigned(tdh_mem_range_block(self._tables, gpa, level, self._epoch))

    def remove(self, gpa: int, level: int) -> int:
        return as_unsigned(tdh_mem_page_remove(self._tables, gpa, level, self._epoch, self._busy))

    def demote(self, gpa: int, level: int, hpa: int) -> int:
        row = (hpa >> 12) - self._tables.sept_pfn
        return as_unsigned(tdh_mem_page_demote(self._tables, gpa, level, row, self._epoch, self._busy))

    def promote(self, gpa: int, level: int) -> int:
        return as_unsigned(tdh_mem_page_promote(self._tables, gpa, level, self._epoch, self._busy))

    def has_table(self, gpa: int, level: int) -> bool:
        reached, _, _, raw = self._at(gpa, level)
        return reached == level and tw.state(raw) in tw.NON_LEAF

    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]:
        _, row, index, _ = self._at(gpa, level)
        return (row * 512 + index) // 8, (level, (hpa >> (12 + 9 * level)) // 4)


class Pair:
    """The kernels and the twin on equal tables; every call must answer alike and leave them equal.

    Two blocks, the first with a reserved page; a table of 4K entries for GPA 0.
    """

    RESERVED = ((64 << 20, 4096),)

    def __init__(self, levels: int = 4) -> None:
        self.held = make_tables(levels, blocks=2, regions=2, reserved=self.RESERVED)
        self.twin = make_twin(self.held, self.RESERVED)
        self.kernels = KernelModule(self.held)
        self.levels = levels
        for level in range(levels - 1, 0, -1):
            assert self.sept_add(0, level) == tw.SUCCESS

    def _both(self, name: str, gpa: int, level: int, *hpa: int) -> int:
        status = getattr(self.kernels, name)(gpa, level, *hpa)
        assert status == getattr(self.twin, name)(gpa, level, *hpa)
        assert_same(self.held, self.twin)
        return status

    def sept_add(self, gpa: int, level: int, hpa: int | None = None) -> int:
        """SEPT.ADD of the next page of the pool, or of ``hpa`` there."""
        status = self._both("sept_add", gpa, level, self.twin.next_table if hpa is None else hpa)
        if status == tw.SUCCESS and hpa is None:
            self.twin.next_table += 4096
            self.kernels.next_table += 4096
        return status

    def aug(self, gpa: int, level: int, hpa: int) -> int:
        return self._both("page_aug", gpa, level, hpa)

    def accept(self, gpa: int, level: int) -> int:
        return self._both("accept", gpa, level)

    def raw(self, gpa: int, level: int) -> int:
        _, table, index = self.twin.at(gpa, level)
        return self.twin.pages[table][index]

    def poke(self, gpa: int, level: int, change: Callable[[int], int]) -> None:
        """Change the raw entry where the walk of ``gpa`` to ``level`` ends."""
        _, table, index = self.twin.at(gpa, level)
        self.twin.pages[table][index] = change(self.twin.pages[table][index])
        row = (table >> 12) - self.held.tables.sept_pfn
        self.held.tables.sept[row, index] = np.uint64(self.twin.pages[table][index])

    def preset(self, level: int, hpa: int, **fields: int) -> tw.PamtEntry:
        """Set fields of a PAMT entry."""
        entry = self.twin.entry(level, hpa)
        for name, value in fields.items():
            setattr(entry, name, value)
        tables, block = self.held.tables, hpa >> 30
        if level == 2:
            tables.pamt_1g[block] = entry.words
        else:
            per_block = (262144, 512)[level]
            array = (tables.pamt_4k, tables.pamt_2m)[level]
            array[tables.slot[block] * per_block + (hpa >> 12 + 9 * level) % per_block] = entry.words
        return entry


def by_name(counts: np.ndarray) -> dict[str, int]:
    """Return a kernel's counters by name."""
    assert counts.shape in ((COUNTERS,), (ALL_COUNTERS,))
    assert not counts[COUNTERS:].any()
    return {c.name: int(counts[c]) for c in Counter}


def named(n: dict[str, int]) -> dict[str, int]:
    """Return a flow's counters with zeros for the absent; a name that the kernels do not have is an error."""
    assert set(n) <= {c.name for c in Counter}
    return {c.name: int(n.get(c.name, 0)) for c in Counter}
