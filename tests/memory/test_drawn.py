"""Shared pages and chunk orders: as many as asked for, where asked for, and the same for the same seed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.layout import GuestLayout
from perfmodel.orders import chunk_order
from perfmodel.shattering import Shattering


@given(
    gib=st.integers(1, 40),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
    layout=st.sampled_from(["uniform", "clustered"]),
)
def test_share_of_whole_folios(gib: int, share: float, seed: int, layout: str) -> None:
    guest = GuestLayout.build("flat", gib * REGION_PAGES + 5)  # the last folio is not whole
    drawn = Shattering.draw(guest, share, 3, layout, seed)
    assert len(drawn.regions) == math.floor(share * gib + 0.5)
    assert all(guest.is_whole(region) for region in drawn.regions)
    assert layout == "uniform" or drawn.regions == frozenset(range(len(drawn.regions)))


@settings(deadline=None)
@given(pages=st.sampled_from([1, 2, 511, 4096, REGION_PAGES]), seed=st.integers(0, 9))
def test_shared_pages_are_distinct(pages: int, seed: int) -> None:
    guest = GuestLayout.build("flat", 2 * REGION_PAGES)
    drawn = Shattering.draw(guest, 1.0, pages, "uniform", seed)
    offsets = [drawn.shared_pages(region) for region in (0, 1)]
    assert all(len(np.unique(o)) == pages and o.min() >= 0 and o.max() < REGION_PAGES for o in offsets)
    assert np.array_equal(drawn.shared_pages(1), offsets[1])
    assert pages == REGION_PAGES or not np.array_equal(*offsets)


def test_clustered_takes_the_first_pages_and_others_none() -> None:
    guest = GuestLayout.build("flat", 4 * REGION_PAGES)
    drawn = Shattering.draw(guest, 0.25, 3, "clustered", 0)
    assert drawn.shared_pages(0).tolist() == [0, 1, 2]
    assert drawn.shared_pages(1).size == 0


@given(
    order=st.sampled_from(["sequential", "random", "striped"]),
    region=st.integers(0, 1 << 20),
    seed=st.integers(0, 99),
    vcpus=st.integers(1, 1024),
)
def test_chunk_orders_are_permutations(order: str, region: int, seed: int, vcpus: int) -> None:
    chunks = chunk_order(order, region, seed, vcpus)
    assert sorted(chunks.tolist()) == list(range(256))
    assert np.array_equal(chunks, chunk_order(order, region, seed, vcpus))


def test_striped_vcpus_proceed_in_step() -> None:
    assert chunk_order("striped", 0, 0, 4)[:5].tolist() == [0, 64, 128, 192, 1]
    assert chunk_order("striped", 0, 0, 1).tolist() == list(range(256))


@pytest.mark.parametrize("region", [0, 1])
def test_random_differs_by_region_and_seed(region: int) -> None:
    here = chunk_order("random", region, 0, 1)
    assert not np.array_equal(here, chunk_order("random", region + 1, 0, 1))
    assert not np.array_equal(here, chunk_order("random", region, 1, 1))
