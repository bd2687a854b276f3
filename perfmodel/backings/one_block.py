"""Generated backings: every region of the guest has one 1 GiB block of host memory to itself."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import BLOCK_PAGES, REGION_PAGES, RegionBacking
from perfmodel.layout import GuestLayout

FIRST_BLOCK = 4
"""HPA >> 30 of the first block: above the 4 GiB that firmware and devices share."""


class OneBlockBacking:
    """Base of the generated backings: the n-th region of the guest lies in the n-th block.

    Parameters
    ----------
    guest : GuestLayout
    seed : int
    """

    name: str
    has_struct_page = True
    uniform = False
    """Whether all blocks are filled alike."""

    def __init__(self, guest: GuestLayout, seed: int = 0) -> None:
        self._regions = np.fromiter(guest.regions(), np.int64)
        self._seed = seed

    def blocks(self) -> npt.NDArray[np.int64]:
        """Return the sorted numbers (HPA >> 30) of the blocks that hold the guest's pages."""
        return FIRST_BLOCK + np.arange(self._regions.size, dtype=np.int64)

    def region(self, index: int) -> RegionBacking:
        """Return the pages behind region ``index``."""
        offsets, folio_order = self._fill(index)
        return RegionBacking(self._block(index) * BLOCK_PAGES + offsets, folio_order)

    def like_others(self, index: int) -> int | None:
        """Return the block behind region ``index`` if all are filled alike."""
        return self._block(index) if self.uniform else None

    def blocks_of_widest_region(self) -> int:
        """Return 1: a region has a block to itself."""
        return 1

    def _block(self, index: int) -> int:
        return FIRST_BLOCK + int(np.searchsorted(self._regions, index))

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Return each page's offset in the region's block and the order of its folio."""
        raise NotImplementedError

    def _random(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, index, *self.name.encode()])


def constant_order(order: int) -> npt.NDArray[np.int8]:
    """Return a region of folios that all have ``order``."""
    return np.full(REGION_PAGES, order, np.int8)


def split_into_blocks(pages: int, shares: Mapping[int, float], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Hand ``pages`` pages out in naturally aligned runs, the runs in random order.

    Parameters
    ----------
    pages : int
    shares : mapping of int to float
        Share of the memory that comes in runs of each page-allocator order; the shares sum to 1, and what does
        not divide comes in single pages.
    random : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (pages,)
        Offsets in the order in which the guest gets them. Runs are placed largest first, so each is aligned.
    """
    orders: list[int] = []
    left = pages
    for order in sorted(shares, reverse=True):
        count = min(round(shares[order] * pages) >> order, left >> order)
        orders += [order] * count
        left -= count << order
    sizes = np.left_shift(1, np.array(orders + [0] * left, np.int64))
    starts = np.cumsum(sizes) - sizes
    turn = random.permutation(sizes.size)
    sizes, starts = sizes[turn], starts[turn]
    ends = np.cumsum(sizes)
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(pages, dtype=np.int64)
