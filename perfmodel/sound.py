"""Could a result read from a file have come from a run? What no run gives would only be found by what uses it."""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.names import INTERFACES
from perfmodel.scenario import Scenario

MOST = 1e30
LONGEST = 200
_SLACK = 1e-9
_MIDDLES = ("value", "total")


def check_sound(path: Path, result: msgspec.Struct, signed: Collection[str] = ()) -> None:
    """Refuse a result that holds what no run gives.

    Parameters
    ----------
    path : Path
        Of the file, for the error.
    result : Struct
    signed : collection of str
        Fields in which numbers may be negative.

    Raises
    ------
    InputError
        A number is negative or above :data:`MOST`, an interval does not hold its value, an interface is unknown, a
        text is none that fits one line, or ``scenario``, where there is one that a run has, lacks something.
    """
    found = msgspec.to_builtins(result)
    for place, value in _walk(found, ""):
        if wrong := _wrong(place, value, signed):
            raise InputError(f"{path}: {place.lstrip('.')}: {wrong}")


def check_scenario(path: Path, scenario: Mapping[str, Any]) -> None:
    """Refuse what :meth:`perfmodel.scenario.Scenario.describe` does not give.

    Raises
    ------
    InputError
        A field is missing, or is of another type.
    """
    for name, usual in Scenario(memory=4096).describe().items():
        if name not in scenario:
            raise InputError(f"{path}: scenario lacks {name!r}: accepted is what perfmodel writes")
        given = scenario[name]
        kinds = (int, float) if isinstance(usual, float) else type(usual)
        of_names = isinstance(given, list) and not all(isinstance(one, str) for one in given)
        if usual is not None and (not isinstance(given, kinds) or of_names or _is_flag(given) != _is_flag(usual)):
            raise InputError(f"{path}: scenario: {name} {given!r}: accepted is one such as {usual!r}")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _walk(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    yield place, value
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "notes":  # what a run says beside its result: no figure draws it
                yield from _walk(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{place}[{number}]")


def _wrong(place: str, value: Any, signed: Collection[str]) -> str:
    """Return what is wrong with a value and what is accepted; nothing where it is sound."""
    if isinstance(value, str):
        fits = len(value) <= LONGEST and value.isprintable()
        if not fits:
            return f"{value[:40]!r}: accepted is a line of at most {LONGEST} printable characters"
        if place.endswith(".interface") and value not in INTERFACES:
            return f"{value!r}: accepted are {', '.join(INTERFACES)}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        least = -MOST if any(f".{name}" in place for name in signed) else 0
        if not (math.isfinite(value) and least <= value <= MOST):
            return f"{value:.6g}: accepted is a number from {least:g} to {MOST:g}"
    elif isinstance(value, dict) and {"low", "high"} <= value.keys():
        middle = next((value[name] for name in _MIDDLES if name in value), None)
        if middle is not None and not _in_order(value["low"], middle, value["high"]):
            return f"{value['low']:.6g} to {value['high']:.6g}: accepted is an interval around {middle:.6g}"
    return ""


def _in_order(low: float, middle: float, high: float) -> bool:
    slack = _SLACK * max(abs(low), abs(middle), abs(high))
    return low <= middle + slack and middle <= high + slack
