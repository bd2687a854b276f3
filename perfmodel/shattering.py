"""Shared 4K pages: which 1 GiB folios hold some, and where in them."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.layout import GuestLayout

_STREAM = 0x5A77


class Shattering(NamedTuple):
    """Where a guest's shared pages lie.

    Attributes
    ----------
    regions : frozenset of int
        1 GiB regions (whole folios of hugetlb-1g) that hold shared pages.
    pages : int
        Shared pages in each.
    layout : {"uniform", "clustered"}
        Pages drawn without replacement, or the first of the region.
    seed : int
    """

    regions: frozenset[int]
    pages: int
    layout: str
    seed: int

    @classmethod
    def draw(cls, guest: GuestLayout, share: float, pages: int, layout: str, seed: int) -> "Shattering":
        """Choose ``floor(share * folios + 0.5)`` of the guest's whole 1 GiB folios."""
        whole = [region for region in guest.regions() if guest.is_whole(region)]
        count = math.floor(share * len(whole) + 0.5)
        if layout == "uniform" and count:
            drawn = np.random.default_rng([_STREAM, seed]).choice(len(whole), count, replace=False)
            chosen = frozenset(whole[i] for i in drawn)
        else:
            chosen = frozenset(whole[:count])
        return cls(chosen, pages, layout, seed)

    def shared_pages(self, region: int) -> npt.NDArray[np.int64]:
        """Return the page offsets in ``region`` that are shared."""
        if region not in self.regions:
            return np.empty(0, np.int64)
        if self.layout == "clustered":
            return np.arange(self.pages, dtype=np.int64)
        draw = np.random.default_rng([_STREAM, self.seed, region])
        return draw.choice(REGION_PAGES, self.pages, replace=False, shuffle=False)
