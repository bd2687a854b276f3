"""Is a row judged without itself, do its repeats go with it, and does the model keep what the goals ask?"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from perfmodel.calibration.calibrated import Calibration
from perfmodel.calibration.folds import baseline_amounts, baseline_costs, leave_one_out
from perfmodel.calibration.intervals import LEVEL, REACH, choose_stage_scatter, interval_ns, variance
from perfmodel.calibration.validate import errors_of, validate


@pytest.fixture(scope="module")
def result():
    return validate()


def test_a_fold_does_not_see_itself(done: Calibration) -> None:
    """Whatever was measured in a fold, its prediction without it is the same; others change."""
    for fold in ("M001", "M024"):
        measured = done.design.measured_ns.copy()
        own = [i for i in done.rows if done.design.rows[i].fold == fold]
        measured[own] *= 3
        problem = dataclasses.replace(done.problem, design=dataclasses.replace(done.design, measured_ns=measured))
        again = leave_one_out(problem, done.rows)
        same = np.array([i in own for i in done.rows])
        np.testing.assert_allclose(again.predicted_ns[same], done.left_out.predicted_ns[same], rtol=1e-9)
        np.testing.assert_allclose(again.baselines_ns[:, same], done.left_out.baselines_ns[:, same])
        assert (again.baselines_ns[:, ~same] != done.left_out.baselines_ns[:, ~same]).all()


def test_baselines_are_geometric_means(done: Calibration) -> None:
    amounts, rows = baseline_amounts(done.design), list(done.rows)
    by_hand = [np.prod([(done.design.measured_ns[i] / a[i]) ** (1 / len(rows)) for i in rows]) for a in amounts]
    np.testing.assert_allclose(baseline_costs(done.design, rows), by_hand)


def test_baselines_count_what_their_names_say(done: Calibration) -> None:
    place = {one.id: i for i, one in enumerate(done.design.rows)}
    pages, calls = baseline_amounts(done.design)
    assert (pages[place["M001"]], calls[place["M001"]]) == pytest.approx((1, 2), rel=0.01)  # KVM's exit and AUG
    assert (pages[place["M006"]], calls[place["M006"]]) == (1, 1)
    assert (pages[place["M013"]], calls[place["M013"]]) == pytest.approx((512, 6), rel=0.01)
    assert pages[place["M026"]] == 24 << 18  # the difference of two guests
    assert calls[place["M087"]] / pages[place["M087"]] == pytest.approx(4, rel=0.01)  # BLOCK, TRACK, REMOVE, WBINVD


def test_goals(result) -> None:
    summary = result.summary
    assert (summary.rows, summary.folds) == (17, 16)
    assert (summary.free_parameters, summary.host_scales) == (11, 6)
    assert summary.left_out.geometric_mean_error <= 0.25
    assert summary.left_out.maximum_ratio <= 2
    for baseline in (summary.per_page, summary.per_call):
        assert summary.left_out.geometric_mean_error < baseline.geometric_mean_error
        assert summary.left_out.maximum_ratio < baseline.maximum_ratio
        assert baseline.rows == summary.left_out.rows
    assert result.passed


def test_errors_by_hand() -> None:
    found = errors_of([2.0, 0.5, 1.0])
    assert found is not None
    assert found.geometric_mean_error == pytest.approx(4 ** (1 / 3) - 1)
    assert found.maximum_ratio == pytest.approx(2)
    assert errors_of([]) is None


def test_intervals_hold_what_they_claim(result) -> None:
    """The scatter is chosen so that left-out rows are covered; without the fold in the choice it must still hold."""
    coverage = result.summary.coverage
    assert coverage.left_out >= LEVEL
    assert coverage.left_out_twice >= LEVEL - 0.08  # one row of 17 is 0.06


def test_stage_scatter_is_the_least_that_covers(done: Calibration) -> None:
    def holds(scatter: float) -> int:
        bounds = [interval_ns(done.problem, posterior, row, scatter) for posterior, row
                  in zip(done.left_out.posteriors, done.left_out.rows, strict=True)]  # fmt: skip
        return sum(low <= done.design.measured_ns[r] <= high for r, (low, high) in zip(done.rows, bounds, strict=True))

    need = min(int(np.ceil(LEVEL * (len(done.rows) + 1))), len(done.rows))
    assert holds(done.stage_scatter) >= need
    assert holds(done.stage_scatter - 0.02) < need
    assert choose_stage_scatter(done.problem, done.left_out) == done.stage_scatter


def test_intervals_add_up_variances_as_draws_do(done: Calibration) -> None:
    """To first order: draw prices and scales, linearised, and compare with the closed form."""
    problem, posterior, draws = done.problem, done.posterior, np.random.default_rng(5)
    row = next(i for i in done.rows if done.design.rows[i].id == "M010")
    prices = problem.prices(posterior)
    by_stage = done.design.units[row] * prices
    share = by_stage / by_stage.sum()
    logs = draws.normal(0, problem.deviation, (40_000, len(problem.names)))
    fitted = draws.multivariate_normal(np.zeros(len(posterior.mean)), posterior.covariance, 40_000)
    logs[:, [problem.names.index(name) for name in posterior.free]] = fitted[:, : len(posterior.free)]
    host = fitted[:, len(posterior.free) + posterior.hosts.index("dstack-gnr")]
    stages = draws.normal(0, done.stage_scatter, (40_000, len(share)))
    error = draws.normal(0, done.design.rows[row].error, 40_000)
    drawn = logs @ share.sum(axis=0) + host + stages @ share.sum(axis=1) + error
    known, concentration = variance(problem, posterior, row)
    assert drawn.std() == pytest.approx(np.sqrt(known + done.stage_scatter**2 * concentration), rel=0.02)
    low, high = interval_ns(problem, posterior, row, done.stage_scatter)
    assert np.log(high / low) == pytest.approx(2 * REACH * drawn.std(), rel=0.02)


def test_a_host_that_was_not_fitted_has_a_wider_interval(done: Calibration) -> None:
    row = next(i for i in done.rows if done.design.rows[i].id == "M056")
    known = interval_ns(done.problem, done.posterior, row, done.stage_scatter)
    left = next(p for p, r in zip(done.left_out.posteriors, done.left_out.rows, strict=True) if r == row)
    unknown = interval_ns(done.problem, left, row, done.stage_scatter)
    assert unknown[1] / unknown[0] > known[1] / known[0]


def test_docs_say_what_validate_says(result, done: Calibration) -> None:
    """Errors in README and docs, and each fitted row and parameter in the docs' tables."""
    root = Path(__file__).resolve().parents[2]
    readme, docs = ((root / name).read_text() for name in ("README.md", "docs/costs.md"))
    summary = result.summary
    for errors in (summary.left_out, summary.in_sample, summary.per_page, summary.per_call):
        assert f"{100 * errors.geometric_mean_error:.1f} %, {errors.maximum_ratio:.2f} |" in docs
    assert f"| {100 * summary.left_out.geometric_mean_error:.1f} % | {summary.left_out.maximum_ratio:.2f} |" in readme
    for row in result.rows:
        if row.left_out:
            assert f"| {row.ratio:.2f} | {row.left_out.ratio:.2f} (" in docs, row.id
    for name, mean in zip(done.posterior.free, done.posterior.mean, strict=False):
        value = np.exp(mean)
        assert f"**{value:,.0f}**" in docs or f"**{value:.3g}**" in docs, name
