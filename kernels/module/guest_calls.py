"""What a TD does itself: MEM.PAGE.ACCEPT, an EPT violation, and a vCPU that enters and leaves.

Source: Intel TDX module, tag TDX_1.5.01, ``tdg_mem_page_accept.c``, ``td_transitions``.
"""

import numpy as np

from kernels.entry_states import allows, api_state
from kernels.jit import njit
from kernels.keyhole import WRITABLE
from kernels.locks import share, unshare
from kernels.module.locate import free_table, set_entry, split_gpa, unlock, walk_module
from kernels.module.page_calls import op_states
from kernels.module.prologue import allows_op_state, check_life, share_op_state, unshare_op_state
from kernels.module.state import (
    EPOCH,
    EPOCH_LOCK,
    GPA_BITS,
    LIVE_EXPORT,
    LIVE_IMPORT,
    REFCOUNT,
    RUNNABLE,
    VCPU_EPOCH,
    use_key_of,
)
from kernels.module.trace import free_own, locked, map_own, page_stored, sept_locked
from kernels.replay_record import EV_IVEPT, EV_RM, EV_VR, R8, R9, RCX, RDX
from kernels.sept_entry import ACCEPT_COUNTER, LEAF, RWX, entry_pfn, hpa_of
from kernels.status import (
    EPT_VIOLATION_EXIT,
    OP_STATE_INCORRECT,
    OPERAND_BUSY,
    OPERAND_BUSY_HOST_PRIORITY,
    OPERAND_INVALID,
    OPERAND_OP_STATE,
    OPERAND_RCX,
    OPERAND_TD_EPOCH,
    SUCCESS,
)
from kernels.transitions import ACCEPTABLE, accept_status, accepted, accepted_up_to

INTERRUPTED_ACCEPT = np.int64(-1)
"""Not a status: ACCEPT 2M has stored its progress and will be executed again."""

_ENTER = op_states(RUNNABLE, LIVE_EXPORT, LIVE_IMPORT)
_NONE = np.uint64(0)
_WRITE = np.uint64(2)
_QUALIFICATION_MASK = ~np.uint64(0x3F << 7)
_EEQ_ACCEPT, _EEQ_PENDING = np.uint64(1), np.uint64(6)
_INFO_SHIFT, _LEVEL_SHIFT, _STATE_SHIFT, _LEAF_BIT = np.uint64(32), np.uint64(3), np.uint64(6), np.uint64(1 << 14)


@njit
def mem_page_accept(module, td, regs, interrupt_after, out):
    """TDG.MEM.PAGE.ACCEPT: RCX gpa and level 0 or 1.

    Parameters
    ----------
    interrupt_after : int64
        Tests for a pending interrupt that find none; -1: none is ever found. A 2M accept tests after each page
        but the last.

    Returns
    -------
    int64
        RAX, EPT_VIOLATION_EXIT with the exit registers in ``out``, or INTERRUPTED_ACCEPT.
    """
    use_key_of(module, td)
    gfn, level = split_gpa(module, td, regs[RCX], 0, 1)
    if gfn < 0:
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, entry = walk_module(module, td, gfn, level)
    status = accept_status(entry, reached, level)
    if reached == level:
        status = _accept_entry(module, row, index, level, status, interrupt_after)
    if status == EPT_VIOLATION_EXIT:
        _exit_on_accept(entry, gfn, level, reached, out)
    free_table(module, row)
    return status


@njit
def _accept_entry(module, row, index, level, status, interrupt_after):
    """Carry out what :func:`accept_status` has decided, below the entry's lock where that is granted."""
    sept_locked(module.trace, row, index, 1)
    if status == OPERAND_BUSY + OPERAND_RCX:
        return status
    if status == OPERAND_BUSY_HOST_PRIORITY + OPERAND_RCX:
        sept_locked(module.trace, row, index, 1)
        return status
    entry = module.sept[row, index]
    if status == SUCCESS and level == 1:
        status, entry = _accept_2m(module, entry, interrupt_after)
        set_entry(module, row, index, entry, False)
    elif status == SUCCESS:
        _zero_page(module, entry_pfn(entry))
        set_entry(module, row, index, accepted(entry, level), False)
    unlock(module, row, index)
    return status


@njit
def _zero_page(module, pfn):
    map_own(module.trace, pfn, WRITABLE)
    page_stored(module.trace)
    free_own(module.trace, pfn, WRITABLE)


@njit
def _accept_2m(module, entry, interrupt_after):
    """Zero a 2M page from its accept counter on; return the status and the entry to store."""
    tests = np.int64(0)
    for page in range((entry & ACCEPT_COUNTER) >> np.uint64(12), 512):
        _zero_page(module, hpa_of(entry, 1) + page)
        if page == 511:
            break
        module.trace.counts[0, EV_RM] += 1
        if tests == interrupt_after:
            return INTERRUPTED_ACCEPT, accepted_up_to(entry, page + 1)
        tests += 1
    return SUCCESS, accepted(entry, 1)


@njit
def _exit_on_accept(entry, gfn, level, reached, out):
    """Set the registers of the TD exit: a write, and an extended qualification of type ACCEPT."""
    info = np.uint64(level) | (np.uint64(reached) << _LEVEL_SHIFT)
    info |= np.uint64(api_state(entry)) << _STATE_SHIFT
    if entry & LEAF:
        info |= _LEAF_BIT
    out[RCX] = _WRITE | ((entry & RWX) << np.uint64(3))
    out[RDX] = (info << _INFO_SHIFT) | _EEQ_ACCEPT
    out[R8] = np.uint64(gfn) << np.uint64(12)
    out[R9] = _NONE


@njit
def ept_violation(module, td, regs, out):
    """An access of the guest that the S-EPT does not allow: RCX gpa, RDX qualification; SEPT_VE_DISABLE is 1."""
    use_key_of(module, td)
    module.trace.counts[0, EV_VR] += 1
    gfn = np.int64(regs[RCX] >> np.uint64(12))
    out[RCX] = regs[RDX] & _QUALIFICATION_MASK
    out[RDX] = out[R9] = _NONE
    out[R8] = np.uint64(gfn) << np.uint64(12)
    if gfn >> (module.tds[td, GPA_BITS] - 12) == 0:  # private
        _, row, _, entry = walk_module(module, td, gfn, 0)
        if allows(ACCEPTABLE, entry):
            out[RDX] = _EEQ_PENDING
        free_table(module, row)
    return EPT_VIOLATION_EXIT


@njit
def vcpu_enter(module, td, vcpu, new_association):
    """The TD-state and TLB-tracking part of TDH.VP.ENTER.

    Returns
    -------
    status : int64
    invept : int64
        Whether translations of the vCPU's former epoch are flushed.
    """
    none = np.int64(-1)
    status = check_life(module, td)
    if status != SUCCESS:
        return status, none
    if not share_op_state(module, td):
        return OPERAND_BUSY + OPERAND_OP_STATE, none
    allowed = allows_op_state(module, td, _ENTER)
    unshare_op_state(module, td)
    if not allowed:
        return OP_STATE_INCORRECT, none
    locked(module.trace, 1)
    if not share(module.locks[td], EPOCH_LOCK):
        return OPERAND_BUSY + OPERAND_TD_EPOCH, none
    epoch = module.tds[td, EPOCH]
    locked(module.trace, 2)
    module.tds[td, REFCOUNT + (epoch & 1)] += 1
    unshare(module.locks[td], EPOCH_LOCK)
    invept = np.int64(module.tds[td, VCPU_EPOCH + vcpu] != epoch and not new_association)
    module.tds[td, VCPU_EPOCH + vcpu] = epoch
    module.trace.counts[0, EV_IVEPT] += invept
    return SUCCESS, invept


@njit
def vcpu_exit(module, td, vcpu):
    """Count a vCPU out of the epoch that it entered with."""
    module.tds[td, REFCOUNT + (module.tds[td, VCPU_EPOCH + vcpu] & 1)] -= 1
