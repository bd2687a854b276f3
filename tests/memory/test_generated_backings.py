"""Do generated backings hand every page out once, aligned, and the same for the same seed?"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.backings.contract import RANGE_PAGES, REGION_PAGES, Backing
from perfmodel.backings.hugetlb_1g import Hugetlb1GBacking
from perfmodel.backings.hugetlb_2m import Hugetlb2MBacking
from perfmodel.backings.one_block import FIRST_BLOCK, split_into_blocks
from perfmodel.backings.order0 import Order0Backing
from perfmodel.backings.pfnmap import PfnmapBacking
from perfmodel.backings.thp import ThpBacking
from perfmodel.layout import GuestLayout

KINDS = [Hugetlb1GBacking, Hugetlb2MBacking, Order0Backing, PfnmapBacking, ThpBacking]
THREE = GuestLayout.build("q35", 3 * REGION_PAGES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_handed_out_once(kind: Callable[..., Backing]) -> None:
    backing = kind(THREE, 7)
    pfns = np.concatenate([backing.region(index).pfn for index in THREE.regions()])
    first = FIRST_BLOCK * REGION_PAGES
    assert np.array_equal(np.sort(pfns), np.arange(first, first + 3 * REGION_PAGES))
    assert np.array_equal(np.unique(pfns >> 18), backing.blocks())


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides_and_order_of_calls_does_not(kind: Callable[..., Backing]) -> None:
    one, two = kind(THREE, 7), kind(THREE, 7)
    later = two.region(4).pfn
    assert np.array_equal(one.region(0).pfn, two.region(0).pfn)
    assert np.array_equal(one.region(4).pfn, later)
    drawn = kind in (Hugetlb2MBacking, Order0Backing, ThpBacking)
    assert np.array_equal(kind(THREE, 8).region(0).pfn, one.region(0).pfn) != drawn


@pytest.mark.parametrize("kind", [Hugetlb2MBacking, ThpBacking, Hugetlb1GBacking])
def test_folios_are_contiguous_and_aligned(kind: Callable[..., Backing]) -> None:
    behind = kind(THREE, 3).region(1)
    pfn, order = behind.pfn.reshape(-1, RANGE_PAGES), behind.folio_order.reshape(-1, RANGE_PAGES)
    huge = (order >= 9).all(axis=1)
    assert huge.any()
    assert (pfn[huge, 0] % RANGE_PAGES == 0).all()
    assert (np.diff(pfn[huge], axis=1) == 1).all()
    assert ((order >= 9).any(axis=1) == huge).all()


@pytest.mark.parametrize(("share", "ranges"), [(0.0, 0), (0.5, 256), (0.9, 461), (1.0, 512)])
def test_thp_share_is_exact_in_each_region(share: float, ranges: int) -> None:
    behind = ThpBacking(THREE, 1, thp_share=share).region(0)
    assert int((behind.folio_order == 9).sum()) == ranges * RANGE_PAGES
    rest = behind.pfn.reshape(-1, RANGE_PAGES)[behind.folio_order.reshape(-1, RANGE_PAGES)[:, 0] == 0]
    assert not len(rest) or not (np.diff(rest, axis=1) == 1).all(axis=1).any()


@settings(deadline=None)
@given(
    weights=st.lists(st.floats(0, 1), min_size=11, max_size=11).filter(lambda w: sum(w) > 0.1),
    pages=st.integers(1, 1 << 14),
    seed=st.integers(0, 99),
)
def test_runs_are_aligned_and_complete(weights: list[float], pages: int, seed: int) -> None:
    shares = {order: weight / sum(weights) for order, weight in enumerate(weights)}
    offsets = split_into_blocks(pages, shares, np.random.default_rng(seed))
    assert np.array_equal(np.sort(offsets), np.arange(pages))


def test_order0_runs_have_the_stated_orders() -> None:
    behind = Order0Backing(THREE, 5, {10: 1.0}).region(0)
    runs = behind.pfn.reshape(-1, 1024)
    assert (np.diff(runs, axis=1) == 1).all()
    assert (runs[:, 0] % 1024 == 0).all()
    assert (behind.folio_order == 0).all()
