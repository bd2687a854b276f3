"""KVM takes private leaves away and splits them, mmu_lock held for write.

Zapping a leaf is RANGE.BLOCK, TRACK and a kick of all vCPUs, PAGE.REMOVE, PAGE.WBINVD of each 4K; splitting one
is BLOCK, TRACK, kick, DEMOTE. Every leaf is tracked by itself; ``Knobs.batch_track`` asks what one TRACK for all
would save. Sources: Linux, ``arch/x86/kvm/vmx/tdx.c``; Yan Zhao, "[PATCH v3 00/24] KVM: TDX huge page support for
private memory", 2026-01-06, https://lore.kernel.org/all/20260106101646.24809-1-yan.y.zhao@intel.com.
"""

from kernels.counters import (
    BLOCK_2M,
    BLOCK_4K,
    DEMOTE,
    KICK,
    MEM_TRACK,
    PAGE_WBINVD,
    REMOVE_2M,
    REMOVE_4K,
    RESET_PAGE,
    WALK_READS_HOST,
)
from kernels.demote import demote_at
from kernels.fault import count_lines
from kernels.jit import njit
from kernels.life_state import EPOCH, FREED, GFN
from kernels.pamt_references import pamt_demoted, pamt_get, pamt_put
from kernels.sept_entry import LEAF, RWX, entry_pfn, hpa_of
from kernels.shrink import block_at, range_table, remove_at
from kernels.status import LEAF_TOO_LARGE, SEPT_POOL_EMPTY, SUCCESS
from kernels.tables import TD_LEVELS, TD_NEXT_SEPT
from kernels.transitions import pages_of

_BLOCK, _TAKE, _BOTH = 1, 2, 3  # what a pass over leaves does; after both, TRACK has come between the two
NOBODY_INSIDE = False
"""The kick has sent every vCPU out since TRACK."""


@njit
def track(life):
    """Execute TRACK and kick all vCPUs."""
    life.counts[MEM_TRACK] += 1
    life.counts[KICK] += 1
    life.state[EPOCH] += 1


@njit
def _block_leaf(life, row, index, level):
    tables, counts = life.tables, life.counts
    pfn = hpa_of(tables.sept[row, index], level)
    status = block_at(tables, row, index, level, life.state[EPOCH])
    if status == SUCCESS:
        counts[BLOCK_2M if level else BLOCK_4K] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - level
        count_lines(row, index, level, pfn, life.lines, counts)
    return status


@njit
def _remove_leaf(life, row, index, level):
    tables, counts = life.tables, life.counts
    pfn = hpa_of(tables.sept[row, index], level)
    status = remove_at(tables, row, index, level, life.state[EPOCH], NOBODY_INSIDE)
    if status == SUCCESS:
        counts[REMOVE_2M if level else REMOVE_4K] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - level
        count_lines(row, index, level, pfn, life.lines, counts)
        counts[PAGE_WBINVD] += pages_of(level)
        if life.knobs.reset_pages:
            counts[RESET_PAGE] += pages_of(level)
        if level == 0:
            pamt_put(life, pfn)
    return status


@njit
def _zap_leaf(life, row, index, level, what):
    status = SUCCESS
    if what & _BLOCK:
        status = _block_leaf(life, row, index, level)
        if status != SUCCESS:
            return status
    if what == _BOTH:
        track(life)
    if what & _TAKE:
        status = _remove_leaf(life, row, index, level)
    return status


@njit
def _zap_leaves(life, top, first, end, what):
    tables = life.tables
    for r in range(first >> 9, (end + 511) >> 9):
        entry = tables.sept[top, r]
        start = max(first - r * 512, 0)
        stop = min(end - r * 512, 512)
        status = SUCCESS
        if entry & LEAF:
            status = _zap_leaf(life, top, r, 1, what) if stop - start == 512 else LEAF_TOO_LARGE
        elif entry & RWX:
            row = entry_pfn(entry) - tables.sept_pfn
            for i in range(start, stop):
                if tables.sept[row, i] & LEAF:
                    status = _zap_leaf(life, row, i, 0, what)
                    if status != SUCCESS:
                        break
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def zap_range(life, first, end):
    """Zap every leaf of the pages ``[first, end)`` of the region, in GFN order.

    Returns
    -------
    int64
        SUCCESS; LEAF_TOO_LARGE at a 2M leaf that lies only partly in the range; or the status of the first call
        that failed. The tables are then left as they stand.
    """
    status, top = range_table(life.tables, life.state[GFN])
    if top < 0:
        return status
    if not life.knobs.batch_track:
        return _zap_leaves(life, top, first, end, _BOTH)
    before = life.counts[BLOCK_4K] + life.counts[BLOCK_2M]
    status = _zap_leaves(life, top, first, end, _BLOCK)
    if status != SUCCESS or life.counts[BLOCK_4K] + life.counts[BLOCK_2M] == before:
        return status
    track(life)
    return _zap_leaves(life, top, first, end, _TAKE)


@njit
def next_row(life):
    """Return the row that KVM's pool gives next: a table that PROMOTE has given back, or one never used."""
    freed = life.state[FREED]
    return life.freed[freed - 1] if freed > 0 else life.tables.td[TD_NEXT_SEPT]


@njit
def _demote_leaf(life, top, r):
    """Demote one blocked and tracked 2M leaf; the new S-EPT page comes from KVM's pool."""
    tables, counts = life.tables, life.counts
    pfn = hpa_of(tables.sept[top, r], 1)
    new_row = next_row(life)
    if new_row >= tables.sept.shape[0]:
        return SEPT_POOL_EMPTY
    status = demote_at(tables, top, r, new_row, life.state[EPOCH], NOBODY_INSIDE)
    if status == SUCCESS:
        if life.state[FREED] > 0:
            life.state[FREED] -= 1
        else:
            tables.td[TD_NEXT_SEPT] += 1
        counts[DEMOTE] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
        pamt_get(life, tables.sept_pfn + new_row)
        pamt_demoted(life, pfn)
    return status


@njit
def _split_leaves(life, top, lo, hi, first, end, what):
    for r in range(lo, hi):
        if not (life.tables.sept[top, r] & LEAF) or (first <= r * 512 and (r + 1) * 512 <= end):
            continue
        status = SUCCESS
        if what & _BLOCK:
            status = _block_leaf(life, top, r, 1)
        if what == _BOTH and status == SUCCESS:
            track(life)
        if what & _TAKE and status == SUCCESS:
            status = _demote_leaf(life, top, r)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def split_ranges(life, lo, hi, first, end):
    """Split the 2M leaves of the ranges ``[lo, hi)``, but for those that lie whole in the pages ``[first, end)``.

    Returns
    -------
    int64
        SUCCESS, SEPT_POOL_EMPTY, or the status of the first call that failed.
    """
    status, top = range_table(life.tables, life.state[GFN])
    if top < 0:
        return status
    if not life.knobs.batch_track:
        return _split_leaves(life, top, lo, hi, first, end, _BOTH)
    before = life.counts[BLOCK_2M]
    status = _split_leaves(life, top, lo, hi, first, end, _BLOCK)
    if status != SUCCESS or life.counts[BLOCK_2M] == before:
        return status
    track(life)
    return _split_leaves(life, top, lo, hi, first, end, _TAKE)
