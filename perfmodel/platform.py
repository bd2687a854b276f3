"""The host-physical memory that the TDX module knows: TDMRs, their blocks, and where KVM's tables lie."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import BLOCK_PAGES
from perfmodel.host.tdmr import Tdmr

_PAGE_BYTES, _BLOCK_BYTES = 1 << 12, 1 << 30


class Platform(NamedTuple):
    """Initialised TDMRs and one more block, above them, that S-EPT pages and the TDR come from.

    Attributes
    ----------
    tdmrs : tuple of Tdmr
        Those that hold guest memory; 1 GiB granular, with reserved areas.
    control_block : int
        HPA >> 30 of the block for control pages, in a TDMR of its own.
    """

    tdmrs: tuple[Tdmr, ...]
    control_block: int

    @classmethod
    def covering(cls, blocks: npt.NDArray[np.int64]) -> "Platform":
        """Return a platform with one TDMR, without reserved areas, from the first to the last of ``blocks``."""
        first, last = int(blocks[0]), int(blocks[-1])
        return cls((Tdmr(first * _BLOCK_BYTES, (last - first + 1) * _BLOCK_BYTES, ()),), last + 1)

    @classmethod
    def of(cls, tdmrs: Sequence[Tdmr]) -> "Platform":
        """Return the platform with ``tdmrs``."""
        return cls(tuple(tdmrs), max(t.base + t.size for t in tdmrs) // _BLOCK_BYTES)

    @property
    def has_holes(self) -> bool:
        """Whether any TDMR has a reserved area or any address lies between two."""
        return len(self.tdmrs) > 1 or any(t.reserved for t in self.tdmrs)

    def holds_block(self, block: int) -> bool:
        """Whether an initialised TDMR covers ``block``."""
        hpa = block * _BLOCK_BYTES
        return block == self.control_block or any(t.base <= hpa < t.base + t.size for t in self.tdmrs)

    def convertible(self, pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return, for each of ``pfn``, whether it lies in a TDMR and outside its reserved areas."""
        hpa = pfn * _PAGE_BYTES
        inside = np.zeros(pfn.shape, np.bool_)
        for tdmr in self.tdmrs:
            inside |= (hpa >= tdmr.base) & (hpa < tdmr.base + tdmr.size)
            for offset, size in tdmr.reserved:
                start = tdmr.base + offset
                inside &= (hpa + _PAGE_BYTES <= start) | (hpa >= start + size)
        return inside

    def reserved_pages(self, block: int) -> list[tuple[int, int]]:
        """Return the reserved 4K pages of ``block`` as page offsets ``[start, end)``, cut to the block."""
        first = block * _BLOCK_BYTES
        pages = []
        for tdmr in self.tdmrs:
            for offset, size in tdmr.reserved:
                start = max((tdmr.base + offset - first) // _PAGE_BYTES, 0)
                end = min(-(-(tdmr.base + offset + size - first) // _PAGE_BYTES), BLOCK_PAGES)
                if start < end:
                    pages.append((start, end))
        return pages


def static_pamt_bytes(tdmr_bytes: int) -> int:
    """Return the size of a TDMR's three PAMT arrays, each rounded up to 4 KiB.

    The TDMR is 1 GiB granular and an entry has 16 bytes at every level. The formula reproduces the PAMT sizes
    that two public host logs print, https://github.com/canonical/tdx/issues/385 and
    https://github.com/canonical/tdx/issues/135.
    """
    pamt = 0
    for page_bytes in (1 << 12, 1 << 21, 1 << 30):
        pamt += -(-16 * (tdmr_bytes // page_bytes) // _PAGE_BYTES) * _PAGE_BYTES
    return pamt
