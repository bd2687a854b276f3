"""Do regions that are taken to be alike count what each of them would have counted alone?"""

from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel import Scenario, compare
from perfmodel.memory import GuestMemory
from perfmodel.names import BACKINGS, GUESTS, LAYOUTS, ORDERS, SHATTER_LAYOUTS
from perfmodel.policies import POLICIES
from perfmodel.populate import Tally, populate_guest
from perfmodel.recognition import RegionTurn, kind_of, merge_alike, region_turns

ALL = list(POLICIES.values())


def alike(memory: GuestMemory) -> list[RegionTurn]:
    return merge_alike(region_turns(memory), partial(kind_of, memory))


def content(tally: Tally) -> dict[str, object]:
    """Return everything a tally counts."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(tally).items()
        if name != "model_seconds"
    }


def both(scenario: Scenario) -> None:
    memory = GuestMemory.build(scenario)
    merged = populate_guest(memory, ALL)
    alone = populate_guest(memory, ALL, every_region=True)
    assert [content(t) for t in merged] == [content(t) for t in alone]


generated = [name for name in BACKINGS if name not in ("host", "extents")]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mib=st.integers(1, 6 * 1024),
    backing=st.sampled_from(generated),
    guest=st.sampled_from(GUESTS),
    order=st.sampled_from(ORDERS),
    layout=st.sampled_from(LAYOUTS),
    levels=st.sampled_from((4, 5)),
    shattered=st.sampled_from((0.0, 0.5, 1.0)),
    shared_pages=st.sampled_from((1, 700, 1 << 18)),
    shatter_layout=st.sampled_from(SHATTER_LAYOUTS),
    vcpus=st.sampled_from((1, 6)),
)
def test_same_counts_with_and_without(mib: int, **fields: object) -> None:
    both(Scenario(memory=mib << 20, **fields))


def test_across_tables_and_pamt_pages() -> None:
    """600 GiB: a second page of PDPT entries, and three pages of PAMT_1G entries."""
    memory = GuestMemory.build(Scenario(memory="600GiB"))
    merged = alike(memory)
    assert sum(turn.times for turn in merged) == 600
    # the first, those like it; a block that begins a page of PAMT_1G entries; one that begins the TDR's, those behind
    # it, and among them the first below a new table
    assert [(turn.region, turn.times) for turn in merged] == [(0, 1), (1, 506), (252, 1), (508, 1), (509, 90), (512, 1)]
    pfn = [POLICIES["pfn"]]
    assert content(populate_guest(memory, pfn)[0]) == content(populate_guest(memory, pfn, every_region=True)[0])


def test_clustered_shared_pages_are_alike_and_drawn_ones_not() -> None:
    kinds = {}
    for layout in SHATTER_LAYOUTS:
        memory = GuestMemory.build(
            Scenario(memory="20GiB", shattered=0.5, shared_pages=3, shatter_layout=layout, seed=7)
        )
        kinds[layout] = len(alike(memory))
    assert kinds["clustered"] == 3  # the first, shattered, whole
    assert 11 <= kinds["uniform"] <= 12


@pytest.mark.parametrize("backing", ["order0", "thp", "hugetlb-2m"])
def test_drawn_backings_are_never_alike(backing: str) -> None:
    memory = GuestMemory.build(Scenario(memory="9GiB", backing=backing))
    assert len(alike(memory)) == 9


def test_huge_guest_in_the_memory_of_a_small_one() -> None:
    """64 TiB: a page of 2M entries a GiB, one of 1G entries for each 512 GiB."""
    row = compare(Scenario(memory="64TiB", interfaces=("pfn",))).rows[0]
    assert row.leaves.size_2m == 64 << 19
    assert row.sept_pages == (64 << 10) + 128
    assert row.td_exits == row.faults == 64 << 19
