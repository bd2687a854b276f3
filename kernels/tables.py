"""The arrays that kernels work on: one TD's S-EPT, the PAMT below it, and the TD's own fields."""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit
from kernels.sept_entry import FREE


class Tables(NamedTuple):
    """One TD and the physical-memory metadata that it meets.

    Attributes
    ----------
    sept : ndarray of uint64, shape (pages, 512)
        Raw S-EPT entries. Row ``i`` is the table page at PFN ``sept_pfn + i``.
    sept_pfn : int
        PFN of the first row of ``sept``.
    pamt_1g : ndarray of uint64, shape (blocks, 2)
        PAMT_1G entries, indexed by HPA >> 30.
    pamt_2m : ndarray of uint64, shape (slots * 512, 2)
    pamt_4k : ndarray of uint64, shape (slots * 262144, 2)
        PAMT_2M and PAMT_4K entries of the blocks that ``slot`` names.
    slot : ndarray of int32, shape (blocks,)
        Where a block's PAMT_2M and PAMT_4K entries lie; -1 where no initialised TDMR covers the block.
        TDMRs are 1 GiB granular, so this equals the module's linear scan of its TDMRs.
    td : ndarray of int64, shape (TD_FIELDS,)
        The TD's fields, indexed by the ``TD_`` constants.
    """

    sept: np.ndarray
    sept_pfn: int
    pamt_1g: np.ndarray
    pamt_2m: np.ndarray
    pamt_4k: np.ndarray
    slot: np.ndarray
    td: np.ndarray


TD_TDR_PFN = 0
TD_ROOT = 1  # row of the root S-EPT page, which is TDCS page 3
TD_LEVELS = 2
TD_CHLDCNT = 3  # pages assigned to the TD, in 4K units
TD_NEXT_SEPT = 4  # row that KVM gives to the module next
TD_GPA_BITS = 5  # position of the shared bit: 47 (gpaw 0) or 51 (gpaw 1)
TD_FIELDS = 6


@njit
def fill_free(sept, row):
    """Fill table page ``row`` with FREE entries, which are not 0."""
    for index in range(sept.shape[1]):
        sept[row, index] = FREE
