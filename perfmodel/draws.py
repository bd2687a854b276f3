"""Drawing prices from their distributions, correlated where a calibration says so."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from perfmodel.joint import Joint
    from perfmodel.parameters import Parameter

Floats = npt.NDArray[np.float64]

_STANDARD = NormalDist()
_EDGE = 1e-12
_SCATTER_STREAM = 0x5CA77E


def normal_cdf(z: Floats) -> Floats:
    """Distribution function of the standard normal distribution, elementwise."""
    from scipy import special

    return np.asarray(special.ndtr(z), np.float64)


def normal_quantile(u: Floats) -> Floats:
    """Inverse of `normal_cdf`; `u` may touch 0 and 1."""
    from scipy import special

    return np.asarray(special.ndtri(np.clip(u, _EDGE, 1 - _EDGE)), np.float64)


def correlate(normal: Floats, names: Sequence[str], joint: "Joint") -> Floats:
    """Give the rows of ``normal`` whose names are in ``joint`` its correlation.

    Parameters
    ----------
    normal : ndarray of float64, shape (names, samples)
        Independent standard normal draws.
    names : sequence of str
        Names in ``joint`` that are not among them are left out.
    joint : Joint

    Returns
    -------
    ndarray of float64, shape (names, samples)
        Each row is still standard normal.
    """
    present = [k for k, name in enumerate(joint.names) if name in names]
    rows = [list(names).index(joint.names[k]) for k in present]
    factor = np.linalg.cholesky(np.array(joint.correlation)[np.ix_(present, present)])
    linked = normal.copy()
    linked[rows] = factor @ normal[rows]
    return linked


def quantile(parameter: "Parameter", u: Floats) -> Floats:
    """Inverse distribution function of one parameter at `u`, in the parameter's own unit."""
    low, high = parameter.low, parameter.high
    if parameter.distribution == "fixed" or low == high:
        return np.full_like(u, parameter.value)
    if parameter.distribution == "uniform":
        return low + u * (high - low)
    if parameter.distribution == "lognormal":
        return _truncated_lognormal(parameter, u)
    span = math.log(high / low)
    if parameter.distribution == "loguniform":
        return np.asarray(low * np.exp(u * span))
    mode = math.log(parameter.value / low) / span
    below = np.sqrt(u * mode)
    above = 1.0 - np.sqrt((1.0 - u) * (1.0 - mode))
    return np.asarray(low * np.exp(np.where(u < mode, below, above) * span))


def _truncated_lognormal(parameter: "Parameter", u: Floats) -> Floats:
    sigma = parameter.sigma or 0.0
    if sigma == 0:
        return np.full_like(u, parameter.value)
    least, most = (_STANDARD.cdf(math.log(x / parameter.value) / sigma) for x in (parameter.low, parameter.high))
    drawn = parameter.value * np.exp(sigma * normal_quantile(least + u * (most - least)))
    return np.clip(drawn, parameter.low, parameter.high)


def log_deviation(parameter: "Parameter") -> float:
    """Return the standard deviation of the logarithm of a parameter under its distribution; 0 if it is fixed."""
    low, high, value = parameter.low, parameter.high, parameter.value
    if parameter.distribution == "fixed" or low == high:
        return 0.0
    if parameter.distribution == "lognormal":
        return parameter.sigma or 0.0
    if low <= 0:  # uniform down to zero: by its own standard deviation
        return (high - low) / math.sqrt(12) / value if value else 0.0
    a, b, c = math.log(low), math.log(high), math.log(value)
    if parameter.distribution == "logtriangular":
        return math.sqrt((a * a + b * b + c * c - a * b - a * c - b * c) / 18)
    return (b - a) / math.sqrt(12)


def cost_factors(
    parameters: "Sequence[Parameter]", joint: "Joint", stages: int, samples: int, seed: int
) -> tuple[Floats, Floats]:
    """Draw by which factors prices and stages of a calibrated set are off; each has mean 1, as totals are known best.

    Returns
    -------
    prices : ndarray of float64, shape (samples, parameters)
        Correlated as ``joint`` says.
    stages : ndarray of float64, shape (samples, stages)
        The scale of the host, and what each stage is off by itself.
    """
    draws = np.random.default_rng(seed)
    normal = normal_quantile(draws.random((len(parameters), samples)))  # a price added last moves no other
    normal = correlate(normal, [parameter.name for parameter in parameters], joint)
    deviation = np.array([log_deviation(parameter) for parameter in parameters])
    host, own = scatter(joint, stages, samples, seed)
    spread = joint.host_scale**2 + joint.stage_scatter**2
    return np.exp(deviation * normal.T - deviation**2 / 2), np.asarray(np.exp(host + own - spread / 2))


def scatter(joint: "Joint", stages: int, samples: int, seed: int) -> tuple[Floats, Floats]:
    """Draw the logarithms of what :func:`cost_factors` takes a host, shape (samples, 1), and stages to be off by."""
    draws = np.random.default_rng([_SCATTER_STREAM, seed])
    host = joint.host_scale * draws.standard_normal((samples, 1))
    return host, joint.stage_scatter * draws.standard_normal((samples, stages))
