"""What a sweep's result is about, without any count or price: its axes, points and parameter sets."""

import hashlib
import math
import re
from typing import Any

import msgspec

from perfmodel._version import __version__
from perfmodel.errors import InputError
from perfmodel.fingerprint import model_fingerprint
from perfmodel.parameters import ParameterSet
from perfmodel.sweep.axes import Axis
from perfmodel.sweep.grid import Grid, GridPoint
from perfmodel.sweep.point import describe_life, meets

SCHEMA = "perfmodel/sweep/1"
_KEY = re.compile(r"[0-9a-f]*")  # the name of a file


class PlannedPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One point: where its counts are kept, what prices need of it, or why it cannot be.

    Attributes
    ----------
    key : str
        Empty where the point is refused.
    refused : str
    seed, tds : int
    meets : bool
        Its vCPUs meet each other.
    life : bool
        It is a life in phases.
    """

    key: str
    refused: str
    seed: int
    tds: int
    meets: bool
    life: bool


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The frame of a Dataset; enough to assemble it from parts.

    Attributes
    ----------
    title, version, model : str
        ``model`` is the hash of the source that counted.
    samples : int
        Of the parameters, behind each interval.
    scenario : dict
        What the scenario of the first point says beyond the axes.
    lives : dict of str to dict
        Of each scenario file its knobs and phases, by its label on the axis ``scenario``.
    files : dict of str to str
        SHA-256 of each file that points refer to, by its name.
    axes, set_axes
        As those of :class:`perfmodel.sweep.grid.Grid`.
    points : list of PlannedPoint
    sets : list of ParameterSet
    """

    schema: str = SCHEMA
    title: str
    version: str
    model: str
    samples: int
    scenario: dict[str, Any]
    lives: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}
    axes: tuple[Axis, ...]
    set_axes: tuple[str, ...]
    points: list[PlannedPoint]
    sets: list[ParameterSet]

    @property
    def point_shape(self) -> tuple[int, ...]:
        """Lengths of the axes of points, ``interface`` last."""
        return tuple(len(axis.labels) for axis in self.axes if axis.name not in self.set_axes)

    @property
    def set_shape(self) -> tuple[int, ...]:
        """Lengths of the axes of parameter sets."""
        return tuple(len(axis.labels) for axis in self.axes if axis.name in self.set_axes)

    def checked(self) -> "Layout":
        """Return the layout if it is one; raise InputError otherwise."""
        names = [axis.name for axis in self.axes]
        whole = (
            self.schema == SCHEMA
            and names[-1:] == ["interface"]
            and len(set(names)) == len(names)
            and all(
                len(axis.labels) == len(axis.coordinate) == len(set(axis.labels)) > 0
                and (axis.numbers is None or len(axis.numbers) == len(axis.labels))
                for axis in self.axes
            )
            and set(self.set_axes) < set(names)
            and len(self.points) == math.prod(self.point_shape)
            and all(_KEY.fullmatch(point.key) for point in self.points)
            and len(self.sets) == math.prod(self.set_shape) > 0
        )
        if not whole:
            raise InputError("axes, points and parameter sets do not fit each other")
        return self


def lay_out(grid: Grid, samples: int) -> Layout:
    """Return the layout of what ``grid`` asks for."""
    points = [_planned(one) for one in grid.points]
    real = [one.point for one in grid.points if one.point is not None]
    on_axes = {"memory_bytes", "interfaces", *(axis.name for axis in grid.axes)}
    return Layout(
        title=grid.title, version=__version__, model=model_fingerprint(), samples=samples,
        scenario={name: value for name, value in real[0].scenario.describe().items() if name not in on_axes},
        lives={one.story.name: describe_life(one.story) for one in real if one.story is not None},
        files={name: hashlib.sha256(content).hexdigest() for one in real for name, content in one.files.values()},
        axes=grid.axes, set_axes=grid.set_axes, points=points, sets=grid.sets,
    )  # fmt: skip


def _planned(one: GridPoint) -> PlannedPoint:
    if one.point is None:
        return PlannedPoint("", one.refused, 0, 1, False, False)
    scenario, life = one.point.scenario, one.point.story is not None
    return PlannedPoint(one.point.key, "", scenario.seed, scenario.tds, meets(one.point), life)
