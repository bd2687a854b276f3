"""``thp``: a share of the 2M ranges in 2 MiB folios, the rest in 4K pages from smaller blocks."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import RANGE_PAGES, REGION_PAGES
from perfmodel.backings.one_block import OneBlockBacking, split_into_blocks
from perfmodel.backings.order0 import EVEN_SHARES
from perfmodel.layout import GuestLayout

_RANGES = REGION_PAGES // RANGE_PAGES


class ThpBacking(OneBlockBacking):
    """Transparent hugepages as far as the host had some.

    Parameters
    ----------
    guest : GuestLayout
    seed : int
    thp_share : float
        Share of each region's 2M ranges that one 2M folio backs.
    shares : mapping of int to float
        For the rest: share by order of the free block, orders above 8 left out.
    """

    name = "thp"

    def __init__(
        self,
        guest: GuestLayout,
        seed: int = 0,
        thp_share: float = 0.9,
        shares: Mapping[int, float] = EVEN_SHARES,
    ) -> None:
        super().__init__(guest, seed)
        small = {order: share for order, share in shares.items() if order < 9}
        total = sum(small.values())
        self._shares = {order: share / total for order, share in small.items()} if total else {0: 1.0}
        self._huge = math.floor(thp_share * _RANGES + 0.5)

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        random = self._random(index)
        frames = random.permutation(_RANGES).astype(np.int64)  # 2M frames of the block
        ranges = random.permutation(_RANGES)
        huge, small = ranges[: self._huge], ranges[self._huge :]
        offsets = np.empty((_RANGES, RANGE_PAGES), np.int64)
        order = np.zeros((_RANGES, RANGE_PAGES), np.int8)
        offsets[huge] = frames[: self._huge, None] * RANGE_PAGES + np.arange(RANGE_PAGES)
        order[huge] = 9
        left = np.sort(frames[self._huge :])[:, None] * RANGE_PAGES + np.arange(RANGE_PAGES)
        pages = split_into_blocks(left.size, self._shares, random)
        offsets[np.sort(small)] = left.ravel()[pages].reshape(-1, RANGE_PAGES)
        return offsets.ravel(), order.ravel()
