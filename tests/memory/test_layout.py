"""Where do a guest's slots lie, and which regions hold them?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.errors import InputError
from perfmodel.layout import GuestLayout, Slot

GIB = REGION_PAGES


def test_flat_is_one_slot_from_zero() -> None:
    assert GuestLayout.build("flat", 3 * GIB).slots == (Slot(0, 3 * GIB),)


@pytest.mark.parametrize(
    ("pages", "slots"),
    [
        (GIB, (Slot(0, GIB),)),
        (2 * GIB, (Slot(0, 2 * GIB),)),
        (2 * GIB + 1, (Slot(0, 2 * GIB), Slot(4 * GIB, 1))),
        (7 * GIB, (Slot(0, 2 * GIB), Slot(4 * GIB, 5 * GIB))),
    ],
)
def test_q35_leaves_the_hole_below_4_gib(pages: int, slots: tuple[Slot, ...]) -> None:
    assert GuestLayout.build("q35", pages).slots == slots


def test_unknown_layout_is_named() -> None:
    with pytest.raises(InputError, match=r"layout 'pc': accepted are flat, q35"):
        GuestLayout.build("pc", GIB)


@given(name=st.sampled_from(["flat", "q35"]), pages=st.integers(1, 6 * GIB))
def test_regions_cover_every_page_once(name: str, pages: int) -> None:
    layout = GuestLayout.build(name, pages)
    regions = list(layout.regions())
    assert regions == sorted(set(regions))
    assert sum(int(layout.mask(region).sum()) for region in regions) == pages == layout.pages
    assert all(layout.is_whole(region) == bool(np.all(layout.mask(region))) for region in regions)
    assert (regions[-1] + 1) * GIB >= layout.end_gfn > regions[-1] * GIB
