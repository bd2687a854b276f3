"""Completion statuses and operand ids of TDX module 1.5.01, as int64 so that kernels compare one type.

Source: Intel TDX module, tag TDX_1.5.01, ``tdx_error_codes_defs.h``.
"""

import numpy as np


def _status(value: int) -> np.int64:
    return np.int64(value - (1 << 64) if value >> 63 else value)


SUCCESS = _status(0)
OPERAND_INVALID = _status(0xC000_0100_0000_0000)
OPERAND_ADDR_RANGE_ERROR = _status(0xC000_0101_0000_0000)
INTERRUPTED_RESTARTABLE = _status(0x8000_0004_0000_0000)
OPERAND_BUSY = _status(0x8000_0200_0000_0000)
PREVIOUS_TLB_EPOCH_BUSY = _status(0x8000_0201_0000_0000)
OPERAND_BUSY_HOST_PRIORITY = _status(0x8000_0204_0000_0000)
PAGE_METADATA_INCORRECT = _status(0xC000_0300_0000_0000)
HPA_RANGE_NOT_FREE = _status(0xC000_0304_0000_0000)  # this and the next three: newer modules, Dynamic PAMT
NO_PAMT_PAGE_PAIR = _status(0xC000_0305_0000_0000)
PAMT_PAGE_NOT_EMPTY = _status(0xC000_0306_0000_0000)
MISSING_PAMT_PAGE_PAIR = _status(0x8000_0308_0000_0000)
TD_ASSOCIATED_PAGES_EXIST = _status(0xC000_0400_0000_0000)
TD_FATAL = _status(0xE000_0604_0000_0000)
TDCS_NOT_ALLOCATED = _status(0xC000_0606_0000_0000)
LIFECYCLE_STATE_INCORRECT = _status(0xC000_0607_0000_0000)
OP_STATE_INCORRECT = _status(0xC000_0608_0000_0000)
NO_VCPUS = _status(0xC000_0609_0000_0000)
TD_KEYS_NOT_CONFIGURED = _status(0x8000_0810_0000_0000)
EPT_WALK_FAILED = _status(0xC000_0B00_0000_0000)
EPT_ENTRY_NOT_PRESENT = _status(0xC000_0B03_0000_0000)
GPA_RANGE_NOT_BLOCKED = _status(0xC000_0B06_0000_0000)
GPA_RANGE_ALREADY_BLOCKED = _status(0x0000_0B07_0000_0000)
TLB_TRACKING_NOT_DONE = _status(0xC000_0B08_0000_0000)
EPT_INVALID_PROMOTE_CONDITIONS = _status(0xC000_0B09_0000_0000)
PAGE_ALREADY_ACCEPTED = _status(0x0000_0B0A_0000_0000)
PAGE_SIZE_MISMATCH = _status(0xC000_0B0B_0000_0000)
EPT_ENTRY_STATE_INCORRECT = _status(0xC000_0B0D_0000_0000)
EPT_PAGE_NOT_FREE = _status(0xC000_0B0E_0000_0000)

EPT_VIOLATION_EXIT = _status(0x30)
"""Not a status: ACCEPT ended in a TD exit with this basic exit reason (EPT violation, 48)."""

SEPT_POOL_EMPTY = np.int64(1)
"""Not a status: the model has no table page left to give to SEPT.ADD."""

LEAF_TOO_LARGE = np.int64(2)
"""Not a status: a 2M leaf also holds pages that are to stay, so it must be demoted first."""

OPERAND_RAX = np.int64(0)
OPERAND_RCX = np.int64(1)
OPERAND_RDX = np.int64(2)
OPERAND_R8 = np.int64(8)
OPERAND_R9 = np.int64(9)
OPERAND_TDR = np.int64(0x80)
OPERAND_SEPT_TREE = np.int64(0x92)
OPERAND_TD_EPOCH = np.int64(0xA9)
OPERAND_OP_STATE = np.int64(0xAC)


def as_unsigned(status: int) -> int:
    """Return ``status`` as the 64-bit value that RAX holds."""
    return int(status) & 0xFFFF_FFFF_FFFF_FFFF
