"""Is a price the product of counts and parameters, with an interval around it?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.costs import (
    ALL_STAGES,
    STAGES,
    Ledger,
    cost_ratio,
    counter_names,
    ledger,
    price,
    price_many,
    sample_costs,
    work_rows,
)
from perfmodel.parameters import ParameterSet, load_parameters, preset_names

DEFAULTS = load_parameters()

# One 2 MiB range accepted whole by a Linux guest, upper tables present.
RANGE_AT_4K = {
    "td_exit": 512,
    "vp_enter": 512,
    "fault": 512,
    "sept_add": 1,
    "aug_4k": 512,
    "accept_4k": 512,
    "accept_exit": 512,
    "accept_size_mismatch": 1,
    "walk_reads_host": 3 + 512 * 4,
    "walk_reads_guest": 2 * 3 + 4 + 511 * 8,
    "sept_lines": 64,
    "pamt_lines": 128,
    "flush_pages": 513,
    "clear_pages": 512,
    "folio_allocs": 512,
    "gmem_lookups": 512,
    "mirror_installs": 513,
    "mirror_tables": 1,
}
RANGE_AT_2M = {
    "td_exit": 1,
    "vp_enter": 1,
    "fault": 1,
    "aug_2m": 1,
    "accept_2m": 1,
    "accept_exit": 1,
    "walk_reads_host": 3,
    "walk_reads_guest": 6,
    "pamt_lines": 1,
    "flush_pages": 512,
    "clear_pages": 512,
    "folio_allocs": 1,
    "gmem_lookups": 1,
    "mirror_installs": 1,
}

counters = st.dictionaries(st.sampled_from(counter_names()), st.integers(0, 10**12))


@settings(deadline=None)
@given(counters)
def test_total_is_counts_times_values_and_stages_sum_to_it(a: dict[str, int]) -> None:
    result = price(ledger(a), DEFAULTS, samples=16)
    values = dict(zip(DEFAULTS.names, DEFAULTS.values_ns().tolist(), strict=True))
    expected = math.fsum(a.get(row.counter, 0) * row.count * values[row.unit] for row in work_rows())
    assert result.total_ns == pytest.approx(expected, rel=1e-12)
    assert tuple(result.by_stage_ns) in (STAGES, ALL_STAGES)
    assert math.fsum(result.by_stage_ns.values()) == result.total_ns
    assert result.low_ns <= result.total_ns <= result.high_ns


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("counts", [RANGE_AT_4K, RANGE_AT_2M], ids=["4K", "2M"])
def test_samples_of_a_preset_spread_around_the_central_value(preset: str, counts: dict[str, int]) -> None:
    """Checked on the bare samples: the widening in price_many is not what makes it true."""
    parameters = load_parameters(preset)
    costs = sample_costs([ledger(counts)], parameters)[:, 0]
    low, high = np.quantile(costs, (0.05, 0.95))
    result = price(ledger(counts), parameters)
    assert low < result.total_ns < high
    assert (result.low_ns, result.high_ns) == (low, high)


@pytest.mark.parametrize("counter", counter_names())
def test_every_counter_costs_something(counter: str) -> None:
    result = price(ledger({counter: 1}), DEFAULTS, samples=64)
    assert 0 < result.low_ns <= result.total_ns <= result.high_ns


def test_price_is_linear() -> None:
    single = price(ledger(RANGE_AT_4K), DEFAULTS)
    many = price(ledger({name: 1000 * n for name, n in RANGE_AT_4K.items()}), DEFAULTS)
    assert many.total_ns == pytest.approx(1000 * single.total_ns)
    assert many.low_ns == pytest.approx(1000 * single.low_ns)
    assert many.high_ns == pytest.approx(1000 * single.high_ns)


def test_price_repeats_for_a_seed_and_moves_with_it() -> None:
    one = ledger(RANGE_AT_4K)
    assert price(one, DEFAULTS) == price(one, DEFAULTS)
    assert price(one, DEFAULTS, seed=1).low_ns != price(one, DEFAULTS, seed=2).low_ns
    assert price(one, DEFAULTS, seed=1).total_ns == price(one, DEFAULTS, seed=2).total_ns


def test_nothing_costs_nothing() -> None:
    result = price(Ledger({}), DEFAULTS)
    assert (result.total_ns, result.low_ns, result.high_ns) == (0.0, 0.0, 0.0)


def test_several_ledgers_are_priced_with_one_set_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Re-pricing is one product over all samples: prices are drawn once, however many ledgers there are."""
    calls: list[int] = []
    original = ParameterSet.sample_ns

    def counted(self: ParameterSet, samples: int, seed: int) -> np.ndarray:
        calls.append(samples)
        return original(self, samples, seed)

    monkeypatch.setattr(ParameterSet, "sample_ns", counted)
    ledgers = [ledger(RANGE_AT_4K), ledger(RANGE_AT_2M)] * 8
    priors = load_parameters(calibrated=False)
    together = price_many(ledgers, priors, samples=5000)
    assert calls == [5000]
    assert together[0] == together[2]
    assert together[1].low_ns == pytest.approx(price(ledgers[1], priors, samples=5000).low_ns)


def test_ratio_of_a_ledger_to_itself_is_exact() -> None:
    one = ledger(RANGE_AT_4K)
    ratio = cost_ratio(one, one, DEFAULTS)
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)


def test_ratio_is_narrower_than_the_quotient_of_the_intervals() -> None:
    small, large = ledger(RANGE_AT_2M), ledger(RANGE_AT_4K)
    ratio = cost_ratio(large, small, DEFAULTS)
    a, b = price_many([large, small], DEFAULTS)
    assert ratio.low <= ratio.value <= ratio.high
    assert a.low_ns / b.high_ns < ratio.low
    assert ratio.high < a.high_ns / b.low_ns


def test_unit_without_a_parameter_is_named() -> None:
    with pytest.raises(KeyError, match="no_such_unit"):
        price(Ledger({("exit", "no_such_unit"): 1}), DEFAULTS)
