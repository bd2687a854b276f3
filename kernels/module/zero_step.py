"""The zero-step filter of TDH.VP.ENTER: what a vCPU remembers of private faults that do not move its RIP.

A host that leaves a mapping away can make the guest execute one instruction again and again. From the 7th private
EPT-violation exit at an unchanged RIP on, the module logs each new GPA; with a logged GPA, the next entry takes the
S-EPT tree lock exclusively and walks to each, and does not enter while one of them still faults. ACCEPT's exits are
never logged. Source: Intel TDX module, tag TDX_1.5.01, ``td_exit_stepping.c``.

Kept per vCPU in ``state``: ndarray of int64, shape (ZERO_STEP_FIELDS,), all 0 at first. A RIP is int64, as its bits
are: only whether it moved counts.
"""

import numpy as np

from kernels.jit import njit
from kernels.module.guest_calls import vcpu_exit
from kernels.module.locate import free_table, lock_tree, unlock_tree, walk_module
from kernels.module.state import EXCLUSIVE, use_key_of
from kernels.replay_record import EV_VR, R8, R9, RCX, RDX
from kernels.sept_entry import LEAF, LEVEL_4K, RWX
from kernels.status import EPT_VIOLATION_EXIT, OPERAND_BUSY, OPERAND_SEPT_TREE, SUCCESS

THRESHOLD = 6
"""Exits at one RIP that are counted without effect. Kernel developers speak of 6 exits in all."""

LOG_SIZE = 32

FAULTS, LOGGED, ENTRY_RIP, LOG = 0, 1, 2, 3
"""Exits counted at this RIP (at most the threshold), GPAs logged, RIP at the last entry, first logged GFN."""

ZERO_STEP_FIELDS = LOG + LOG_SIZE

_LEAF_RWX = LEAF | RWX
_READ_ROW, _LENGTH = 1, 0  # of ``Trace.counts``: how many entries have been read
_NONE = np.uint64(0)


@njit
def note_exit(state, rip):
    """Forget counter and list if the guest moved since it entered; the module does so at every exit, of any reason.

    The vCPU will enter where it left: the RIP is kept as that of the entry, so that one exit may be noted twice.
    """
    if rip != state[ENTRY_RIP]:
        state[FAULTS] = 0
        state[LOGGED] = 0
        state[ENTRY_RIP] = rip


@njit
def log_private_violation(state, rip, gfn, threshold):
    """Note an EPT-violation exit at a private GPA.

    Not for ACCEPT's exits, nor for shared GPAs.

    Parameters
    ----------
    state : ndarray of int64, shape (ZERO_STEP_FIELDS,)
    rip, gfn : int64
    threshold : int64
        Exits that are only counted, such as ``THRESHOLD``; the exit that finds the RIP moved is the first of them.

    Returns
    -------
    bool
        Whether ``gfn`` is in the list now: False below the threshold, and for a new GPA with the list full.
    """
    note_exit(state, rip)
    if state[FAULTS] < threshold:
        state[FAULTS] += 1
        return False
    for i in range(LOG, LOG + state[LOGGED]):
        if state[i] == gfn:
            return True
    if state[LOGGED] == LOG_SIZE:
        return False
    state[LOG + state[LOGGED]] = gfn
    state[LOGGED] += 1
    return True


@njit
def _still_faults(module, td, gfn):
    """Whether the walk to ``gfn`` ends at anything but a leaf that may be read, written and executed.

    Event ``sr`` counts the entries of each walk for itself: those of 32 walks are more than ``Trace`` can tell apart.
    """
    module.trace.counts[_READ_ROW, _LENGTH] = 0
    _, row, _, entry = walk_module(module, td, gfn, LEVEL_4K)
    free_table(module, row)
    return (entry & _LEAF_RWX) != _LEAF_RWX


@njit
def filter_on_enter(module, td, vcpu, state, rip, out):
    """Look, once a vCPU counts for its epoch, whether it may enter.

    To be called after :func:`kernels.module.guest_calls.vcpu_enter` has succeeded. The list outlasts an entry that is
    let through: only a RIP that moved empties it.

    For an entry that is let through the module keeps the tree lock beyond the filter; here it is released at once.
    Section 8.1 of the facts leaves open: that the list is kept, that BUSY reverts the epoch reference too, and that
    the exit names the first logged GPA that faults (all three as later public sources have it); the exit's
    qualification and extended qualification, and R9 (assumed 0); the vCPU's remembered epoch (assumed to stay).

    Parameters
    ----------
    module : Module
    td, vcpu : int64
    state : ndarray of int64, shape (ZERO_STEP_FIELDS,)
    rip : int64
        The guest's RIP at this entry.
    out : ndarray of uint64, shape (16,)
        Registers of the exit, where there is one.

    Returns
    -------
    int64
        SUCCESS: the vCPU enters. OPERAND_BUSY with the tree's id, or EPT_VIOLATION_EXIT: it does not, and counts for
        no epoch.
    """
    module.trace.counts[0, EV_VR] += 1
    state[ENTRY_RIP] = rip
    if state[LOGGED] == 0:
        return SUCCESS
    status = SUCCESS
    if not lock_tree(module, td, EXCLUSIVE):
        status = OPERAND_BUSY + OPERAND_SEPT_TREE
    else:
        use_key_of(module, td)
        for i in range(LOG, LOG + state[LOGGED]):
            if _still_faults(module, td, state[i]):
                status = EPT_VIOLATION_EXIT
                out[R8] = np.uint64(state[i]) << np.uint64(12)
                out[RCX] = out[RDX] = out[R9] = _NONE
                break
        unlock_tree(module, td, EXCLUSIVE)
    if status != SUCCESS:
        vcpu_exit(module, td, vcpu)
    return status
