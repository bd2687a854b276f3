"""Leave one out: each fold predicted from a fit to all the others, by the model and by two trivial baselines.

A fold is a measurement with everything derived from it or repeating it. The baselines are one cost a 4K page and one
cost a call, each the geometric mean over the rows that are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.design import Design
from perfmodel.calibration.fit import Posterior, Problem, fit

Floats = npt.NDArray[np.float64]

BASELINES = ("cost per 4K page", "cost per call")


@dataclass(frozen=True)
class LeftOut:
    """Rows predicted without their folds.

    Attributes
    ----------
    rows : tuple of int
        Rows of the design, those that the fit uses.
    posteriors : tuple of Posterior
        For each of `rows`, the fit without its fold.
    predicted_ns : ndarray of float64, shape (rows,)
    baselines_ns : ndarray of float64, shape (2, rows)
        In the order of `BASELINES`.
    """

    rows: tuple[int, ...]
    posteriors: tuple[Posterior, ...]
    predicted_ns: Floats
    baselines_ns: Floats


def leave_one_out(problem: Problem, rows: Sequence[int]) -> LeftOut:
    """Predict each fold of ``rows`` from the others.

    Raises
    ------
    InputError
        Too few rows are left for the free prices.
    """
    design = problem.design
    by_fold: dict[str, tuple[Posterior, Floats]] = {}
    for name in dict.fromkeys(design.rows[i].fold for i in rows):
        others = [i for i in rows if design.rows[i].fold != name]
        by_fold[name] = fit(problem, others), baseline_costs(design, others)
    folds = [by_fold[design.rows[i].fold] for i in rows]
    posteriors = tuple(posterior for posterior, _ in folds)
    predicted = [problem.predict_ns(posterior, [i])[0] for i, posterior in zip(rows, posteriors, strict=True)]
    amounts = baseline_amounts(design)[:, list(rows)]
    costs = np.stack([costs for _, costs in folds], axis=1)
    return LeftOut(tuple(rows), posteriors, np.array(predicted), costs * amounts)


def baseline_amounts(design: Design) -> Floats:
    """Return 4K pages and calls of each row, shape (2, rows), for one of what its quantity counts."""
    amounts = np.array(
        [[one.pages / one.per for one in design.counted], [one.calls / one.per for one in design.counted]]
    )
    place = {one.id: i for i, one in enumerate(design.rows)}
    plain = amounts.copy()
    for i, one in enumerate(design.rows):
        if one.minus:
            amounts[:, i] -= plain[:, place[one.minus]]
    return amounts


def baseline_costs(design: Design, rows: Sequence[int]) -> Floats:
    """Return the cost in ns of a 4K page and of a call that fit ``rows`` best in the logarithm, shape (2,)."""
    chosen = list(rows)
    return np.asarray(np.exp(np.log(design.measured_ns[chosen] / baseline_amounts(design)[:, chosen]).mean(axis=1)))
