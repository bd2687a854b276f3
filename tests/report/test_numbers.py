"""Are the numbers of a report those of the commands that it quotes?"""

import dataclasses
import math

import pytest

from perfmodel import Scenario, compare
from perfmodel.costs import cost_ratio, ledger, price, price_many
from perfmodel.life.phases import AcceptMismatch, Boot, Convert, Teardown
from perfmodel.life.scenario_file import Story, WhatIf
from perfmodel.life.story import live
from perfmodel.names import INTERFACES
from perfmodel.parameters import load_parameters
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.steady import SteadyScenario, run_steady

GUEST = {"memory": "3GiB", "shattered": 0.34}
PARAMETERS = load_parameters()


@pytest.fixture(scope="module")
def comparison():
    return compare(Scenario(**GUEST))


def lived(phases, savings=False, scenario=GUEST, **knobs):
    result = live(
        Story(name="x", scenario=Scenario(**scenario), what_if=WhatIf(**knobs), phases=phases), savings=savings
    )
    return {row.interface: row for row in result.rows}


@pytest.fixture(scope="module")
def static():
    return lived((Boot(), Teardown()), savings=True)


def seconds(cost):
    return pytest.approx((cost.total / 1e9, cost.low / 1e9, cost.high / 1e9), rel=1e-9)


def test_wrapper(written):
    for form, size, counter in (("page", "2M", "page_conversions"), ("folio", "4K", "folio_checks_4k"),
                                ("folio", "2M", "folio_checks_2m")):  # fmt: skip
        one = price(ledger({counter: 1}), PARAMETERS)
        row = written.row(1, "Cost of a call", form, size)
        assert row == pytest.approx((one.total_ns / 1e9, one.low_ns / 1e9, one.high_ns / 1e9), rel=1e-9)
        fault = written.row(1, "The fault itself", "PFN form", size)[0]
        share = written.row(1, "Share of the fault", form, size)[0]
        assert share == pytest.approx(100 * row[0] / (row[0] + fault))
    assert written.row(1, "Cost of a call", "PFN", "4K") == (0, None, None)


def test_populate(written, comparison):
    pfn = comparison.rows[-1]
    for row in comparison.rows:
        assert written.row(2, "Time to populate", "time", row.interface) == seconds(row.ns)
        for label, count in {"TD exits": row.td_exits, **row.seamcalls, **row.tdcalls}.items():
            assert written.row(2, "Exact counts", label, row.interface) == (count, None, None)
    for interface in ("page-4k", "folio-strict"):
        hang = next(one for one in written.answer(2).hangs_on if one.number == f"work, {interface} over pfn")
        assert 0 < hang.share <= 1
    assert pfn.interface == "pfn"


def test_headline_is_the_ratio_over_pfn(written):
    ledgers = written.situation.populate(written.situation.scenario).ledgers
    ratio = cost_ratio(ledgers[0], ledgers[-1], PARAMETERS)
    assert f"page-4k {ratio.value:.3g}x ({ratio.low:.3g} to" in written.report.headline
    assert written.report.headline.startswith("3 GiB, hugetlb-1g, 1 of 3 1G folios shattered: pfn populates it in ")


def test_other_backings(written):
    for backing in ("thp", "pfnmap"):
        row = compare(Scenario(**GUEST, backing=backing)).rows[-1]
        value, low, high = written.row(2, "Throughput on other", backing, "pfn")
        assert value == pytest.approx(row.gib_per_s)
        assert low < value < high


@pytest.mark.parametrize("vcpus", [1, 248])
def test_one_conversion(written, vcpus):
    state = {"vcpus": vcpus, "vcpu_state": "inside"} if vcpus > 1 else {}
    rows = lived((Boot(), Convert(count=1, pages=1, back=False)), scenario={"memory": "1GiB", **state})
    label = "1 vCPU" if vcpus == 1 else f"{vcpus} vCPUs"
    for name, row in rows.items():
        assert written.row(3, "One 4K page", label, name) == seconds(row.phases[1].ns)
        if vcpus == 1:
            splits = row.phases[1].counters["demote"]
            assert written.row(3, "Exact counts", "2M leaves split (BLOCK, TRACK, kick, DEMOTE)", name)[0] == splits
    assert rows["folio-strict"].phases[1].counters["demote"] == 512


def test_storm_among_vcpus(written):
    options = ScaleOptions(vcpus=(2,), workloads=("convert",), states=("inside",), samples=2)
    (curve,) = scale(Scenario(memory="3GiB", interfaces=("pfn",), vcpus=2), options=options).curves
    speed = curve.points[0].gib_per_s
    found = written.row(3, "A guest like this", "2 vCPUs, others inside", "pfn")
    assert found == pytest.approx(tuple(1 / (x * (1 << 18)) for x in (speed.value, speed.high, speed.low)))


def test_savings_are_those_of_what_if(written, static):
    knobs = {("flush", "first-page"): "flush the first 4K only", ("flush", "none"): "flush nothing",
             ("host_clear", False): "no clearing by the host"}  # fmt: skip
    for name in INTERFACES:
        for one in static[name].savings:
            if label := knobs.get((one.knob, one.instead)):
                found = written.row(4, "Saved of the guest", label, name)[0]
                assert found == pytest.approx(one.ns.value / 1e9), (name, label)
            if one.knob == "pfn_check":
                assert written.row(5, "Added to the guest", one.instead, name)[0] == pytest.approx(-one.ns.value / 1e9)


def test_stages_of_a_2m_fault(written):
    """A guest without shared pages is 2M faults under pfn; tables above are the rest."""
    (row,) = compare(Scenario(memory="1GiB", interfaces=("pfn",))).rows
    shares = {"cache-line flush": "flush", "clearing by the host": "host_clear",
              "zeroing by the module (ACCEPT)": "guest_zero"}  # fmt: skip
    for label, stage in shares.items():
        assert written.row(4, "Share of a 2M", label)[0] == pytest.approx(
            100 * row.ns.by_stage[stage] / row.ns.total, rel=0.01
        )


def test_write_lock(written):
    for vcpus, label in ((1, "1 vCPU"), (8, "8 vCPUs")):
        guest = {"memory": "1GiB"} | ({"vcpus": vcpus, "vcpu_state": "inside"} if vcpus > 1 else {})
        phase = lived((AcceptMismatch(), Boot()), scenario=guest)["pfn"].phases[0]
        held = sum(phase.ns.by_stage[stage] for stage in ("mmu_lock", "block", "track", "kick", "demote"))
        assert phase.counters["demote"] == 6
        assert written.row(6, "mmu_lock held", label, "pfn")[0] == pytest.approx(held / 6e9)


def test_zero_step_filter(written):
    assert written.row(6, "Zero-step", "exits at one RIP without effect")[0] == 6
    assert written.row(6, "Zero-step", "first exit that is logged")[0] == 7
    assert written.row(6, "Zero-step", "GPAs logged after 64 exits of ACCEPT at one RIP")[0] == 0


def test_dynamic_pamt(written, static):
    for way, fast in (("fast path", True), ("global lock", False)):
        rows = lived((Boot(), Teardown()), dynamic_pamt=True, dynamic_pamt_fast_path=fast)
        for name, row in rows.items():
            added = row.phases[0].ns.total - static[name].phases[0].ns.total
            assert written.row(7, "Time added", f"boot, {way}", name)[0] == pytest.approx(added / 1e9, rel=1e-6), name
            use = row.phases[0].after.memory_bytes
            total = use.pamt_static + use.pamt_dynamic + use.pamt_refcounts
            assert written.row(7, "PAMT after", "dynamic", name)[0] == total
            assert (
                written.row(7, "PAMT after", "static", name)[0] == static[name].phases[0].after.memory_bytes.pamt_static
            )


def test_teardown(written, static):
    reclaim = lived((Boot(), Teardown(how="reclaim")))
    for name in INTERFACES:
        assert written.row(8, "Time of the", "removal", name) == seconds(static[name].phases[1].ns)
        assert written.row(8, "Time of the", "reclaim", name) == seconds(reclaim[name].phases[1].ns)


def test_steady(written, comparison):
    result = run_steady(SteadyScenario(memory="3GiB", accesses=1 << 14))
    faster = result.speedups[0].times
    assert written.row(9, "How many times", "2M", "guest pages 4k") == (faster.value, faster.low, faster.high)
    for row in comparison.rows:
        assert written.row(9, "S-EPT pages", "tables", row.interface)[0] == row.host_table_pages * 4096
    (hang,) = written.answer(9).hangs_on
    assert hang.number == "2M over 4K"


def test_prefault(written, comparison):
    prefault = compare(Scenario(**GUEST, guest="prefault"))
    for before, after in zip(comparison.rows, prefault.rows, strict=True):
        saved = 100 * (1 - after.ns.total / before.ns.total)
        assert written.row(10, "Saved", "prefault", before.interface)[0] == pytest.approx(saved)


def test_vcpus(written):
    options = ScaleOptions(vcpus=(1, 2), samples=2)
    (curve,) = scale(Scenario(**GUEST, interfaces=("folio-strict",)), options=options).curves
    for point, label in zip(curve.points, ("1 vCPU", "2 vCPUs"), strict=True):
        found = written.row(11, "Throughput", label, "folio-strict")
        assert found == (point.gib_per_s.value, point.gib_per_s.low, point.gib_per_s.high)
    assert {one.number for one in written.answer(11).hangs_on} == {"page-4k, 3 vCPUs", "pfn, 3 vCPUs"}


def test_knobs_that_only_price_need_no_other_run(written):
    """Both savings together are of one life, re-priced."""
    life = written.situation.live(written.situation.alone, (Boot(), Teardown()))
    again = lived((Boot(), Teardown()), flush="none", host_clear=False)
    both = price_many([life.ledgers("pfn", flush="none", host_clear=False)[0]], PARAMETERS)[0]
    assert math.isclose(both.total_ns, again["pfn"].phases[0].ns.total)
    assert dataclasses.asdict(written.situation.alone)["vcpus"] == 1
