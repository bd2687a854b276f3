"""What every call on a TD checks before its own operands, and gives back at its end.

Source: Intel TDX module, tag TDX_1.5.01, ``helpers.c`` (``check_lock_and_map_explicit_tdr``,
``check_state_map_tdcs_and_lock``).
"""

import numpy as np

from kernels.jit import njit
from kernels.locks import share_hp, unshare_hp
from kernels.module.pamt_walk import lock_page_operand, unwalk_pamt
from kernels.module.state import (
    FATAL,
    KEYS_CONFIGURED,
    LIFECYCLE,
    NUM_TDCX,
    OP_STATE,
    OP_STATE_LOCK,
    TDCX,
    TDR_PFN,
    use_key_of,
)
from kernels.module.trace import GLOBAL_KEY, free_key, locked, map_key, map_tdcs
from kernels.pamt_entry import LOCK_EXCLUSIVE, LOCK_HOST_PRIORITY, PT_TDR
from kernels.status import (
    OP_STATE_INCORRECT,
    OPERAND_BUSY,
    OPERAND_OP_STATE,
    PAGE_METADATA_INCORRECT,
    SUCCESS,
    TD_FATAL,
    TD_KEYS_NOT_CONFIGURED,
    TDCS_NOT_ALLOCATED,
)

_TDCX_PAGES = 6


@njit
def find_td(module, tdr_pfn):
    """Return the index of the TD whose TDR is at ``tdr_pfn``, or -1."""
    for td in range(module.tds.shape[0]):
        if module.tds[td, TDR_PFN] == tdr_pfn:
            return np.int64(td)
    return np.int64(-1)


@njit
def begin(module, tdr, operand, exclusive, access, op_states):
    """Lock and map the TDR that register value ``tdr`` (uint64) names and check the TD's state.

    Parameters
    ----------
    module : Module
    tdr : uint64
    operand : int64
        Id of the register.
    exclusive : int64
        EXCLUSIVE takes the TDR exclusively and leaves the op-state lock alone.
    access : int64
        How the TDR is mapped.
    op_states : int64
        Bit mask of the op-states that allow the call.

    Returns
    -------
    status : int64
    td : int64
        Index of the TD; its TDR, and with a shared TDR its op-state, is locked if ``status`` is SUCCESS.
    """
    status, pfn = lock_page_operand(module, tdr, operand, 0, exclusive, PT_TDR)
    if status != SUCCESS:
        return status, np.int64(-1)
    td = find_td(module, pfn)
    if td < 0:  # a page of type TDR that is no TD of this model
        unwalk_pamt(module, pfn, 0, exclusive)
        return PAGE_METADATA_INCORRECT + operand, td
    use_key_of(module, td)
    map_key(module.trace, pfn + module.trace.context[GLOBAL_KEY], access)
    status = _check_state(module, td, exclusive, op_states)
    if status != SUCCESS:
        _release_tdr(module, td, exclusive, access)
    return status, td


@njit
def _release_tdr(module, td, exclusive, access):
    pfn = module.tds[td, TDR_PFN]
    unwalk_pamt(module, pfn, 0, exclusive)
    free_key(module.trace, pfn + module.trace.context[GLOBAL_KEY], access)


@njit
def check_life(module, td):
    """Check that the TD is alive, has its keys and its TDCX pages; map the latter."""
    fields = module.tds[td]
    if fields[FATAL]:
        return TD_FATAL
    if fields[LIFECYCLE] != KEYS_CONFIGURED:
        return TD_KEYS_NOT_CONFIGURED
    if fields[NUM_TDCX] < _TDCX_PAGES:
        return TDCS_NOT_ALLOCATED
    map_tdcs(module.trace, fields[TDCX : TDCX + fields[NUM_TDCX]])
    return SUCCESS


@njit
def share_op_state(module, td):
    """Take the op-state lock shared; return whether it was granted."""
    word = module.locks[td, OP_STATE_LOCK, 0]
    locked(module.trace, 1 + ((word & (LOCK_EXCLUSIVE | LOCK_HOST_PRIORITY)) != np.uint64(0)))
    return share_hp(module.locks[td], OP_STATE_LOCK)


@njit
def unshare_op_state(module, td):
    """Release the op-state lock."""
    locked(module.trace, 1)
    unshare_hp(module.locks[td], OP_STATE_LOCK)


@njit
def allows_op_state(module, td, op_states):
    """Whether the TD's op-state is in the bit mask ``op_states``."""
    return ((op_states >> module.tds[td, OP_STATE]) & 1) != 0


@njit
def _check_state(module, td, exclusive, op_states):
    status = check_life(module, td)
    if status != SUCCESS:
        return status
    if not exclusive and not share_op_state(module, td):
        return OPERAND_BUSY + OPERAND_OP_STATE
    if not allows_op_state(module, td, op_states):
        if not exclusive:
            unshare_op_state(module, td)
        return OP_STATE_INCORRECT
    return SUCCESS


@njit
def end(module, td, exclusive, access):
    """Release what :func:`begin` holds."""
    if not exclusive:
        unshare_op_state(module, td)
    _release_tdr(module, td, exclusive, access)
