"""The fit: prices that may move and hosts' scales, in logarithms, within their ranges, against rows and priors alike.

Every free price has the prior of ``data/parameters.toml``, every host's scale one around 1. A residual of a row is the
logarithm of predicted over measured in units of its scatter, with a loss that grows linearly from about one and a half
units on; residuals of priors stay square. The rest of the prices stand at their values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.design import Design
from perfmodel.calibration.settings import settings
from perfmodel.draws import log_deviation
from perfmodel.errors import InputError
from perfmodel.parameters import ParameterSet

Floats = npt.NDArray[np.float64]

_ROBUST = 1.5
_AT_LIMIT = 1e-3


@dataclass(frozen=True)
class Posterior:
    """What the data leave of the free parameters.

    Attributes
    ----------
    free : tuple of str
        Prices and extras.
    hosts : tuple of str
        Hosts with rows in the fit; their scales come after the prices in the arrays below.
    mean, prior_mean, prior_deviation : ndarray of float64, shape (free + hosts,)
        Of the logarithms.
    covariance : ndarray of float64, shape (free + hosts, free + hosts)
    effective : float
        Sum over parameters of the share of the prior variance that the data took away.
    """

    free: tuple[str, ...]
    hosts: tuple[str, ...]
    mean: Floats
    prior_mean: Floats
    prior_deviation: Floats
    covariance: Floats
    effective: float

    @property
    def deviation(self) -> Floats:
        """Standard errors of the logarithms."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Floats:
        """Correlations of the logarithms."""
        return self.covariance / np.outer(self.deviation, self.deviation)

    @property
    def width(self) -> Floats:
        """Width of the posterior over that of the prior, by parameter: near 1 where the data say nothing."""
        return self.deviation / self.prior_deviation

    def scale_of(self, host: str) -> float:
        """Scale of a host; 1 for one without rows in the fit."""
        return math.exp(self.mean[len(self.free) + self.hosts.index(host)]) if host in self.hosts else 1.0


@dataclass(frozen=True)
class Problem:
    """What a fit works from: rows, and which prices may move.

    Attributes
    ----------
    design : Design
        All rows; a fit names those that it uses.
    names : tuple of str
        Prices, then extras: the columns of ``design.units``.
    free : tuple of str
    mean, deviation : ndarray of float64, shape (names,)
        Of the logarithms, by prior.
    limits : ndarray of float64, shape (names, 2)
        Of the logarithms.
    """

    design: Design
    names: tuple[str, ...]
    free: tuple[str, ...]
    mean: Floats
    deviation: Floats
    limits: Floats

    @classmethod
    def of(cls, design: Design, prior: ParameterSet, free: Sequence[str] | None = None) -> "Problem":
        """Take priors and limits from ``prior`` and ``data/calibration.toml``.

        Raises
        ------
        InputError
            A name that is no price and no extra, or a price that is known exactly.
        """
        extra = settings().extra
        names = prior.names + tuple(one.name for one in extra)
        deviation = np.array([*map(log_deviation, prior.parameters), *(one.deviation for one in extra)])
        limits = np.log([(p.low, p.high) for p in prior.parameters] + [(one.low, one.high) for one in extra])
        values = [p.value for p in prior.parameters] + [one.value for one in extra]
        chosen = tuple(settings().free if free is None else free)
        for name in chosen:
            if name not in names:
                raise InputError(f"free {name!r}: accepted are {', '.join(names)}")
            if deviation[names.index(name)] == 0 and free is not None:
                raise InputError(f"free {name!r}: known exactly; accepted are prices with a range")
        if len(set(chosen)) != len(chosen):
            raise InputError(f"free {', '.join(chosen)}: accepted is each name once")
        moving = tuple(name for name in chosen if deviation[names.index(name)] > 0)
        return cls(design, names, moving, np.log(values), deviation, limits)

    def prices(self, posterior: Posterior) -> Floats:
        """Return all prices and extras at the posterior's mean."""
        logs = self.mean.copy()
        logs[[self.names.index(name) for name in posterior.free]] = posterior.mean[: len(posterior.free)]
        return np.exp(logs)

    def predict_ns(self, posterior: Posterior, rows: Sequence[int] | None = None) -> Floats:
        """Return the predicted times of ``rows``, or of all; hosts without rows in the fit have scale 1."""
        design = self.design if rows is None else self.design.take(rows)
        scales = np.array([posterior.scale_of(one.host) for one in design.rows])
        return np.asarray(scales * design.unscaled_ns(self.prices(posterior)).sum(axis=1))


def fit(problem: Problem, rows: Sequence[int], stage_scatter: float = 0.0) -> Posterior:
    """Fit the free prices and the scales of the hosts of ``rows`` to them.

    Parameters
    ----------
    problem : Problem
    rows : sequence of int
        Rows of ``problem.design``.
    stage_scatter : float
        Standard deviation of the logarithm by which any one stage may be wrong beyond its prices.

    Raises
    ------
    InputError
        Fewer rows than free prices.
    """
    from scipy.optimize import least_squares

    if len(rows) < len(problem.free):
        raise InputError(
            f"{len(rows)} rows to fit for {len(problem.free)} free prices: accepted are at least as many rows, "
            "or fewer prices by --free"
        )
    model = _Model(problem, rows, stage_scatter)
    found = least_squares(
        model.residuals, model.start, model.jacobian, bounds=model.bounds, x_scale="jac", xtol=1e-12, ftol=1e-12
    )
    jacobian = model.jacobian(found.x)
    covariance: Floats = np.asarray(np.linalg.inv(jacobian.T @ jacobian), np.float64)
    shrunk = 1 - np.diag(covariance) / model.deviation**2
    return Posterior(problem.free, model.hosts, found.x, model.mean, model.deviation, covariance, float(shrunk.sum()))


class _Model:
    """Residuals of rows and priors, with their derivatives, as functions of the logarithms of prices and scales."""

    def __init__(self, problem: Problem, rows: Sequence[int], stage_scatter: float) -> None:
        design = problem.design.take(rows)
        self.hosts = tuple(dict.fromkeys(one.host for one in design.rows))
        column = [problem.names.index(name) for name in problem.free]
        units = design.units.sum(axis=1)
        prices = np.exp(problem.mean)
        self._free_units = units[:, column]
        self._fixed_ns = units @ prices - self._free_units @ prices[column]
        self._host = np.array([self.hosts.index(one.host) for one in design.rows])
        self._log_measured = np.log(design.measured_ns)
        self._scatter = row_scatter(design, prices, stage_scatter)
        spread = settings().host_scale
        self.mean = np.concatenate([problem.mean[column], np.zeros(len(self.hosts))])
        self.deviation = np.concatenate([problem.deviation[column], np.full(len(self.hosts), spread)])
        limits = np.concatenate([problem.limits[column], np.full((len(self.hosts), 2), (-5 * spread, 5 * spread))])
        self.bounds = (limits[:, 0], limits[:, 1])
        self.start = np.clip(self.mean, limits[:, 0] + _AT_LIMIT, limits[:, 1] - _AT_LIMIT)

    def _logs(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return standardised residuals of the rows, their free parts in ns, and their sums in ns."""
        free = self._free_units * np.exp(x[: self._free_units.shape[1]])
        total = self._fixed_ns + free.sum(axis=1)
        log_predicted = np.log(total) + x[self._free_units.shape[1] + self._host]
        return (log_predicted - self._log_measured) / self._scatter, free, total

    def residuals(self, x: Floats) -> Floats:
        plain, _, _ = self._logs(x)
        return np.concatenate([_soften(plain)[0], (x - self.mean) / self.deviation])

    def jacobian(self, x: Floats) -> Floats:
        plain, free, total = self._logs(x)
        slope = _soften(plain)[1] / self._scatter
        by_host = np.eye(len(self.hosts))[self._host]
        rows = slope[:, None] * np.hstack([free / total[:, None], by_host])
        return np.vstack([rows, np.diag(1 / self.deviation)])


def _soften(residual: Floats) -> tuple[Floats, Floats]:
    """Return residuals whose squares grow linearly far out (pseudo-Huber), and their derivatives."""
    z = residual / _ROBUST
    root = np.sqrt(1 + z * z)
    soft = _ROBUST * np.sign(z) * np.sqrt(2 * (root - 1))
    slope = np.where(np.abs(z) < 1e-6, 1.0, np.abs(z) / (root * np.sqrt(np.maximum(2 * (root - 1), 1e-30))))
    return soft, slope


def row_scatter(design: Design, prices: Floats, stage_scatter: float) -> Floats:
    """Return what the logarithm of each row may be off by, beyond prices and host: its error, and the model's stages.

    A row that one stage makes up takes all of that stage's scatter, one of many stages less.
    """
    stages = design.unscaled_ns(prices)
    share = stages / stages.sum(axis=1, keepdims=True)
    concentration = np.sqrt((share**2).sum(axis=1))
    model = settings().row_scatter if stage_scatter == 0 else stage_scatter * concentration
    return np.asarray(np.sqrt(design.errors**2 + model**2))
