"""What ``data/calibration.toml`` says: prices that may move, parts of intervals that no stage is about, scatter."""

import functools
import math
from importlib import resources

import msgspec


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
