"""Keyhole maps and misses of populating a region, after the fact: the calls that were made, replayed on keyholes.

A miss depends on what its LP mapped before, so each call maps its pages in order. The full replay costs some 30 maps
a 4K fault. But keyholes forget: after one whole range, or 94 pages of any other kind, nothing is left but the pages
that every call of the TD maps. A range that is one run of pages therefore misses as often as every other one in the
same position, and is replayed once; ``memo`` keeps the counts.
"""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit
from kernels.keyhole import reset
from kernels.keyhole_calls import (
    KEYHOLE_COUNTERS,
    LEVELS,
    TDR,
    begin_warm,
    map_failed_accept,
    map_page_accept,
    map_page_aug,
    map_sept_add,
)
from kernels.populate import PAGES_PER_RANGE, USE_ASKED
from kernels.sept_entry import LEAF, RWX, entry_pfn
from kernels.tables import TD_LEVELS, TD_ROOT, TD_TDR_PFN

DEMAND, PREFAULT, ACCEPT = 0, 1, 2
"""What a pass over the region does: ACCEPTs that fault, KVM_PRE_FAULT_MEMORY, ACCEPTs of what is mapped."""

COLD, WARM, GOES_ON = 0, 1, 2
"""What an LP has done when a pass begins: never run the module, worked elsewhere for the TD, mapped this region."""


class Turn(NamedTuple):
    """How an LP comes to a region.

    Attributes
    ----------
    mode : int
        DEMAND, PREFAULT or ACCEPT.
    begin : int
        COLD, WARM or GOES_ON.
    shift : int
        Table pages given before this region.
    exact : bool
        Replay every range, one after the other. Otherwise each range begins as if others of its kind had gone
        before, one of each kind is replayed, and of those that are no run all but a sample are estimated.
    """

    mode: int
    begin: int
    shift: int
    exact: bool


ESTIMATED = KEYHOLE_COUNTERS
COUNTS = KEYHOLE_COUNTERS + 1
"""``counts`` has one more field: 4K pages whose maps and misses were estimated."""

_LEVELS = 5
_TABLES = 3
KEYS = 3 * 2 * 2 * _LEVELS * _LEVELS * 2 * 2 * 2 * _TABLES
"""Rows of ``memo``: mode, level, level of the range before, lowest table, lowest table walked to, same PAMT_2M and
PAMT_1G page as the range before, same PAMT_1G page as the TDR, table page."""

_SAMPLED_FIRST, _SAMPLED_EACH = 4, 64
"""Of the ranges that are no run, the first few and then every 64th are replayed."""


@njit
def _find_path(tables, gfn, shift, pages):
    """Write the PFNs of the tables on the path of ``gfn``; those of this region's own move by ``shift``."""
    levels = tables.td[TD_LEVELS]
    pages[TDR] = tables.td[TD_TDR_PFN]
    pages[LEVELS] = levels
    for level in range(_LEVELS):
        pages[level] = -1
    row = tables.td[TD_ROOT]
    for level in range(levels - 1, -1, -1):
        pages[level] = tables.sept_pfn + row + (shift if level < 2 else 0)
        entry = tables.sept[row, (gfn >> (9 * level)) & 511]
        if (entry & RWX) == 0 or (entry & LEAF) != 0:
            break
        row = entry_pfn(entry) - tables.sept_pfn


@njit
def _fault(keyholes, pages, pfn, level, lowest, counts):
    for parent in range(lowest, level, -1):
        map_sept_add(keyholes, pages, parent, counts)
    map_page_aug(keyholes, pages, pfn, level, counts)


@njit
def _demand(keyholes, pages, pfn, use, first, asked, level, lowest, counts):
    """Replay ACCEPTs that fault where nothing is mapped, as ``populate._accept_range`` makes them."""
    mapped = -1
    if asked == PAGES_PER_RANGE:
        map_failed_accept(keyholes, pages, max(lowest, 1), counts)
        _fault(keyholes, pages, pfn[first], level, lowest, counts)
        if level == 1:
            map_page_accept(keyholes, pages, pfn[first], 1, counts)
            return
        map_failed_accept(keyholes, pages, 1, counts)
        lowest = mapped = 0
    for i in range(PAGES_PER_RANGE):
        if use[first + i] != USE_ASKED:
            continue
        if i != mapped:
            map_failed_accept(keyholes, pages, lowest, counts)
            _fault(keyholes, pages, pfn[first + i], 0, lowest, counts)
            lowest = 0
        map_page_accept(keyholes, pages, pfn[first + i], 0, counts)


@njit
def _prefault(keyholes, pages, pfn, use, first, level, lowest, counts):
    for i in range(1 if level else PAGES_PER_RANGE):
        if use[first + i] == USE_ASKED:
            _fault(keyholes, pages, pfn[first + i], level, lowest, counts)
            lowest = level


@njit
def _accept(keyholes, pages, pfn, use, first, asked, level, counts):
    if level == 1:
        map_page_accept(keyholes, pages, pfn[first], 1, counts)
        return
    if asked == PAGES_PER_RANGE:
        map_failed_accept(keyholes, pages, 1, counts)
    for i in range(PAGES_PER_RANGE):
        if use[first + i] == USE_ASKED:
            map_page_accept(keyholes, pages, pfn[first + i], 0, counts)


@njit
def _first_asked(pfn, use, first):
    """Return the PFN of the first page of a range that is asked for."""
    i = first
    while use[i] != USE_ASKED:
        i += 1
    return pfn[i]


@njit
def _replay_range(keyholes, pages, pfn, use, first, asked, level, lowest, mode, counts):
    if mode == DEMAND:
        _demand(keyholes, pages, pfn, use, first, asked, level, lowest, counts)
    elif mode == PREFAULT:
        _prefault(keyholes, pages, pfn, use, first, level, lowest, counts)
    else:
        _accept(keyholes, pages, pfn, use, first, asked, level, counts)


@njit
def _find_key(pages, pfn, previous, level, level_before, lowest, walked, mode):
    """Return the row of ``memo`` for a range that is one run of pages."""
    table = pages[0] >> 8  # PAMT_4K page of the table page
    kind = 0 if table == pages[TDR] >> 8 else 1 if table == (pages[0] - 1) >> 8 else 2
    key = ((mode * 2 + level) * 2 + level_before) * _LEVELS + lowest
    key = (key * _LEVELS + walked) * 2 + (pfn >> 17 == previous >> 17)
    key = (key * 2 + (pfn >> 26 == previous >> 26)) * 2 + (pfn >> 26 == pages[TDR] >> 26)
    return key * _TABLES + kind


@njit
def _warm(keyholes, pages, walked, previous, level, level_before, mode, counts):
    """Begin a range as if ranges of its kind had gone before."""
    table = pages[0] - 1 if mode == PREFAULT and level == 0 else np.int64(-1)
    begin_warm(keyholes, pages, walked, previous, level_before, table, counts)


@njit
def _add(total, part):
    for i in range(KEYHOLE_COUNTERS):
        total[i] += part[i]


@njit
def _copy(target, part):
    for i in range(KEYHOLE_COUNTERS):
        target[i] = part[i]


@njit
def _clear(part):
    for i in range(KEYHOLE_COUNTERS):
        part[i] = 0


@njit
def _estimate(total, sample, sampled, skipped):
    """Add what ``skipped`` pages cost if they cost what the ``sampled`` ones did."""
    for i in range(KEYHOLE_COUNTERS):
        total[i] += (sample[i] * skipped + sampled // 2) // sampled
    total[ESTIMATED] += skipped


@njit
def _is_sampled(scattered):
    return scattered <= _SAMPLED_FIRST or scattered % _SAMPLED_EACH == 0


@njit
def _count_range(keyholes, pages, pfn, use, first, asked, level, key, missing, warm, turn, memo, counts):
    """Add the counts of one range, from ``memo`` or by replay; ``warm`` is the place that a fresh start needs."""
    total, part = counts[0], counts[1]
    if key < 0 or memo[key, 0] < 0:
        walked, before, level_before, starts = warm
        if starts and turn.begin == COLD:
            reset(keyholes, 0)
        elif not turn.exact or (starts and turn.begin == WARM):
            _warm(keyholes, pages, walked, before, level, level_before, turn.mode, part)
        _clear(part)
        _replay_range(keyholes, pages, pfn, use, first, asked, level, missing, turn.mode, part)
        if key < 0:
            _add(total, part)
            return
        _copy(memo[key], part)
    _add(total, memo[key])


@njit
def replay_region(
    keyholes, tables, gfn, pfn, use, asked, run, levels, ranges, missing, walked, turn, memo, pages, counts
):
    """Count keyhole maps and misses of one LP on its part of a populated region.

    Parameters
    ----------
    keyholes : ndarray of int64, shape (1, keyhole.COLUMNS)
        Scratch.
    tables : Tables
        As populating has left them.
    gfn, pfn, use, asked, levels
        As in :func:`kernels.populate.populate_region`.
    run : ndarray of bool, shape (512,)
        Whether the range is one run of PFNs, aligned and asked for whole.
    ranges : ndarray of int64, shape (n,)
        The LP's ranges in the order that it takes them.
    missing, walked : int64
        Level of the entries in the lowest table above the region: that existed when the LP came to the region, and
        that the LP had walked to before.
    turn : Turn
    memo : ndarray of int64, shape (KEYS, KEYHOLE_COUNTERS)
        Counts by kind of range, -1 where not known; added to.
    pages : ndarray of int64, shape (PAGES,)
        Scratch.
    counts : ndarray of int64, shape (3, COUNTS)
        Row 0 is added to; the others are scratch.
    """
    _clear(counts[2])
    before = level_before = np.int64(-1)
    scattered = sampled = skipped = np.int64(0)
    for r in ranges:
        if asked[r] == 0:
            continue
        first = r * PAGES_PER_RANGE
        start = _first_asked(pfn, use, first)
        starts = before < 0
        if starts:
            before, level_before = start - 1, levels[r] if turn.mode == DEMAND else np.int64(0)
        elif not run[r]:
            scattered += 1
        if turn.exact or run[r] or starts or _is_sampled(scattered):
            _find_path(tables, gfn + first, turn.shift, pages)
            key = np.int64(-1)
            if run[r] and not turn.exact and not (starts and turn.begin == COLD):
                key = _find_key(pages, start, before, levels[r], level_before, missing, walked, turn.mode)
            warm = (walked, before, level_before, starts)
            _count_range(keyholes, pages, pfn, use, first, asked[r], levels[r], key, missing, warm, turn, memo, counts)
            if not run[r] and not starts:
                _add(counts[2], counts[1])
                sampled += asked[r]
        else:
            skipped += asked[r]
        before, missing, walked = start, np.int64(1), np.int64(1)
        level_before = levels[r] if turn.mode != PREFAULT else np.int64(0)
    if skipped:
        _estimate(counts[0], counts[2], sampled, skipped)
