"""TDH.MEM.PAGE.ADD, AUG, REMOVE and RELOCATE: registers in, registers out.

Every call takes ``module``, its input registers (uint64, shape (16,)) and ``out``, which it sets; it returns RAX
as int64. Source: Intel TDX module, tag TDX_1.5.01, the file named after each leaf.
"""

import numpy as np

from kernels.entry_states import allows
from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.module.locate import (
    add_children,
    check_removable,
    free_table,
    leave,
    locate,
    set_entry,
    split_gpa,
    tell,
    unlock,
    walk_module,
)
from kernels.module.pamt_walk import (
    free_page_type,
    get_pamt,
    give_page,
    lock_free_range,
    pamt_word,
    put_pamt,
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
    map_key,
    map_own,
    page_stored,
)
from kernels.pamt_entry import PT_REG
from kernels.replay_record import EV_SHA, R8, R9, RCX, RDX
from kernels.sept_entry import HPA_MASK, TDP, entry_pfn, hpa_of, make_entry
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_R9,
    OPERAND_RCX,
    OPERAND_RDX,
    SUCCESS,
)
from kernels.transitions import (
    ADDABLE,
    ADDED,
    AUGMENTABLE,
    AUGMENTED,
    RELOCATABLE,
    REMOVABLE,
    pages_of,
    relocated,
    removed,
)


def op_states(*values: int) -> int:
    """Return the bit mask of op-states that ``begin`` takes."""
    return sum(1 << value for value in values)


CHANGES = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, PAUSED_EXPORT, POST_EXPORT, POST_IMPORT, LIVE_IMPORT)
"""Op-states that allow BLOCK, UNBLOCK, RELOCATE, PROMOTE and DEMOTE."""

_ADD = op_states(INITIALIZED)
_AUG = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, LIVE_IMPORT)
_REMOVE = CHANGES | op_states(FAILED_IMPORT)

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
    elif not allows(ADDABLE, entry):
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
            set_entry(module, row, index, make_entry(ADDED, pfn), False)
            module.trace.counts[0, EV_SHA] += 1
            module.tds[td, CHLDCNT] += pages_of(0)
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
    status, level, row, index = locate(module, td, regs[RCX], 0, 1, SHARED, AUGMENTABLE, out)
    if status != SUCCESS:
        return status
    status, pfn = lock_free_range(module, regs[R8], OPERAND_R8, level)
    if status == SUCCESS:
        set_entry(module, row, index, make_entry(AUGMENTED, pfn), False)
        add_children(module, td, pages_of(level))
        give_page(module, td, pfn, level, PT_REG)
        unwalk_pamt(module, pfn, level, EXCLUSIVE)
    else:
        unlock(module, row, index)
    leave(module, td, row, SHARED)
    return status


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
    granted = get_pamt(module, pfn, level)
    if not granted:
        status = OPERAND_BUSY + OPERAND_RCX
    else:
        status = check_removable(module, td, entry, level, pamt_word(module, pfn, level, 1), out)
    if status == SUCCESS:
        op_state = module.tds[td, OP_STATE]
        set_entry(module, row, index, removed(op_state == POST_IMPORT or op_state == LIVE_IMPORT), False)
        add_children(module, td, -pages_of(level))
        free_page_type(module, pfn, level)
        out[RCX] = np.uint64(pfn) << np.uint64(12)
    put_pamt(module, pfn, level, granted)
    if status != SUCCESS:
        unlock(module, row, index)
    leave(module, td, row, SHARED)
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
    status, _, row, index = locate(module, td, regs[RCX], 0, 0, SHARED, RELOCATABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    source = entry_pfn(entry)
    if regs[R8] & _BELOW_2_52 == entry & HPA_MASK:
        status = OPERAND_INVALID + OPERAND_R8
    else:
        granted = get_pamt(module, source, 0)
        if not granted:
            status = OPERAND_BUSY + OPERAND_RCX
        else:
            status = check_removable(module, td, entry, 0, pamt_word(module, source, 0, 1), out)
        if status == SUCCESS:
            status = _move(module, td, row, index, entry, regs, out)
        put_pamt(module, source, 0, granted)
    unlock(module, row, index)
    leave(module, td, row, SHARED)
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
    set_entry(module, row, index, relocated(entry, target), True)
    unwalk_pamt(module, target, 0, EXCLUSIVE)
    free_own(module.trace, target, WRITABLE)
    if not pending:
        free_own(module.trace, source, READ_ONLY)
    out[RCX] = np.uint64(source) << np.uint64(12)
    return status
