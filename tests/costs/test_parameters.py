"""Are parameters complete, checked, and identified by what they are worth?"""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from perfmodel.draws import cost_factors, quantile
from perfmodel.errors import InputError
from perfmodel.parameters import (
    DEFAULT_PRESET,
    Parameter,
    ParameterSet,
    confidence_legend,
    default_parameters,
    load_parameters,
    load_preset,
    parameters_toml,
    preset_names,
)

DEFAULTS = load_parameters()


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def one(distribution: str, low: float, value: float, high: float) -> ParameterSet:
    row = Parameter("x", value, "ns", low, high, distribution, "U", "m", "s")  # type: ignore[arg-type]
    return ParameterSet("test", 3.0, 2.0, (row,))


@pytest.mark.parametrize("parameter", default_parameters(), ids=lambda p: p.name)
def test_default_is_complete(parameter: Parameter) -> None:
    assert 0 < parameter.low <= parameter.value <= parameter.high
    assert parameter.confidence in confidence_legend()
    assert len(parameter.meaning) > 15
    assert len(parameter.source) >= 8
    assert "\n" not in parameter.meaning + parameter.source
    if parameter.distribution == "loguniform":
        assert parameter.value == pytest.approx(math.sqrt(parameter.low * parameter.high), rel=0.05)


@pytest.mark.parametrize("preset", preset_names())
def test_preset_loads_under_its_own_name(preset: str) -> None:
    chosen = load_preset(preset)
    assert chosen.name == preset
    loaded = load_parameters(preset)
    assert loaded.name == preset
    assert loaded.names == DEFAULTS.names
    assert loaded.core_ghz == chosen.core_ghz.value
    assert loaded.core_ghz >= loaded.tsc_ghz
    assert "assumed" in chosen.tsc_ghz.source
    assert "assumed" in chosen.core_ghz.source
    for name, change in chosen.parameters.items():
        assert change.source
        assert change.confidence
        assert loaded[name].value == change.value


def test_presets_are_the_three_parts() -> None:
    assert preset_names() == ("emr-8592p", "gnr-6980p", "spr-8480p")
    assert load_parameters().name == DEFAULT_PRESET == "spr-8480p"


def test_cycles_follow_the_core_clock_and_ns_do_not() -> None:
    slow = load_parameters(overrides=["core_ghz=1.5"])
    factor = slow.values_ns() / DEFAULTS.values_ns()
    expected = [2.0 if parameter.unit == "cycles" else 1.0 for parameter in DEFAULTS.parameters]
    np.testing.assert_allclose(factor, expected)


def test_override_changes_one_value_and_makes_it_exact() -> None:
    changed = load_parameters(overrides=["flush_line=5"])
    assert changed.name == "spr-8480p+set"
    assert changed["flush_line"].value == 5.0
    column = changed.names.index("flush_line")
    np.testing.assert_array_equal(changed.sample_ns(8, 0)[:, column], 5.0)
    others = [j for j in range(len(changed.names)) if j != column]
    np.testing.assert_array_equal(changed.sample_ns(8, 0)[:, others], DEFAULTS.sample_ns(8, 0)[:, others])


def test_order_of_overrides_does_not_matter() -> None:
    a = load_parameters(overrides=["flush_line=5", "core_ghz=2.5", "rdmsr=90"])
    b = load_parameters(overrides=["rdmsr=90", "flush_line=5", "core_ghz=2.5"])
    assert a == b
    np.testing.assert_array_equal(a.sample_ns(16, 3), b.sample_ns(16, 3))


def test_hash_changes_with_every_number() -> None:
    seen = {DEFAULTS.sha256, load_parameters(overrides=["core_ghz=2.9"]).sha256}
    seen.add(load_parameters(overrides=["tsc_ghz=2.1"]).sha256)
    for j, row in enumerate(DEFAULTS.parameters):
        for changes in ({"low": row.low * 0.99}, {"high": row.high * 1.01}, {"value": row.value * 1.001}):
            rows = list(DEFAULTS.parameters)
            rows[j] = msgspec.structs.replace(row, **changes)
            seen.add(msgspec.structs.replace(DEFAULTS, parameters=tuple(rows)).sha256)
    assert len(seen) == 3 + 3 * len(DEFAULTS.parameters)


def test_hash_ignores_names_sources_and_order() -> None:
    rows = [msgspec.structs.replace(row, source="other", meaning="other") for row in DEFAULTS.parameters]
    other = msgspec.structs.replace(DEFAULTS, name="other", parameters=tuple(reversed(rows)))
    assert other.sha256 == DEFAULTS.sha256
    assert load_parameters().sha256 == DEFAULTS.sha256


def test_samples_are_repeatable_and_within_their_ranges() -> None:
    draws = DEFAULTS.sample_ns(2000, 1)
    assert draws.shape == (2000, len(DEFAULTS.names))
    np.testing.assert_array_equal(draws, DEFAULTS.sample_ns(2000, 1))
    assert not np.array_equal(draws, DEFAULTS.sample_ns(2000, 2))
    scale = np.array([1 / DEFAULTS.core_ghz if p.unit == "cycles" else 1.0 for p in DEFAULTS.parameters])
    low = np.array([p.low for p in DEFAULTS.parameters]) * scale
    high = np.array([p.high for p in DEFAULTS.parameters]) * scale
    assert (draws >= low * (1 - 1e-12)).all()
    assert (draws <= high * (1 + 1e-12)).all()


def test_a_parameter_added_last_moves_no_draw() -> None:
    priors = load_parameters(calibrated=False)
    fewer = msgspec.structs.replace(priors, parameters=priors.parameters[:-3])
    np.testing.assert_array_equal(fewer.sample_ns(64, 5), priors.sample_ns(64, 5)[:, :-3])


@pytest.mark.parametrize(
    ("distribution", "share_below"),
    [
        ("uniform", 3 / 99),
        ("loguniform", math.log(4) / math.log(100)),
        ("logtriangular", math.log(4) / math.log(100)),
    ],
)
def test_distributions_put_the_right_share_below_a_point(distribution: str, share_below: float) -> None:
    """From 1 to 100, mode 4: the share below 4. A triangle has log 4 / log 100 of its area below its mode."""
    draws = one(distribution, 1.0, 4.0, 100.0).sample_ns(40_000, 0)[:, 0]
    assert (draws < 4.0).mean() == pytest.approx(share_below, abs=0.01)


@pytest.mark.parametrize("value", [1.0, 4.0, 100.0])
def test_log_triangle_with_its_mode_anywhere_stays_within_the_range(value: float) -> None:
    draws = one("logtriangular", 1.0, value, 100.0).sample_ns(1000, 0)
    assert np.isfinite(draws).all()
    assert draws.min() >= 1.0
    assert draws.max() <= 100.0 * (1 + 1e-12)


def test_file_of_a_set_gives_the_set_back(tmp_path: Path) -> None:
    original = load_parameters("gnr-6980p", overrides=["flush_line=5", "tsc_ghz=2.1"])
    again = load_parameters("emr-8592p", file=write(tmp_path, parameters_toml(original)))
    assert again == original
    assert again.sha256 == original.sha256


def test_file_of_a_set_of_priors_stays_one(tmp_path: Path) -> None:
    original = load_parameters(calibrated=False)
    again = load_parameters(file=write(tmp_path, parameters_toml(original)))
    assert again == original
    assert again.joint is None


@given(st.text(st.characters(codec="utf-8").filter(lambda c: c == "\n" or c.isprintable())))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_file_of_a_set_holds_any_printable_text(tmp_path: Path, text: str) -> None:
    original = load_parameters()
    first = msgspec.structs.replace(original.parameters[0], source=text)
    original = msgspec.structs.replace(original, name=text or "x", parameters=(first, *original.parameters[1:]))
    (tmp_path / "any.toml").write_bytes(parameters_toml(original).encode())
    assert load_parameters(file=tmp_path / "any.toml") == original


def test_file_may_widen_a_range_and_overrides_come_after_it(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'name = "lab"\ncore_ghz = 3\n[parameters]\nrdmsr = 120\n'
        'wrmsr = { value = 900, low = 500, high = 1000, source = "own", confidence = "C" }\n',
    )
    loaded = load_parameters(file=file, overrides=["rdmsr=130"])
    assert loaded.name == "lab+set"
    assert loaded["rdmsr"].value == 130.0
    assert (loaded["wrmsr"].value, loaded["wrmsr"].high) == (900.0, 1000.0)
    assert loaded["wrmsr"].distribution == "loguniform"
    assert load_parameters(file=file).name == "lab"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("flush_line", ["'flush_line'", "name=value"]),
        ("=3", ["'=3'", "name=value"]),
        ("flush_lin=3", ["'flush_lin'", "'flush_line'"]),
        ("flush_line=1e9", ["flush_line", "1e+09", "3 to 16 ns"]),
        ("flush_line=-1", ["flush_line", "-1", "3 to 16 ns"]),
        ("flush_line=nan", ["flush_line", "'nan'", "3 to 16 ns"]),
        ("flush_line=inf", ["flush_line", "'inf'", "3 to 16 ns"]),
        ("flush_line=ten", ["flush_line", "'ten'", "3 to 16 ns"]),
        ("flush_line=", ["flush_line", "''", "3 to 16 ns"]),
        ("core_ghz=0", ["core_ghz", "0.0", "0.1 to 10 GHz"]),
        ("tsc_ghz=fast", ["tsc_ghz", "'fast'", "0.1 to 10 GHz"]),
    ],
)
def test_bad_override_is_refused_in_one_line(override: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_parameters(overrides=[override])
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_override_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="given twice"):
        load_parameters(overrides=["rdmsr=90", "rdmsr=91"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[parameters]\nflush_line = 99\n", ["flush_line", "99", "3 to 16 ns"]),
        ("[parameters]\nflush_line = nan\n", ["flush_line", "nan", "3 to 16 ns"]),
        ("[parameters]\nflush_line = true\n", ["flush_line", "True", "3 to 16 ns"]),
        ("[parameters]\nflush_line = [1]\n", ["flush_line", "[1]", "3 to 16 ns"]),
        ("[parameters]\nflush_line = { low = 1, high = 2 }\n", ["flush_line", "value"]),
        ("[parameters]\nflush_line = { value = 1, low = 3, high = 2 }\n", ["flush_line", "low <= high"]),
        ("[parameters]\nflush_line = { value = 9, low = inf, high = 20 }\n", ["flush_line.low", "inf"]),
        ("[parameters]\nflush_line = { value = 9, lo = 3 }\n", ["flush_line", "lo", "low, high"]),
        ("[parameters]\nflush_line = { value = 9, unit = 'cycles' }\n", ["flush_line", "low and high"]),
        ("[parameters]\nflush_line = { value = 9, unit = 'us', low = 1, high = 20 }\n", ["flush_line", "us"]),
        ("[parameters]\nrdmsr = { value = 9, low = 0, high = 20 }\n", ["rdmsr", "above 0"]),
        ("[parameters]\nflush_lines = 9\n", ["'flush_lines'", "'flush_line'"]),
        ("[parameter]\nflush_line = 9\n", ["parameter", "[parameters]"]),
        ("core_ghz = 'x'\n", ["core_ghz", "'x'", "GHz"]),
        ("core_ghz =\n", ["mine.toml", "accepted"]),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_parameters(file=write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_file_and_preset_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml.*accepted"):
        load_parameters(file=tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"'icx'.*spr-8480p"):
        load_parameters("icx")


JOINT = """
[joint]
names = ["wrmsr", "rdmsr"]
correlation = [[1.0, -0.5], [-0.5, 1.0]]
host_scale = 0.2
stage_scatter = 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"rdmsr"]', '"rdtsc"]', "'rdtsc'"),
        ('"rdmsr"]', '"wrmsr"]', "correlation"),
        ("[-0.5, 1.0]]", "[-0.4, 1.0]]", "correlation"),
        ("[-0.5, 1.0]]", "[-0.5, 2.0]]", "correlation"),
        ("[[1.0, -0.5], [-0.5, 1.0]]", "[[1.0, -1.0], [-1.0, 1.0]]", "correlation"),
        ("[[1.0, -0.5], [-0.5, 1.0]]", "[[1.0, -0.5]]", "correlation"),
        ("[[1.0, -0.5], [-0.5, 1.0]]", "[[1.0, nan], [nan, 1.0]]", "correlation"),
        ("host_scale = 0.2", "host_scale = -1.0", "host_scale"),
        ("stage_scatter = 0.5", "stage_scatter = 99.0", "stage_scatter"),
        ("stage_scatter = 0.5", "", "stage_scatter"),
    ],
)
def test_a_bad_joint_is_refused(tmp_path: Path, old: str, new: str, named: str) -> None:
    (tmp_path / "mine.toml").write_text(JOINT.replace(old, new))
    with pytest.raises(InputError, match=named) as raised:
        load_parameters(file=tmp_path / "mine.toml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        "distribution = 'lognormal'",
        "sigma = 0.3, distribution = 'loguniform'",
        "sigma = -1.0, distribution = 'lognormal'",
    ],
)
def test_a_sigma_goes_with_lognormal(tmp_path: Path, fields: str) -> None:
    (tmp_path / "mine.toml").write_text(
        f"[parameters]\nrdmsr = {{ value = 90.0, low = 40.0, high = 250.0, {fields} }}\n"
    )
    with pytest.raises(InputError, match="rdmsr"):
        load_parameters(file=tmp_path / "mine.toml")


def test_lognormal_draws_are_those_of_a_truncated_lognormal() -> None:
    price = msgspec.structs.replace(load_parameters()["rdmsr"], distribution="lognormal", value=100.0, low=60.0,
                                    high=150.0, sigma=0.5)  # fmt: skip
    u = (np.arange(100_000) + 0.5) / 100_000
    draws = quantile(price, u)
    assert (draws.min() >= 60, draws.max() <= 150, (np.diff(draws) >= 0).all()) == (True, True, True)
    expected = truncnorm(math.log(0.6) / 0.5, math.log(1.5) / 0.5).mean() * 0.5
    assert np.log(draws / 100).mean() == pytest.approx(expected, abs=1e-3)


def test_fitted_prices_are_drawn_with_their_correlation() -> None:
    parameters = load_parameters()
    assert parameters.joint is not None
    draws = np.log(parameters.sample_ns(40_000, 3))
    columns = [parameters.names.index(name) for name in parameters.joint.names]
    np.testing.assert_allclose(np.corrcoef(draws[:, columns].T), parameters.joint.correlation, atol=0.1)


def test_what_a_cost_may_be_off_by_has_mean_one() -> None:
    parameters = load_parameters()
    assert parameters.joint is not None
    prices, stages = cost_factors(parameters.parameters, parameters.joint, 3, 200_000, 1)
    np.testing.assert_allclose(prices.mean(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(stages.mean(axis=0), 1, atol=0.02)
    spread = math.hypot(parameters.joint.host_scale, parameters.joint.stage_scatter)
    np.testing.assert_allclose(np.log(stages).std(axis=0), spread, rtol=0.02)
    shared = np.corrcoef(np.log(stages).T)[0, 1]
    assert shared == pytest.approx(parameters.joint.host_scale**2 / spread**2, abs=0.02)


def test_a_value_of_ones_own_ends_what_the_fit_has_found() -> None:
    fixed = load_parameters(overrides=["wrmsr=200"])["wrmsr"]
    assert (fixed.distribution, fixed.sigma) == ("fixed", None)
    assert load_parameters()["wrmsr"].distribution == "lognormal"


def test_a_new_range_takes_the_place_of_a_posterior(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[parameters]\nwrmsr = { value = 100.0, low = 50.0, high = 200.0 }\n")
    found = load_parameters(file=tmp_path / "mine.toml")["wrmsr"]
    assert (found.distribution, found.sigma, found.low) == ("loguniform", None, 50.0)


def test_fitted_prices_keep_the_range_of_their_priors() -> None:
    prior, fitted = load_parameters(calibrated=False), load_parameters()
    for before, after in zip(prior.parameters, fitted.parameters, strict=True):
        assert (before.low, before.high, before.unit) == (after.low, after.high, after.unit)
        assert (after.confidence == "F") == (after.distribution == "lognormal")
        assert before.value == after.value or after.confidence == "F"
