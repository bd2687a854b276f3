"""PAMT entries: 16 bytes at every level, kept as two uint64 words.

Word 0 holds the lock (bits 15:0), the page type (23:16) and the owner, TDR HPA >> 12 (63:24); word 1 the
bepoch. Source: Intel TDX module, tag TDX_1.5.01, ``tdx_global_data.h`` and ``pamt_manager.h``.
"""

import numpy as np

from kernels.jit import njit

ENTRY_BYTES = 16
ENTRIES_4K_PER_BLOCK = 1 << 18
ENTRIES_2M_PER_BLOCK = 512

PT_NDA, PT_RSVD, PT_REG, PT_TDR, PT_TDCX, PT_TDVPR, PT_EPT = 0, 1, 3, 4, 5, 6, 8
PT_PAMT = 15  # newer modules: a PAMT_2M entry that points to Dynamic PAMT pages

LOCK_EXCLUSIVE = np.uint64(1)
LOCK_HOST_PRIORITY = np.uint64(2)
LOCK_READER = np.uint64(4)
LOCK_MASK = np.uint64(0xFFFF)

_TYPE_SHIFT = np.uint64(16)
_OWNER_SHIFT = np.uint64(24)
TYPE_MASK = np.uint64(0xFF << 16)


@njit
def make_entry(page_type, owner_pfn):
    """Return word 0 of an unlocked entry of ``page_type`` owned by the TD whose TDR is at ``owner_pfn``."""
    return (np.uint64(page_type) << _TYPE_SHIFT) | (np.uint64(owner_pfn) << _OWNER_SHIFT)


@njit
def page_type(word):
    """Return the page type (int64) in ``word``."""
    return np.int64((word & TYPE_MASK) >> _TYPE_SHIFT)


@njit
def owner_pfn(word):
    """Return the PFN (int64) of the owner's TDR in ``word``."""
    return np.int64(word >> _OWNER_SHIFT)
