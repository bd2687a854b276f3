"""One private fault as KVM completes it: the missing tables by SEPT.ADD, then the leaf by PAGE.AUG."""

from kernels.counters import AUG_2M, AUG_4K, FAULT, PAMT_LINES, SEPT_ADD, SEPT_LINES, WALK_READS_HOST
from kernels.jit import njit
from kernels.seamcall import aug_at, sept_add_at
from kernels.status import SEPT_POOL_EMPTY, SUCCESS
from kernels.tables import TD_LEVELS, TD_NEXT_SEPT
from kernels.walk import walk

SEPT_LINE, PAMT_LINE = 0, 1
LINES = 2
"""Fields of ``lines``, int64, shape (LINES,): the cache lines that the last AUG wrote."""


@njit
def count_lines(row, index, level, pfn, lines, counts):
    """Count whether an AUG leaves the S-EPT line and the PAMT line of the AUG before it."""
    sept_line = row * 64 + (index >> 3)
    pamt_line = pfn >> 2 if level == 0 else -(pfn >> 11) - 2
    counts[SEPT_LINES] += sept_line != lines[SEPT_LINE]
    counts[PAMT_LINES] += pamt_line != lines[PAMT_LINE]
    lines[SEPT_LINE] = sept_line
    lines[PAMT_LINE] = pamt_line


@njit
def add_missing_tables(tables, gfn, level, counts):
    """Execute SEPT.ADD until the entry of ``gfn`` at ``level`` exists; return the status."""
    levels = tables.td[TD_LEVELS]
    reached, row, index, _ = walk(tables, gfn, level)
    while reached > level:
        new_row = tables.td[TD_NEXT_SEPT]
        if new_row >= tables.sept.shape[0]:
            return SEPT_POOL_EMPTY
        status = sept_add_at(tables, row, index, new_row)
        if status != SUCCESS:
            return status
        tables.td[TD_NEXT_SEPT] += 1
        counts[SEPT_ADD] += 1
        counts[WALK_READS_HOST] += levels - reached
        reached, row, index, _ = walk(tables, gfn, level)
    return SUCCESS


@njit
def fault(tables, gfn, pfn, level, lines, counts):
    """Map ``pfn`` at ``gfn`` with a leaf at ``level``; return the status of the call that failed, or SUCCESS.

    Parameters
    ----------
    tables : Tables
    gfn, pfn : int64
        First guest and host frame of the leaf.
    level : int64
        0 or 1.
    lines : ndarray of int64, shape (LINES,)
        The lines that the last AUG wrote; updated.
    counts : ndarray of int64, shape (COUNTERS,)
        Updated.
    """
    status = add_missing_tables(tables, gfn, level, counts)
    if status != SUCCESS:
        return status
    found = walk(tables, gfn, level)
    row, index = found[1], found[2]
    counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - level
    status = aug_at(tables, row, index, level, pfn)
    if status == SUCCESS:
        counts[AUG_2M if level else AUG_4K] += 1
        counts[FAULT] += 1
        count_lines(row, index, level, pfn, lines, counts)
    return status
