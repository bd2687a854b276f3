"""RANGE.BLOCK and PAGE.REMOVE: alone, from the end of the walk, and over a region in GFN order.

The TD is RUNNABLE and its TDR, op-state and tree locks are free, as in :mod:`kernels.seamcall`. Leaves are 4K and
2M. TD_EPOCH and whether vCPUs of the epoch before are still inside come from the caller.
Source: Intel TDX module, tag TDX_1.5.01, ``tdh_mem_range_block.c``, ``tdh_mem_page_remove.c``.
"""

import numpy as np

from kernels.counters import (
    ALREADY_BLOCKED,
    BLOCK_2M,
    BLOCK_4K,
    REMOVE_2M,
    REMOVE_4K,
    WALK_READS_HOST,
)
from kernels.entry_states import allows
from kernels.fault import PAMT_LINE, SEPT_LINE, count_lines
from kernels.jit import njit, step
from kernels.locks import pass_entry, pass_exclusive
from kernels.pamt import find_slot
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK
from kernels.runs import block_rest, count_rest, pamt_4k_index, remove_rest
from kernels.seamcall import gpa_is_valid
from kernels.sept_entry import FREE, LEAF, NL_BLOCKED, RWX, STATE_MASK, entry_pfn, hpa_of
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    GPA_RANGE_ALREADY_BLOCKED,
    LEAF_TOO_LARGE,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_RCX,
    SUCCESS,
)
from kernels.tables import TD_CHLDCNT, TD_LEVELS
from kernels.transitions import (
    BLOCKABLE,
    REMOVABLE,
    block_status,
    blocked,
    freed,
    page_below,
    pages_of,
    removal_status,
    removed,
)
from kernels.walk import walk

DEMANDED = True
"""The op-state, RUNNABLE, demands that a mapping is blocked and tracked before it is taken away."""

_IMPORTING = False
_ALREADY = GPA_RANGE_ALREADY_BLOCKED + OPERAND_RCX
_STATE_NL_BLOCKED = NL_BLOCKED & STATE_MASK
_NONE = np.uint64(0)


@step
def pamt_2m_index(tables, pfn):
    """Return the index of the PAMT_2M entry of ``pfn``, which a leaf holds and so lies in a loaded block."""
    return find_slot(tables, pfn) * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511)


@step
def block_at(tables, row, index, level, epoch):
    """Execute RANGE.BLOCK from the entry lock on, at TD_EPOCH ``epoch``; return the status."""
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    entry = tables.sept[row, index]
    if not allows(BLOCKABLE, entry):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    status = block_status(entry)
    if status == SUCCESS:
        pfn, size = page_below(entry, level)
        tables.sept[row, index] = blocked(entry, level)
        if size == 1:
            tables.pamt_2m[pamt_2m_index(tables, pfn), 1] = np.uint64(epoch)
        else:
            tables.pamt_4k[pamt_4k_index(tables, pfn), 1] = np.uint64(epoch)
    return status


@step
def remove_at(tables, row, index, level, epoch, previous_busy):
    """Execute PAGE.REMOVE from the entry lock on; return the status."""
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    entry = tables.sept[row, index]
    if not allows(REMOVABLE, entry):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    pamt = tables.pamt_2m if level == 1 else tables.pamt_4k
    pfn = hpa_of(entry, level)
    at = pamt_2m_index(tables, pfn) if level == 1 else pamt_4k_index(tables, pfn)
    if not pass_exclusive(pamt, at):
        return OPERAND_BUSY + OPERAND_RCX
    status = removal_status(DEMANDED, entry, pamt[at, 1], epoch, previous_busy)
    if status == SUCCESS:
        tables.sept[row, index] = removed(_IMPORTING)
        tables.td[TD_CHLDCNT] -= pages_of(level)
        pamt[at, 0] = freed(pamt[at, 0])
    return status


@njit
def tdh_mem_range_block(tables, gpa, level, epoch):
    """TDH.MEM.RANGE.BLOCK of a leaf, or of a table by its parent entry at ``level``; return the status."""
    if level < 0 or level >= tables.td[TD_LEVELS] or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return block_at(tables, row, index, level, epoch)


@njit
def tdh_mem_page_remove(tables, gpa, level, epoch, previous_busy):
    """TDH.MEM.PAGE.REMOVE of the leaf at ``level``; return the status.

    ``epoch`` is TD_EPOCH, ``previous_busy`` whether vCPUs that entered in the epoch before are still inside.
    """
    if level < 0 or level > 2 or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return remove_at(tables, row, index, level, epoch, previous_busy)


@njit
def count_chosen(chosen, first):
    """Return how many of the 512 pages of a range are chosen; all where ``chosen`` is empty."""
    if chosen.size == 0:
        return 512
    pages = 0
    for i in range(first, first + 512):
        pages += chosen[i] != 0
    return pages


@njit
def range_table(tables, gfn):
    """Return the status and the row of the table of 2M entries of a region; -1 where nothing is mapped in it."""
    reached, row, _, entry = walk(tables, gfn, 1)
    if reached == 1:
        return SUCCESS, row
    is_blocked = (entry & STATE_MASK) == _STATE_NL_BLOCKED
    return EPT_WALK_FAILED + OPERAND_RCX if is_blocked else SUCCESS, np.int64(-1)


@njit
def pages_table(tables, entry, picked):
    """Return the status and the row of the table of 4K entries below a 2M ``entry``; -1 where there is none."""
    if entry & RWX:
        return SUCCESS, entry_pfn(entry) - tables.sept_pfn
    is_blocked = picked > 0 and (entry & STATE_MASK) == _STATE_NL_BLOCKED
    return EPT_WALK_FAILED + OPERAND_RCX if is_blocked else SUCCESS, np.int64(-1)


@njit
def _block_pages(tables, row, chosen, first, epoch, lines, counts):
    """Block the chosen leaves in one table of 4K entries; return the status."""
    status = SUCCESS
    i = pages = already = 0
    while i < 512:
        entry = tables.sept[row, i]
        done = 1
        if (entry & LEAF) != _NONE and (chosen.size == 0 or chosen[first + i] != 0):
            status = block_at(tables, row, i, 0, epoch)
            if status == SUCCESS:
                done += block_rest(tables, row, i, entry, chosen, first + i, epoch)
                count_lines(row, i, 0, entry_pfn(entry), lines, counts)
                count_rest(row, i, entry_pfn(entry), done, lines, counts)
                pages += done
            elif status == _ALREADY:
                already += 1
                status = SUCCESS
            else:
                break
        i += done
    counts[BLOCK_4K] += pages
    counts[ALREADY_BLOCKED] += already
    counts[WALK_READS_HOST] += (pages + already) * tables.td[TD_LEVELS]
    return status


@njit
def _block_leaf(tables, row, index, epoch, lines, counts):
    """Block one 2M leaf; return the status."""
    pfn = hpa_of(tables.sept[row, index], 1)
    status = block_at(tables, row, index, 1, epoch)
    if status == SUCCESS:
        counts[BLOCK_2M] += 1
        count_lines(row, index, 1, pfn, lines, counts)
    elif status == _ALREADY:
        counts[ALREADY_BLOCKED] += 1
    else:
        return status
    counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
    return SUCCESS


@njit
def block_region(tables, gfn, chosen, epoch, lines, counts):
    """Block every leaf of a 1 GiB region that holds a chosen page, in GFN order.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        First guest frame of the region.
    chosen : ndarray of uint8, shape (262144,) or (0,)
        Pages to block are not 0; empty for all. A 2M leaf is blocked whole even where only some are chosen: that
        is how a demotion starts.
    epoch : int64
        TD_EPOCH.
    lines : ndarray of int64, shape (LINES,)
        Scratch.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to; calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed, other than GPA_RANGE_ALREADY_BLOCKED; the tables are
        then left as they stand.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    status, top = range_table(tables, gfn)
    if top < 0:
        return status
    for r in range(512):
        entry = tables.sept[top, r]
        if entry == FREE:
            continue
        if entry & LEAF:
            if count_chosen(chosen, r * 512) > 0:
                status = _block_leaf(tables, top, r, epoch, lines, counts)
        else:
            status, row = pages_table(tables, entry, count_chosen(chosen, r * 512))
            if row >= 0:
                status = _block_pages(tables, row, chosen, r * 512, epoch, lines, counts)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def _remove_pages(tables, row, chosen, first, epoch, previous_busy, lines, counts):
    """Remove the chosen leaves in one table of 4K entries; return the status."""
    status = SUCCESS
    i = pages = 0
    while i < 512:
        entry = tables.sept[row, i]
        done = 1
        if (entry & LEAF) != _NONE and (chosen.size == 0 or chosen[first + i] != 0):
            status = remove_at(tables, row, i, 0, epoch, previous_busy)
            if status != SUCCESS:
                break
            done += remove_rest(tables, row, i, entry, chosen, first + i)
            count_lines(row, i, 0, entry_pfn(entry), lines, counts)
            count_rest(row, i, entry_pfn(entry), done, lines, counts)
            pages += done
        i += done
    counts[REMOVE_4K] += pages
    counts[WALK_READS_HOST] += pages * tables.td[TD_LEVELS]
    return status


@njit
def _remove_leaf(tables, row, index, epoch, previous_busy, lines, counts):
    """Remove one 2M leaf; return the status."""
    pfn = hpa_of(tables.sept[row, index], 1)
    status = remove_at(tables, row, index, 1, epoch, previous_busy)
    if status == SUCCESS:
        counts[REMOVE_2M] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
        count_lines(row, index, 1, pfn, lines, counts)
    return status


@njit
def remove_region(tables, gfn, chosen, epoch, previous_busy, lines, counts):
    """Remove the chosen leaves of a 1 GiB region, in GFN order.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        First guest frame of the region.
    chosen : ndarray of uint8, shape (262144,) or (0,)
        Pages to remove are not 0; empty for all.
    epoch : int64
        TD_EPOCH.
    previous_busy : bool
        vCPUs that entered in the epoch before are still inside.
    lines : ndarray of int64, shape (LINES,)
        Scratch.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to; calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS; LEAF_TOO_LARGE at a 2M leaf with a page that is not chosen; or the status of the first call that
        failed. The tables are then left as they stand. Table pages stay.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    status, top = range_table(tables, gfn)
    if top < 0:
        return status
    for r in range(512):
        entry = tables.sept[top, r]
        if entry == FREE:
            continue
        picked = count_chosen(chosen, r * 512)
        if entry & LEAF:
            if picked == 512:
                status = _remove_leaf(tables, top, r, epoch, previous_busy, lines, counts)
            elif picked > 0:
                status = LEAF_TOO_LARGE
        else:
            status, row = pages_table(tables, entry, picked)
            if row >= 0:
                status = _remove_pages(tables, row, chosen, r * 512, epoch, previous_busy, lines, counts)
        if status != SUCCESS:
            return status
    return SUCCESS
