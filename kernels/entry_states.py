"""States of S-EPT entries: what each call takes, and when a blocked one is safe to change.

Source: Intel TDX module, tag TDX_1.5.01, ``sept_state_lookup.c`` and ``sept_manager.c`` (``is_tlb_tracked``).
"""

import numpy as np

from kernels.jit import njit, step
from kernels.sept_entry import ACCEPT_COUNTER, entry_pfn, state_code

# API values of the entry states (RDX[15:8]), by the module's 7-bit state code; 255 is no state.
_API = np.full(128, 255, np.uint8)
for _code, _value in {
    0x0E: 0, 0x0C: 5, 0x00: 132, 0x08: 129, 0x60: 4, 0x68: 1, 0x70: 2, 0x78: 3, 0x64: 8, 0x74: 16,
    0x66: 9, 0x76: 17, 0x63: 11, 0x73: 19, 0x67: 12, 0x77: 20,
}.items():  # fmt: skip
    _API[_code] = _value

FREE, BLOCKED, PENDING, PENDING_BLOCKED, MAPPED, REMOVED = 0, 1, 2, 3, 4, 5
BLOCKEDW, EXP_BLOCKEDW, EXP_DIRTY, EXP_DIRTY_BLOCKEDW = 8, 9, 11, 12
PENDING_BLOCKEDW, PEND_EXP_BLOCKEDW, PEND_EXP_DIRTY, PEND_EXP_DIRTY_BLOCKEDW = 16, 17, 19, 20
NL_BLOCKED, NL_MAPPED = 129, 132

_NO_STATE = 255


def states(*values: int) -> int:
    """Return the bit mask of entry states that :func:`locate` takes."""
    return sum(1 << ((value & 31) | (value >> 7 << 5)) for value in values)


@njit
def api_state(entry):
    """Return the API value (int64) of the state of ``entry``."""
    return np.int64(_API[state_code(entry)])


@njit
def allows(mask, entry):
    """Whether the state of ``entry`` is in ``mask``."""
    state = api_state(entry)
    return state != _NO_STATE and ((mask >> ((state & 31) | (state >> 7 << 5))) & 1) != 0


BLOCKABLE = states(
    NL_MAPPED, MAPPED, PENDING, BLOCKEDW, PENDING_BLOCKEDW, NL_BLOCKED, BLOCKED, PENDING_BLOCKED
)  # fmt: skip
"""States that RANGE.BLOCK takes; those already blocked it answers with a status of their own."""
REMOVABLE = states(MAPPED, PENDING, BLOCKED, PENDING_BLOCKED, BLOCKEDW, PENDING_BLOCKEDW)
DEMOTABLE = states(MAPPED, PENDING, BLOCKED, PENDING_BLOCKED)
_MIGRATION_EPOCH = np.uint64(63)


@step
def holds_migration_epoch(bepoch):
    """Whether ``bepoch`` (uint64) is a migration epoch, which never counts as tracked."""
    return (bepoch >> _MIGRATION_EPOCH) != np.uint64(0)


@step
def tracked(bepoch, epoch, previous_busy):
    """Whether no vCPU can hold a translation from before the entry was blocked.

    Parameters
    ----------
    bepoch : uint64
        TD_EPOCH when the entry was blocked.
    epoch : int64
        TD_EPOCH now.
    previous_busy : bool
        Whether a vCPU of the epoch before is still inside the TD.
    """
    if holds_migration_epoch(bepoch):
        return False
    blocked = np.int64(bepoch)
    return blocked < epoch - 1 or (blocked == epoch - 1 and not previous_busy)


@step
def hpa_of(entry, level):
    """Return the PFN in a leaf, without the accept counter of a PENDING 2M one."""
    return entry_pfn(entry) & ~((1 << (9 * level)) - 1)


@step
def without_counter(entry, level):
    """Return a leaf with the accept counter of a PENDING 2M page cleared; a count that PROMOTE left in 1G stays."""
    return entry & ~ACCEPT_COUNTER if level == 1 else entry
