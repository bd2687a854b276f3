"""Where the lines of populating are found: one LP's calls, chunk by chunk or touch by touch, run through its caches."""

from typing import NamedTuple

import numpy as np

from kernels import counters as k
from kernels.cache import L3, MISSES, run_accesses
from kernels.cache_calls import (
    TABLES_GIVEN,
    USED,
    Stream,
    find_path,
    put_block,
    put_demote,
    put_failed_accept,
    put_new_table,
    put_page_accept,
    put_page_aug,
    put_page_fault,
    put_sept_add,
    put_td_exit,
    put_track,
    put_vp_enter,
    put_walk,
)
from kernels.jit import njit
from kernels.populate import PAGES_PER_RANGE, RANGES_PER_CHUNK, USE_ASKED

DEMAND, PREFAULT, ACCEPT = 0, 1, 2
"""What a pass does: ACCEPTs that fault, KVM_PRE_FAULT_MEMORY, ACCEPTs of what is mapped."""


FAULT_4K, FAULT_2M, TABLE, ACCEPT_4K, ACCEPT_2M = 0, 1, 2, 3, 4
SHARES = 5
"""What lines are counted for: mapping a page at 4K or at 2M, with exit and entry; SEPT.ADD of a table; accepting
a page in a range that is mapped at 4K or at 2M."""


class Lp(NamedTuple):
    """One LP: its caches, and what has been counted of its calls.

    Attributes
    ----------
    stream : Stream
        Of the call under way.
    tags, places : ndarray of int64
        The caches, as :func:`kernels.cache.run_accesses` has them.
    counts : ndarray of int64, shape (cache.LEVELS, cache.COUNTS)
    tally : ndarray of int64, shape (SHARES, KINDS, cache.LEVELS + 1)
        Accesses by what they are for, by what the line holds, and by the level where it was.
    units : ndarray of int64, shape (SHARES,)
        How many pages or tables those are for.
    calls : ndarray of int64, shape (ALL_COUNTERS,)
        How many calls of each kind, with the indices of :mod:`kernels.counters`; FAULT is KVM's part of one.
    found : ndarray of int8, shape (0,)
    """

    stream: Stream
    tags: np.ndarray
    places: np.ndarray
    counts: np.ndarray
    tally: np.ndarray
    units: np.ndarray
    calls: np.ndarray
    found: np.ndarray


@njit
def _run(lp, call, share):
    """Run the stream through the caches as one ``call``."""
    at = lp.stream.at
    run_accesses(lp.stream.accesses, at[USED], lp.tags, lp.places, lp.counts, lp.tally[share], lp.found)
    at[USED] = 0
    lp.calls[call] += 1


@njit
def _fault(lp, gfn, pfn, level, lowest, flush_all):
    """Map one page where ``lowest`` is the level of the lowest entry on its path that exists."""
    for parent in range(lowest, level, -1):
        if parent == 1:
            lp.stream.at[TABLES_GIVEN] += 1
        put_new_table(lp.stream, gfn, parent)
        _run(lp, k.FAULT, TABLE)
        put_sept_add(lp.stream, gfn, parent)
        _run(lp, k.SEPT_ADD, TABLE)
        lp.units[TABLE] += 1
    put_page_fault(lp.stream, gfn, pfn, level, flush_all)
    _run(lp, k.FAULT, FAULT_4K + level)
    put_page_aug(lp.stream, gfn, pfn, level)
    _run(lp, k.AUG_4K + level, FAULT_4K + level)
    lp.units[FAULT_4K + level] += 1


@njit
def _exit(lp, level):
    put_td_exit(lp.stream)
    _run(lp, k.TD_EXIT, FAULT_4K + level)


@njit
def _enter(lp, level):
    put_vp_enter(lp.stream)
    _run(lp, k.VP_ENTER, FAULT_4K + level)


@njit
def _accept_fault(lp, gfn, pfn, level, lowest, walked, flush_all):
    """Execute an ACCEPT that ends in an exit, the fault that follows, and the way back in."""
    put_failed_accept(lp.stream, gfn, walked)
    _run(lp, k.ACCEPT_EXIT, FAULT_4K + level)
    _exit(lp, level)
    _fault(lp, gfn, pfn, level, lowest, flush_all)
    _enter(lp, level)


@njit
def _accept(lp, gfn, level, mapped):
    """Accept a page at ``level`` in a range that is ``mapped`` at 4K or 2M."""
    put_page_accept(lp.stream, gfn, level)
    _run(lp, k.ACCEPT_4K + level, ACCEPT_4K + mapped)
    lp.units[ACCEPT_4K + mapped] += 1


@njit
def _mismatch(lp, gfn):
    put_failed_accept(lp.stream, gfn, 1)
    _run(lp, k.ACCEPT_SIZE_MISMATCH, ACCEPT_4K)


@njit
def _demand(lp, gfn, pfn, use, asked, level, lowest, flush_all):
    """Execute ACCEPTs that fault where nothing is mapped, as ``populate._accept_range`` makes them."""
    mapped = -1
    if asked == PAGES_PER_RANGE:
        _accept_fault(lp, gfn, pfn[0], level, lowest, max(lowest, 1), flush_all)
        if level == 1:
            _accept(lp, gfn, 1, 1)
            return
        _mismatch(lp, gfn)
        lowest = mapped = 0
    for i in range(PAGES_PER_RANGE):
        if use[i] != USE_ASKED:
            continue
        if i != mapped:
            _accept_fault(lp, gfn + i, pfn[i], 0, lowest, lowest, flush_all)
            lowest = 0
        _accept(lp, gfn + i, 0, 0)


@njit
def _prefault(lp, gfn, pfn, use, level, lowest, flush_all):
    for i in range(1 if level else PAGES_PER_RANGE):
        if use[i] == USE_ASKED:
            _fault(lp, gfn + i, pfn[i], level, lowest, flush_all)
            lowest = level


@njit
def _accept_mapped(lp, gfn, use, asked, level):
    if level == 1:
        _accept(lp, gfn, 1, 1)
        return
    if asked == PAGES_PER_RANGE:
        _mismatch(lp, gfn)
    for i in range(PAGES_PER_RANGE):
        if use[i] == USE_ASKED:
            _accept(lp, gfn + i, 0, 0)


@njit
def _clear(lp):
    """Begin to count: nothing so far, with caches as they are."""
    for call in range(lp.calls.size):
        lp.calls[call] = 0
    for share in range(SHARES):
        lp.units[share] = 0
        for kind in range(lp.tally.shape[1]):
            for level in range(lp.tally.shape[2]):
                lp.tally[share, kind, level] = 0


@njit
def run_chunks(lp, gfn, pfn, use, asked, levels, lowest, mode, flush_all, warm_misses, warm, measured):
    """Run chunks of 4 MiB through the caches and count the last of them.

    Parameters
    ----------
    lp : Lp
    gfn : ndarray of int64, shape (chunks,)
        First guest frame of each.
    pfn : ndarray of int64, shape (chunks, 1024)
    use : ndarray of uint8, shape (chunks, 1024)
        ``USE_...`` of each page.
    asked, levels : ndarray of int64, shape (chunks, 2)
        Of each 2M range: pages asked for, and the level that KVM maps it at.
    lowest : ndarray of int64, shape (chunks,)
        Level of the lowest entry above the chunk that exists when its turn comes; 1 where its region is begun.
    mode : int64
        DEMAND, PREFAULT or ACCEPT.
    flush_all : bool
        A 2M AUG flushes all its lines.
    warm_misses, warm, measured : int64
        Counting begins behind ``warm`` chunks, or as soon as the third level has missed ``warm_misses`` lines, and ends
        ``measured`` chunks later.
    """
    begin = np.int64(-1) if warm else np.int64(0)
    for c in range(gfn.size):
        if begin < 0 and (c == warm or lp.counts[L3, MISSES] >= warm_misses):
            begin = c
            _clear(lp)
        if begin >= 0 and c == begin + measured:
            return
        below = lowest[c]
        for r in range(RANGES_PER_CHUNK):
            if asked[c, r] == 0:
                continue
            first, level = gfn[c] + r * PAGES_PER_RANGE, levels[c, r]
            find_path(lp.stream, first, lp.stream.at[TABLES_GIVEN] if mode == DEMAND else first >> 9)
            pages = slice(r * PAGES_PER_RANGE, (r + 1) * PAGES_PER_RANGE)
            if mode == DEMAND:
                _demand(lp, first, pfn[c, pages], use[c, pages], asked[c, r], level, below, flush_all)
            elif mode == PREFAULT:
                _prefault(lp, first, pfn[c, pages], use[c, pages], level, below, flush_all)
            else:
                _accept_mapped(lp, first, use[c, pages], asked[c, r], level)
            below = np.int64(1)


@njit
def _split(lp, gfn, pfn):
    """Execute an ACCEPT at 4K of a page mapped at 2M, after which KVM splits its range."""
    put_failed_accept(lp.stream, gfn, 1)
    _run(lp, k.ACCEPT_EXIT, FAULT_2M)
    _exit(lp, 1)
    put_block(lp.stream, gfn, pfn, 1)
    _run(lp, k.BLOCK_2M, FAULT_2M)
    put_track(lp.stream)
    _run(lp, k.MEM_TRACK, FAULT_2M)
    put_new_table(lp.stream, gfn, 1)
    _run(lp, k.FAULT, FAULT_2M)
    put_demote(lp.stream, gfn, pfn)
    _run(lp, k.DEMOTE, FAULT_2M)
    _enter(lp, 1)


@njit
def _touch(lp, gfn, pfn, level, lowest, flush_all):
    """Touch one page, take #VE and accept it at 4K, as a guest with SEPT_VE_DISABLE clear does.

    ``lowest`` is the level of the lowest entry that exists; a page whose range is mapped at 2M has one at 1 before
    its range is split and at 0 after.
    """
    if level == 0 or lowest > 0:
        put_walk(lp.stream, gfn, lowest)
        _exit(lp, level)
        _fault(lp, gfn & ~np.int64(511) if level else gfn, pfn, level, lowest, flush_all)
        _enter(lp, level)
    whole = level == 1 and lowest > 0
    put_walk(lp.stream, gfn, 1 if whole else 0)
    _run(lp, k.VIRTUALIZATION_EXCEPTION, ACCEPT_4K + level)
    if whole:
        _split(lp, gfn, pfn)
    _accept(lp, gfn, 0, level)


@njit
def run_touches(lp, gfn, pfn, level, lowest, flush_all, warm_misses, warm, measured):
    """Run touches through the caches and count the last of them; arguments as in :func:`run_chunks`, by page.

    ``lowest`` is 0 where the page's table of 4K entries exists when its turn comes; ``pfn`` of a page mapped at 2M is
    that of its range. Tables lie in GFN order.
    """
    begin = np.int64(-1) if warm else np.int64(0)
    for c in range(gfn.size):
        if begin < 0 and (c == warm or lp.counts[L3, MISSES] >= warm_misses):
            begin = c
            _clear(lp)
        if begin >= 0 and c == begin + measured:
            return
        find_path(lp.stream, gfn[c], gfn[c] >> 9)
        _touch(lp, gfn[c], pfn[c], level[c], lowest[c], flush_all)
