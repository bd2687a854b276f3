"""Which prices matter for which result: Morris screening and Sobol indices.

Results are costs of one operation, and the ratio of populating at 4K and at 2M. Prices are varied over their own
distributions, one independent of the other; what a calibration knows of sums is left out, and so are host and stages,
which are no prices.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.design import Design, build_design
from perfmodel.calibration.questions import RATIO, RATIO_OF, questions
from perfmodel.calibration.settings import settings
from perfmodel.draws import log_deviation, quantile
from perfmodel.errors import InputError
from perfmodel.parameters import Parameter, ParameterSet
from perfmodel.workers import Progress

Floats = npt.NDArray[np.float64]

TRAJECTORIES = 64
SOBOL_SAMPLES = 1024
_MORRIS_LEVELS = 8
_EDGES = (0.05, 0.95)


@dataclass(frozen=True)
class Results:
    """Results as functions of the prices that vary.

    Attributes
    ----------
    names : tuple of str
        Of the results; the last is the ratio.
    varied : tuple of Parameter
        Prices and extras that have a range and occur in a result.
    units : ndarray of float64, shape (results - 1, varied)
        In ns per the price's own unit.
    fixed_ns : ndarray of float64, shape (results - 1,)
        What the other prices add.
    """

    names: tuple[str, ...]
    varied: tuple[Parameter, ...]
    units: Floats
    fixed_ns: Floats

    def at(self, prices: Floats) -> Floats:
        """Return all results, shape (results, samples), at ``prices`` of shape (varied, samples)."""
        costs = self.units @ prices + self.fixed_ns[:, None]
        above, below = (costs[self.names.index(name)] for name in RATIO_OF)
        return np.vstack([costs, 512 * above / below])

    def from_quantiles(self, u: Floats) -> Floats:
        """Return the prices, shape (varied, samples), at the points ``u`` of their distributions."""
        return np.stack([quantile(price, row) for price, row in zip(self.varied, u, strict=True)])


def results_of(parameters: ParameterSet, progress: Progress | None = None) -> tuple[Results, Design]:
    """Count every question, and return those that are results, with the design of all."""
    design = build_design(questions(), parameters.parameters, progress)
    asked = [i for i, one in enumerate(design.rows) if one.role == "both"]
    prices = [*parameters.parameters, *(_as_price(one) for one in settings().extra)]
    units = design.units[asked].sum(axis=1)
    moving = [j for j, price in enumerate(prices) if log_deviation(price) > 0 and units[:, j].any()]
    values = np.array([price.value for price in prices])
    varied = tuple(prices[j] for j in moving)
    names = (*(design.rows[i].id for i in asked), RATIO)
    return Results(names, varied, units[:, moving], units @ values - units[:, moving] @ values[moving]), design


def _as_price(extra: object) -> Parameter:
    """Return an extra as a log-uniform price in ns."""
    fields = {key: getattr(extra, key) for key in ("name", "value", "low", "high", "meaning", "source")}
    return Parameter(unit="ns", distribution="loguniform", confidence="U", **fields)


def morris(results: Results, seed: int) -> tuple[Floats, Floats]:
    """Screen by elementary effects on a grid over the middle nine tenths of each price's distribution.

    Returns
    -------
    mu_star, sigma : ndarray of float64, shape (results, varied)
        Mean of absolute effects and standard deviation of effects of a price going through all of that range, as a
        share of the result at its mean.

    Raises
    ------
    InputError
        SALib is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SALib's own dependencies
            from SALib.analyze import morris as analyse
            from SALib.sample import morris as sample
    except ImportError:
        raise InputError("sensitivity needs SALib: install perfmodel[sensitivity]") from None
    low, high = _EDGES
    problem = {
        "num_vars": len(results.varied),
        "names": [price.name for price in results.varied],
        "bounds": [[low, high]] * len(results.varied),
    }
    points = sample.sample(problem, TRAJECTORIES, num_levels=_MORRIS_LEVELS, seed=seed)
    found = results.at(results.from_quantiles(points.T))
    effects = [
        analyse.analyze(problem, points, row, num_levels=_MORRIS_LEVELS, num_resamples=10, seed=seed) for row in found
    ]
    mean = found.mean(axis=1)[:, None]
    return (
        np.array([np.asarray(one["mu_star"]) for one in effects], np.float64) / mean,
        np.array([np.asarray(one["sigma"]) for one in effects], np.float64) / mean,
    )


class _Distribution:
    """A price as ``scipy.stats.sobol_indices`` takes it."""

    def __init__(self, price: Parameter) -> None:
        self._price = price

    def ppf(self, u: Floats) -> Floats:
        return quantile(self._price, np.asarray(u, np.float64))


def sobol(results: Results, seed: int, samples: int = SOBOL_SAMPLES) -> tuple[Floats, Floats]:
    """Return first-order and total Sobol indices, shape (results, varied) each."""
    from scipy.stats import sobol_indices

    function: Callable[[Floats], Floats] = results.at
    found = sobol_indices(
        func=function, n=samples, dists=[_Distribution(price) for price in results.varied],
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return np.atleast_2d(found.first_order), np.atleast_2d(found.total_order)


def spread(results: Results, seed: int, samples: int = 4096) -> list[tuple[float, float, float]]:
    """Return each result at the prices' values, and its 5 % and 95 % points over their distributions."""
    draws = np.random.default_rng([seed, 0x5E]).random((len(results.varied), samples))
    drawn = results.at(results.from_quantiles(draws))
    central = results.at(np.array([[price.value] for price in results.varied]))[:, 0]
    low, high = np.quantile(drawn, _EDGES, axis=1)
    return list(zip(central.tolist(), low.tolist(), high.tolist(), strict=True))


def ranked(indices: Sequence[float]) -> list[int]:
    """Return the places of ``indices`` from the largest on."""
    return sorted(range(len(indices)), key=lambda j: -indices[j])
