"""Guest-physical layouts: where a TD's memory slots lie."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.errors import InputError
from perfmodel.names import LAYOUTS

_GIB_PAGES = 1 << 18


class Slot(NamedTuple):
    """A memory slot: guest pages ``[gfn, gfn + pages)``."""

    gfn: int
    pages: int


class GuestLayout(NamedTuple):
    """The memory slots of a TD, ascending and disjoint.

    ``q35`` follows QEMU's machine of that name: ``[0, min(M, 2 GiB))`` and the rest from 4 GiB.
    """

    slots: tuple[Slot, ...]

    @classmethod
    def build(cls, name: str, pages: int) -> "GuestLayout":
        """Lay ``pages`` guest pages out by ``name``, one of :data:`perfmodel.names.LAYOUTS`."""
        if name == "flat":
            return cls((Slot(0, pages),))
        if name == "q35":
            low = min(pages, 2 * _GIB_PAGES)
            high = pages - low
            return cls((Slot(0, low), *([Slot(4 * _GIB_PAGES, high)] if high else [])))
        raise InputError(f"layout {name!r}: accepted are {', '.join(LAYOUTS)}")

    @property
    def pages(self) -> int:
        """Number of 4K pages in all slots."""
        return sum(slot.pages for slot in self.slots)

    @property
    def end_gfn(self) -> int:
        """First GFN above the last slot."""
        return max(slot.gfn + slot.pages for slot in self.slots)

    def regions(self) -> Iterator[int]:
        """Yield, ascending, the index of every 1 GiB region that holds guest memory."""
        seen = -1
        for slot in self.slots:
            for index in range(slot.gfn // REGION_PAGES, -(-(slot.gfn + slot.pages) // REGION_PAGES)):
                if index > seen:
                    seen = index
                    yield index

    def in_region(self, index: int) -> list[tuple[int, int]]:
        """Return the parts of region ``index`` that are guest memory, as page offsets ``[start, end)``."""
        first = index * REGION_PAGES
        parts = []
        for slot in self.slots:
            start, end = max(slot.gfn, first), min(slot.gfn + slot.pages, first + REGION_PAGES)
            if start < end:
                parts.append((start - first, end - first))
        return parts

    def is_whole(self, index: int) -> bool:
        """Whether all of region ``index`` is guest memory of one slot."""
        return self.in_region(index) == [(0, REGION_PAGES)]

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """Return, for each page of region ``index``, whether it is guest memory."""
        mask = np.zeros(REGION_PAGES, np.bool_)
        for start, end in self.in_region(index):
            mask[start:end] = True
        return mask
