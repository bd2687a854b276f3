"""One TD's tables in memory, whole or as a window that regions stream through."""

from collections.abc import Iterable

import numpy as np

from kernels.counters import COUNTERS
from kernels.fault import add_missing_tables
from kernels.pamt_entry import (
    ENTRIES_2M_PER_BLOCK,
    ENTRIES_4K_PER_BLOCK,
    PT_RSVD,
    PT_TDCX,
    PT_TDR,
    make_entry,
)
from kernels.status import SUCCESS
from kernels.tables import (
    TD_CHLDCNT,
    TD_FIELDS,
    TD_GPA_BITS,
    TD_LEVELS,
    TD_NEXT_SEPT,
    TD_ROOT,
    TD_TDR_PFN,
    Tables,
    fill_free,
)
from perfmodel.backings.contract import BLOCK_PAGES
from perfmodel.platform import Platform

_TDCX_PAGES = 6
_ROOT_TDCX = 3  # the root S-EPT page is TDCS page 3
_FIRST_SEPT_ROW = _TDCX_PAGES - _ROOT_TDCX  # rows before it are the root and the last TDCX pages
TABLES_PER_REGION = 513  # one page of 2M entries and 512 pages of 4K entries


class TdTables:
    """S-EPT and PAMT arrays of one TD in op-state RUNNABLE, without an initial image.

    Parameters
    ----------
    platform : Platform
    levels : {4, 5}
        S-EPT levels. A 4-level TD has GPA width 48 (shared bit 47), a 5-level one 52 (shared bit 51).
    regions : int
        Regions whose tables are held at the same time; 1 for a window.

    Attributes
    ----------
    tables : Tables
        The arrays, for the kernels. Replaced when :meth:`load` has to grow them.

    Notes
    -----
    The table page in row ``i`` has the PFN ``tables.sept_pfn + i`` in the platform's control block. A window
    gives each region the same table pages again: which host page a table page is does not change any count.
    """

    def __init__(self, platform: Platform, levels: int = 4, regions: int = 1) -> None:
        self._platform = platform
        tdr_pfn = platform.control_block * BLOCK_PAGES
        # root .. last TDCX page, then at most one table a level and region above the region's own
        rows = _FIRST_SEPT_ROW + regions * (TABLES_PER_REGION + levels - 3)
        td = np.zeros(TD_FIELDS, np.int64)
        td[TD_TDR_PFN] = tdr_pfn
        td[TD_LEVELS] = levels
        td[TD_GPA_BITS] = 47 if levels == 4 else 51
        blocks = platform.control_block + 1
        self._blocks: list[int] = []
        self.tables = Tables(
            sept=np.empty((rows, 512), np.uint64),
            sept_pfn=tdr_pfn + 1 + _ROOT_TDCX,
            pamt_1g=np.zeros((blocks, 2), np.uint64),
            pamt_2m=np.zeros((0, 2), np.uint64),
            pamt_4k=np.zeros((0, 2), np.uint64),
            slot=np.full(blocks, -1, np.int32),
            td=td,
        )
        self.load([])
        td[TD_NEXT_SEPT] = rows
        self.clear()

    def load(self, blocks: Iterable[int]) -> None:
        """Give ``blocks`` (HPA >> 30) PAMT_2M and PAMT_4K entries; others may lose theirs, which must be free.

        Blocks outside every TDMR are passed over: the module answers OPERAND_ADDR_RANGE_ERROR there.
        """
        wanted = [self._platform.control_block]
        wanted += [b for b in blocks if b != wanted[0] and self._platform.holds_block(b)]
        missing = [b for b in wanted if b not in self._blocks]
        if not missing:
            return
        kept = set(wanted)
        spare = [slot for slot, block in enumerate(self._blocks) if block not in kept]
        for block in missing:
            if spare:
                slot = spare.pop()
                self.tables.slot[self._blocks[slot]] = -1
                self._blocks[slot] = block
            else:
                self._blocks.append(block)
        self._grow(len(self._blocks))
        for slot, block in enumerate(self._blocks):
            if self.tables.slot[block] < 0:
                self.tables.slot[block] = slot
                self._initialise(slot, block)

    def _grow(self, slots: int) -> None:
        have = self.tables.pamt_2m.shape[0] // ENTRIES_2M_PER_BLOCK
        if slots <= have:
            return
        pamt_2m = np.zeros((slots * ENTRIES_2M_PER_BLOCK, 2), np.uint64)
        pamt_4k = np.zeros((slots * ENTRIES_4K_PER_BLOCK, 2), np.uint64)
        pamt_2m[: self.tables.pamt_2m.shape[0]] = self.tables.pamt_2m
        pamt_4k[: self.tables.pamt_4k.shape[0]] = self.tables.pamt_4k
        self.tables = self.tables._replace(pamt_2m=pamt_2m, pamt_4k=pamt_4k)

    def _initialise(self, slot: int, block: int) -> None:
        """Do what TDMR.INIT does to a block, and own the control pages."""
        entries = self.tables.pamt_4k[slot * ENTRIES_4K_PER_BLOCK : (slot + 1) * ENTRIES_4K_PER_BLOCK]
        if self._platform.has_holes:
            entries[:] = 0
            for start, end in self._platform.reserved_pages(block):
                entries[start:end, 0] = make_entry(PT_RSVD, 0)
        if block == self._platform.control_block:
            entries[0, 0] = make_entry(PT_TDR, 0)
            entries[1 : 1 + _TDCX_PAGES, 0] = make_entry(PT_TDCX, self.tables.td[TD_TDR_PFN])

    def clear(self) -> None:
        """Take every table page but the root away from the TD; its leaves must be gone already."""
        td = self.tables.td
        slot = int(self.tables.slot[self._platform.control_block])
        first = slot * ENTRIES_4K_PER_BLOCK + 1 + _ROOT_TDCX
        self.tables.pamt_4k[first + _FIRST_SEPT_ROW : first + int(td[TD_NEXT_SEPT])] = 0
        td[TD_ROOT] = 0
        td[TD_NEXT_SEPT] = _FIRST_SEPT_ROW
        td[TD_CHLDCNT] = 0
        fill_free(self.tables.sept, 0)

    def scrub(self) -> None:
        """Take everything away from the TD, in whatever state its leaves are."""
        for array in (self.tables.pamt_1g, self.tables.pamt_2m, self.tables.pamt_4k):
            array[:] = 0
        for slot, block in enumerate(self._blocks):
            self._initialise(slot, block)
        self.clear()

    def link_above(self, gfn: int, level: int) -> int:
        """Add the tables above ``gfn`` down to the one with its entry at ``level``; return how many."""
        scratch = np.zeros(COUNTERS, np.int64)
        before = int(self.tables.td[TD_NEXT_SEPT])
        status = add_missing_tables(self.tables, gfn, level, scratch)
        if status != SUCCESS:
            raise RuntimeError(f"SEPT.ADD above GFN {gfn:#x} returned {status:#x}")
        return int(self.tables.td[TD_NEXT_SEPT]) - before
