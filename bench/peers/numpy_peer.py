"""The numpy peer: AUG of a whole region at 4K with every check, in array operations."""

import numpy as np
import numpy.typing as npt

from kernels.counters import AUG_4K, PAMT_LINES, SEPT_LINES, WALK_READS_HOST
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK, LOCK_MASK, PT_REG, TYPE_MASK, make_entry
from kernels.sept_entry import FREE, HOST_PRIORITY, LEAF, LOCK, PENDING, REMOVED, RWX, STATE_MASK
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_ROOT, TD_TDR_PFN, Tables

_PAGES = 1 << 18
_REG = np.uint64(PT_REG << 16)


def _leaf_rows(tables: Tables, gfn: int) -> npt.NDArray[np.int64]:
    """Return the rows of the region's 512 tables of 4K entries."""
    rows = np.full(512, tables.td[TD_ROOT])
    gfns = gfn + np.arange(512) * 512
    for level in range(int(tables.td[TD_LEVELS]) - 1, 0, -1):
        entries = tables.sept[rows, (gfns >> (9 * level)) & 511]
        if ((entries & RWX) == 0).any() or (entries & LEAF).any():
            raise ValueError("a walk ends above the tables of 4K entries")
        rows = ((entries & np.uint64(0x000F_FFFF_FFFF_F000)) >> np.uint64(12)).astype(np.int64) - tables.sept_pfn
    return rows


def _require_not_reg(words: npt.NDArray[np.uint64]) -> None:
    if (words & LOCK_MASK).any() or ((words & TYPE_MASK) == _REG).any():
        raise ValueError("an upper PAMT entry is locked or says that its page is in use")


def augment_region(tables: Tables, gfn: int, pfn: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
    """AUG every page of the region at ``gfn``, or raise ValueError where one call would not succeed."""
    rows = _leaf_rows(tables, gfn)
    entries = tables.sept[rows]
    states = entries & STATE_MASK
    augmentable = (states == FREE & STATE_MASK) | (states == REMOVED & STATE_MASK)
    if not augmentable.all() or (entries & (LOCK | HOST_PRIORITY)).any():
        raise ValueError("an entry is locked or in a state that AUG does not take")
    blocks = pfn >> 18
    if (blocks < 0).any() or (blocks >= tables.slot.size).any() or (tables.slot[blocks] < 0).any():
        raise ValueError("a page lies outside every TDMR")
    slots = tables.slot[blocks].astype(np.int64)
    _require_not_reg(tables.pamt_1g[blocks, 0])
    _require_not_reg(tables.pamt_2m[slots * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511), 0])
    at = slots * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)
    if (tables.pamt_4k[at, 0] & (LOCK_MASK | TYPE_MASK)).any():
        raise ValueError("a page is locked or in use")
    turns = np.arange(_PAGES, dtype=np.uint64)
    tables.pamt_4k[at, 1] = turns
    if (tables.pamt_4k[at, 1] != turns).any():
        raise ValueError("a page comes twice")
    tables.pamt_4k[at, 0] = make_entry(PT_REG, tables.td[TD_TDR_PFN])
    tables.pamt_4k[at, 1] = 0
    tables.sept[rows] = PENDING | (pfn.astype(np.uint64) << np.uint64(12)).reshape(512, 512)
    tables.td[TD_CHLDCNT] += _PAGES
    counts[AUG_4K] += _PAGES
    counts[WALK_READS_HOST] += _PAGES * tables.td[TD_LEVELS]
    counts[SEPT_LINES] += _PAGES >> 3
    counts[PAMT_LINES] += 1 + np.count_nonzero(np.diff(pfn >> 2))
