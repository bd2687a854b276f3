"""Numbers with their samples: whatever is computed from them keeps an interval of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.costs import INTERVAL
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Group, Row

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampled:
    """A number at the parameters' values, and the same under each sample of them, shape (samples,)."""

    value: float
    samples: Floats

    def __add__(self, other: "Sampled") -> "Sampled":
        return Sampled(self.value + other.value, self.samples + other.samples)

    def __sub__(self, other: "Sampled") -> "Sampled":
        return Sampled(self.value - other.value, self.samples - other.samples)

    def __truediv__(self, other: "Sampled") -> "Sampled":
        return Sampled(self.value / other.value, self.samples / other.samples)

    def times(self, factor: float) -> "Sampled":
        """Return the number times an exact one."""
        return Sampled(self.value * factor, self.samples * factor)

    def under(self, amount: float) -> "Sampled":
        """Return an exact amount over the number."""
        return Sampled(amount / self.value, amount / self.samples)

    @property
    def interval(self) -> tuple[float, float]:
        """5 % and 95 % points, always around the value; infinite where that many samples are."""
        between = np.isfinite(self.samples).all()
        low, high = np.quantile(self.samples, INTERVAL, method="linear" if between else "inverted_cdf").tolist()
        return min(low, self.value), max(high, self.value)

    def row(self, label: str, column: str, unit: str) -> Row:
        """Return it as a row of an answer."""
        return Row(label, column, self.value, *self.interval, unit)

    def text(self, unit: str) -> str:
        """Return it as text, with its interval."""
        return amount(self.row("", "", unit))


def table(title: str, numbers: Mapping[tuple[str, str], Sampled], unit: str, *, drawn: bool = False) -> Group:
    """Return numbers by label and column as a group."""
    return Group(title, [number.row(*names, unit) for names, number in numbers.items()], drawn)


def exact(label: str, column: str, value: float, unit: str = "") -> Row:
    """Return a row without an interval."""
    return Row(label, column, value, None, None, unit)
