"""States of S-EPT entries by their API values, and sets of them.

Source: Intel TDX module, tag TDX_1.5.01, ``sept_state_lookup.c``.
"""

import numpy as np

from kernels.jit import njit, step
from kernels.sept_entry import state_code

FREE, BLOCKED, PENDING, PENDING_BLOCKED, MAPPED, REMOVED = 0, 1, 2, 3, 4, 5
BLOCKEDW, EXP_BLOCKEDW, EXP_DIRTY, EXP_DIRTY_BLOCKEDW = 8, 9, 11, 12
PENDING_BLOCKEDW, PEND_EXP_BLOCKEDW, PEND_EXP_DIRTY, PEND_EXP_DIRTY_BLOCKEDW = 16, 17, 19, 20
NL_BLOCKED, NL_MAPPED = 129, 132

# API values of the entry states (RDX[15:8]), by the module's 7-bit state code; 255 is no state.
_BY_CODE = {
    0x0E: FREE, 0x0C: REMOVED, 0x00: NL_MAPPED, 0x08: NL_BLOCKED, 0x60: MAPPED, 0x68: BLOCKED, 0x70: PENDING,
    0x78: PENDING_BLOCKED, 0x64: BLOCKEDW, 0x74: PENDING_BLOCKEDW, 0x66: EXP_BLOCKEDW, 0x76: PEND_EXP_BLOCKEDW,
    0x63: EXP_DIRTY, 0x73: PEND_EXP_DIRTY, 0x67: EXP_DIRTY_BLOCKEDW, 0x77: PEND_EXP_DIRTY_BLOCKEDW,
}  # fmt: skip
_API = np.full(128, 255, np.uint8)
for _code, _value in _BY_CODE.items():
    _API[_code] = _value
_CODE = {value: code for code, value in _BY_CODE.items()}
_LOW = np.uint64(0x3F)  # a state's code has both of IPAT and PS, bits 5 and 6, or none: six bits tell the states apart
_IPAT = np.uint64(0x20)
_NONE, _ONE = np.uint64(0), np.uint64(1)


def states(*values: int) -> np.uint64:
    """Return the set of the entry states with API ``values``: a bit for the low six bits of each one's code."""
    return np.uint64(sum(1 << (_CODE[value] & int(_LOW)) for value in values))


ANY = states(*_CODE)


@njit
def api_state(entry):
    """Return the API value (int64) of the state of ``entry``."""
    return np.int64(_API[state_code(entry)])


@step
def allows(mask, entry):
    """Whether the state of ``entry`` is in the set ``mask`` (uint64)."""
    code = np.uint64(state_code(entry))
    is_state = (code ^ (code >> _ONE)) & _IPAT == _NONE
    return is_state and (mask >> (code & _LOW)) & _ONE != _NONE
