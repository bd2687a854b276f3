"""Do the work tables add up to the counts observed by executing the TDX module, and is every unit priced?"""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.counters import ChangeCounter, LifeCounter
from perfmodel.costs import (
    ALL_STAGES,
    LIFE_STAGES,
    STAGES,
    Ledger,
    counter_names,
    ledger,
    price_many,
    unit_matrix,
    work_rows,
)
from perfmodel.parameters import default_parameters, load_parameters
from perfmodel.scaling.situation import CONTENTION_PARAMETERS

COUNTERS = {
    "td_exit",
    "vp_enter",
    "fault",
    "prefault",
    "sept_add",
    "aug_4k",
    "aug_2m",
    "accept_4k",
    "accept_2m",
    "accept_exit",
    "accept_size_mismatch",
    "accept_1g_invalid",
    "walk_reads_host",
    "walk_reads_guest",
    "sept_lines",
    "pamt_lines",
    *(f"{lines}_{level}" for lines in ("sept", "pamt", "control", "keyhole") for level in ("l2", "l3", "memory")),
    "flush_pages",
    "clear_pages",
    "folio_allocs",
    "gmem_lookups",
    "mirror_installs",
    "mirror_tables",
    "folio_checks_4k",
    "folio_checks_2m",
    "page_conversions",
    "keyhole_misses_host",
    "keyhole_misses_guest",
}

# Counters of the rest of a TD's life; some tell how much there was to do in an event that has its own, and those of 1G
# are calls that no module takes.
LIFE = {c.name.lower() for c in (*ChangeCounter, *LifeCounter)} | {
    "attribute_pages",
    "pfn_valid_checks",
    "convertible_checks",
    "aug_1g",
    "accept_1g",
    "block_1g",
    "remove_1g",
    "reclaim_1g",
    "folio_frees",
    "folio_split_pages",
    "flush_absent_pages",
    "kick_looks",
    "kick_rounds",
    "pamt_pairs_returned",
}

UNITS = ("keyhole_hit", "locked_operation", "movdir64b_line", "mfence", "module_instruction")

# TDX module 1.5.01, 4 levels, sequential steady state: counter, walk counter, S-EPT entries read, then UNITS.
# Instructions: short keyhole chains for AUG 4K; the middle of 10.5k to 10.9k for AUG 2M.
OBSERVED = [
    ("sept_add", "walk_reads_host", 3, (19, 20, 64, 1, 5_700)),
    ("aug_4k", "walk_reads_host", 4, (19, 19, 0, 0, 5_200)),
    ("aug_2m", "walk_reads_host", 3, (20, 18, 0, 0, 10_700)),
    ("accept_4k", "walk_reads_guest", 4, (5, 2, 64, 1, 1_900)),
    ("accept_2m", "walk_reads_guest", 3, (515, 2, 32_768, 512, 387_000)),
    # PAGE.ADD: the middle of 6.8k to 7.4k. WBINVD's MFENCE belongs to the lines that it flushes.
    ("page_add", "walk_reads_host", 4, (21, 12, 64, 1, 7_100)),
    ("mr_extend", "walk_reads_host", 4, (13, 6, 0, 0, 5_000)),
    ("block_4k", "walk_reads_host", 4, (13, 13, 0, 0, 3_900)),
    ("block_2m", "walk_reads_host", 3, (12, 13, 0, 0, 3_600)),
    ("mem_track", "walk_reads_host", 0, (8, 10, 0, 0, 2_240)),
    ("remove_4k", "walk_reads_host", 4, (13, 16, 0, 0, 3_850)),
    ("remove_2m", "walk_reads_host", 3, (12, 16, 0, 0, 3_800)),
    ("demote", "walk_reads_host", 3, (23, 23, 64, 1, 23_000)),
    ("promote", "walk_reads_host", 3, (16, 1_043, 0, 0, 29_900)),
    ("block_table", "walk_reads_host", 3, (12, 13, 0, 0, 3_600)),
    ("page_wbinvd", "walk_reads_host", 0, (8, 6, 0, 0, 2_500)),
    ("reclaim_4k", "walk_reads_host", 0, (8, 9, 0, 0, 2_250)),
]

# The same, keyhole misses per call; PAGE.ADD 1.1. Those of populating are replayed and so not here.
OBSERVED_MISSES = {
    "page_add": 1,
    "mr_extend": 0,
    "block_4k": 1,
    "block_2m": 0,
    "mem_track": 0,
    "remove_4k": 0,
    "remove_2m": 0,
    "demote": 4,
    "promote": 0,
    "block_table": 0,
    "page_wbinvd": 2,
    "reclaim_4k": 0,
}

SEAMCALLS = (
    "aug_2m",
    "aug_1g",
    "block_1g",
    "remove_1g",
    "reclaim_1g",
    "sept_add",
    "already_blocked",
    "reclaim_2m",
    "pamt_add",
    "pamt_remove",
    *OBSERVED_MISSES,
)

counters = st.dictionaries(st.sampled_from(sorted(COUNTERS | LIFE)), st.integers(0, 2**62))


@pytest.mark.parametrize(("call", "walk", "reads", "expected"), OBSERVED, ids=[row[0] for row in OBSERVED])
def test_fixed_part_and_walk_give_the_observed_counts(
    call: str, walk: str, reads: int, expected: tuple[int, ...]
) -> None:
    units = ledger({call: 1, walk: reads})
    assert tuple(units.total(unit) for unit in UNITS) == expected


@pytest.mark.parametrize(("call", "misses"), OBSERVED_MISSES.items())
def test_calls_that_are_not_replayed_miss_as_observed(call: str, misses: int) -> None:
    assert ledger({call: 1}).total("keyhole_miss") == misses


@pytest.mark.parametrize("call", SEAMCALLS)
def test_every_seamcall_has_the_way_in_and_out_of_an_aug(call: str) -> None:
    """Once, and wherever it is booked."""
    way = {unit: n for (stage, unit), n in ledger({"aug_4k": 1}).units.items() if stage == "seamcall"}
    assert way["seam_transition"] == 2
    units = ledger({call: 1})
    assert {unit: units.total(unit) for unit in way} == way


def test_hashes_and_lines_are_those_of_the_source() -> None:
    assert ledger({"page_add": 1}).total("sha384_block") == 1
    page = ledger({"mr_extend": 16})
    assert page.total("sha384_block") == 48
    assert page.total("flush_line") == 0
    assert ledger({"page_add": 1}).total("flush_line") == ledger({"demote": 1}).total("flush_line") == 64
    assert ledger({"page_wbinvd": 512}).total("flush_absent_line", "wbinvd") == 32_768
    assert ledger({"flush_absent_pages": 512}).units == {("flush", "flush_absent_line"): 32_768}
    assert ledger({"reset_page": 1}).units == {("reset", "movdir64b_line"): 64, ("reset", "mfence"): 1}
    assert ledger({"pamt_add": 1}).total("movdir64b_line") == 128


def test_a_call_at_1g_has_the_data_of_512_and_the_rest_of_one() -> None:
    """Keyhole misses of a 2M ACCEPT are replayed and so not in its rows; at 1G every map of the data misses."""
    large, giant = ledger({"accept_2m": 1}), ledger({"accept_1g": 1})
    for unit in ("movdir64b_line", "memory_encryption_write", "mfence", "module_instruction", "keyhole_hit", "rdmsr"):
        assert giant.total(unit) == 512 * large.total(unit)
    for unit in ("vmx_transition", "bhb_sequence", "vmread_vmwrite", "wrmsr", "locked_operation"):
        assert giant.total(unit) == large.total(unit)
    assert giant.total("keyhole_miss") == 512 * 512
    call = dict(ledger({"aug_1g": 1}).units)
    assert call.pop(("module_keyhole", "keyhole_miss")) == 3
    assert call == ledger({"aug_2m": 1}).units
    for name in ("block", "remove", "reclaim"):
        assert ledger({f"{name}_1g": 1}) == ledger({f"{name}_2m": 1})


def test_map_gpa_is_a_round_trip_without_a_fault() -> None:
    """Exit and entry as for a fault, then userspace instead of the fault path."""
    trip, fault = ledger({"map_gpa": 1}), ledger({"td_exit": 1, "vp_enter": 1})
    for stage in ("exit", "entry"):
        parts = [{unit: n for (s, unit), n in one.units.items() if s == stage} for one in (trip, fault)]
        assert parts[0] == parts[1]
    assert trip.total("userspace_exit") == trip.total("kvm_exit_dispatch", "convert") == 1
    assert trip.total("kvm_fault_path") == 0


def test_virtualization_exception_enters_the_module_twice() -> None:
    """The violation that the module turns into #VE, and TDG.VP.VEINFO.GET; the host sees neither."""
    units = ledger({"virtualization_exception": 1})
    assert units.total("vmx_transition") == 4
    assert units.total("seam_transition") == 0


def test_a_track_brings_one_request_and_a_kick_one_vcpu() -> None:
    assert ledger({"mem_track": 3}).total("kick_request", "kick") == 3
    assert ledger({"kick": 741}).units == {("kick", "kick_vcpu"): 741}
    assert ledger({"kick_looks": 744, "kick_rounds": 3}).units == {
        ("kick", "kick_look"): 744,
        ("kick", "kick_round"): 3,
    }


def test_round_trip_has_the_locked_operations_and_msr_accesses_of_the_source() -> None:
    units = ledger({"td_exit": 1, "vp_enter": 1})
    assert units.total("locked_operation", "exit") == 5
    assert units.total("locked_operation", "entry") == 10
    assert units.total("rdmsr") == 15
    assert 15 <= units.total("wrmsr") <= 20
    assert units.total("vmptrld") == 2
    assert units.total("seam_transition") == 2


def test_exiting_accept_brings_no_transition_of_its_own() -> None:
    """An ACCEPT that exits enters the module by td_exit's VM exit and is left by vp_enter's VMRESUME."""
    units = ledger({"accept_exit": 1, "td_exit": 1, "vp_enter": 1})
    assert units.total("vmx_transition") == 2
    assert ledger({"accept_exit": 1}).total("vmx_transition") == 0


def test_zeroing_is_apart_from_the_rest_of_accept() -> None:
    units = ledger({"accept_2m": 1})
    assert units.total("movdir64b_line", "guest_zero") == 32_768
    assert units.total("movdir64b_line", "guest_accept") == 0
    assert {stage for stage, _ in units.units} == {"guest_accept", "guest_zero"}


def test_counters_are_exactly_those_a_run_gives() -> None:
    assert set(counter_names()) == COUNTERS | LIFE
    assert not COUNTERS & LIFE


def test_every_parameter_prices_a_unit_of_work_or_what_meeting_others_costs() -> None:
    names = [parameter.name for parameter in default_parameters()]
    assert len(names) == len(set(names))
    assert set(names) == {row.unit for row in work_rows()} | set(CONTENTION_PARAMETERS)


def test_every_stage_is_used_and_no_row_stands_twice() -> None:
    keys = [(row.counter, row.stage, row.unit) for row in work_rows()]
    assert len(keys) == len(set(keys))
    assert {row.stage for row in work_rows()} == set(ALL_STAGES)
    assert len(ALL_STAGES) == len(set(ALL_STAGES))


def test_populating_is_in_its_own_stages_and_the_rest_is_not_in_them_alone() -> None:
    assert {row.stage for row in work_rows() if row.counter in COUNTERS} == set(STAGES)
    assert {row.stage for row in work_rows() if row.counter in LIFE} > set(LIFE_STAGES)


def test_stages_of_prices_are_those_of_all_ledgers_priced_together() -> None:
    populate, life = ledger({"aug_4k": 1}), ledger({"aug_4k": 1, "block_4k": 1})
    parameters = load_parameters()
    assert [tuple(p.by_stage_ns) for p in price_many([populate, Ledger({})], parameters)] == [STAGES, STAGES]
    alone = price_many([populate], parameters)[0]
    both = price_many([populate, life], parameters)
    assert [tuple(p.by_stage_ns) for p in both] == [ALL_STAGES, ALL_STAGES]
    assert {stage: ns for stage, ns in both[0].by_stage_ns.items() if ns} == {
        stage: ns for stage, ns in alone.by_stage_ns.items() if ns
    }
    assert both[0].total_ns == alone.total_ns
    assert both[0].low_ns == pytest.approx(alone.low_ns)


def test_every_row_has_a_positive_count_and_a_public_source() -> None:
    for row in work_rows():
        assert row.count > 0, row
        assert len(row.source) > 20, row
        assert "\n" not in row.source, row
        assert any(
            title in row.source
            for title in ("TDX module 1.5.01", "TDX module 2.0", "Linux ", "https://lore.kernel.org/")
        )


def test_unknown_counter_is_named() -> None:
    with pytest.raises(KeyError, match="no_such_counter"):
        ledger({"no_such_counter": 1})


def test_counts_must_be_integers() -> None:
    with pytest.raises(TypeError):
        ledger({"fault": 1.0})  # type: ignore[dict-item]
    assert ledger({"fault": np.int64(3)}) == ledger({"fault": 3})  # type: ignore[dict-item]


def test_counts_stay_exact_beyond_64_bit() -> None:
    n = 2**62 + 1
    assert ledger({"aug_2m": n}).total("module_instruction") == 9_950 * n


@settings(deadline=None)
@given(counters, counters)
def test_ledger_is_linear(a: dict[str, int], b: dict[str, int]) -> None:
    both = {name: a.get(name, 0) + b.get(name, 0) for name in a | b}
    assert ledger(a) + ledger(b) == ledger(both)


@settings(deadline=None)
@given(counters)
def test_unit_matrix_holds_the_ledger(a: dict[str, int]) -> None:
    one = ledger(a)
    names = [parameter.name for parameter in default_parameters()]
    matrix = unit_matrix([one, Ledger({})], names)
    stages = STAGES if {stage for stage, _ in one.units} <= set(STAGES) else ALL_STAGES
    assert matrix.shape == (2, len(stages), len(names))
    assert not matrix[1].any()
    for (stage, unit), count in one.units.items():
        assert matrix[0, stages.index(stage), operator.indexOf(names, unit)] == float(count)
