"""Where conversions and holes lie: drawn from the seed, sorted by the region that they fall into."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.errors import InputError
from perfmodel.layout import GuestLayout
from perfmodel.life.phases import PAGE_BYTES, Convert, Phase, PunchHole
from perfmodel.sizes import parse_size

_STREAM = 0xC0417
_REQUEST_BYTES = 80


class Requests(NamedTuple):
    """Requests by region, those of one region in the order in which they are made.

    Attributes
    ----------
    regions : ndarray of int64, shape (n,)
        Ascending.
    first : ndarray of int64, shape (n,)
        First page, counted in its region.
    pages : int
        4K pages of each.
    """

    regions: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    pages: int

    def of(self, region: int) -> npt.NDArray[np.int64]:
        """Return the first pages of the requests in ``region``, in their order."""
        start, end = np.searchsorted(self.regions, (region, region + 1)).tolist()
        return self.first[start:end]


def need_of(phase: Phase, guest_pages: int) -> int:
    """Return about how many bytes it takes to draw the requests of ``phase``."""
    if isinstance(phase, PunchHole):  # drawn without repetition: NumPy may shuffle all places
        places = guest_pages * PAGE_BYTES // parse_size(phase.size, "size")
        return max(_REQUEST_BYTES * phase.count, 8 * places if phase.count > places // 50 else 0)
    return _REQUEST_BYTES * phase.count if isinstance(phase, Convert) else 0


def draw_conversions(phase: Convert, layout: GuestLayout, seed: int, number: int) -> Requests:
    """Draw the requests of the ``number``-th phase of a life.

    A request never crosses a 1 GiB boundary, as none of Linux's does: one it would cross begins earlier.
    """
    if phase.pages > REGION_PAGES:
        raise InputError(f"pages {phase.pages!r}: accepted is at most {REGION_PAGES}, the pages of 1 GiB")
    window_pages = layout.pages
    if phase.placement == "window":
        window_pages = parse_size(phase.window, "window") // PAGE_BYTES
    low = (layout.pages - window_pages) // 2
    draw = np.random.default_rng([_STREAM, seed, number])
    places = low + draw.integers(0, window_pages - phase.pages + 1, phase.count, dtype=np.int64)
    return _in_regions(places, phase.pages, layout)


def draw_holes(phase: PunchHole, layout: GuestLayout, seed: int, number: int) -> Requests:
    """Draw holes of the phase's size, aligned to it, no two at one place."""
    pages = parse_size(phase.size, "size") // PAGE_BYTES
    if pages > REGION_PAGES:
        raise InputError(f"size {phase.size!r}: accepted is at most 1 GiB")
    draw = np.random.default_rng([_STREAM, seed, number])
    places = draw.choice(layout.pages // pages, phase.count, replace=False).astype(np.int64) * pages
    return _in_regions(places, pages, layout)


def _in_regions(places: npt.NDArray[np.int64], pages: int, layout: GuestLayout) -> Requests:
    """Turn places among the guest's pages into regions and pages in them."""
    ends = np.cumsum([slot.pages for slot in layout.slots])
    slot = np.searchsorted(ends, places, side="right")
    starts = np.array([slot.gfn for slot in layout.slots], np.int64)
    gfns = places - (ends - [slot.pages for slot in layout.slots])[slot] + starts[slot]
    regions, first = gfns // REGION_PAGES, gfns % REGION_PAGES
    last = np.array([max(end for _, end in layout.in_region(int(r))) for r in np.unique(regions)], np.int64)
    room = last[np.searchsorted(np.unique(regions), regions)] - pages
    order = np.argsort(regions, kind="stable")
    return Requests(regions[order], np.maximum(np.minimum(first, room), 0)[order], pages)
