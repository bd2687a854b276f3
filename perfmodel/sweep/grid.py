"""A grid of points and parameter sets, from a TOML file, from options, or from both."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.files import lies_within, read_whole
from perfmodel.life.scenario_file import Story, load_story
from perfmodel.names import INTERFACES, ORDERS
from perfmodel.parameters import DEFAULT_PRESET, ParameterSet, load_parameters
from perfmodel.scenario import Scenario
from perfmodel.sweep.axes import ALWAYS, POPULATE, Axis, build_axis, check_name, parameter_names, read_values
from perfmodel.sweep.point import Point, named_files

SCHEMA = "perfmodel/grid/1"
MOST_POINTS = 1_000_000
"""Points times parameter sets: more would not fit a machine's memory as one Dataset."""

_FIXED = ("block_shares", "features_off", "params", "uncalibrated", "set")


@dataclass(frozen=True)
class Asked:
    """What a grid file or options say.

    Attributes
    ----------
    values : dict of str to tuple
        By axis, one value or more; an axis that is not there has its default.
    fixed : dict of str to object
        Fields of the scenario that cannot be axes.
    params : Path, optional
    overrides : tuple of str
        ``NAME=VALUE``, for every set.
    calibrated : bool
    title : str
    """

    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    params: Path | None = None
    overrides: tuple[str, ...] = ()
    calibrated: bool = True
    title: str = ""

    def under(self, above: "Asked") -> "Asked":
        """Return what stands once ``above``, given on the command line, has replaced what it names."""
        replaced = {text.partition("=")[0].strip() for text in above.overrides} | above.values.keys()
        kept = tuple(text for text in self.overrides if text.partition("=")[0].strip() not in replaced)
        return Asked(
            self.values | above.values, self.fixed | above.fixed, above.params or self.params,
            kept + above.overrides, self.calibrated and above.calibrated, above.title or self.title,
        )  # fmt: skip


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: str
    grid: dict[str, Any]
    title: str = ""


def read_grid(path: Path) -> Asked:
    """Read a grid file: under ``[grid]`` a value or a list of values for each axis.

    Raises
    ------
    InputError
        One line with file, key, value and what would be accepted.
    """
    accepted = f"accepted is a TOML file with schema {SCHEMA!r}, title and [grid]"
    try:
        given = msgspec.toml.decode(read_whole(path), type=_File)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: {accepted}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}: {accepted}") from None
    if given.schema != SCHEMA:
        raise InputError(f"{path}: schema {given.schema!r}: {accepted}")
    try:
        return _asked(dict(given.grid), given.title, path.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _asked(grid: dict[str, Any], title: str, folder: Path) -> Asked:
    fixed = {name: grid.pop(name) for name in _FIXED if name in grid}
    values = {check_name(name): read_values(check_name(name), given) for name, given in grid.items()}
    values = {
        name: tuple(_beside(folder, name, one) if isinstance(one, Path) else one for one in some)
        for name, some in values.items()
    }
    if "order" in values:
        values["order"] = tuple(
            one if one in ORDERS else str(_beside(folder, "order", Path(one))) for one in values["order"]
        )
    params, overrides = fixed.pop("params", None), fixed.pop("set", [])
    calibrated = not fixed.pop("uncalibrated", False)
    if params is not None and not isinstance(params, str):
        raise InputError(f"params {params!r}: accepted is a file")
    if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
        raise InputError(f"set {overrides!r}: accepted is a list such as ['flush_line=4']")
    return Asked(
        values, _fixed_fields(fixed), _beside(folder, "params", Path(params)) if params else None, tuple(overrides),
        calibrated, title,
    )  # fmt: skip


def _fixed_fields(fixed: dict[str, Any]) -> dict[str, Any]:
    try:
        return msgspec.convert(fixed, _Fixed).given()
    except msgspec.ValidationError as error:
        raise InputError(f"{error}: accepted are block_shares (a table such as {{ 10 = 0.8, 0 = 0.2 }}) and "
                         "features_off (a list)") from None  # fmt: skip


class _Fixed(msgspec.Struct, frozen=True):
    block_shares: dict[str, float] | None = None
    features_off: list[str] | None = None

    def given(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.block_shares is not None:
            if not all(order.isascii() and order.isdigit() for order in self.block_shares):
                raise InputError(f"block_shares {self.block_shares!r}: accepted are orders and their shares")
            found["block_shares"] = {int(order): share for order, share in self.block_shares.items()}
        if self.features_off is not None:
            found["features_off"] = tuple(self.features_off)
        return found


def _beside(folder: Path, name: str, path: Path) -> Path:
    """Return where a file lies that a grid file names: in its folder or below."""
    if not lies_within(folder / path, folder):
        raise InputError(f"{name} {str(path)!r}: accepted is a file in the folder of the grid file or below")
    return folder / path


@dataclass(frozen=True)
class GridPoint:
    """A point, or why there is none."""

    point: Point | None
    refused: str = ""


@dataclass(frozen=True)
class Grid:
    """Points by their axes, and the parameter sets that price each of them.

    Attributes
    ----------
    title : str
    axes : tuple of Axis
        In the order of the Dataset's dimensions: those of the points, then ``preset`` and parameters, ``interface``.
    points : list of GridPoint
        In the order of their axes, ``interface`` last.
    sets : list of ParameterSet
        In the order of theirs.
    """

    title: str
    axes: tuple[Axis, ...]
    points: list[GridPoint]
    sets: list[ParameterSet]

    @property
    def set_axes(self) -> tuple[str, ...]:
        """Names of the axes that only prices depend on."""
        own = ("preset", *parameter_names())
        return tuple(axis.name for axis in self.axes if axis.name in own)


def build_grid(asked: Asked) -> Grid:
    """Lay out everything that is asked for, and check it.

    Raises
    ------
    InputError
        A file that cannot be read, a value that no parameter can have, no point that can be run, or too many.
    """
    values = dict(asked.values)
    stories = {path: load_story(path) for path in values.setdefault("scenario", (POPULATE,)) if path != POPULATE}
    values.setdefault("preset", (DEFAULT_PRESET,))
    explicit = {name for name in values if name in Scenario.__dataclass_fields__}
    _settle(values, stories)
    prices = ("preset", *(name for name in values if name in parameter_names()))
    others = [name for name in values if name not in (*ALWAYS, *prices, "interface")]
    names = [*ALWAYS, *others, "interface"]
    order = [*ALWAYS, *others, *prices, "interface"]
    axes = tuple(build_axis(name, values[name]) for name in order)
    size = 1
    for axis in axes:
        size *= len(axis.labels)
    if size > MOST_POINTS:
        raise InputError(f"grid: {size:,} points with all parameter sets; accepted are at most {MOST_POINTS:,}")
    sets = list(_sets(asked, values, prices))
    read: dict[Path, bytes] = {}
    points = [
        _point(dict(zip(names, combination, strict=True)), explicit, asked.fixed, stories, read, sets)
        for combination in itertools.product(*(values[name] for name in names))
    ]
    if all(one.point is None for one in points):
        raise InputError(f"no point of the grid can be run: {points[0].refused}")
    return Grid(asked.title, axes, points, sets)


def _settle(values: dict[str, tuple[Any, ...]], stories: Mapping[Path, Story]) -> None:
    """Give every axis that was not asked for its one value: that of all scenarios."""
    guests = [story.scenario for story in stories.values()]
    if POPULATE in values["scenario"]:
        guests.append(Scenario())
    for name in ALWAYS[1:]:
        found = list(dict.fromkeys(getattr(guest, name) for guest in guests))
        if name not in values and len(found) > 1:
            raise InputError(f"scenario: the guests differ in {name} ({', '.join(map(str, found))}); give {name} too")
        values.setdefault(name, (found[0],))
    if "interface" not in values:
        asked = list(dict.fromkeys(guest.interfaces for guest in guests))
        only_pfn = values["backing"] == ("pfnmap",)
        values["interface"] = ("pfn",) if only_pfn else (asked[0] if len(asked) == 1 and asked[0] else INTERFACES)


def _sets(asked: Asked, values: Mapping[str, Sequence[Any]], prices: Sequence[str]) -> Iterator[ParameterSet]:
    for preset, *numbers in itertools.product(*(values[name] for name in prices)):
        overrides = [f"{name}={number!r}" for name, number in zip(prices[1:], numbers, strict=True)]
        file = preset if isinstance(preset, Path) else asked.params
        if isinstance(preset, Path) and asked.params:
            raise InputError(f"preset {str(preset)!r}: a file takes the place of params; accepted is one of them")
        base = DEFAULT_PRESET if isinstance(preset, Path) else preset
        yield load_parameters(base, file, (*asked.overrides, *overrides), asked.calibrated)


def _point(
    chosen: Mapping[str, Any], explicit: set[str], fixed: Mapping[str, Any], stories: Mapping[Path, Story],
    read: dict[Path, bytes], sets: Sequence[ParameterSet],
) -> GridPoint:  # fmt: skip
    """Return one point; what its values cannot be together is its reason to be none."""
    fields = {name: value for name, value in chosen.items() if name not in ("scenario", "interface")} | dict(fixed)
    fields["interfaces"] = (chosen["interface"],)
    story = stories.get(chosen["scenario"])
    try:
        if story is None:
            scenario = Scenario(**fields)
        else:
            kept = {name: value for name, value in fields.items() if name in explicit or name in ("interfaces", *fixed)}
            scenario = replace(story.scenario, **kept)
            _check_story(story, scenario)
            story = msgspec.structs.replace(story, scenario=scenario)
        return GridPoint(Point.of(scenario, story, _read_files(scenario, read), _preset_of(scenario, sets)))
    except InputError as error:
        return GridPoint(None, str(error))


def _check_story(story: Story, scenario: Scenario) -> None:
    if scenario.memory_model != "constant" or scenario.flush_first_page_only:
        raise InputError("a life in phases takes neither memory_model 'simulated' nor flush_first_page_only")
    for number, phase in enumerate(story.phases):
        try:
            phase.check(scenario.memory_bytes)
        except InputError as error:
            raise InputError(f"{story.name}: phase[{number}].{error}") from None


def _preset_of(scenario: Scenario, sets: Sequence[ParameterSet]) -> str:
    """Return the processor that counts depend on: none, unless caches are simulated."""
    if scenario.memory_model == "constant":
        return ""
    presets = list(dict.fromkeys(one.preset for one in sets))
    if len(presets) > 1:
        raise InputError(f"memory_model 'simulated' counts on one processor's caches; accepted is one of {presets}")
    return presets[0]


def _read_files(scenario: Scenario, read: dict[Path, bytes]) -> dict[Path, bytes]:
    for name, path in named_files(scenario).items():
        if path not in read:
            try:
                read[path] = read_whole(path)
            except OSError as error:
                raise InputError(f"{name} {str(path)!r}: {error.strerror}: accepted is a file") from None
    return read
