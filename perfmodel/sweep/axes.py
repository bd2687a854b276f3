"""Axes of a grid: which there are, and how their values are read, named and numbered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from perfmodel.accepted import one_of
from perfmodel.errors import InputError
from perfmodel.names import INTERFACES
from perfmodel.parameters import CLOCK_NAMES, default_parameters, preset_names
from perfmodel.scenario import Scenario
from perfmodel.sizes import format_size, parse_size

POPULATE = "populate"
"""The scenario that is no file: a guest takes its memory into use."""

ALWAYS = ("scenario", "guest", "backing", "shattered", "memory", "vcpus")
"""Axes of every grid, in the order of its dimensions; then other fields of the scenario, ``preset``, parameters, and
``interface`` last."""

_NOT_AXES = ("interfaces", "block_shares", "features_off")
_FILES = ("extents", "host", "order")
"""Fields of a scenario that may name a file."""


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One dimension.

    Attributes
    ----------
    name : str
    labels : tuple of str
        What results call each value.
    coordinate : tuple of int
        The value itself where it is a whole number, in bytes for ``memory``; 0, 1, 2, ... otherwise.
    numbers : tuple of float or None
        The values where they are numbers.
    """

    name: str
    labels: tuple[str, ...]
    coordinate: tuple[int, ...]
    numbers: tuple[float, ...] | None


def scenario_fields() -> dict[str, Any]:
    """Return the fields of a scenario that can be axes, with their types."""
    return {name: kind for name, kind in get_type_hints(Scenario).items() if name not in _NOT_AXES}


def parameter_names() -> tuple[str, ...]:
    """Return the parameters that can be axes, clocks among them."""
    return (*(parameter.name for parameter in default_parameters()), *CLOCK_NAMES)


def check_name(name: str) -> str:
    """Return ``name`` if it can be an axis; dashes count as underscores.

    Raises
    ------
    InputError
        It cannot; the nearest names are given.
    """
    import difflib

    plain = name.strip().replace("-", "_")
    accepted = ["scenario", "interface", "preset", *scenario_fields(), *parameter_names()]
    if plain not in accepted:
        near = difflib.get_close_matches(plain, accepted, n=3, cutoff=0.0)
        raise InputError(f"axis {name!r}: accepted are scenario, interface, preset, memory, backing, shattered, vcpus "
                         f"and the like, and every parameter; the nearest are {', '.join(near)}")  # fmt: skip
    return plain


def read_values(name: str, given: object) -> tuple[Any, ...]:
    """Return the values of axis ``name``: one or a list, numbers or their texts.

    Raises
    ------
    InputError
        None, one twice, or one that the axis cannot have.
    """
    items = list(given) if isinstance(given, list | tuple) else [given]
    values = tuple(_read_value(name, item) for item in items)
    if not values:
        raise InputError(f"axis {name}: no value; accepted is one or more")
    for at, value in enumerate(values):
        if value in values[:at]:
            raise InputError(f"axis {name}: {items[at]!r} is given twice; accepted is each value once")
    return values


def _read_value(name: str, item: object) -> Any:
    if name == "memory":
        return parse_size(item if isinstance(item, int) else str(item))
    if name == "interface":
        return one_of(name, item, INTERFACES)
    if name == "scenario":
        return POPULATE if item == POPULATE else Path(_text(name, item))
    if name == "preset":
        text = _text(name, item)
        return Path(text) if text.endswith(".toml") else one_of(name, text, preset_names())
    kind = scenario_fields().get(name, float)
    if kind == (Path | None):
        return Path(_text(name, item))
    try:
        if isinstance(item, bool) and kind is not bool:
            raise msgspec.ValidationError("true or false")
        return msgspec.convert(item, kind, strict=False)
    except msgspec.ValidationError:
        called = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}[kind]
        raise InputError(f"axis {name}: {item!r}: accepted is {called}") from None


def _text(name: str, item: object) -> str:
    if not isinstance(item, str) or not item or "\0" in item:
        raise InputError(f"axis {name}: {item!r}: accepted is a name or a file")
    return item


def build_axis(name: str, values: Sequence[Any]) -> Axis:
    """Name and number the values of an axis."""
    labels = tuple(_label(name, value) for value in values)
    for at, label in enumerate(labels):
        if label in labels[:at]:
            raise InputError(f"axis {name}: two values are called {label!r}; accepted are files of different names")
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return Axis(
        name, labels, tuple(values) if whole else tuple(range(len(values))),
        tuple(float(value) for value in values) if plain else None,
    )  # fmt: skip


def _label(name: str, value: Any) -> str:
    if name == "memory":
        return format_size(value).replace(" ", "")
    if isinstance(value, Path):
        return value.name if name in _FILES else value.stem
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
