"""How wrong a prediction can be: its parameters, its host, the model, and the measurement it will be held against.

Four parts add up in the logarithm: what the fit leaves open of the free prices and of known hosts' scales; the priors
of all other prices; the scale of a host that was not in the fit; and what any one stage of the model may be off by, the
*stage scatter*. Nothing says how large the last is but the errors of leaving one out. It is the smallest value with
which the intervals of left-out rows hold as many of them as a conformal predictor needs: ceil(level * (n + 1)) of n.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.fit import Posterior, Problem
from perfmodel.calibration.folds import LeftOut
from perfmodel.calibration.settings import settings
from perfmodel.costs import INTERVAL
from perfmodel.draws import normal_quantile

Floats = npt.NDArray[np.float64]

LEVEL = INTERVAL[1] - INTERVAL[0]
REACH = float(normal_quantile(np.array([INTERVAL[1]]))[0])
"""Standard deviations from the middle of an interval to its end."""

_STEP = 0.01
_LARGEST = 3.0


def interval_ns(problem: Problem, posterior: Posterior, row: int, stage_scatter: float) -> tuple[float, float]:
    """Return between which times a measurement of ``row`` lies, by the 5 % and 95 % points of what may be wrong."""
    known, concentration = variance(problem, posterior, row)
    factor = math.exp(REACH * math.sqrt(known + stage_scatter**2 * concentration))
    predicted = float(problem.predict_ns(posterior, [row])[0])
    return predicted / factor, predicted * factor


def variance(problem: Problem, posterior: Posterior, row: int) -> tuple[float, float]:
    """Return the variance of a row's logarithm without stage scatter, and what a stage scatter of 1 adds."""
    design = problem.design
    by_stage = design.units[row] * problem.prices(posterior)
    total = by_stage.sum()
    share = by_stage.sum(axis=0) / total
    column = [problem.names.index(name) for name in posterior.free]
    slope = np.concatenate([share[column], np.zeros(len(posterior.hosts))])
    host, known = design.rows[row].host, settings().host_scale ** 2
    if host in posterior.hosts:
        slope[len(column) + posterior.hosts.index(host)] = 1.0
        known = 0.0
    others = np.delete(share * problem.deviation, column)
    known += slope @ posterior.covariance @ slope + others @ others + design.rows[row].error ** 2
    return float(known), float(((by_stage.sum(axis=1) / total) ** 2).sum())


def choose_stage_scatter(problem: Problem, left_out: LeftOut, without_fold: str | None = None) -> float:
    """Return the stage scatter that left-out rows ask for; see the head of this module.

    Parameters
    ----------
    problem : Problem
    left_out : LeftOut
    without_fold : str, optional
        A fold to leave out once more, for coverage that has not seen the fold it is about.
    """
    design = problem.design
    kept = [k for k, row in enumerate(left_out.rows) if design.rows[row].fold != without_fold]
    need = min(math.ceil(LEVEL * (len(kept) + 1) - 1e-9), len(kept))
    wanted = []
    for k in kept:
        row = left_out.rows[k]
        known, concentration = variance(problem, left_out.posteriors[k], row)
        off = math.log(left_out.predicted_ns[k] / design.measured_ns[row]) / REACH
        wanted.append(math.sqrt(max(off * off - known, 0) / concentration))
    return min(math.ceil(sorted(wanted)[need - 1] / _STEP - 1e-9) * _STEP, _LARGEST)


def covered(measured: Sequence[float], bounds: Sequence[tuple[float, float]]) -> float:
    """Return the share of ``measured`` that lie within their ``bounds``."""
    inside = [bool(low <= value <= high) for value, (low, high) in zip(measured, bounds, strict=True)]
    return sum(inside) / len(inside)
