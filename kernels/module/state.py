"""All that the exact calls work on: the platform, its PAMT, the pages of every S-EPT, the TDs."""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit
from kernels.module.trace import TD_KEY, Trace


class Module(NamedTuple):
    """A platform with its TDs, and where calls are counted.

    Attributes
    ----------
    platform : ndarray of int64, shape (PLATFORM_FIELDS,)
    pamt_1g : ndarray of uint64, shape (blocks, 2)
    pamt_2m : ndarray of uint64, shape (slots * 512, 2)
    pamt_4k : ndarray of uint64, shape (slots * 262144, 2)
    slot : ndarray of int32, shape (blocks,)
        As in :class:`kernels.tables.Tables`.
    sept : ndarray of uint64, shape (pages, 512)
        Content of every page from PFN ``sept_pfn`` on, as S-EPT entries. Address space: memory is used only for
        pages that have been written.
    sept_pfn : int
    tds : ndarray of int64, shape (tds, TD_FIELDS)
        Few arrays that hold much: each one that kernels pass on costs compile time.
    locks : ndarray of uint64, shape (tds, LOCKS, 1)
        Lock words of each TD.
    trace : Trace
    """

    platform: np.ndarray
    pamt_1g: np.ndarray
    pamt_2m: np.ndarray
    pamt_4k: np.ndarray
    slot: np.ndarray
    sept: np.ndarray
    sept_pfn: int
    tds: np.ndarray
    locks: np.ndarray
    trace: Trace


HKID_START_BIT, PRIVATE_HKID_MIN, SEAMRR_BASE, SEAMRR_SIZE = 0, 1, 2, 3
DYNAMIC_PAMT = 4  # whether PAMT_4K entries come in pairs of pages, as newer modules have it
PLATFORM_FIELDS = 5

TDR_PFN, ROOT_PFN, LEVELS, GPA_BITS, HKID = 0, 1, 2, 3, 4
FATAL, LIFECYCLE, NUM_TDCX, OP_STATE, NUM_VCPUS, CHLDCNT = 5, 6, 7, 8, 9, 10
EPOCH, REFCOUNT, VE_DISABLE = 11, 12, 14  # REFCOUNT is two fields, by epoch & 1
TDCX = 16  # nine fields: PFNs of the TDCX pages, HKID included
VCPU_EPOCH = 32  # a field a vCPU: the TD_EPOCH that it entered with last
MAX_VCPUS = 1024
TD_FIELDS = VCPU_EPOCH + MAX_VCPUS

TREE_LOCK, OP_STATE_LOCK, EPOCH_LOCK = 0, 1, 2
LOCKS = 3

HKID_ASSIGNED, KEYS_CONFIGURED, BLOCKED, TEARDOWN = 0, 1, 2, 3

(
    UNINITIALIZED,
    INITIALIZED,
    RUNNABLE,
    LIVE_EXPORT,
    PAUSED_EXPORT,
    POST_EXPORT,
    MEMORY_IMPORT,
    STATE_IMPORT,
    POST_IMPORT,
    LIVE_IMPORT,
    FAILED_IMPORT,
) = range(11)

SHARED, EXCLUSIVE = 0, 1


@njit
def use_key_of(module, td):
    """Put the HKID of a TD in force for the pages that are mapped from now on."""
    module.trace.context[TD_KEY] = module.tds[td, HKID] << (module.platform[HKID_START_BIT] - 12)
