"""PAGE.ADD: the initial image of a TD that is INITIALIZED, one page and a region at a time.

The TDR is held exclusively, so the call takes neither tree nor entry lock; its source page is valid. SEPT.ADD of the
missing tables comes before the first page below each.
Source: Intel TDX module, tag TDX_1.5.01, ``tdh_mem_page_add.c``.
"""

from kernels.counters import PAGE_ADD, WALK_READS_HOST
from kernels.entry_states import allows
from kernels.fault import PAMT_LINE, SEPT_LINE, add_missing_tables, count_lines
from kernels.jit import njit, step
from kernels.pamt import check_free_page, give_page
from kernels.pamt_entry import PT_REG
from kernels.runs import count_rest, map_rest
from kernels.seamcall import gpa_is_valid
from kernels.sept_entry import make_entry
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RCX,
    SUCCESS,
)
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_TDR_PFN
from kernels.transitions import ADDABLE, ADDED, pages_of
from kernels.walk import walk


@step
def add_at(tables, row, index, pfn):
    """Execute PAGE.ADD from the end of its walk on; return the status."""
    if not allows(ADDABLE, tables.sept[row, index]):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    status, at = check_free_page(tables, pfn, 0, OPERAND_R8)
    if status == SUCCESS:
        give_page(tables.pamt_4k, at, PT_REG, tables.td[TD_TDR_PFN])
        tables.sept[row, index] = make_entry(ADDED, pfn)
        tables.td[TD_CHLDCNT] += pages_of(0)
    return status


@njit
def tdh_mem_page_add(tables, gpa, pfn):
    """TDH.MEM.PAGE.ADD: map ``pfn`` at ``gpa`` as MAPPED; return the status."""
    if not gpa_is_valid(tables, gpa, 0):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, 0)
    if reached != 0:
        return EPT_WALK_FAILED + OPERAND_RCX
    return add_at(tables, row, index, pfn)


@njit
def _add_pages(tables, gfn, pfn, chosen, first, lines, counts):
    """Add the chosen pages of one 2M range; return the status."""
    status = SUCCESS
    row = -1
    i = pages = 0
    while i < 512:
        if chosen[first + i] == 0:
            i += 1
            continue
        start = pfn[first + i]
        if row < 0:
            status = add_missing_tables(tables, gfn + i, 0, counts)
            if status != SUCCESS:
                break
            row = walk(tables, gfn + i, 0)[1]
        before = tables.sept[row, i]
        status = add_at(tables, row, i, start)
        if status != SUCCESS:
            break
        done = 1 + map_rest(tables, row, i, before, pfn, chosen, first + i, ADDED)
        count_lines(row, i, 0, start, lines, counts)
        count_rest(row, i, start, done, lines, counts)
        pages += done
        i += done
    counts[PAGE_ADD] += pages
    counts[WALK_READS_HOST] += pages * tables.td[TD_LEVELS]
    return status


@njit
def add_region(tables, gfn, pfn, chosen, lines, counts):
    """Add the chosen pages of a 1 GiB region in GFN order, with the tables that they need.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        First guest frame of the region.
    pfn : ndarray of int64, shape (262144,)
        Host frame behind each page.
    chosen : ndarray of uint8, shape (262144,)
        Pages to add are not 0.
    lines : ndarray of int64, shape (LINES,)
        Scratch.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to; calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS, SEPT_POOL_EMPTY, or the status of the first call that failed; the tables are then left as they
        stand.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    for r in range(512):
        status = _add_pages(tables, gfn + r * 512, pfn, chosen, r * 512, lines, counts)
        if status != SUCCESS:
            return status
    return SUCCESS
