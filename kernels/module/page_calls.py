"""TDH.MEM.PAGE.ADD, AUG, REMOVE and RELOCATE: registers in, registers out.

Every call takes ``module``, its input registers (uint64, shape (16,)) and ``out``, which it sets; it returns RAX
as int64. Source: Intel TDX module, tag TDX_1.5.01, the file named after each leaf.
"""

import numpy as np

from kernels import entry_states as es
from kernels.entry_states import REMOVABLE, hpa_of, states, without_counter
from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.module.locate import (
    add_children,
    free_table,
    is_tracked,
    locate,
    must_be_blocked,
    set_entry,
    split_gpa,
    tell,
    unlock,
    unlock_tree,
    walk_module,
)
from kernels.module.pamt_walk import (
    free_page_type,
    give_back,
    give_page,
    lock_free_range,
    pamt_word,
    take,
    unwalk_pamt,
)
from kernels.module.prologue import begin, end
from kernels.module.state import (
    CHLDCNT,
    EXCLUSIVE,
    FAILED_IMPORT,
    HKID_START_BIT,
    INITIALIZED,
    LIVE_EXPORT,
    LIVE_IMPORT,
    OP_STATE,
    PAUSED_EXPORT,
    POST_EXPORT,
    POST_IMPORT,
    PRIVATE_HKID_MIN,
    RUNNABLE,
    SEAMRR_BASE,
    SEAMRR_SIZE,
    SHARED,
)
from kernels.module.trace import (
    free_key,
    free_own,
    free_pamt,
    map_key,
    map_own,
    map_pamt,
    page_stored,
    pamt_read,
)
from kernels.pamt_entry import PT_REG
from kernels.replay_record import EV_SHA, R8, R9, RCX, RDX
from kernels.sept_entry import FREE, HPA_MASK, MAPPED, PENDING, REMOVED, TDB, TDP, entry_pfn, make_entry
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    GPA_RANGE_NOT_BLOCKED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_R9,
    OPERAND_RCX,
    OPERAND_RDX,
    SUCCESS,
    TLB_TRACKING_NOT_DONE,
)


def op_states(*values: int) -> int:
    """Return the bit mask of op-states that ``begin`` takes."""
    return sum(1 << value for value in values)


CHANGES = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, PAUSED_EXPORT, POST_EXPORT, POST_IMPORT, LIVE_IMPORT)
"""Op-states that allow BLOCK, UNBLOCK, RELOCATE, PROMOTE and DEMOTE."""

_ADD = op_states(INITIALIZED)
_AUG = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, LIVE_IMPORT)
_REMOVE = CHANGES | op_states(FAILED_IMPORT)

_FREE = states(es.FREE)
_AUGMENTABLE = states(es.FREE, es.REMOVED)
_RELOCATABLE = states(
    es.MAPPED, es.BLOCKED, es.BLOCKEDW, es.EXP_BLOCKEDW, es.EXP_DIRTY, es.EXP_DIRTY_BLOCKEDW, es.PENDING,
    es.PENDING_BLOCKED, es.PENDING_BLOCKEDW, es.PEND_EXP_BLOCKEDW, es.PEND_EXP_DIRTY, es.PEND_EXP_DIRTY_BLOCKEDW,
)  # fmt: skip
_EXPORT_BLOCKED = states(es.EXP_BLOCKEDW, es.PEND_EXP_BLOCKEDW)  # states that need no tracking
_REMOVED_VALID = np.uint64(1 << 44)  # migration epoch 0, valid
_BELOW_2_52 = np.uint64((1 << 52) - 1)
_NONE = np.uint64(0)


@njit
def page_add(module, regs, out):
    """TDH.MEM.PAGE.ADD: RCX gpa, RDX TDR, R8 page, R9 source."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, EXCLUSIVE, WRITABLE, _ADD)
    if status == SUCCESS:
        status = _add(module, td, regs, out)
        end(module, td, EXCLUSIVE, WRITABLE)
    return status


@njit
def _add(module, td, regs, out):
    gfn, _ = split_gpa(module, td, regs[RCX], 0, 0)
    if gfn < 0:
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, entry = walk_module(module, td, gfn, 0)
    status = SUCCESS
    if reached != 0:
        status = EPT_WALK_FAILED + OPERAND_RCX
    elif not es.allows(_FREE, entry):
        status = EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    if status != SUCCESS:
        tell(entry, reached, out)
    elif not _source_is_valid(module, regs[R9]):
        status = OPERAND_INVALID + OPERAND_R9
    else:
        status, pfn = lock_free_range(module, regs[R8], OPERAND_R8, 0)
        if status == SUCCESS:
            source = np.int64(regs[R9] >> np.uint64(12))
            map_own(module.trace, pfn, WRITABLE)
            map_key(module.trace, source, READ_ONLY)
            page_stored(module.trace)
            set_entry(module, row, index, make_entry(MAPPED, pfn), False)
            module.trace.counts[0, EV_SHA] += 1
            module.tds[td, CHLDCNT] += 1
            give_page(module, td, pfn, 0, PT_REG)
            unwalk_pamt(module, pfn, 0, EXCLUSIVE)
            free_own(module.trace, pfn, WRITABLE)
            free_table(module, row)
            free_key(module.trace, source, READ_ONLY)
            return status
    free_table(module, row)
    return status


@njit
def _source_is_valid(module, hpa):
    """Whether ``hpa`` is a page of shared memory: aligned, below 2^52, outside the SEAM range, HKID shared."""
    if hpa & np.uint64(0xFFF) or hpa >> np.uint64(52):
        return False
    platform = module.platform
    start = np.uint64(platform[HKID_START_BIT])
    page = np.int64(hpa & ((np.uint64(1) << start) - np.uint64(1)))
    if page + 4096 > platform[SEAMRR_BASE] and page < platform[SEAMRR_BASE] + platform[SEAMRR_SIZE]:
        return False
    return np.int64(hpa >> start) < platform[PRIVATE_HKID_MIN]


@njit
def page_aug(module, regs, out):
    """TDH.MEM.PAGE.AUG: RCX gpa and level 0 or 1, RDX TDR, R8 page."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, WRITABLE, _AUG)
    if status == SUCCESS:
        status = _aug(module, td, regs, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _aug(module, td, regs, out):
    status, level, row, index = locate(module, td, regs[RCX], 0, 1, SHARED, _AUGMENTABLE, out)
    if status != SUCCESS:
        return status
    status, pfn = lock_free_range(module, regs[R8], OPERAND_R8, level)
    if status == SUCCESS:
        set_entry(module, row, index, make_entry(PENDING, pfn), False)
        add_children(module, td, 1 << (9 * level))
        give_page(module, td, pfn, level, PT_REG)
        unwalk_pamt(module, pfn, level, EXCLUSIVE)
    else:
        unlock(module, row, index)
    unlock_tree(module, td, SHARED)
    free_table(module, row)
    return status


@njit
def check_removable(module, td, entry, bepoch):
    """Check that a mapping may be taken away: blocked and tracked, in op-states that demand it."""
    if not must_be_blocked(module, td) or es.allows(_EXPORT_BLOCKED, entry):
        return SUCCESS
    if (entry & TDB) == _NONE:
        return GPA_RANGE_NOT_BLOCKED + OPERAND_RCX
    if not is_tracked(module, td, bepoch):
        return TLB_TRACKING_NOT_DONE + OPERAND_RCX
    return SUCCESS


@njit
def page_remove(module, regs, out):
    """TDH.MEM.PAGE.REMOVE: RCX gpa and level 0 to 2, RDX TDR; out RCX page."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, WRITABLE, _REMOVE)
    if status == SUCCESS:
        status = _remove(module, td, regs, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _remove(module, td, regs, out):
    status, level, row, index = locate(module, td, regs[RCX], 0, 2, SHARED, REMOVABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    pfn = hpa_of(entry, level)
    map_pamt(module.trace, pfn, level, WRITABLE)
    pamt_read(module.trace, pfn, level)
    if not take(module, pfn, level, EXCLUSIVE):
        status = OPERAND_BUSY + OPERAND_RCX
    else:
        status = check_removable(module, td, entry, pamt_word(module, pfn, level, 1))
        if status == SUCCESS:
            op_state = module.tds[td, OP_STATE]
            importing = op_state == POST_IMPORT or op_state == LIVE_IMPORT
            set_entry(module, row, index, REMOVED | _REMOVED_VALID if importing else FREE, False)
            add_children(module, td, -(1 << (9 * level)))
            free_page_type(module, pfn, level)
            out[RCX] = np.uint64(pfn) << np.uint64(12)
        elif status == GPA_RANGE_NOT_BLOCKED + OPERAND_RCX:
            tell(without_counter(entry, level), level, out)
        give_back(module, pfn, level, EXCLUSIVE)
    free_pamt(module.trace, pfn, level, WRITABLE)
    if status != SUCCESS:
        unlock(module, row, index)
    unlock_tree(module, td, SHARED)
    free_table(module, row)
    return status


@njit
def page_relocate(module, regs, out):
    """TDH.MEM.PAGE.RELOCATE: RCX gpa, RDX TDR, R8 new page; out RCX old page."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, READ_ONLY, CHANGES)
    if status == SUCCESS:
        status = _relocate(module, td, regs, out)
        end(module, td, SHARED, READ_ONLY)
    return status


@njit
def _relocate(module, td, regs, out):
    status, _, row, index = locate(module, td, regs[RCX], 0, 0, SHARED, _RELOCATABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    source = entry_pfn(entry)
    if regs[R8] & _BELOW_2_52 == entry & HPA_MASK:
        status = OPERAND_INVALID + OPERAND_R8
    else:
        map_pamt(module.trace, source, 0, WRITABLE)
        pamt_read(module.trace, source, 0)
        if not take(module, source, 0, EXCLUSIVE):
            status = OPERAND_BUSY + OPERAND_RCX
        else:
            status = check_removable(module, td, entry, pamt_word(module, source, 0, 1))
            if status == GPA_RANGE_NOT_BLOCKED + OPERAND_RCX:
                tell(entry, 0, out)
            elif status == SUCCESS:
                status = _move(module, td, row, index, entry, regs, out)
            give_back(module, source, 0, EXCLUSIVE)
        free_pamt(module.trace, source, 0, WRITABLE)
    unlock(module, row, index)
    unlock_tree(module, td, SHARED)
    free_table(module, row)
    return status


@njit
def _move(module, td, row, index, entry, regs, out):
    """Move the page behind ``entry``, whose PAMT entry is locked, to the page in R8."""
    status, target = lock_free_range(module, regs[R8], OPERAND_R8, 0)
    if status != SUCCESS:
        return status
    source = entry_pfn(entry)
    pending = (entry & TDP) != _NONE
    map_own(module.trace, target, WRITABLE)
    if not pending:
        map_own(module.trace, source, READ_ONLY)
        page_stored(module.trace)
    free_page_type(module, source, 0)
    give_page(module, td, target, 0, PT_REG)
    moved = entry & ~HPA_MASK
    if entry & TDB:
        moved = PENDING if pending else MAPPED
    set_entry(module, row, index, make_entry(moved, target), True)
    unwalk_pamt(module, target, 0, EXCLUSIVE)
    free_own(module.trace, target, WRITABLE)
    if not pending:
        free_own(module.trace, source, READ_ONLY)
    out[RCX] = np.uint64(source) << np.uint64(12)
    return status
