"""Are the counts behind an observation those of its scenario, by hand, and is a price all that is left?"""

from collections import Counter

import msgspec
import numpy as np
import pytest

from perfmodel import Scenario, compare
from perfmodel.calibration.design import build_design
from perfmodel.calibration.observations import Observation, built_in, parse_observations
from perfmodel.calibration.operations import count
from perfmodel.costs import ALL_STAGES, ledger
from perfmodel.parameters import ParameterSet, load_parameters

PAGES = 512


def observation(**fields: str) -> Observation:
    row = {"id": "X", "memory": "1GiB", "quantity": "time-per-page", "value": "1", "unit": "us"} | fields
    return parse_observations(",".join(row) + "\n" + ",".join(row.values()) + "\n", "test")[0]


def counts(**fields: str) -> dict[str, int]:
    """Return counters of a GiB, per 2 MiB, without what upper tables add."""
    found = count(observation(**fields)).counters
    return {name: n // PAGES for name, n in found.items() if n >= PAGES}


def test_populating_at_4k() -> None:
    n = counts(operation="populate")
    golden = {
        "td_exit": 512, "vp_enter": 512, "fault": 512, "aug_4k": 512, "sept_add": 1, "accept_4k": 512,
        "accept_exit": 512, "accept_size_mismatch": 1, "clear_pages": 512, "folio_allocs": 512, "gmem_lookups": 512,
        "flush_pages": 513,
    }  # fmt: skip
    assert {name: n[name] for name in golden} == golden
    assert "flush_absent_pages" not in n


def test_populating_at_2m() -> None:
    n = counts(operation="populate", page_size="2M")
    golden = {"td_exit": 1, "fault": 1, "aug_2m": 1, "accept_2m": 1, "accept_exit": 1, "clear_pages": 512,
              "folio_allocs": 1, "flush_pages": 512}  # fmt: skip
    assert {name: n[name] for name in golden} == golden


def test_a_host_that_does_not_clear_flushes_lines_that_no_cache_holds() -> None:
    n = counts(operation="populate", knobs="host_clear=false")
    assert (n["flush_absent_pages"], n["flush_pages"]) == (512, 1)  # the table page has just been zeroed
    assert "clear_pages" not in n


@pytest.mark.parametrize(("request_pages", "requests"), [(512, 1), (1, 512)])
def test_a_grant_asks_before_it_populates(request_pages: int, requests: int) -> None:
    n = Counter(counts(operation="grant", request_pages=str(request_pages)))
    n.subtract(counts(operation="populate"))
    assert {name: more for name, more in n.items() if more} == {
        "map_gpa": requests, "set_attributes": requests, "write_lock": requests, "attribute_pages": 512,
    }  # fmt: skip


@pytest.mark.parametrize("inside", [0, 5])
def test_converting(inside: int) -> None:
    n = counts(operation="convert", vcpus="8", inside=str(inside))
    golden = dict.fromkeys(("block_4k", "mem_track", "remove_4k", "page_wbinvd", "attribute_pages", "folio_frees",
                            "flush_absent_pages"), 512)  # fmt: skip
    golden |= {"map_gpa": 1, "set_attributes": 1, "write_lock": 1, "punch_hole": 1, "kick_looks": 8 * 512}
    assert {name: n[name] for name in golden} == golden
    assert (n.get("kick", 0), n.get("kick_rounds", 0)) == (inside * 512, 512 * (inside > 0))
    assert "td_exit" not in n  # nothing of the boot


def test_shutting_down() -> None:
    removal = counts(operation="shutdown-removal", vcpus="4", knobs="reset_pages=true")
    golden = dict.fromkeys(("block_4k", "mem_track", "remove_4k", "page_wbinvd", "folio_frees"), 512)
    assert {name: removal[name] for name in golden} == golden
    assert (removal["kick_looks"], "kick" in removal) == (4 * 512, False)
    reclaim = counts(operation="shutdown-reclaim", vcpus="4")
    assert (reclaim["reclaim_4k"], reclaim["folio_frees"], "mem_track" in reclaim) == (513, 512, False)
    assert count(observation(operation="shutdown-reclaim")).extras == {"vmm_shutdown": 1}
    assert count(observation(operation="shutdown-reclaim", covers="reclaim")).extras == {}


def test_faults_that_no_seamcall_serves() -> None:
    one = count(observation(operation="shared-fault", memory="2MiB", covers="kvm_fault", quantity="time-per-fault"))
    assert one.counters == {"td_exit": 512, "fault": 512, "vp_enter": 512}
    assert (one.per, one.calls) == (512, 512)  # of a call of the baseline, KVM's exit alone is covered


@pytest.mark.parametrize(("tracer", "extras"), [("none", 0), ("service", 1), ("addresses", 2)])
def test_tracers_run_once_a_fault(tracer: str, extras: int) -> None:
    found = count(observation(operation="populate", knobs=f"tracer={tracer}")).extras
    assert list(found.values()) == [512 * PAGES] * extras


@pytest.mark.parametrize("fast", ["true", "false"])
def test_references_of_dynamic_pamt(fast: str) -> None:
    get = count(observation(operation="pamt-get", memory="2MiB", knobs=f"dynamic_pamt_fast_path={fast}")).counters
    put = count(observation(operation="pamt-put", memory="2MiB", knobs=f"dynamic_pamt_fast_path={fast}")).counters
    locks = 1 if fast == "true" else 512
    assert (get["pamt_get"], get["pamt_add"], get["pamt_lock"]) == (512, 1, locks)
    assert (put["pamt_put"], put["pamt_remove"], put["pamt_lock"]) == (512, 1, locks)
    assert get.get("pamt_pairs_returned", 0) == locks - 1  # all but the one that is used
    assert "pamt_pairs_returned" not in put


def test_measuring_a_page_takes_16_calls() -> None:
    assert count(observation(operation="measure", memory="4KiB")).counters == {"mr_extend": 16, "walk_reads_host": 64}


def test_counts_grow_with_memory_and_nothing_else() -> None:
    small, large = (count(observation(operation="shutdown-removal", memory=m)).counters for m in ("1GiB", "16GiB"))
    for name, n in small.items():
        if name != "reclaim_4k":  # tables above
            assert large[name] == 16 * n, name
    assert large["reclaim_4k"] - 16 * small["reclaim_4k"] == -15  # one table of 512 GiB for all


def test_a_prediction_is_counts_times_prices(prior: ParameterSet) -> None:
    """A twin in plain Python over the ledger, with clocks, coverage and differences."""
    design = build_design(built_in(), prior.parameters)
    prices = np.exp(np.random.default_rng(3).normal(0, 1, design.units.shape[2]))
    found = design.unscaled_ns(prices).sum(axis=1)
    by_id = {}
    for i, one in enumerate(design.rows):
        counted = design.counted[i]
        names = [p.name for p in prior.parameters]
        total = 0.0
        for (stage, unit), n in ledger(counted.counters).units.items():
            if stage in one.stages:
                k = names.index(unit)
                total += n * prices[k] / (one.core_ghz if prior.parameters[k].unit == "cycles" else 1.0)
        extra_names = ("tracer_service", "tracer_addresses", "guest_touch", "vmm_shutdown")
        total += sum(n * prices[len(names) + extra_names.index(name)] for name, n in counted.extras.items())
        by_id[one.id] = total / counted.per
        expected = by_id[one.id] - (by_id[one.minus] if one.minus else 0.0)
        assert found[i] == pytest.approx(expected, rel=1e-12), one.id


def test_covered_stages_alone_are_in_a_row(prior: ParameterSet) -> None:
    one = observation(operation="populate", covers="exit entry")
    design = build_design([one], prior.parameters)
    used = {ALL_STAGES[s] for s in np.flatnonzero(design.units[0, :-1].any(axis=1))}
    assert used == {"exit", "entry"}


@pytest.mark.parametrize(
    ("page_size", "interface", "backing"), [("4K", "page-4k", "order0"), ("2M", "pfn", "hugetlb-2m")]
)
def test_compare_says_what_validate_says(page_size: str, interface: str, backing: str) -> None:
    """The same guest, prices and clock give the same time by both ways."""
    parameters = load_parameters()
    one = msgspec.structs.replace(
        observation(operation="populate", memory="2GiB", quantity="time", unit="s", page_size=page_size),
        core_ghz=parameters.core_ghz,
    )  # fmt: skip
    design = build_design([one], parameters.parameters)
    values = np.array([p.value for p in parameters.parameters] + [0.0] * 4)
    blocks = {"block_shares": {10: 1.0}} if backing == "order0" else {}
    row = compare(Scenario(memory="2GiB", interfaces=(interface,), backing=backing, **blocks)).rows[0]
    assert design.unscaled_ns(values).sum() == pytest.approx(row.ns.total, rel=1e-12)
