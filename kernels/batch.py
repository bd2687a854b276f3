"""PAGE.AUG and ACCEPT over a region whose tables exist: the calls alone, without exits and faults between them."""

from kernels.counters import ACCEPT_4K, AUG_2M, AUG_4K, WALK_READS_GUEST, WALK_READS_HOST
from kernels.fault import PAMT_LINE, SEPT_LINE, count_lines
from kernels.jit import njit
from kernels.runs import accept_rest, count_rest, map_rest
from kernels.seamcall import accept_at, aug_at
from kernels.status import EPT_WALK_FAILED, OPERAND_RCX, SUCCESS
from kernels.tables import TD_LEVELS
from kernels.transitions import AUGMENTED
from kernels.walk import walk


@njit
def _augment_pages(tables, gfn, pfn, chosen, first, lines, counts):
    """AUG the chosen pages of one 2M range at 4K; return the status."""
    reached, row, _, _ = walk(tables, gfn, 0)
    status = SUCCESS
    i = pages = 0
    while i < 512:
        if chosen.size != 0 and chosen[first + i] == 0:
            i += 1
            continue
        if reached != 0:
            status = EPT_WALK_FAILED + OPERAND_RCX
            break
        start, before = pfn[first + i], tables.sept[row, i]
        status = aug_at(tables, row, i, 0, start)
        if status != SUCCESS:
            break
        done = 1 + map_rest(tables, row, i, before, pfn, chosen, first + i, AUGMENTED)
        count_lines(row, i, 0, start, lines, counts)
        count_rest(row, i, start, done, lines, counts)
        pages += done
        i += done
    counts[AUG_4K] += pages
    counts[WALK_READS_HOST] += pages * tables.td[TD_LEVELS]
    return status


@njit
def augment_region(tables, gfn, pfn, chosen, lines, counts):
    """AUG the chosen pages of a 1 GiB region at 4K, in GFN order.

    Parameters
    ----------
    tables : Tables
        With the tables of 4K entries that the pages need.
    gfn : int64
        First guest frame of the region.
    pfn : ndarray of int64, shape (262144,)
        Host frame behind each page.
    chosen : ndarray of uint8, shape (262144,) or (0,)
        Pages to map are not 0; empty for all.
    lines : ndarray of int64, shape (LINES,)
        Scratch.
    counts : ndarray of int64, shape (COUNTERS,)
        Added to: AUG_4K, WALK_READS_HOST, SEPT_LINES and PAMT_LINES. Calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed; the tables are then left as they stand.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    for r in range(512):
        status = _augment_pages(tables, gfn + r * 512, pfn, chosen, r * 512, lines, counts)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def augment_region_2m(tables, gfn, pfn, lines, counts):
    """AUG every 2M range of a 1 GiB region at 2M; ``pfn`` (int64, shape (512,)) is the first frame behind each.

    Otherwise as :func:`augment_region`, with AUG_2M for AUG_4K.
    """
    lines[SEPT_LINE] = lines[PAMT_LINE] = -1
    for r in range(512):
        reached, row, index, _ = walk(tables, gfn + r * 512, 1)
        if reached != 1:
            return EPT_WALK_FAILED + OPERAND_RCX
        status = aug_at(tables, row, index, 1, pfn[r])
        if status != SUCCESS:
            return status
        counts[AUG_2M] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
        count_lines(row, index, 1, pfn[r], lines, counts)
    return SUCCESS


@njit
def _accept_pages(tables, gfn, chosen, first, counts):
    """ACCEPT the chosen pages of one 2M range at 4K; return the status."""
    reached, row, index, _ = walk(tables, gfn, 0)
    status = SUCCESS
    i = pages = 0
    while i < 512:
        if chosen.size != 0 and chosen[first + i] == 0:
            i += 1
            continue
        at = i if reached == 0 else index
        before = tables.sept[row, at]
        status = accept_at(tables, reached, row, at, 0)
        if status != SUCCESS:
            break
        done = 1 + accept_rest(tables, row, i, before, chosen, first + i)
        pages += done
        i += done
    counts[ACCEPT_4K] += pages
    counts[WALK_READS_GUEST] += pages * tables.td[TD_LEVELS]
    return status


@njit
def accept_region(tables, gfn, chosen, counts):
    """ACCEPT the chosen pages of a 1 GiB region at 4K, in GFN order.

    Parameters
    ----------
    tables, gfn, chosen
        As for :func:`augment_region`.
    counts : ndarray of int64, shape (COUNTERS,)
        Added to: ACCEPT_4K and WALK_READS_GUEST. Calls that failed do not count.

    Returns
    -------
    int64
        SUCCESS, or the answer to the first call that ended otherwise: a status or EPT_VIOLATION_EXIT.
    """
    for r in range(512):
        status = _accept_pages(tables, gfn + r * 512, chosen, r * 512, counts)
        if status != SUCCESS:
            return status
    return SUCCESS
