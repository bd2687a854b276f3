"""Does a guest that streams through a window of tables count what it counts with all its tables in memory?"""

from dataclasses import replace

import bridge
import numpy as np
import pytest

from kernels.census import LEAVES_2M, LEAVES_4K, STRAY, census_region
from kernels.counters import SEPT_ADD
from kernels.pamt_entry import PT_EPT, PT_REG, PT_RSVD, PT_TDCX, PT_TDR
from kernels.tables import TD_CHLDCNT
from perfmodel import Scenario
from perfmodel.backings.contract import REGION_PAGES
from perfmodel.backings.hugetlb_1g import Hugetlb1GBacking
from perfmodel.backings.order0 import Order0Backing
from perfmodel.backings.thp import ThpBacking
from perfmodel.guests import GUESTS
from perfmodel.layout import GuestLayout, Slot
from perfmodel.memory import GuestMemory
from perfmodel.orders import chunk_order
from perfmodel.platform import Platform
from perfmodel.policies import POLICIES
from perfmodel.policies.contract import Policy
from perfmodel.populate import RegionRunner, Tally, describe, populate, populate_guest
from perfmodel.recognition import region_turns
from perfmodel.refusals import refusal_causes
from perfmodel.shattering import Shattering
from perfmodel.td_tables import TdTables

GIB = 1 << 18
ALL = list(POLICIES.values())


def place(scenario: Scenario, *slots: tuple[int, int], backing: type = Hugetlb1GBacking) -> GuestMemory:
    """Return the memory of a guest whose slots ``(first page, pages)`` no named layout has."""
    layout = GuestLayout(tuple(Slot(gfn, pages) for gfn, pages in slots))
    behind = backing(layout, scenario.seed)
    shattering = Shattering.draw(
        layout, scenario.shattered, scenario.shared_pages, scenario.shatter_layout, scenario.seed
    )
    scenario = replace(scenario, memory=layout.pages << 12)
    return GuestMemory(scenario, layout, behind, Platform.covering(behind.blocks()), shattering, {})


def run_whole(memory: GuestMemory, policy: Policy) -> tuple[Tally, TdTables]:
    """Populate with one set of tables that holds the whole guest, its upper tables made when first needed."""
    scenario = memory.scenario
    regions = list(memory.layout.regions())
    held = TdTables(memory.platform, scenario.levels, len(regions))
    held.load(memory.backing.blocks().tolist())
    total = Tally()
    for turn in region_turns(memory):
        behind, use = memory.region(turn[0])
        facts = describe(behind, use)
        causes = refusal_causes(policy, facts, not scenario.features_off)
        chunks = chunk_order(scenario.order, turn[0], scenario.seed, scenario.vcpus)
        total.add(populate(held, turn, GUESTS[scenario.guest], policy, behind, use, facts, causes, chunks,
                           np.arange(REGION_PAGES),
                           np.empty(512, np.int64), linked_above=True))  # fmt: skip
    census = np.zeros(3, np.int64)
    for region in regions:
        census_region(held.tables, region * REGION_PAGES, False, census)
    assert census[STRAY] == 0
    total.leaves_4k, total.leaves_2m = int(census[LEAVES_4K]), int(census[LEAVES_2M])
    total.check()
    return total, held


def types_of(held: TdTables) -> dict[tuple[int, int], int]:
    """Count the PAMT entries that are not all zero by (level, type)."""
    found = {}
    for level, array in enumerate((held.tables.pamt_4k, held.tables.pamt_2m, held.tables.pamt_1g)):
        used = np.unique(np.flatnonzero(array) // 2)
        kinds, counts = np.unique(array[used, 0] >> np.uint64(16) & np.uint64(0xFF), return_counts=True)
        found |= {(level, int(kind)): int(n) for kind, n in zip(kinds, counts, strict=True)}
    return found


def key_of(tally: Tally) -> dict[str, object]:
    """Return everything that a tally counts but folios, which do not depend on tables."""
    names = ("leaves_4k", "leaves_2m", "asked", "refused_pages", "shared")
    return {n: getattr(tally, n) for n in names} | {"counts": bridge.by_name(tally.counts),
                                                    "refused": tally.refused.tolist()}  # fmt: skip


MEMORIES = {
    "flat-1": lambda levels: GuestMemory.build(Scenario(memory="1GiB", levels=levels, shattered=1.0)),
    "flat-part": lambda levels: GuestMemory.build(
        Scenario(memory="1030MiB", levels=levels, order="random", backing="thp", guest="accept-range")
    ),
    "flat-3": lambda levels: GuestMemory.build(
        Scenario(memory="3GiB", levels=levels, shattered=0.4, shared_pages=700, guest="prefault")
    ),
    "q35-3": lambda levels: GuestMemory.build(
        Scenario(memory="3GiB", levels=levels, layout="q35", order="striped", vcpus=6, backing="hugetlb-2m")
    ),
    "across-512-GiB": lambda levels: place(
        Scenario(levels=levels, shattered=0.5, shared_pages=3), (511 * GIB, 2 * GIB), backing=ThpBacking
    ),
    "three-tables": lambda levels: place(
        Scenario(levels=levels), (5 * GIB, 700), (600 * GIB + 512, 512), (601 * GIB, 513), (5000 * GIB, 1024)
    ),
    "top": lambda levels: place(
        Scenario(levels=levels, order="random"), (0, 1), ((1 << 17) * GIB - 600, 600), backing=Order0Backing
    ),
}


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("name", MEMORIES)
def test_window_equals_whole(name: str, levels: int) -> None:
    memory = MEMORIES[name](levels)
    tallies = populate_guest(memory, ALL, threads=1)
    for policy, tally in zip(ALL, tallies, strict=True):
        whole, held = run_whole(memory, policy)
        assert key_of(tally) == key_of(whole)
        sept_pages = int(whole.counts[SEPT_ADD])
        expected = {(0, PT_TDR): 1, (0, PT_TDCX): 6, (0, PT_EPT): sept_pages, (0, PT_REG): whole.leaves_4k,
                    (1, PT_REG): whole.leaves_2m}  # fmt: skip
        assert types_of(held) == {k: n for k, n in expected.items() if n}
        assert held.tables.td[TD_CHLDCNT] == sept_pages + whole.mapped


def test_across_256_tib() -> None:
    """Only with 5 levels: two tables of level-3 entries."""
    memory = place(Scenario(levels=5), ((1 << 18) * GIB - GIB, 2 * GIB))
    (tally,) = populate_guest(memory, [POLICIES["pfn"]], threads=1)
    whole, _ = run_whole(memory, POLICIES["pfn"])
    assert key_of(tally) == key_of(whole)
    assert tally.counts[SEPT_ADD] == 2 + 2 + 2


@pytest.mark.parametrize("name", ["flat-3", "q35-3", "three-tables"])
def test_threads_do_not_matter(name: str) -> None:
    memory = MEMORIES[name](4)
    one, three = populate_guest(memory, ALL, threads=1), populate_guest(memory, ALL, threads=3)
    assert [key_of(t) | {"folios": t.folios} for t in one] == [key_of(t) | {"folios": t.folios} for t in three]


@pytest.mark.parametrize("name", ["flat-part", "across-512-GiB", "top"])
def test_the_window_is_free_again(name: str) -> None:
    memory = MEMORIES[name](4)
    runner = RegionRunner(memory, ALL)
    for turn in region_turns(memory):
        runner.run(turn)
    assert types_of(runner._window) == {(0, PT_TDR): 1, (0, PT_TDCX): 6}
    assert runner._window.tables.td[TD_CHLDCNT] == 0


def test_reserved_pages_stay_reserved() -> None:
    """Blocks take turns in the window's slots; a block's reserved pages come with it and go with it."""
    held = bridge.make_tables(blocks=3, reserved=((0, 8192), (1 << 30, 4096)))
    assert types_of(held)[0, PT_RSVD] == 3
    held.load([6])
    held.load([4])
    held.load([5])
    inside = types_of(held)
    assert inside == {(0, PT_TDR): 1, (0, PT_TDCX): 6, (0, PT_RSVD): 3}


@pytest.mark.parametrize("levels", [4, 5])
def test_a_region_without_private_pages_leaves_no_tables(levels: int) -> None:
    """The first GiB is wholly shared: the second one's fault still has to add the tables above it."""
    memory = GuestMemory.build(
        Scenario(memory="2GiB", levels=levels, shattered=0.5, shared_pages=1 << 18, shatter_layout="clustered")
    )
    (tally,) = populate_guest(memory, [POLICIES["pfn"]], threads=1)
    whole, _ = run_whole(memory, POLICIES["pfn"])
    if whole.counts[SEPT_ADD] != levels - 2:
        pytest.fail("the reference itself is wrong")
    assert key_of(tally) == key_of(whole)
