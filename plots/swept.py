"""What a figure draws of a sweep: one axis of the grid, each interface, and one place along all other axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfmodel.costs import Ledger
from perfmodel.errors import InputError
from perfmodel.names import INTERFACES
from perfmodel.parameters import ParameterSet
from perfmodel.sizes import format_size
from perfmodel.sound import LONGEST
from perfmodel.sweep.dataset import axis_names, labels, ledger_at, numbers, parameters_at
from plots.words import fold

if TYPE_CHECKING:
    import xarray as xr

MOST_SAMPLES = 1 << 20
_TITLES = {"memory": "guest memory", "shattered": "share of the 1G folios that are shattered", "vcpus": "vCPUs of a TD"}


@dataclass(frozen=True)
class Swept:
    """A sweep, and where it is looked at along some of its axes.

    Attributes
    ----------
    dataset : Dataset
    fixed : dict of str to int
        Index by axis, as asked for.
    """

    dataset: "xr.Dataset"
    fixed: Mapping[str, int]

    @cached_property
    def free(self) -> list[str]:
        """Axes along which the sweep has several values and none was asked for, ``interface`` left out."""
        sizes = self.dataset.sizes
        return [
            name
            for name in axis_names(self.dataset)
            if name != "interface" and name not in self.fixed and sizes[name] > 1
        ]

    @cached_property
    def interface_places(self) -> list[int]:
        """Indices of the interfaces that are drawn: all, or the one that was asked for."""
        only = self.fixed.get("interface")
        return list(range(self.dataset.sizes["interface"])) if only is None else [only]

    @cached_property
    def interfaces(self) -> list[str]:
        """Their names."""
        names = labels(self.dataset, "interface")
        return [names[place] for place in self.interface_places]

    def free_numbers(self, only: Sequence[str] = ()) -> list[str]:
        """Return the free axes whose values are numbers, of ``only`` where there are any."""
        return [name for name in self.free if f"{name}_value" in self.dataset.coords and name in (only or (name,))]

    def lacks_numbers(self, only: Sequence[str] = ()) -> str:
        """Return why no axis of numbers can be drawn; "" where one can."""
        if self.free_numbers(only):
            return ""
        return f"no axis {' or '.join(only) or 'of numbers'} with several values that --at leaves open"

    def along_numbers(self, preferred: str) -> "Line":
        """Return the sweep along the ``preferred`` axis, or along the first free one of numbers.

        Raises
        ------
        ValueError
            There is none.
        """
        found = self.free_numbers()
        if not found:
            raise ValueError(self.lacks_numbers())
        axis = preferred if preferred in found else found[0]
        return Line(self, axis, tuple(np.argsort(numbers(self.dataset, axis)).tolist()))

    def along_any(self, most: int) -> "Line":
        """Return the sweep along the first free axis, at ``most`` values at most; without one, its one place."""
        if not self.free:
            return Line(self, "memory", (self.fixed.get("memory", 0),))
        count = self.dataset.sizes[self.free[0]]
        places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        return Line(self, self.free[0], tuple(places.tolist()))


@dataclass(frozen=True)
class Line:
    """A sweep along one axis; arrays are by value of the axis, then by interface.

    Attributes
    ----------
    swept : Swept
    axis : str
    places : tuple of int
        Indices along the axis.
    """

    swept: Swept
    axis: str
    places: tuple[int, ...]

    @property
    def dataset(self) -> "xr.Dataset":
        """All of the sweep."""
        return self.swept.dataset

    @cached_property
    def at(self) -> dict[str, int]:
        """Index along each axis that is not drawn: what was asked for, or the first."""
        others = [name for name in axis_names(self.dataset) if name not in (self.axis, "interface")]
        return {name: self.swept.fixed.get(name, 0) for name in others}

    @property
    def interface_places(self) -> list[int]:
        """Indices of the interfaces that are drawn."""
        return self.swept.interface_places

    @property
    def interfaces(self) -> list[str]:
        """Their names."""
        return self.swept.interfaces

    @cached_property
    def labels(self) -> list[str]:
        """What the values of the axis are called."""
        return [self._said(self.axis, place) for place in self.places]

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The values of the axis; memory in bytes."""
        return numbers(self.dataset, self.axis)[list(self.places)]

    @cached_property
    def title(self) -> str:
        """What the axis is, with its unit where the labels have none."""
        unit = self._units.get(self.axis, "")
        plain = self.axis.replace("_", " ") if not unit else self.axis
        return _TITLES.get(self.axis, f"{plain}, {unit}" if unit else plain)

    @property
    def heading(self) -> str:
        """The same in the words of a figure's title."""
        return self.title.replace(", ", " in ")

    def values(self, name: str) -> npt.NDArray[Any]:
        """Return a variable, shape (values, interfaces, ...); numbers as float64, NaN where there is none."""
        variable = self.dataset[name]
        index: dict[str, Any] = {**self.at, self.axis: list(self.places), "interface": self.interface_places}
        found = variable.isel({axis: where for axis, where in index.items() if axis in variable.dims})
        if self.axis not in found.dims:  # counts do not depend on prices
            found = found.expand_dims({self.axis: len(self.places)})
        values = np.asarray(found.transpose(self.axis, "interface", ...).values)
        if values.dtype.kind not in "if":
            return values
        return np.where(values < 0, np.nan, values.astype(np.float64))

    def band(
        self, name: str, ends: str = ""
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the low end, the values and the high end of a variable, whose ends are called otherwise or like it."""
        value, ends = self.values(name), ends or name
        return np.minimum(self.values(f"{ends}_low"), value), value, np.maximum(self.values(f"{ends}_high"), value)

    @cached_property
    def memory_gib(self) -> npt.NDArray[np.float64]:
        """GiB of the guest, one for each value of the axis or one for all."""
        sizes = numbers(self.dataset, "memory") / (1 << 30)
        return sizes[list(self.places)] if self.axis == "memory" else sizes[[self.at["memory"]]]

    def ledger(self, value: int, interface: int) -> Ledger:
        """Return the work of one point: the numbers count what is drawn."""
        where = {self.axis: self.places[value], "interface": self.interface_places[interface]}
        return ledger_at(self.dataset, **self.at, **where)

    def parameters(self, value: int) -> ParameterSet:
        """Return the parameters that price the points of one value of the axis."""
        return parameters_at(self.dataset, **self.at, **{self.axis: self.places[value]})

    @cached_property
    def meets(self) -> npt.NDArray[np.bool_]:
        """Whether vCPUs meet each other, by value of the axis: times are then more than prices of ledgers."""
        return np.asarray((self.values("saturated") != "").any(axis=1))

    @property
    def samples(self) -> int:
        """Samples of the parameters behind each interval."""
        return int(self.dataset.attrs["samples"])

    @property
    def seed(self) -> int:
        """What they are drawn with."""
        return int(self.dataset.attrs["seed"])

    def say(self, number: float) -> str:
        """Return a value along the axis, which need not be one of the sweep's, with its unit."""
        if self.axis == "memory":
            return f"{number / (1 << 30):.2g} GiB"
        return f"{100 * number:.2g} %" if self.axis == "shattered" else f"{number:.2g}"

    def lines(self) -> list[str]:
        """Return the lines below a title: where the sweep is looked at along its other axes, and what is missing."""
        where = [
            " ".join(filter(None, (name, self._said(name, place), self._units.get(name))))
            for name, place in self.at.items()
        ]
        missing = int((self.values("status") != 0).sum())
        of = len(self.places) * len(self.interfaces)
        gone = [f"{missing} of {of} points are missing: they failed or were not run"] if missing else []
        return [*fold(", ".join(where)), *gone]

    def made_by(self) -> tuple[str, ...]:
        """Return what the source line says."""
        attributes, names = self.dataset.attrs, self.dataset["parameters_name"]
        index = {axis: place for axis, place in self.at.items() if axis in names.dims}
        priced = (names.isel(index), self.dataset["parameters_sha256"].isel(index))
        if priced[0].size > 1:
            parameters = f"{len(self.places)} parameter sets along {self.axis}"
        else:
            parameters = f"parameters {priced[0].item()} ({str(priced[1].item())[:12]})"
        return (
            f"perfmodel {attributes['version']}", parameters, f"seed {self.seed}",
            f"{self.samples} samples", f"module {attributes['module']}",
        )  # fmt: skip

    @cached_property
    def _units(self) -> dict[str, str]:
        """Units of the parameters."""
        return {one.name: one.unit for one in self.parameters(0).parameters}

    def _said(self, axis: str, place: int) -> str:
        if axis == "memory":
            return format_size(int(numbers(self.dataset, axis)[place]))
        if axis == "shattered":
            return f"{100 * numbers(self.dataset, axis)[place]:.4g} %"
        return labels(self.dataset, axis)[place]


def read_sweep(path: Path, at: Sequence[str] = ()) -> Swept:
    """Read a sweep, a file or a folder of parts, and settle where it is looked at.

    Parameters
    ----------
    path : Path
    at : sequence of str
        ``AXIS=LABEL``.

    Raises
    ------
    InputError
        It is no sweep or a damaged one, nothing of it was run, or an axis or label is not there.
    """
    from perfmodel.sweep.stored import load_sweep

    dataset = load_sweep(path)
    for name in axis_names(dataset):
        for label in labels(dataset, name):
            if not label.isprintable() or len(label) > LONGEST:
                raise InputError(f"{path}: axis {name}: {label[:40]!r}: accepted is a line of printable characters")
    if unknown := set(labels(dataset, "interface")) - set(INTERFACES):
        raise InputError(f"{path}: interface {min(unknown)!r}: accepted are {', '.join(INTERFACES)}")
    _check_attributes(path, dataset.attrs)
    swept = Swept(dataset, dict(_place(dataset, one) for one in at))
    if not (dataset["status"].values == 0).any():
        raise InputError(f"{path}: no point of the sweep was run: accepted is one with results")
    return swept


def _check_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a sweep that does not say what made it."""
    for name in ("version", "module"):
        text = attributes.get(name)
        if not (isinstance(text, str) and text.isprintable() and len(text) <= LONGEST):
            raise InputError(f"{path}: attribute {name!r}: accepted is a line of printable characters")
    for name, least, most in (("seed", 0, 2**63 - 1), ("samples", 1, MOST_SAMPLES)):
        number = attributes.get(name)
        if not (isinstance(number, int | np.integer) and least <= number <= most):
            raise InputError(f"{path}: attribute {name!r}: accepted is a whole number from {least} to {most}")


def _place(dataset: "xr.Dataset", text: str) -> tuple[str, int]:
    axis, equals, label = text.partition("=")
    names = axis_names(dataset)
    if not equals or axis not in names:
        raise InputError(f"at {text!r}: accepted is AXIS=LABEL, with one of the axes {', '.join(names)}")
    known = labels(dataset, axis)
    if label not in known:
        raise InputError(f"at {text!r}: accepted are {', '.join(f'{axis}={one}' for one in known[:20])}")
    return axis, known.index(label)
