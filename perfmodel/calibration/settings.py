"""What ``data/calibration.toml`` says: prices that may move, parts of intervals that no stage is about, scatter."""

import functools
import math
from importlib import resources

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.parameters import Parameter, ParameterSet


class Extra(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of measured intervals that no stage of the model is about, in ns."""

    name: str
    value: float
    low: float
    high: float
    meaning: str
    source: str

    @property
    def deviation(self) -> float:
        """Standard deviation of the logarithm, log-uniform between the limits."""
        return math.log(self.high / self.low) / math.sqrt(12)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``data/calibration.toml``; its fields are explained there."""

    host_scale: float
    row_scatter: float
    free: tuple[str, ...]
    extra: tuple[Extra, ...]

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of the extras, in file order."""
        return tuple(one.name for one in self.extra)


@functools.cache
def settings() -> Settings:
    """Return what the file says."""
    text = (resources.files("perfmodel") / "data" / "calibration.toml").read_bytes()
    return msgspec.toml.decode(text, type=Settings)


def log_deviation(parameter: Parameter) -> float:
    """Return the standard deviation of the logarithm of a parameter under its distribution; 0 if it is fixed."""
    low, high, value = parameter.low, parameter.high, parameter.value
    if parameter.distribution == "fixed" or low == high:
        return 0.0
    if parameter.distribution == "lognormal":
        return parameter.sigma or 0.0
    a, b, c = math.log(low), math.log(high), math.log(value)
    if parameter.distribution == "logtriangular":
        return math.sqrt((a * a + b * b + c * c - a * b - a * c - b * c) / 18)
    return (b - a) / math.sqrt(12)


def log_deviations(parameters: ParameterSet) -> npt.NDArray[np.float64]:
    """Return `log_deviation` of all prices, shape (n,)."""
    return np.array([log_deviation(parameter) for parameter in parameters.parameters])
