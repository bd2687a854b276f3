"""Populate a region: a guest accepts its private memory, KVM maps it on demand or beforehand.

The order of events is that of a Linux TD: ACCEPT at 2M where the range is whole; a TD exit where nothing is
mapped; KVM maps at the level that its policy allows; the guest executes ACCEPT again, and falls to 4K on
PAGE_SIZE_MISMATCH.
"""

import numpy as np

from kernels.counters import (
    ACCEPT_1G_INVALID,
    ACCEPT_2M,
    ACCEPT_4K,
    ACCEPT_EXIT,
    ACCEPT_SIZE_MISMATCH,
    AUG_4K,
    EXISTING_TABLE,
    FAULT,
    PREFAULT,
    TD_EXIT,
    VP_ENTER,
    WALK_READS_GUEST,
    WALK_READS_HOST,
)
from kernels.fault import PAMT_LINE, SEPT_LINE, count_lines, fault
from kernels.jit import njit
from kernels.runs import accept_rest, count_rest, map_rest
from kernels.seamcall import accept_at, aug_at
from kernels.sept_entry import FREE, LEAF, STATE_FREE, STATE_MASK
from kernels.status import EPT_VIOLATION_EXIT, PAGE_SIZE_MISMATCH, SUCCESS
from kernels.tables import TD_LEVELS
from kernels.transitions import AUGMENTED, accepted
from kernels.walk import walk

USE_NONE, USE_ASKED, USE_SHARED, USE_REFUSED = 0, 1, 2, 3
"""What the guest does with a page: no memory there, private, shared, or private but not convertible."""

RANGES_PER_REGION = 512
PAGES_PER_RANGE = 512
RANGES_PER_CHUNK = 2  # a Linux guest accepts 4 MiB (its largest page-allocator order) at a time


@njit
def _leaf_table(tables, gfn):
    """Return the row of the page of 4K entries that holds ``gfn``, or -1 where there is none."""
    reached, row, _, _ = walk(tables, gfn, 0)
    return row if reached == 0 else np.int64(-1)


@njit
def _accept(tables, gfn, level, counts):
    """Execute one ACCEPT from its walk on; return its status."""
    reached, row, index, _ = walk(tables, gfn, level)
    counts[WALK_READS_GUEST] += tables.td[TD_LEVELS] - reached
    return accept_at(tables, reached, row, index, level)


@njit
def _demand_fault(tables, gfn, pfn, level, lines, counts):
    """Exit to KVM after an ACCEPT, complete the fault, enter the TD again; return the status."""
    counts[ACCEPT_EXIT] += 1
    counts[TD_EXIT] += 1
    status = fault(tables, gfn, pfn, level, lines, counts)
    counts[VP_ENTER] += 1
    return status


@njit
def _first_page(tables, gfn, pfn, lines, counts):
    """Accept a page below which there may be no table yet, faulting where nothing is mapped; return the status."""
    status = _accept(tables, gfn, 0, counts)
    if status == EPT_VIOLATION_EXIT:
        status = _demand_fault(tables, gfn, pfn, 0, lines, counts)
        if status == SUCCESS:
            status = _accept(tables, gfn, 0, counts)
    return status


@njit
def _accept_pages(tables, gfn, pfn, use, first, lines, counts):
    """Accept the asked pages of one range at 4K, faulting where nothing is mapped; return the status."""
    row = np.int64(-1)
    i = faults = pages = 0
    while i < 512:
        if use[first + i] != USE_ASKED:
            i += 1
            continue
        start = pfn[first + i]
        done = 1
        if row < 0:
            status = _first_page(tables, gfn + i, start, lines, counts)
            row = _leaf_table(tables, gfn)
            counts[ACCEPT_4K] += status == SUCCESS
        else:
            before = tables.sept[row, i]
            status = accept_at(tables, 0, row, i, 0)
            if status == EPT_VIOLATION_EXIT:
                status = aug_at(tables, row, i, 0, start)
                if status != SUCCESS:
                    return status
                status = accept_at(tables, 0, row, i, 0)
                done += map_rest(tables, row, i, before, pfn, use, first + i, accepted(AUGMENTED, 0))
                count_lines(row, i, 0, start, lines, counts)
                count_rest(row, i, start, done, lines, counts)
                faults += done
            elif status == SUCCESS:
                done += accept_rest(tables, row, i, before, use, first + i)
            pages += done
        if status != SUCCESS:
            return status
        i += done
    levels = tables.td[TD_LEVELS]
    for counter in (ACCEPT_EXIT, TD_EXIT, FAULT, AUG_4K, VP_ENTER):
        counts[counter] += faults
    counts[ACCEPT_4K] += pages
    counts[WALK_READS_HOST] += faults * levels
    counts[WALK_READS_GUEST] += (faults + pages) * levels
    return SUCCESS


@njit
def _accept_range(tables, gfn, pfn, use, first, asked, level, lines, counts):
    """Accept one 2M range as a Linux guest does; return the status."""
    if asked == PAGES_PER_RANGE:  # whole, so the guest tries 2M first
        status = _accept(tables, gfn, 1, counts)
        if status == EPT_VIOLATION_EXIT:
            status = _demand_fault(tables, gfn, pfn[first], level, lines, counts)
            if status != SUCCESS:
                return status
            status = _accept(tables, gfn, 1, counts)
        if status == SUCCESS:
            counts[ACCEPT_2M] += 1
            return SUCCESS
        if status != PAGE_SIZE_MISMATCH + 1:
            return status
        counts[ACCEPT_SIZE_MISMATCH] += 1
    return _accept_pages(tables, gfn, pfn, use, first, lines, counts)


@njit
def _prefault_pages(tables, gfn, pfn, use, first, lines, counts):
    """Map the asked pages of one range at 4K as KVM_PRE_FAULT_MEMORY does; return the status."""
    row = _leaf_table(tables, gfn)
    i = 0
    while i < 512:
        if use[first + i] != USE_ASKED:
            i += 1
            continue
        start = pfn[first + i]
        before = tables.sept[row, i] if row >= 0 else FREE  # what SEPT.ADD fills a new table with
        status = fault(tables, gfn + i, start, 0, lines, counts)
        if status != SUCCESS:
            return status
        row = _leaf_table(tables, gfn) if row < 0 else row
        rest = map_rest(tables, row, i, before, pfn, use, first + i, AUGMENTED)
        count_rest(row, i, start, 1 + rest, lines, counts)
        counts[AUG_4K] += rest
        counts[FAULT] += rest
        counts[WALK_READS_HOST] += rest * tables.td[TD_LEVELS]
        i += 1 + rest
    return SUCCESS


@njit
def _prefault_range(tables, gfn, pfn, use, first, level, lines, counts):
    """Map one range as KVM_PRE_FAULT_MEMORY does, without exits; return the status."""
    before = counts[FAULT]
    if level == 1:
        status = fault(tables, gfn, pfn[first], 1, lines, counts)
    else:
        status = _prefault_pages(tables, gfn, pfn, use, first, lines, counts)
    counts[PREFAULT] += counts[FAULT] - before
    return status


@njit
def _allowed_level(tables, gfn, map_2m, counts):
    """Return the level that KVM maps ``gfn`` at: 2M only where no table of 4K entries is in the way."""
    if not map_2m:
        return 0
    reached, _, _, entry = walk(tables, gfn, 1)
    if reached == 1 and (entry & LEAF) == 0 and (entry & STATE_MASK) != STATE_FREE:
        counts[EXISTING_TABLE] += 1
        return 0
    return 1


@njit
def populate_region(tables, gfn, pfn, use, asked, map_2m, chunks, prefault, try_1g, lines, levels, counts):
    """Populate one 1 GiB region.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        First guest frame of the region.
    pfn : ndarray of int64, shape (262144,)
        Host frame behind each page.
    use : ndarray of uint8, shape (262144,)
        ``USE_...`` of each page.
    asked : ndarray of int64, shape (512,)
        Pages in each 2M range that are private and convertible.
    map_2m : ndarray of bool, shape (512,)
        Whether the policy maps the range at 2M.
    chunks : ndarray of int64, shape (256,)
        Order in which the guest takes up its 4 MiB chunks.
    prefault : bool
        KVM_PRE_FAULT_MEMORY maps everything, in GFN order, before the guest accepts.
    try_1g : bool
        The guest's accept loop covers the region in one call and tries 1G first.
    lines : ndarray of int64, shape (LINES,)
        Scratch.
    levels : ndarray of int64, shape (512,)
        Out: the level that KVM maps each range at.
    counts : ndarray of int64, shape (COUNTERS,)
        Added to.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed; the tables are then left as they stand.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    for r in range(RANGES_PER_REGION):
        levels[r] = _allowed_level(tables, gfn + r * 512, map_2m[r], counts)
        if prefault and asked[r]:
            status = _prefault_range(tables, gfn + r * 512, pfn, use, r * 512, levels[r], lines, counts)
            if status != SUCCESS:
                return status
    if try_1g:
        counts[ACCEPT_1G_INVALID] += 1  # refused before any walk: the module accepts at levels 0 and 1
    for chunk in chunks:
        for r in range(chunk * RANGES_PER_CHUNK, (chunk + 1) * RANGES_PER_CHUNK):
            if asked[r]:
                status = _accept_range(tables, gfn + r * 512, pfn, use, r * 512, asked[r], levels[r], lines, counts)
                if status != SUCCESS:
                    return status
    return SUCCESS
