"""TLBs, paging-structure caches and caches of one logical processor on a stream of loads, in a guest with EPT.

A load that misses the TLBs walks the guest's page table; every table page of it, and in the end the page itself, has a
guest-physical address that the S-EPT translates. Nothing is cached: ``n`` guest and ``m`` S-EPT levels make
``(n + 1)(m + 1) - 1`` references. What hardware remembers follows the three kinds of mappings of Intel's SDM, volume 3,
"Caching Translation Information" of VMX: combined (TLBs; guest paging-structure caches, which hold the host address of
the next guest table), and guest-physical (S-EPT paging-structure caches; last-level S-EPT translations).

All structures lie in one array ``tags``, as :mod:`kernels.lru` has them.
"""

import numpy as np

from kernels import lru
from kernels.jit import njit, step
from kernels.lru import WAYS, first_way

DTLB_4K, DTLB_2M, STLB, SEPT_LEAVES = 0, 1, 2, 3
GUEST_PSC, SEPT_PSC = 4, 8
"""First of four paging-structure caches each: row ``+ i`` holds entries of level ``i + 1``, which name a table."""
L1D, L2, L3 = 12, 13, 14
STRUCTURES = 15

WAYS_2M = 3
"""Column of ``places`` beside those of :mod:`kernels.lru`: ways of a set that 2M translations may take (STLB only)."""

ACCESSES, DTLB_MISSES, WALKS, GUEST_LOADS, SEPT_LOADS, DATA_LOADS = 0, 1, 2, 3, 7, 11
"""``counts``; each kind of load has four fields: found in L1D, L2, L3, or nowhere but in memory."""
COUNTS = 15

GUEST_TABLES, SEPT_LINES = 0, 1
"""Rows of ``layout``, by level: first guest page that holds tables of the guest, first line of S-EPT entries."""


@step
def touch(tags, places, structure, index, key):
    """Look ``key`` up, make it the most recent of its set, and return whether it was there."""
    found, _ = lru.touch(tags, first_way(places, structure, index), places[structure, WAYS], key, 0)
    return found


@step
def touch_stlb(tags, places, index, key):
    """Do the same in the STLB: 4K and 2M translations share a set, but 2M ones may take some of its ways only."""
    first, ways_2m = first_way(places, STLB, index), places[STLB, WAYS_2M]
    moved = key
    large = 0
    for i in range(first, first + places[STLB, WAYS]):
        held = tags[np.uint64(i)]
        tags[np.uint64(i)] = moved
        if held == key:
            return True
        large += held & 1
        if key & 1 and held & 1 and large == ways_2m:
            return False
        moved = held
    return False


@step
def load(tags, places, line, counts, kind):
    """Load a line through the caches and count where it was found."""
    if touch(tags, places, L1D, line, line):
        counts[kind] += 1
    elif touch(tags, places, L2, line, line):
        counts[kind + 1] += 1
    elif touch(tags, places, L3, line, line):
        counts[kind + 2] += 1
    else:
        counts[kind + 3] += 1


@njit
def translate(tags, places, layout, leaf, gfn, levels, counts):
    """Walk the S-EPT for the guest page ``gfn``, from the lowest table that a cache names."""
    last = np.int64(leaf[gfn >> 9])
    if touch(tags, places, SEPT_LEAVES, gfn >> 9 * last, (gfn >> 9 * last) * 2 + last):
        return
    start = last
    while start < levels - 1:
        table = gfn >> 9 * (start + 1)
        if touch(tags, places, SEPT_PSC + start, table, table):
            break
        start += 1
    for level in range(start, last - 1, -1):
        load(tags, places, layout[SEPT_LINES, level] + (gfn >> 9 * level + 3), counts, SEPT_LOADS)


@njit
def walk(tags, places, layout, leaf, page, last, guest_levels, sept_levels, counts):
    """Walk the guest's page table for the virtual 4K page ``page``, mapped at level ``last``, and all that it needs."""
    start = last
    while start < guest_levels - 1:
        table = page >> 9 * (start + 1)
        if touch(tags, places, GUEST_PSC + start, table, table):
            break
        start += 1
    from_root = start == guest_levels - 1
    for level in range(start, last - 1, -1):
        gfn = layout[GUEST_TABLES, level] + (page >> 9 * (level + 1))
        if level < start or from_root:
            translate(tags, places, layout, leaf, gfn, sept_levels, counts)
        load(tags, places, gfn * 64 + ((page >> 9 * level & 511) >> 3), counts, GUEST_LOADS)
    translate(tags, places, layout, leaf, page, sept_levels, counts)


@njit
def access_lines(lines, tags, places, layout, leaf, guest_leaf, guest_levels, sept_levels, counts):
    """Load each of ``lines`` in turn; structures go on from where they are.

    Parameters
    ----------
    lines : ndarray of int64, shape (n,)
        Virtual addresses >> 6. The guest maps virtual page ``p`` to guest page ``p``.
    tags : ndarray of int64, shape (t,)
        Contents of all structures, ``EMPTY`` at first; changed.
    places : ndarray of int64, shape (STRUCTURES, 4)
        Where each structure lies in ``tags``.
    layout : ndarray of int64, shape (2, 5)
        Where page tables lie.
    leaf : ndarray of uint8, shape (r,)
        Level of the S-EPT leaf, 0 or 1, by guest page >> 9; also of the guest pages that hold the guest's tables.
    guest_leaf : int64
        Level of the guest's own leaves, 0 or 1.
    guest_levels, sept_levels : int64
        4 or 5.
    counts : ndarray of int64, shape (COUNTS,)
        Added to.
    """
    for line in lines:
        page = line >> 6
        size = guest_leaf & np.int64(leaf[page >> 9])
        frame = page >> 9 * size
        key = frame * 2 + size
        counts[ACCESSES] += 1
        if not touch(tags, places, DTLB_4K + size, frame, key):
            counts[DTLB_MISSES] += 1
            if not touch_stlb(tags, places, frame, key):
                counts[WALKS] += 1
                walk(tags, places, layout, leaf, page, guest_leaf, guest_levels, sept_levels, counts)
        load(tags, places, line, counts, DATA_LOADS)
