"""Secure-EPT entries: bit layout, raw values and states of TDX module 1.5.01.

Source: Intel TDX module, tag TDX_1.5.01 (commit 72d8cffb), ``x86_defs.h`` (``ia32e_sept_t``) and
``sept_manager.h``, https://github.com/intel/tdx-module.
"""

import numpy as np

from kernels.jit import njit, step

ENTRIES_PER_TABLE = 512
LEVEL_4K, LEVEL_2M, LEVEL_1G = 0, 1, 2

RWX = np.uint64(0x7)
WRITE_BACK = np.uint64(6 << 3)
IPAT = np.uint64(1 << 6)
LEAF = np.uint64(1 << 7)  # set in every leaf, 4K included
DIRTY = np.uint64(1 << 9)
LOCK = np.uint64(1 << 11)
HPA_MASK = np.uint64(0x000F_FFFF_FFFF_F000)
HOST_PRIORITY = np.uint64(1 << 52)
TDEX = np.uint64(1 << 53)
TDBW = np.uint64(1 << 54)
TDB = np.uint64(1 << 55)
TDP = np.uint64(1 << 56)
SUPPRESS_VE = np.uint64(1 << 63)

STATE_MASK = IPAT | LEAF | DIRTY | TDEX | TDBW | TDB | TDP
ACCEPT_COUNTER = np.uint64(511 << 12)  # overlays the HPA of a PENDING 2M leaf

FREE = SUPPRESS_VE | TDEX | TDBW | TDB
REMOVED = SUPPRESS_VE | TDBW | TDB
NL_MAPPED = SUPPRESS_VE | RWX
MAPPED = SUPPRESS_VE | LEAF | IPAT | WRITE_BACK | RWX
PENDING = SUPPRESS_VE | TDP | LEAF | IPAT | WRITE_BACK

NL_BLOCKED = SUPPRESS_VE | TDB
BLOCKED = SUPPRESS_VE | TDB | LEAF | IPAT | WRITE_BACK  # with TDP: PENDING_BLOCKED

STATE_FREE = FREE & STATE_MASK
STATE_REMOVED = REMOVED & STATE_MASK
STATE_PENDING = PENDING & STATE_MASK
STATE_PEND_EXP_DIRTY = STATE_PENDING | DIRTY | TDEX

_PAGE_SHIFT = np.uint64(12)


@njit
def make_entry(bits, pfn):
    """Return the raw entry with flag bits ``bits`` (uint64) that points to ``pfn`` (int64)."""
    return bits | (np.uint64(pfn) << _PAGE_SHIFT)


@njit
def entry_pfn(entry):
    """Return the PFN (int64) that ``entry`` points to."""
    return np.int64((entry & HPA_MASK) >> _PAGE_SHIFT)


@njit
def state_code(entry):
    """Return the module's 7-bit state code of ``entry``: D, TDEX, TDBW, TDB, TDP, IPAT, PS as bits 0 to 6."""
    dirty = (entry >> np.uint64(9)) & np.uint64(1)
    blocked_and_pending = (entry >> np.uint64(53)) & np.uint64(0xF)
    leaf = (entry >> np.uint64(6)) & np.uint64(3)
    return np.uint8(dirty | (blocked_and_pending << np.uint64(1)) | (leaf << np.uint64(5)))


@step
def hpa_of(entry, level):
    """Return the PFN in a leaf, without the accept counter of a PENDING 2M one."""
    return entry_pfn(entry) & ~((1 << (9 * level)) - 1)


@step
def without_counter(entry, level):
    """Return a leaf with the accept counter of a PENDING 2M page cleared; a count that PROMOTE left in 1G stays."""
    return entry & ~ACCEPT_COUNTER if level == 1 else entry
