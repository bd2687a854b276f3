"""Do the laws of conservation hold on any run, and do the checks notice when one does not?"""

import math

import bridge
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perfmodel.populate as engine
from kernels.census import STRAY, census_region
from kernels.counters import SEPT_ADD, Counter
from kernels.populate import USE_NONE, USE_SHARED
from kernels.tables import TD_CHLDCNT
from perfmodel import Scenario, compare, run
from perfmodel.costs import STAGES, Ledger, ledger, price_many
from perfmodel.errors import ModelError
from perfmodel.memory import GuestMemory
from perfmodel.names import GUESTS, LAYOUTS, ORDERS, SHATTER_LAYOUTS
from perfmodel.parameters import load_parameters
from perfmodel.policies import POLICIES
from perfmodel.populate import Tally, populate_guest
from perfmodel.result import to_json

GIB_PAGES = 1 << 18
SIZES = (
    st.integers(1, 3 * GIB_PAGES)
    | st.integers(1, 4096)
    | st.sampled_from([512, GIB_PAGES - 1, GIB_PAGES, GIB_PAGES + 1, 2 * GIB_PAGES, 2 * GIB_PAGES + 512])
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    backing = draw(st.sampled_from(["order0", "thp", "hugetlb-2m", "hugetlb-1g", "pfnmap"]))
    able = ["pfn"] if backing == "pfnmap" else list(POLICIES)
    extra: dict[str, object] = {}
    if backing == "thp":
        extra["thp_share"] = draw(st.floats(0, 1))
    if backing in ("thp", "order0") and draw(st.booleans()):
        order = draw(st.integers(0, 10))
        extra["block_shares"] = {order: 0.75, (order + 3) % 11: 0.25}
    return Scenario(
        memory=draw(SIZES) * 4096,
        interfaces=tuple(draw(st.lists(st.sampled_from(able), unique=True, max_size=4))),
        backing=backing,
        guest=draw(st.sampled_from(GUESTS)),
        order=draw(st.sampled_from(ORDERS)),
        layout=draw(st.sampled_from(LAYOUTS)),
        levels=draw(st.sampled_from([4, 5])),
        shattered=draw(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)),
        shared_pages=draw(st.sampled_from([1, 2, 512, GIB_PAGES - 1]) | st.integers(1, GIB_PAGES - 1)),
        shatter_layout=draw(st.sampled_from(SHATTER_LAYOUTS)),
        seed=draw(st.integers(0, 1 << 32)),
        vcpus=draw(st.sampled_from((1, 1, 1, 1, 5))),  # several are simulated too, which takes longer than counting
        features_off=draw(st.sampled_from([(), (), ("ENHANCED_DEMOTE_INTERRUPTIBILITY",)])),
        **extra,  # type: ignore[arg-type]
    )


def asked_of(scenario: Scenario) -> dict[str, int]:
    """Count, from the uses of the pages alone, what the run has to come to."""
    memory = GuestMemory.build(scenario)
    n = dict.fromkeys(("asked", "shared", "ranges", "tables"), 0)
    touched = []
    for region in memory.layout.regions():
        _, use = memory.region(region)
        private = (use != USE_NONE) & (use != USE_SHARED)
        ranges = private.reshape(512, 512).any(axis=1)
        n["asked"] += int(private.sum())
        n["shared"] += int((use == USE_SHARED).sum())
        n["ranges"] += int(ranges.sum())
        touched += [region] if ranges.any() else []
    above = [{region >> 9 * up for region in touched} for up in range(scenario.levels - 2)]
    n["tables"] = sum(map(len, above))
    assert n["asked"] + n["shared"] == scenario.pages
    return n


RELAXED = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(scenario=scenarios())
def test_any_scenario(scenario: Scenario) -> None:
    asked = asked_of(scenario)
    result = compare(scenario)
    for row in result.rows:
        pages, leaves = row.pages, row.leaves
        assert (pages.asked, pages.shared, pages.refused) == (asked["asked"], asked["shared"], 0)
        assert pages.asked == pages.mapped + pages.refused
        assert pages.mapped == leaves.size_4k + 512 * leaves.size_2m
        assert sum(row.refused_hugepages.values()) + leaves.size_2m == asked["ranges"]
        assert row.sept_pages == asked["tables"] + asked["ranges"] - leaves.size_2m
        splits = row.seamcalls.get("TDH.MEM.PAGE.DEMOTE", 0)
        assert splits == 0 or scenario.guest == "touch-first"
        augs = row.seamcalls["TDH.MEM.PAGE.AUG"]
        assert augs == leaves.size_4k - 512 * splits + leaves.size_2m + splits == row.faults - splits
        assert row.td_exits == row.seamcalls["TDH.VP.ENTER"] == (0 if scenario.guest == "prefault" else row.faults)
        assert set(row.ns.by_stage) >= set(STAGES)
        for cost in (row.ns, row.cycles):
            assert math.isclose(sum(cost.by_stage.values()), cost.total, rel_tol=1e-9)
            assert 0 <= cost.low <= cost.high
    for row in msgspec.json.decode(to_json(result))["rows"]:
        for group in ("leaves", "pages", "seamcalls", "tdcalls", "refused_hugepages"):
            assert all(type(n) is int and n >= 0 for n in row[group].values()), group
        for name in ("faults", "td_exits", "sept_pages", "host_table_pages", "pamt_bytes"):
            assert type(row[name]) is int, name


@settings(parent=RELAXED, max_examples=10)
@given(scenario=scenarios())
def test_ledger_sums_to_the_total(scenario: Scenario) -> None:
    parameters = load_parameters()
    for one in run(scenario, parameters).runs:
        units = {(stage, unit): n for stage, rows in one.ledger.items() for unit, n in rows.items()}
        assert all(type(n) is int and n >= 0 for n in units.values())
        assert units == ledger(one.counters).units
        parts = [Ledger({key: n}) for key, n in units.items()]
        *priced, whole = price_many([*parts, Ledger(units)], parameters)
        total = whole.total_ns
        assert math.isclose(math.fsum(p.total_ns for p in priced), total, rel_tol=1e-9)
        assert math.isclose(one.row.ns.total, total, rel_tol=1e-9)


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """Runs in which every counter that a law names is at work."""
    found = {}
    for guest in ("linux-lazy", "prefault"):
        memory = GuestMemory.build(Scenario(memory="1GiB", shattered=1.0, guest=guest))
        (found[guest],) = populate_guest(memory, [POLICIES["pfn"]], threads=1)
    return found


BOUND = ["TD_EXIT", "VP_ENTER", "FAULT", "PREFAULT", "AUG_4K", "AUG_2M", "ACCEPT_4K", "ACCEPT_2M", "ACCEPT_EXIT"]


@pytest.mark.parametrize("by", [-1, 1, 1000])
@pytest.mark.parametrize("counter", BOUND)
@pytest.mark.parametrize("guest", ["linux-lazy", "prefault"])
def test_a_corrupt_counter_is_noticed(tallies: dict[str, Tally], guest: str, counter: str, by: int) -> None:
    corrupt = Tally()
    corrupt.add(tallies[guest])
    corrupt.check()
    corrupt.counts[Counter[counter]] += by
    with pytest.raises(ModelError, match="conservation broken"):
        corrupt.check()


@pytest.mark.parametrize("name", ["leaves_4k", "leaves_2m", "asked", "refused_pages"])
def test_a_corrupt_total_is_noticed(tallies: dict[str, Tally], name: str) -> None:
    corrupt = Tally()
    corrupt.add(tallies["linux-lazy"])
    setattr(corrupt, name, getattr(corrupt, name) + 1)
    with pytest.raises(ModelError, match="conservation broken"):
        corrupt.check()


@pytest.mark.parametrize("what", ["sept_add", "chldcnt"])
def test_tables_that_disagree_with_calls_are_noticed(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    original = engine.populate_region

    def corrupted(tables: object, *rest: object) -> object:
        status = original(tables, *rest)
        if what == "sept_add":
            rest[-1][SEPT_ADD] += 1  # type: ignore[index]
        else:
            tables.td[TD_CHLDCNT] -= 1  # type: ignore[attr-defined]
        return status

    monkeypatch.setattr(engine, "populate_region", corrupted)
    memory = GuestMemory.build(Scenario(memory="4MiB"))
    with pytest.raises(ModelError, match=r"disagree with the calls"):
        populate_guest(memory, [POLICIES["pfn"]], threads=1)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("what", ["owner", "type", "lock", "pending", "blocked"])
def test_a_stray_leaf_is_noticed(what: str, level: int) -> None:
    held = bridge.make_tables()
    driver = bridge.KernelModule(held)
    held.link_above(0, level)
    hpa = bridge.FIRST_BLOCK << 30
    assert driver.page_aug(0, level, hpa) == 0
    assert driver.accept(0, level) == 0
    census = np.zeros(3, np.int64)
    census_region(held.tables, 0, False, census)
    assert census.tolist() == [1 - level, level, 0]
    pamt = held.tables.pamt_2m if level else held.tables.pamt_4k
    at = int(held.tables.slot[bridge.FIRST_BLOCK]) * (512 if level else GIB_PAGES)
    _, row, index, _ = driver._at(0, level)
    if what == "pending":
        held.tables.sept[row, index] ^= np.uint64(1 << 56 | 7)
    elif what == "blocked":
        held.tables.sept[row, index] ^= np.uint64(1 << 55 | 7)
    else:
        pamt[at, 0] ^= np.uint64({"owner": 1 << 24, "type": 1 << 16, "lock": 1}[what])
    census[:] = 0
    census_region(held.tables, 0, False, census)
    assert census[STRAY] == 1
