"""From the register that names a GPA and level to the locked S-EPT entry, and what the caller is told of it.

Source: Intel TDX module, tag TDX_1.5.01, ``sept_manager.c`` (``lock_sept_check_and_walk_private_gpa``),
``sept_state_lookup.c``, ``set_arch_septe_details_in_vmm_regs``.
"""

import numpy as np

from kernels.entry_states import allows, api_state
from kernels.jit import njit
from kernels.keyhole import WRITABLE
from kernels.locks import disown, lock_entry, own, share, unlock_entry, unshare
from kernels.module.state import (
    CHLDCNT,
    EPOCH,
    GPA_BITS,
    LEVELS,
    LIVE_EXPORT,
    LIVE_IMPORT,
    OP_STATE,
    REFCOUNT,
    ROOT_PFN,
    RUNNABLE,
    TREE_LOCK,
)
from kernels.module.trace import free_own, locked, map_own, sept_locked, sept_read, sept_written
from kernels.replay_record import RCX, RDX
from kernels.sept_entry import (
    HPA_MASK,
    IPAT,
    LEAF,
    LOCK,
    RWX,
    STATE_FREE,
    STATE_MASK,
    SUPPRESS_VE,
    TDB,
    entry_pfn,
    without_counter,
)
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    GPA_RANGE_NOT_BLOCKED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_RCX,
    OPERAND_SEPT_TREE,
    SUCCESS,
)
from kernels.transitions import holds_migration_epoch, removal_status, tracked

_LOW_BITS = np.uint64(0xFFF)
_LEVEL_BITS = np.uint64(7)
_LEAF_VIEW = RWX | np.uint64(7 << 3) | IPAT | LEAF | HPA_MASK | SUPPRESS_VE
_NL_VIEW = RWX | LEAF


@njit
def tell(entry, level, out):
    """Set RCX and RDX to the architectural view of ``entry``, found at ``level``."""
    if (entry & STATE_MASK) == STATE_FREE:
        out[RCX] = SUPPRESS_VE
    elif entry & LEAF:
        out[RCX] = entry & _LEAF_VIEW
    else:
        out[RCX] = entry & _NL_VIEW
    out[RDX] = np.uint64(level) | (np.uint64(api_state(entry)) << np.uint64(8))


@njit
def walk_module(module, td, gfn, level):
    """Walk as :func:`kernels.walk.walk` does, each table mapped; the last one stays mapped.

    Returns
    -------
    reached, row, index : int64
    entry : uint64
    """
    pfn = module.tds[td, ROOT_PFN]
    reached = module.tds[td, LEVELS] - 1
    while True:
        row = pfn - module.sept_pfn
        index = (gfn >> (9 * reached)) & 511
        map_own(module.trace, pfn, WRITABLE)
        sept_read(module.trace, row, index)
        entry = module.sept[row, index]
        if reached <= level or (entry & RWX) == 0 or (entry & LEAF) != 0:
            return reached, row, index, entry
        free_own(module.trace, pfn, WRITABLE)
        pfn = entry_pfn(entry)
        reached -= 1


@njit
def free_table(module, row):
    """Free the table that a walk has left mapped."""
    free_own(module.trace, row + module.sept_pfn, WRITABLE)


@njit
def split_gpa(module, td, rcx, low, high):
    """Return GFN and level in ``rcx`` (uint64), or -1 and the level where the operand is invalid."""
    level = np.int64(rcx & _LEVEL_BITS)
    reserved = rcx & _LOW_BITS & ~_LEVEL_BITS
    gfn = np.int64(rcx >> np.uint64(12))
    if reserved or level < low or level > high:
        return np.int64(-1), level
    if gfn & ((1 << (9 * level)) - 1) or gfn >> (module.tds[td, GPA_BITS] - 12):
        return np.int64(-1), level
    return gfn, level


@njit
def lock_tree(module, td, exclusive):
    """Take the S-EPT tree lock; return whether it was granted."""
    locked(module.trace, 1)
    return own(module.locks[td], TREE_LOCK) if exclusive else share(module.locks[td], TREE_LOCK)


@njit
def unlock_tree(module, td, exclusive):
    """Release the S-EPT tree lock."""
    locked(module.trace, 1)
    if exclusive:
        disown(module.locks[td], TREE_LOCK)
    else:
        unshare(module.locks[td], TREE_LOCK)


@njit
def locate(module, td, rcx, low, high, exclusive, allowed, out):
    """Find and lock the entry that RCX names; the tree stays locked too.

    Parameters
    ----------
    module : Module
        With the TD's key in force.
    td : int64
    rcx : uint64
    low, high : int64
        Levels that the call takes.
    exclusive : int64
        How to take the tree lock.
    allowed : uint64
        States the entry may be in, from :func:`kernels.entry_states.states`.
    out : ndarray of uint64, shape (16,)
        RCX and RDX are set where the status calls for them.

    Returns
    -------
    status, level, row, index : int64
        Nothing is held unless ``status`` is SUCCESS.
    """
    none = np.int64(-1)
    gfn, level = split_gpa(module, td, rcx, low, high)
    if gfn < 0:
        return OPERAND_INVALID + OPERAND_RCX, level, none, none
    if not lock_tree(module, td, exclusive):
        return OPERAND_BUSY + OPERAND_SEPT_TREE, level, none, none
    reached, row, index, entry = walk_module(module, td, gfn, level)
    if reached != level:
        tell(entry, reached, out)
        leave(module, td, row, exclusive)
        return EPT_WALK_FAILED + OPERAND_RCX, level, row, index
    status = SUCCESS
    sept_locked(module.trace, row, index, 2)
    if not lock_entry(module.sept, row, index):
        status = OPERAND_BUSY + OPERAND_RCX
    elif not allows(allowed, entry):
        unlock(module, row, index)
        status = EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    if status != SUCCESS:
        tell(entry, level, out)
        leave(module, td, row, exclusive)
    return status, level, row, index


@njit
def leave(module, td, row, exclusive):
    """Release what :func:`locate` holds beside the entry's own lock: the tree lock and the table's mapping."""
    unlock_tree(module, td, exclusive)
    free_table(module, row)


@njit
def unlock(module, row, index):
    """Release an entry's lock by a locked instruction of its own."""
    sept_read(module.trace, row, index)
    sept_locked(module.trace, row, index, 1)
    unlock_entry(module.sept, row, index)


@njit
def set_entry(module, row, index, entry, keep_lock):
    """Store ``entry``; with ``keep_lock`` False the same store releases its lock."""
    sept_written(module.trace, row, index)
    module.sept[row, index] = entry | LOCK if keep_lock else entry & ~LOCK


@njit
def must_be_blocked(module, td):
    """Whether the TD's op-state demands blocking and tracking before a mapping is taken away."""
    op_state = module.tds[td, OP_STATE]
    return op_state == RUNNABLE or op_state == LIVE_EXPORT or op_state == LIVE_IMPORT


@njit
def _epochs(module, td, bepoch):
    """Return TD_EPOCH and whether vCPUs of the epoch before are inside, as the module looks where ``bepoch`` counts."""
    if not holds_migration_epoch(bepoch):
        locked(module.trace, 1)
    epoch = module.tds[td, EPOCH]
    return epoch, module.tds[td, REFCOUNT + ((epoch - 1) & 1)] != 0


@njit
def is_tracked(module, td, bepoch):
    """Whether no vCPU can hold a translation from before the entry was blocked at epoch ``bepoch`` (uint64)."""
    epoch, previous_busy = _epochs(module, td, bepoch)
    return tracked(bepoch, epoch, previous_busy)


@njit
def check_removable(module, td, entry, level, bepoch, out):
    """Check that the mapping of ``entry``, found at ``level``, may be taken away; ``bepoch`` is of what it maps.

    Returns
    -------
    int64
        Status of :func:`kernels.transitions.removal_status`; of an entry that is not blocked the caller is told.
    """
    demanded = must_be_blocked(module, td)
    epoch, previous_busy = np.int64(0), False
    if demanded and entry & TDB:
        epoch, previous_busy = _epochs(module, td, bepoch)
    status = removal_status(demanded, entry, bepoch, epoch, previous_busy)
    if status == GPA_RANGE_NOT_BLOCKED + OPERAND_RCX:
        tell(without_counter(entry, level), level, out)
    return status


@njit
def add_children(module, td, pages):
    """Add ``pages`` 4K pages to TDR.CHLDCNT by a locked instruction."""
    locked(module.trace, 1)
    module.tds[td, CHLDCNT] += pages
