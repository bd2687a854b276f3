"""TDH.MEM.RANGE.BLOCK, RANGE.UNBLOCK and MEM.TRACK. Source: Intel TDX module, tag TDX_1.5.01, these files."""

import numpy as np

from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.locks import disown, own
from kernels.module.locate import (
    is_tracked,
    leave,
    locate,
    must_be_blocked,
    set_entry,
    tell,
    unlock,
)
from kernels.module.page_calls import CHANGES, op_states
from kernels.module.pamt_walk import pamt_word, set_pamt_word
from kernels.module.prologue import begin, end
from kernels.module.state import EPOCH, EPOCH_LOCK, EXCLUSIVE, LEVELS, REFCOUNT, SHARED
from kernels.module.trace import free_pamt, locked, map_pamt, pamt_read, pamt_written
from kernels.replay_record import RCX, RDX
from kernels.status import (
    OPERAND_BUSY,
    OPERAND_RCX,
    OPERAND_RDX,
    OPERAND_SEPT_TREE,
    OPERAND_TD_EPOCH,
    PREVIOUS_TLB_EPOCH_BUSY,
    SUCCESS,
    TLB_TRACKING_NOT_DONE,
)
from kernels.transitions import BLOCKABLE, UNBLOCKABLE, block_status, blocked, page_below, unblocked

_TRACK = op_states(*range(1, 10))


@njit
def range_block(module, regs, out):
    """TDH.MEM.RANGE.BLOCK: RCX gpa and level, RDX TDR."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, READ_ONLY, CHANGES)
    if status == SUCCESS:
        status = _block(module, td, regs, out)
        end(module, td, SHARED, READ_ONLY)
    return status


@njit
def _block(module, td, regs, out):
    status, level, row, index = locate(module, td, regs[RCX], 0, module.tds[td, LEVELS] - 1, EXCLUSIVE, BLOCKABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    status = block_status(entry)
    if status != SUCCESS:
        tell(entry, level, out)
    else:
        pfn, size = page_below(entry, level)
        set_entry(module, row, index, blocked(entry, level), True)
        map_pamt(module.trace, pfn, size, WRITABLE)
        pamt_read(module.trace, pfn, size)
        set_pamt_word(module, pfn, size, 1, np.uint64(module.tds[td, EPOCH]))
        pamt_written(module.trace, pfn, size)
        free_pamt(module.trace, pfn, size, WRITABLE)
    unlock(module, row, index)
    leave(module, td, row, EXCLUSIVE)
    return status


@njit
def range_unblock(module, regs, out):
    """TDH.MEM.RANGE.UNBLOCK: RCX gpa and level, RDX TDR."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, READ_ONLY, CHANGES)
    if status == SUCCESS:
        status = _unblock(module, td, regs, out)
        end(module, td, SHARED, READ_ONLY)
    return status


@njit
def _unblock(module, td, regs, out):
    top = module.tds[td, LEVELS] - 1
    status, level, row, index = locate(module, td, regs[RCX], 0, top, EXCLUSIVE, UNBLOCKABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    pfn, size = page_below(entry, level)
    mapped = must_be_blocked(module, td)
    if mapped:
        map_pamt(module.trace, pfn, size, WRITABLE)
        pamt_read(module.trace, pfn, size)
        if not is_tracked(module, td, pamt_word(module, pfn, size, 1)):
            status = TLB_TRACKING_NOT_DONE + OPERAND_SEPT_TREE
    if status == SUCCESS:
        set_entry(module, row, index, unblocked(entry), False)
    if mapped:
        free_pamt(module.trace, pfn, size, WRITABLE)
    if status != SUCCESS:
        unlock(module, row, index)
    leave(module, td, row, EXCLUSIVE)
    return status


@njit
def mem_track(module, regs, out):
    """TDH.MEM.TRACK: RCX TDR."""
    status, td = begin(module, regs[RCX], OPERAND_RCX, SHARED, READ_ONLY, _TRACK)
    if status != SUCCESS:
        return status
    locked(module.trace, 1)
    if not own(module.locks[td], EPOCH_LOCK):
        status = OPERAND_BUSY + OPERAND_TD_EPOCH
    else:
        fields = module.tds[td]
        if fields[REFCOUNT + 1 - (fields[EPOCH] & 1)] != 0:
            status = PREVIOUS_TLB_EPOCH_BUSY
        else:
            fields[EPOCH] += 1
        locked(module.trace, 1)
        disown(module.locks[td], EPOCH_LOCK)
    end(module, td, SHARED, READ_ONLY)
    return status
