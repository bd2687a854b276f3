"""Drawing prices from their distributions, correlated where a calibration says so."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from perfmodel.parameters import Joint, Parameter

Floats = npt.NDArray[np.float64]

_STANDARD = NormalDist()
_EDGE = 1e-12
_cdf = np.frompyfunc(_STANDARD.cdf, 1, 1)
_inverse_cdf = np.frompyfunc(_STANDARD.inv_cdf, 1, 1)
_SCATTER_STREAM = 0x5CA77E


def normal_cdf(z: Floats) -> Floats:
    """Distribution function of the standard normal distribution, elementwise."""
    return np.asarray(_cdf(z), np.float64)


def normal_quantile(u: Floats) -> Floats:
    """Inverse of `normal_cdf`; `u` may touch 0 and 1."""
    return np.asarray(_inverse_cdf(np.clip(u, _EDGE, 1 - _EDGE)), np.float64)


def correlate(uniform: Floats, names: Sequence[str], joint: "Joint") -> Floats:
    """Give the rows of ``uniform`` whose names are in ``joint`` its correlation, by a Gaussian copula.

    Parameters
    ----------
    uniform : ndarray of float64, shape (names, samples)
    names : sequence of str
    joint : Joint

    Returns
    -------
    ndarray of float64, shape (names, samples)
        Each row is still uniform.
    """
    rows = [list(names).index(name) for name in joint.names]
    factor = np.linalg.cholesky(np.array(joint.correlation))
    linked = uniform.copy()
    linked[rows] = normal_cdf(factor @ normal_quantile(uniform[rows]))
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


def log_draws(
    parameters: "Sequence[Parameter]", joint: "Joint", stages: int, samples: int, seed: int
) -> tuple[Floats, Floats]:
    """Draw by how much the logarithms of prices and of stages are off in a calibrated set.

    Returns
    -------
    prices : ndarray of float64, shape (samples, parameters)
        Correlated as ``joint`` says.
    stages : ndarray of float64, shape (samples, stages)
        The scale of the host, and what each stage is off by itself.
    """
    names = [parameter.name for parameter in parameters]
    draws = np.random.default_rng(seed)
    normal = normal_quantile(draws.random((len(parameters), samples)))  # a price added last moves no other
    rows = [names.index(name) for name in joint.names]
    normal[rows] = np.linalg.cholesky(np.array(joint.correlation)) @ normal[rows]
    deviation = np.array([log_deviation(parameter) for parameter in parameters])
    other = np.random.default_rng([_SCATTER_STREAM, seed])
    host = joint.host_scale * other.standard_normal((samples, 1))
    return (deviation[:, None] * normal).T, host + joint.stage_scatter * other.standard_normal((samples, stages))
