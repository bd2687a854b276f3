"""Are the counts of design section 5 met, to the unit?"""

import bridge
import numpy as np
import pytest
import twin_refusals as tw

from kernels.census import census_region
from kernels.counters import SEPT_ADD
from perfmodel import Scenario, compare, run
from perfmodel.backings.contract import RegionBacking
from perfmodel.backings.hugetlb_1g import Hugetlb1GBacking
from perfmodel.guests import GUESTS
from perfmodel.layout import GuestLayout, Slot
from perfmodel.memory import GuestMemory
from perfmodel.platform import Platform
from perfmodel.policies import POLICIES
from perfmodel.populate import describe, populate, populate_guest
from perfmodel.recognition import RegionTurn
from perfmodel.refusals import refusal_causes
from perfmodel.result import Row
from perfmodel.shattering import Shattering
from perfmodel.td_tables import TdTables

REGION = 1 << 18
ORDER = np.arange(REGION)
LINUX = ("linux-lazy", "linux-eager", "accept-range")


def accepts(row: Row) -> int:
    return row.tdcalls["TDG.MEM.PAGE.ACCEPT"]


def test_check_values() -> None:
    """64 GiB, hugetlb-1g, F = 0.1, flat, 4 levels, linux-lazy: exits, SEPT.ADD, ACCEPT and refusals."""
    rows = compare(Scenario(memory="64GiB", shattered=0.1)).rows
    found = {
        row.interface: (
            row.td_exits,
            row.seamcalls["TDH.MEM.SEPT.ADD"],
            accepts(row),
            {cause: n for cause, n in row.refused_hugepages.items() if n},
        )
        for row in rows
    }
    assert found == {
        "page-4k": (16_777_210, 32_833, 33_587_182, {"policy": 32_768}),
        "folio-strict": (1_602_554, 3_137, 3_208_174, {"mixed": 6, "folio": 3_066}),
        "folio-lenient": (35_828, 71, 71_656, {"mixed": 6}),
        "pfn": (35_828, 71, 71_656, {"mixed": 6}),
    }
    for row in rows:
        assert row.td_exits == row.faults == row.seamcalls["TDH.VP.ENTER"] == row.seamcalls["TDH.MEM.PAGE.AUG"]
        assert row.sept_pages == row.seamcalls["TDH.MEM.SEPT.ADD"]
        assert row.host_table_pages == 2 * row.sept_pages


class OneRegion:
    """A window with the tables above its one region's ranges in place."""

    def __init__(self, levels: int = 4) -> None:
        self.held = bridge.make_tables(levels)
        self.pfn = (bridge.FIRST_BLOCK << 18) + np.arange(REGION, dtype=np.int64)
        self.order = np.full(REGION, 18, np.int8)

    def run(self, guest: str, interface: str, use: np.ndarray, link_above: int | None = 1) -> dict[str, int]:
        behind = RegionBacking(self.pfn, self.order)
        facts = describe(behind, use)
        causes = refusal_causes(POLICIES[interface], facts, True)
        part = populate(self.held, RegionTurn(0, link_above), GUESTS[guest], POLICIES[interface], behind, use, facts,
                        causes, np.arange(256), ORDER,
                        np.empty(512, np.int64))  # fmt: skip
        census = np.zeros(3, np.int64)
        census_region(self.held.tables, 0, True, census)
        self.held.clear()
        counts = bridge.by_name(part.counts)
        assert census.tolist() == [counts["AUG_4K"], counts["AUG_2M"], 0]
        return {name: n for name, n in counts.items() if n and not name.endswith("LINES")}


def use_with(first: int, private: np.ndarray) -> np.ndarray:
    use = np.zeros(REGION, np.uint8)
    use[first : first + 512] = np.where(private, tw.ASKED, tw.SHARED)
    return use


WHOLE = np.ones(512, np.bool_)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("guest", LINUX)
def test_whole_range_on_demand(guest: str, levels: int) -> None:
    region, use = OneRegion(levels), use_with(3 * 512, WHOLE)
    assert region.run(guest, "page-4k", use) == {
        "TD_EXIT": 512, "VP_ENTER": 512, "FAULT": 512, "AUG_4K": 512, "SEPT_ADD": 1, "ACCEPT_EXIT": 512,
        "ACCEPT_SIZE_MISMATCH": 1, "ACCEPT_4K": 512,  # 1025 ACCEPTs
        "WALK_READS_HOST": (levels - 1) + 512 * levels,
        "WALK_READS_GUEST": 2 * (levels - 1) + levels + 511 * 2 * levels,
    }  # fmt: skip
    assert region.run(guest, "pfn", use) == {
        "TD_EXIT": 1, "VP_ENTER": 1, "FAULT": 1, "AUG_2M": 1, "ACCEPT_EXIT": 1, "ACCEPT_2M": 1,
        "WALK_READS_HOST": levels - 1, "WALK_READS_GUEST": 2 * (levels - 1),
    }  # fmt: skip


@pytest.mark.parametrize("levels", [4, 5])
def test_whole_range_prefaulted(levels: int) -> None:
    region, use = OneRegion(levels), use_with(511 * 512, WHOLE)
    assert region.run("prefault", "page-4k", use) == {
        "FAULT": 512, "PREFAULT": 512, "AUG_4K": 512, "SEPT_ADD": 1, "ACCEPT_SIZE_MISMATCH": 1, "ACCEPT_4K": 512,
        "WALK_READS_HOST": (levels - 1) + 512 * levels, "WALK_READS_GUEST": levels - 1 + 512 * levels,
    }  # fmt: skip
    assert region.run("prefault", "pfn", use) == {
        "FAULT": 1, "PREFAULT": 1, "AUG_2M": 1, "ACCEPT_2M": 1, "WALK_READS_HOST": levels - 1,
        "WALK_READS_GUEST": levels - 1,
    }  # fmt: skip


def pieces(guest: str, private: int) -> dict[str, int]:
    """Return what a range with ``private`` pages, and some shared, costs; walks left out."""
    if guest == "prefault":
        counts = {"FAULT": private, "PREFAULT": private, "AUG_4K": private, "ACCEPT_4K": private}
    else:
        names = ("TD_EXIT", "VP_ENTER", "FAULT", "AUG_4K", "ACCEPT_EXIT", "ACCEPT_4K")  # 2 ACCEPTs a page
        counts = dict.fromkeys(names, private)
    return counts | {"SEPT_ADD": 1} if private else {}


@pytest.mark.parametrize(("guest", "interface"), [("linux-lazy", "pfn"), ("prefault", "folio-lenient")])
def test_each_number_of_shared_pages(guest: str, interface: str) -> None:
    region, random = OneRegion(), np.random.default_rng(1)
    for shared in range(1, 513):
        private = np.ones(512, np.bool_)
        private[random.choice(512, shared, replace=False)] = False
        counts = region.run(guest, interface, use_with((shared - 1) * 512, private))
        assert {n: v for n, v in counts.items() if not n.startswith("WALK")} == pieces(guest, 512 - shared), shared


@pytest.mark.parametrize("interface", POLICIES)
@pytest.mark.parametrize("guest", [name for name, guest in GUESTS.items() if not guest.touch_first])
def test_all_numbers_of_shared_pages_at_once(guest: str, interface: str) -> None:
    """Range r has r + 1 shared pages, the last range 512: the interface does not matter."""
    use = np.where(np.arange(512) <= np.arange(512)[:, None], tw.SHARED, tw.ASKED).astype(np.uint8).ravel()
    counts = OneRegion().run(guest, interface, use)
    expected = pieces(guest, sum(range(512))) | {"SEPT_ADD": 511}
    assert {n: v for n, v in counts.items() if not n.startswith("WALK")} == expected


@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
@pytest.mark.parametrize(("memory", "layout", "gibs"), [("1GiB", "flat", 1), ("3588MiB", "flat", 3), ("3GiB", "q35", 3),
                                                        ("1020MiB", "flat", 0)])  # fmt: skip
def test_accept_range_tries_1g(memory: str, layout: str, gibs: int, interface: str) -> None:
    scenario = {"memory": memory, "layout": layout, "interfaces": (interface,)}
    (lazy,) = compare(Scenario(**scenario)).rows
    (range_,) = compare(Scenario(**scenario, guest="accept-range")).rows
    assert accepts(range_) == accepts(lazy) + gibs
    assert (range_.td_exits, range_.seamcalls) == (lazy.td_exits, lazy.seamcalls)


def test_accept_range_tries_no_1g_where_a_page_is_shared() -> None:
    scenario = Scenario(memory="4GiB", shattered=0.5, guest="accept-range", interfaces=("pfn",))
    (row,) = compare(scenario).rows
    assert accepts(row) == 2 + 2 * (4 * 512 - 2) + 2 * 2 * 511


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize(
    "gibs", [(0,), (0, 1), (511, 512), (0, 4, 5), (7, 600, 1024, 1025), (0, (1 << 17) - 1)], ids=str
)
def test_upper_tables(gibs: tuple[int, ...], levels: int) -> None:
    """One SEPT.ADD a touched GiB, one a touched 512 GiB, with 5 levels one a touched 256 TiB."""
    layout = GuestLayout(tuple(Slot(gib * REGION + 512, 512) for gib in gibs))
    backing = Hugetlb1GBacking(layout, 0)
    scenario = Scenario(memory=layout.pages << 12, levels=levels)
    memory = GuestMemory(scenario, layout, backing, Platform.covering(backing.blocks()),
                         Shattering(frozenset(), 1, "uniform", 0), {})  # fmt: skip
    expected = len(gibs) + len({g >> 9 for g in gibs})
    expected += len({g >> 18 for g in gibs}) if levels == 5 else 0
    huge, small = populate_guest(memory, [POLICIES["pfn"], POLICIES["page-4k"]], threads=1)
    assert huge.counts[SEPT_ADD] == expected
    assert small.counts[SEPT_ADD] == expected + len(gibs)


def test_the_first_fault_adds_every_upper_table() -> None:
    use = use_with(0, WHOLE)
    for levels in (4, 5):
        region = OneRegion(levels)
        assert region.run("linux-lazy", "pfn", use, None)["SEPT_ADD"] == levels - 2
        assert region.run("linux-lazy", "page-4k", use, None)["SEPT_ADD"] == levels - 1


def test_an_existing_table_keeps_a_range_at_4k() -> None:
    held: TdTables = bridge.make_tables()
    held.link_above(5 * 512, 0)  # a table of 4K entries for range 5
    pfn = (bridge.FIRST_BLOCK << 18) + np.arange(REGION, dtype=np.int64)
    behind = RegionBacking(pfn, np.full(REGION, 18, np.int8))
    use = np.full(REGION, tw.ASKED, np.uint8)
    facts = describe(behind, use)
    causes = refusal_causes(POLICIES["pfn"], facts, True)
    part = populate(held, RegionTurn(0, 2), GUESTS["linux-lazy"], POLICIES["pfn"], behind, use, facts, causes,
                    np.arange(256), ORDER,
                    np.empty(512, np.int64), True)  # fmt: skip
    counts = bridge.by_name(part.counts)
    assert (counts["AUG_2M"], counts["AUG_4K"], counts["SEPT_ADD"], counts["EXISTING_TABLE"]) == (511, 512, 0, 1)
    assert counts["ACCEPT_EXIT"] == 511 + 511 + 1  # the 2M ACCEPT of range 5 meets the table: no exit for it


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("interface", POLICIES)
def test_touch_first(interface: str, order: str) -> None:
    """Per 2M range mapped 4K: 512 exits, AUGs, #VE, ACCEPTs, one SEPT.ADD; mapped 2M: 2 exits, 1 AUG, 1 split."""
    ran = run(Scenario(memory="1GiB", guest="touch-first", interfaces=(interface,), order=order)).runs[0]
    row, n = ran.row, ran.counters
    split = interface != "page-4k"
    assert row.td_exits == row.seamcalls["TDH.VP.ENTER"] == 512 * (2 if split else 512)
    assert (n["aug_4k"], n["aug_2m"]) == ((0, 512) if split else (1 << 18, 0))
    assert n["virtualization_exception"] == 1 << 18
    assert accepts(row) == 512 * (513 if split else 512)
    assert row.seamcalls["TDH.MEM.SEPT.ADD"] == (2 if split else 512 + 2)
    called = [row.seamcalls.get(f"TDH.MEM.{leaf}", 0) for leaf in ("RANGE.BLOCK", "TRACK", "PAGE.DEMOTE")]
    assert called == [512 * split] * 3
    assert row.refused_hugepages["accept-level"] == 512 * split
    assert (row.leaves.size_4k, row.leaves.size_2m, row.sept_pages) == (1 << 18, 0, 514)
