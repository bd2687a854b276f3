"""Count the leaves of a region from its tables, check them against the PAMT, and give everything back."""

import numpy as np

from kernels.jit import njit
from kernels.pamt import find_slot
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK, PT_REG, make_entry
from kernels.sept_entry import FREE, LEAF, MAPPED, RWX, entry_pfn
from kernels.sept_entry import make_entry as make_sept_entry
from kernels.tables import TD_TDR_PFN
from kernels.walk import walk

LEAVES_4K, LEAVES_2M, STRAY = 0, 1, 2
"""Fields of ``census``: leaves at 4K and at 2M, and leaves that are not MAPPED or that the PAMT denies."""


@njit
def _settle(tables, entry, level, release, census):
    """Count one leaf, compare its PAMT entry and, with ``release``, set that to free."""
    pfn = entry_pfn(entry)
    slot = find_slot(tables, pfn)
    owned = make_entry(PT_REG, tables.td[TD_TDR_PFN])
    if level == 1:
        pamt, i = tables.pamt_2m, slot * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511)
    else:
        pamt, i = tables.pamt_4k, slot * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)
    census[LEAVES_2M if level else LEAVES_4K] += 1
    if slot < 0 or pamt[i, 0] != owned or entry != make_sept_entry(MAPPED, pfn):
        census[STRAY] += 1
        return
    if release:
        pamt[i, 0] = np.uint64(0)
        pamt[i, 1] = np.uint64(0)


@njit
def census_region(tables, gfn, release, census):
    """Count the leaves of the region that starts at ``gfn``.

    Parameters
    ----------
    tables : Tables
    gfn : int64
    release : bool
        Set the PAMT entries of the leaves to free, so that the next region finds the tables clean.
    census : ndarray of int64, shape (3,)
        Added to; indexed by ``LEAVES_4K``, ``LEAVES_2M``, ``STRAY``.
    """
    reached, row, _, _ = walk(tables, gfn, 1)
    if reached != 1:
        return
    for r in range(512):
        entry = tables.sept[row, r]
        if entry & LEAF:
            _settle(tables, entry, 1, release, census)
        elif entry & RWX:
            below = entry_pfn(entry) - tables.sept_pfn
            for i in range(512):
                leaf = tables.sept[below, i]
                if leaf != FREE:
                    _settle(tables, leaf, 0, release, census)
