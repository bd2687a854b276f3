"""What every backing answers: which host pages stand behind one GiB of guest-physical memory."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

REGION_PAGES = 1 << 18
"""4K pages in a region: the 1 GiB-aligned piece of guest-physical memory that is the unit of work."""

RANGE_PAGES = 512
"""4K pages in a range: the 2 MiB-aligned piece that one S-EPT leaf at level 1 maps."""

BLOCK_PAGES = 1 << 18
"""4K pages in a block: 1 GiB-aligned host-physical memory, one PAMT_1G entry."""

NO_PFN = -1


class RegionBacking(NamedTuple):
    """The host pages behind one region, in GFN order.

    Attributes
    ----------
    pfn : ndarray of int64, shape (REGION_PAGES,)
        Host page frame number of each guest page; ``NO_PFN`` where the guest has no memory.
    folio_order : ndarray of int8, shape (REGION_PAGES,)
        Order of the folio that holds the page, before guest_memfd splits any because of shared pages.
    """

    pfn: npt.NDArray[np.int64]
    folio_order: npt.NDArray[np.int8]


class Backing(Protocol):
    """A source of host memory for one guest.

    Equal arguments give equal answers, whatever the order of the calls: regions run on any thread.
    """

    name: str
    has_struct_page: bool

    def region(self, index: int) -> RegionBacking:
        """Return the pages behind GFNs ``index * REGION_PAGES`` and following."""
        ...

    def like_others(self, index: int) -> int | None:
        """Return the block behind region ``index`` if every region lies in its block as all others do, else None."""
        ...

    def blocks_of_widest_region(self) -> int:
        """Return how many of :meth:`blocks` the pages of one region lie in, at most."""
        ...

    def blocks(self) -> npt.NDArray[np.int64]:
        """Return the sorted numbers (HPA >> 30) of the 1 GiB blocks that hold the guest's pages."""
        ...
