"""Does the fit find the truth it was given, as surely as it says, and only within what prices may be?"""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from perfmodel.calibration.calibrated import Calibration, calibrate, calibration_toml
from perfmodel.calibration.design import Design
from perfmodel.calibration.fit import Posterior, Problem, _Model, fit, row_scatter
from perfmodel.calibration.intervals import REACH
from perfmodel.calibration.observations import built_in
from perfmodel.calibration.settings import settings
from perfmodel.costs import ledger, price
from perfmodel.errors import InputError
from perfmodel.parameters import ParameterSet, load_parameters

DRAWS = 300


def twin_misfit(problem: Problem, rows: tuple[int, ...], x: np.ndarray) -> float:
    """What the fit minimises, written down once more: pseudo-Huber of rows, squares of priors."""
    design, free = problem.design, list(problem.free)
    hosts = list(dict.fromkeys(design.rows[i].host for i in rows))
    prices = dict(zip(problem.names, np.exp(problem.mean), strict=True)) | dict(
        zip(free, np.exp(x[: len(free)]), strict=True)
    )
    total = 0.0
    for i in rows:
        by_stage = [
            sum(n * prices[name] for name, n in zip(problem.names, line, strict=True)) for line in design.units[i]
        ]
        predicted = sum(by_stage) * math.exp(x[len(free) + hosts.index(design.rows[i].host)])
        scatter = math.hypot(design.rows[i].error, settings().row_scatter)
        z = math.log(predicted / design.measured_ns[i]) / scatter / 1.5
        total += 2 * 1.5**2 * (math.sqrt(1 + z * z) - 1)
    for k, name in enumerate(free):
        j = problem.names.index(name)
        total += ((x[k] - problem.mean[j]) / problem.deviation[j]) ** 2
    return total + sum((x[len(free) + k] / settings().host_scale) ** 2 for k in range(len(hosts)))


def test_the_optimum_is_that_of_a_plain_minimiser(done: Calibration) -> None:
    start = done.posterior.prior_mean
    found = minimize(
        lambda x: twin_misfit(done.problem, done.rows, x), start, method="L-BFGS-B", options={"maxiter": 500}
    )
    assert twin_misfit(done.problem, done.rows, done.posterior.mean) <= found.fun + 1e-6
    np.testing.assert_allclose(done.posterior.mean, found.x, atol=5e-3)


def test_derivatives_are_those_of_the_residuals(done: Calibration) -> None:
    model = _Model(done.problem, done.rows, 0.0)
    x = done.posterior.mean + 0.1
    for k in (0, 5, len(done.rows) - 1):
        numeric = approx_fprime(x, lambda y, k=k: model.residuals(y)[k], 1e-7)
        np.testing.assert_allclose(model.jacobian(x)[k], numeric, atol=1e-4)


def synthetic(done: Calibration, draws: np.random.Generator) -> tuple[Design, np.ndarray]:
    """Return rows measured in a made-up world, and the truth behind them."""
    problem, posterior = done.problem, done.posterior
    truth = posterior.prior_mean + posterior.prior_deviation * draws.standard_normal(len(posterior.mean))
    column = [problem.names.index(name) for name in posterior.free]
    inside = np.clip(truth[: len(column)], *problem.limits[column].T)
    truth[: len(column)] = inside
    world = dataclasses.replace(posterior, mean=truth)
    noise = row_scatter(problem.design, np.exp(problem.mean), 0.0) * draws.standard_normal(len(problem.design.rows))
    return dataclasses.replace(problem.design, measured_ns=problem.predict_ns(world) * np.exp(noise)), truth


def test_a_known_truth_lies_within_the_stated_intervals_as_often_as_stated(done: Calibration) -> None:
    """Nine in ten: for all parameters together, and for each of them within what so many draws allow."""
    draws, inside = np.random.default_rng(20), []
    for _ in range(DRAWS):
        design, truth = synthetic(done, draws)
        found = fit(dataclasses.replace(done.problem, design=design), done.rows)
        inside.append(np.abs(found.mean - truth) <= REACH * found.deviation)
    share = np.mean(inside, axis=0)
    assert 0.87 <= share.mean() <= 0.95, share.mean()
    assert (share >= 0.80).all(), dict(zip((*done.posterior.free, *done.posterior.hosts), share, strict=True))


def test_more_rows_of_the_same_world_narrow_the_posterior(done: Calibration) -> None:
    twice = dataclasses.replace(done.problem, design=done.design.take([*range(len(done.design.rows))] * 2))
    rows = (*done.rows, *(i + len(done.design.rows) for i in done.rows))
    assert (fit(twice, rows).deviation < done.posterior.deviation).all()


def test_a_row_far_off_pulls_less_than_its_square_would(done: Calibration) -> None:
    """One row ten times too large moves the fit by less than five rows of scatter do."""
    measured = done.design.measured_ns.copy()
    measured[done.rows[0]] *= 10
    found = fit(
        dataclasses.replace(done.problem, design=dataclasses.replace(done.design, measured_ns=measured)), done.rows
    )
    moved = np.abs(found.mean - done.posterior.mean) / done.posterior.prior_deviation
    assert 0.05 < moved.max() < 2


def test_prices_stay_within_their_ranges_whatever_was_measured(done: Calibration) -> None:
    for factor in (1e-6, 1e6):
        design = dataclasses.replace(done.design, measured_ns=done.design.measured_ns * factor)
        problem = dataclasses.replace(done.problem, design=design)
        prices = problem.prices(fit(problem, done.rows))
        assert (np.log(prices) >= problem.limits[:, 0] - 1e-9).all()
        assert (np.log(prices) <= problem.limits[:, 1] + 1e-9).all()
        assert (prices > 0).all()


def test_what_is_free_follows_from_the_priors(done: Calibration) -> None:
    """Prices and extras that make a fifth or more of some scored row's prior variance, and no others."""
    problem, found = done.problem, set()
    for i in done.rows:
        variance = (done.design.units[i].sum(axis=0) * np.exp(problem.mean) * problem.deviation) ** 2
        found |= {problem.names[j] for j in np.flatnonzero(variance >= 0.2 * variance.sum())}
    assert found == set(settings().free)


def test_too_few_rows_are_refused(done: Calibration) -> None:
    with pytest.raises(InputError, match=r"3 rows to fit for 11 free prices: .*--free"):
        fit(done.problem, done.rows[:3])


@pytest.mark.parametrize(
    ("free", "named"),
    [(["no_such_price"], "no_such_price"), (["wrmsr", "wrmsr"], "each name once")],
)
def test_prices_that_cannot_be_free_are_named(
    prior: ParameterSet, done: Calibration, free: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        Problem.of(done.design, prior, free)


def test_a_price_known_exactly_is_not_fitted(done: Calibration) -> None:
    known = load_parameters(overrides=["wrmsr=200"], calibrated=False)
    with pytest.raises(InputError, match="known exactly"):
        Problem.of(done.design, known, ["wrmsr"])
    assert "wrmsr" not in Problem.of(done.design, known).free


def test_the_shipped_set_is_what_the_fit_finds(done: Calibration) -> None:
    """Values to the digits that are written; the file's provenance names the rows."""
    shipped, found = load_parameters(), done.parameters()
    assert shipped.joint is not None
    assert found.joint is not None
    assert shipped.joint.names == found.joint.names
    np.testing.assert_allclose(shipped.values_ns(), found.values_ns(), rtol=1e-3)
    np.testing.assert_allclose(shipped.joint.correlation, found.joint.correlation, atol=2e-3)
    assert shipped.joint.stage_scatter == pytest.approx(found.joint.stage_scatter, abs=0.011)
    assert '"M001", "M006"' in calibration_toml(done)


def test_the_written_file_gives_the_set_back(done: Calibration, tmp_path) -> None:
    (tmp_path / "set.toml").write_text(calibration_toml(done))
    read = load_parameters(file=tmp_path / "set.toml", calibrated=False)
    assert read.sha256 == done.parameters().sha256


def test_the_set_for_a_host_prices_as_the_fit_does_there(done: Calibration, tmp_path) -> None:
    """Scale and clock are in the prices; what hosts differ by is what the fit leaves open."""
    row = next(i for i in done.rows if done.design.rows[i].id == "M010")
    found = done.parameters("dstack-gnr")
    units = ledger(done.design.counted[row].counters)
    per_fault = price(units, found).total_ns / done.design.counted[row].per
    assert per_fault == pytest.approx(done.problem.predict_ns(done.posterior, [row])[0], rel=1e-3)
    assert found.core_ghz == 3.2
    assert found.joint is not None
    assert found.joint.host_scale < settings().host_scale
    (tmp_path / "set.toml").write_text(calibration_toml(done, "dstack-gnr"))
    assert load_parameters(file=tmp_path / "set.toml", calibrated=False).sha256 == found.sha256
    with pytest.raises(InputError, match=r"host 'laptop': .*kata-5\.19"):
        done.parameters("laptop")


def test_a_fit_to_nothing_new_is_its_prior(prior: ParameterSet) -> None:
    """Rows that measure what the prior predicts leave every price where it was."""
    rows = [one for one in built_in() if one.role == "fit" and not one.minus]
    first = calibrate(rows, prior, free=["kvm_fault_path", "seam_transition"])
    exact = first.problem.design.unscaled_ns(np.exp(first.problem.mean)).sum(axis=1)
    design = dataclasses.replace(first.design, measured_ns=exact)
    found: Posterior = fit(dataclasses.replace(first.problem, design=design), first.rows)
    np.testing.assert_allclose(found.mean, found.prior_mean, atol=1e-6)
    assert msgspec.structs.replace(prior).sha256 == prior.sha256
