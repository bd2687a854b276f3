"""Do the work tables add up to the counts observed by executing the TDX module, and is every unit priced?"""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.costs import STAGES, Ledger, counter_names, ledger, unit_matrix, work_rows
from perfmodel.parameters import default_parameters

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

UNITS = ("keyhole_hit", "locked_operation", "movdir64b_line", "mfence", "module_instruction")

# TDX module 1.5.01, 4 levels, sequential steady state: counter, walk counter, S-EPT entries read, then UNITS.
# Instructions: short keyhole chains for AUG 4K; the middle of 10.5k to 10.9k for AUG 2M.
OBSERVED = [
    ("sept_add", "walk_reads_host", 3, (19, 20, 64, 1, 5_700)),
    ("aug_4k", "walk_reads_host", 4, (19, 19, 0, 0, 5_200)),
    ("aug_2m", "walk_reads_host", 3, (20, 18, 0, 0, 10_700)),
    ("accept_4k", "walk_reads_guest", 4, (5, 2, 64, 1, 1_900)),
    ("accept_2m", "walk_reads_guest", 3, (515, 2, 32_768, 512, 387_000)),
]

counters = st.dictionaries(st.sampled_from(sorted(COUNTERS)), st.integers(0, 2**62))


@pytest.mark.parametrize(("call", "walk", "reads", "expected"), OBSERVED, ids=[row[0] for row in OBSERVED])
def test_fixed_part_and_walk_give_the_observed_counts(
    call: str, walk: str, reads: int, expected: tuple[int, ...]
) -> None:
    units = ledger({call: 1, walk: reads})
    assert tuple(units.total(unit) for unit in UNITS) == expected


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
    assert set(counter_names()) == COUNTERS


def test_every_unit_has_one_parameter_and_every_parameter_one_unit() -> None:
    names = [parameter.name for parameter in default_parameters()]
    assert len(names) == len(set(names))
    assert set(names) == {row.unit for row in work_rows()}


def test_every_stage_is_used_and_no_row_stands_twice() -> None:
    keys = [(row.counter, row.stage, row.unit) for row in work_rows()]
    assert len(keys) == len(set(keys))
    assert {row.stage for row in work_rows()} == set(STAGES)


def test_every_row_has_a_positive_count_and_a_public_source() -> None:
    for row in work_rows():
        assert row.count > 0, row
        assert len(row.source) > 20, row
        assert "\n" not in row.source, row
        assert any(title in row.source for title in ("TDX module 1.5.01", "Linux ", "https://lore.kernel.org/"))


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
    assert matrix.shape == (2, len(STAGES), len(names))
    assert not matrix[1].any()
    for (stage, unit), count in one.units.items():
        assert matrix[0, STAGES.index(stage), operator.indexOf(names, unit)] == float(count)
