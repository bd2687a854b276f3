"""PAGE.DEMOTE: alone, from the end of the walk, and over a region in GFN order.

The conditions are those of :mod:`kernels.shrink`. Source: Intel TDX module, tag TDX_1.5.01,
``tdh_mem_page_demote.c``.
"""

import numpy as np

from kernels.counters import DEMOTE, WALK_READS_HOST
from kernels.entry_states import allows
from kernels.jit import njit
from kernels.locks import pass_entry, pass_exclusive
from kernels.pamt import check_free_page
from kernels.pamt_entry import PT_EPT
from kernels.pamt_entry import make_entry as make_pamt_entry
from kernels.runs import pamt_4k_index
from kernels.seamcall import gpa_is_valid
from kernels.sept_entry import LEAF, hpa_of, make_entry
from kernels.shrink import DEMANDED, count_chosen, pamt_2m_index, range_table
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RCX,
    SEPT_POOL_EMPTY,
    SUCCESS,
)
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_NEXT_SEPT, TD_TDR_PFN
from kernels.transitions import (
    DEMOTABLE,
    LINKED,
    freed,
    pages_of,
    removal_status,
    split_leaf,
    split_pamt,
)
from kernels.walk import walk

_NONE = np.uint64(0)


@njit
def demote_at(tables, row, index, new_row, epoch, previous_busy):
    """Execute PAGE.DEMOTE of a 2M leaf from the entry lock on; ``new_row`` is the new table's; return the status."""
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    entry = tables.sept[row, index]
    if not allows(DEMOTABLE, entry):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    pfn = hpa_of(entry, 1)
    at = pamt_2m_index(tables, pfn)
    status = removal_status(DEMANDED, entry, tables.pamt_2m[at, 1], epoch, previous_busy)
    if status != SUCCESS:
        return status
    table = tables.sept_pfn + new_row
    status, table_at = check_free_page(tables, table, 0, OPERAND_R8)
    if status != SUCCESS:
        return status
    split_leaf(tables.sept, new_row, entry, 1)
    if not pass_exclusive(tables.pamt_2m, at):  # the page is filled by then
        return OPERAND_BUSY + OPERAND_RCX
    split_pamt(tables.pamt_4k, pamt_4k_index(tables, pfn), tables.pamt_2m[at, 0])
    tables.pamt_2m[at, 0] = freed(tables.pamt_2m[at, 0])
    tables.sept[row, index] = make_entry(LINKED, table)
    tables.pamt_4k[table_at, 0] = make_pamt_entry(PT_EPT, tables.td[TD_TDR_PFN])  # its bepoch stays
    tables.td[TD_CHLDCNT] += pages_of(0)
    return SUCCESS


@njit
def tdh_mem_page_demote(tables, gpa, level, new_row, epoch, previous_busy):
    """TDH.MEM.PAGE.DEMOTE of the leaf at ``level`` with table page ``new_row``; return the status."""
    if level < 1 or level > 2 or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return demote_at(tables, row, index, new_row, epoch, previous_busy)


@njit
def demote_region(tables, gfn, chosen, epoch, previous_busy, counts):
    """Demote every 2M leaf of a 1 GiB region that holds a chosen page; new tables come from the TD's pool.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        First guest frame of the region.
    chosen : ndarray of uint8, shape (262144,) or (0,)
        As for :func:`block_region`.
    epoch : int64
        TD_EPOCH.
    previous_busy : bool
        vCPUs that entered in the epoch before are still inside.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to; calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS, SEPT_POOL_EMPTY, or the status of the first call that failed; the tables are then left as they
        stand.
    """
    status, top = range_table(tables, gfn)
    if top < 0:
        return status
    for r in range(512):
        if (tables.sept[top, r] & LEAF) == _NONE or count_chosen(chosen, r * 512) == 0:
            continue
        new_row = tables.td[TD_NEXT_SEPT]
        if new_row >= tables.sept.shape[0]:
            return SEPT_POOL_EMPTY
        status = demote_at(tables, top, r, new_row, epoch, previous_busy)
        if status != SUCCESS:
            return status
        tables.td[TD_NEXT_SEPT] += 1
        counts[DEMOTE] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
    return SUCCESS
