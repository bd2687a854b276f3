"""PAGE.PROMOTE: alone, from the end of the walk, and as KVM would merge 2M ranges if it did.

No KVM promotes: a range that was split stays at 4K. ``Knobs.promote`` asks what it would be worth. Merging is BLOCK of
the table of 4K entries, TRACK, a kick, PROMOTE, and PAGE.WBINVD of the table page that comes back, mmu_lock held for
write. KVM is taken to know which pages the guest has accepted, so that no try fails.
Source: Intel TDX module, tag TDX_1.5.01, ``tdh_mem_page_promote.c``.
"""

import numpy as np

from kernels.counters import BLOCK_TABLE, PAGE_WBINVD, PROMOTE, RESET_PAGE, WALK_READS_HOST, WRITE_LOCK
from kernels.entry_states import allows
from kernels.fault import count_lines
from kernels.jit import njit
from kernels.life_state import EPOCH, FOLIO_STRICT, FREED, GFN
from kernels.locks import pass_entry, pass_exclusive
from kernels.pamt_references import pamt_promoted, pamt_put
from kernels.private_fault import may_be_2m, whole_folios
from kernels.runs import pamt_4k_index
from kernels.seamcall import gpa_is_valid
from kernels.sept_entry import LEAF, RWX, entry_pfn, hpa_of
from kernels.shrink import DEMANDED, block_at, pamt_2m_index, range_table
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_INVALID_PROMOTE_CONDITIONS,
    EPT_WALK_FAILED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_RCX,
    SUCCESS,
)
from kernels.tables import TD_CHLDCNT, TD_LEVELS
from kernels.transitions import (
    EXTENDABLE,
    PROMOTABLE,
    freed,
    inherited,
    merge_pamt,
    merges,
    pages_of,
    removal_status,
)
from kernels.walk import walk
from kernels.zap import NOBODY_INSIDE, track

_NONE = np.uint64(0)
_ACCEPTED = EXTENDABLE
_BLOCK, _TAKE, _BOTH = 1, 2, 3


@njit
def _children_status(tables, row):
    """Return what PROMOTE answers to the 512 entries of table ``row``."""
    for i in range(512):
        if not pass_entry(tables.sept, row, i):
            return OPERAND_BUSY + OPERAND_RCX
        if not merges(tables.sept[row, i], tables.sept[row, 0], i, 0):
            return EPT_INVALID_PROMOTE_CONDITIONS + OPERAND_RCX
    return SUCCESS


@njit
def promote_at(tables, row, index, epoch, previous_busy):
    """Execute PAGE.PROMOTE to 2M from the lock of the table's parent entry on; return the status.

    What stands in the table page, which is KVM's again, is left as it was.
    """
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    entry = tables.sept[row, index]
    if not allows(PROMOTABLE, entry):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    table = entry_pfn(entry)
    table_at = pamt_4k_index(tables, table)
    if not pass_exclusive(tables.pamt_4k, table_at):
        return OPERAND_BUSY + OPERAND_RCX
    status = removal_status(DEMANDED, entry, tables.pamt_4k[table_at, 1], epoch, previous_busy)
    if status == SUCCESS:
        status = _children_status(tables, table - tables.sept_pfn)
    if status != SUCCESS:
        return status
    first = tables.sept[table - tables.sept_pfn, 0]
    at = pamt_2m_index(tables, entry_pfn(first))
    if not pass_exclusive(tables.pamt_2m, at):
        return OPERAND_BUSY + OPERAND_RCX
    taken = merge_pamt(tables.pamt_4k, pamt_4k_index(tables, entry_pfn(first)))
    tables.pamt_2m[at, 0] = inherited(tables.pamt_2m[at, 0], taken)  # its bepoch stays
    tables.sept[row, index] = first
    tables.td[TD_CHLDCNT] -= pages_of(0)
    tables.pamt_4k[table_at, 0] = freed(tables.pamt_4k[table_at, 0])
    return SUCCESS


@njit
def tdh_mem_page_promote(tables, gpa, level, epoch, previous_busy):
    """TDH.MEM.PAGE.PROMOTE of the table below the entry at ``level``, 1; return the status."""
    if level != 1 or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return promote_at(tables, row, index, epoch, previous_busy)


@njit
def _all_accepted(tables, row):
    for i in range(512):
        child = tables.sept[row, i]
        if not allows(_ACCEPTED, child) or not merges(child, tables.sept[row, 0], i, 0):
            return False
    return True


@njit
def _block_table(life, top, r):
    tables, counts = life.tables, life.counts
    table = entry_pfn(tables.sept[top, r])
    status = block_at(tables, top, r, 1, life.state[EPOCH])
    if status == SUCCESS:
        counts[BLOCK_TABLE] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
        count_lines(top, r, 0, table, life.lines, counts)
    return status


@njit
def _promote_table(life, top, r):
    """Promote one blocked and tracked table, whose page goes back to KVM's pool."""
    tables, counts = life.tables, life.counts
    table = entry_pfn(tables.sept[top, r])
    status = promote_at(tables, top, r, life.state[EPOCH], NOBODY_INSIDE)
    if status == SUCCESS:
        counts[PROMOTE] += 1
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - 1
        counts[PAGE_WBINVD] += 1
        counts[RESET_PAGE] += life.knobs.reset_pages
        pamt_promoted(life, hpa_of(tables.sept[top, r], 1))
        pamt_put(life, table)
        life.freed[life.state[FREED]] = table - tables.sept_pfn
        life.state[FREED] += 1
    return status


@njit
def _promote_tables(life, top, lo, hi, what):
    tables = life.tables
    for r in range(lo, hi):
        entry = tables.sept[top, r]
        if (entry & LEAF) != _NONE or not may_be_2m(life, r):
            continue
        is_open = (entry & RWX) != _NONE
        if what & _BLOCK and not (is_open and _all_accepted(tables, entry_pfn(entry) - tables.sept_pfn)):
            continue
        if what == _TAKE and (is_open or not allows(PROMOTABLE, entry)):
            continue
        status = SUCCESS
        if what & _BLOCK:
            status = _block_table(life, top, r)
        if what == _BOTH and status == SUCCESS:
            track(life)
        if what & _TAKE and status == SUCCESS:
            status = _promote_table(life, top, r)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def promote_ranges(life, lo, hi):
    """Merge what KVM may of the ranges ``[lo, hi)``, which a conversion has made private, and their folios.

    A range is merged if the interface maps it at 2M, no ACCEPT at 4K has inhibited that, and its 512 4K leaves are
    accepted, contiguous and aligned. Under ``FOLIO_STRICT`` the ranges of a folio whose last shared page has become
    private are all merged.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed.
    """
    tables = life.tables
    status, top = range_table(tables, life.state[GFN])
    if top < 0:
        return status
    if life.knobs.interface == FOLIO_STRICT:
        lo, hi = whole_folios(life, lo, hi)
    before = life.counts[BLOCK_TABLE]
    status = _promote_tables(life, top, lo, hi, _BLOCK if life.knobs.batch_track else _BOTH)
    merged = life.counts[BLOCK_TABLE] - before
    life.counts[WRITE_LOCK] += merged > 0
    if status != SUCCESS or merged == 0 or not life.knobs.batch_track:
        return status
    track(life)
    return _promote_tables(life, top, lo, hi, _TAKE)
