"""``order0``: 4K pages from the page allocator, contiguous as far as a stated distribution says."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.backings.one_block import OneBlockBacking, constant_order, split_into_blocks
from perfmodel.layout import GuestLayout
from perfmodel.names import MAX_BLOCK_ORDER

_ORDER = constant_order(0)

EVEN_SHARES = dict.fromkeys(range(MAX_BLOCK_ORDER + 1), 1 / (MAX_BLOCK_ORDER + 1))
"""Each free-block order gives the same share of the memory: a stand-in, not a host that was seen."""


class Order0Backing(OneBlockBacking):
    """Single pages that come out of free blocks of given orders, a block's pages ascending.

    Parameters
    ----------
    guest : GuestLayout
    seed : int
    shares : mapping of int to float
        Share of the memory by order of the free block it comes from.
    """

    name = "order0"

    def __init__(self, guest: GuestLayout, seed: int = 0, shares: Mapping[int, float] = EVEN_SHARES) -> None:
        super().__init__(guest, seed)
        self._shares = dict(shares)

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        return split_into_blocks(REGION_PAGES, self._shares, self._random(index)), _ORDER
