"""Observations: what somebody measured, as a scenario in the model's own terms with the interval that was timed.

One row of CSV each; ``data/observations.csv`` holds the public ones, and any other file of the same columns is read
alike. docs/costs.md explains the columns.
"""

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import msgspec

from perfmodel.costs import ALL_STAGES, STAGES
from perfmodel.errors import InputError
from perfmodel.files import read_whole
from perfmodel.life.scenario_file import WhatIf
from perfmodel.sizes import parse_size

COLUMNS = (
    "id", "role", "fold", "host", "operation", "page_size", "memory", "request_pages", "vcpus", "inside", "covers",
    "leaves_out", "knobs", "core_ghz", "tsc_ghz", "quantity", "value", "unit", "error", "minus", "source", "url",
    "date", "note",
)  # fmt: skip
REQUIRED = ("id", "operation", "memory", "quantity", "value", "unit")

ROLES = ("fit", "held-out", "report", "input", "prior", "outside", "never", "not-expressed")
"""``fit`` and ``held-out`` are scored; only ``fit`` may move a parameter. The last two are no scenario of the model."""

SCORED = ("fit", "held-out")
EXPRESSED = ROLES[:-2]

ASKED = ("both", "candidate")
"""Roles of questions: results that may be measured too, and what is only worth measuring."""

OPERATIONS = (
    "populate", "touch", "grant", "shared-fault", "convert", "shutdown-removal", "shutdown-reclaim", "measure",
    "pamt-get", "pamt-put", "clear", "initial-image", "clflush-before-alloc",
)  # fmt: skip
"""What was timed; :mod:`perfmodel.calibration.operations` counts each."""

_NS = MappingProxyType({"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9})

UNITS: dict[str, Mapping[str, float]] = {
    "time": _NS,
    "time-per-page": _NS,
    "time-per-2m": _NS,
    "time-per-fault": _NS,
    "faults": {"count": 1.0},
    "bandwidth": {"GB/s": 1.0},
    "size": {"MB": 1.0},
    "platforms": {"platforms": 1.0},
}
"""Units by quantity, in ns where it is a time. ``cycles`` of the TSC go with every time and need ``tsc_ghz``."""

COVERS = {
    "all": ALL_STAGES,
    "host": tuple(stage for stage in STAGES if stage not in ("exit", "entry", "guest_accept", "guest_zero")),
}
"""Names for sets of stages that ``covers`` and ``leaves_out`` accept beside the stages' own."""

TRACERS = ("none", "service", "addresses")
DEFAULT_ERROR = 0.05
DEFAULT_GHZ = 3.0
LIMIT = 1 << 46


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """Software that differs between hosts: what-if knobs of the model, and the tracer that ran beside."""

    what_if: WhatIf = WhatIf()
    tracer: str = "none"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes
    ----------
    row : int
        Line of its file, the header being 1.
    id, role, fold, host : str
        Rows of one fold are left out together. Rows of one host share a scale.
    operation, page_size : str
    memory_bytes, request_pages, vcpus, inside : int
        `request_pages`: 4K pages of one MapGPA. `inside`: vCPUs that run in the TD beside the one that acts.
    stages : tuple of str
        What the interval covers.
    knobs : Knobs
    core_ghz, tsc_ghz : float
        `tsc_ghz` is 0 where it is not stated.
    quantity : str
    value : float
        As measured, in `unit`.
    unit : str
    error : float
        Standard deviation of the logarithm.
    minus : str
        Id of the row whose value is taken off this one's, measured and predicted alike; or empty.
    source, url, date, note : str
    """

    row: int
    id: str
    role: str = "held-out"
    fold: str = ""
    host: str = ""
    operation: str = ""
    page_size: str = "4K"
    memory_bytes: int = 0
    request_pages: int = 512
    vcpus: int = 1
    inside: int = 0
    stages: tuple[str, ...] = ALL_STAGES
    knobs: Knobs = Knobs()
    core_ghz: float = DEFAULT_GHZ
    tsc_ghz: float = 0.0
    quantity: str = ""
    value: float = 0.0
    unit: str = ""
    error: float = DEFAULT_ERROR
    minus: str = ""
    source: str = ""
    url: str = ""
    date: str = ""
    note: str = ""

    @property
    def is_time(self) -> bool:
        """Whether the prices decide it."""
        return self.quantity.startswith("time") or self.quantity == "bandwidth"

    @property
    def by_difference(self) -> bool:
        """Whether a ratio has no meaning, because 0 was measured."""
        return self.value == 0

    def in_base_unit(self, value: float) -> float:
        """Return ``value`` in ns where it is a time, and as it is otherwise."""
        if self.unit == "cycles":
            return value / self.tsc_ghz
        return value * UNITS[self.quantity][self.unit]

    def in_own_unit(self, base: float) -> float:
        """Return ``base``, in ns where it is a time, in the unit of `value`."""
        return base / self.in_base_unit(1.0)


@functools.cache
def built_in() -> tuple[Observation, ...]:
    """Return the rows of ``data/observations.csv``."""
    text = (resources.files("perfmodel") / "data" / "observations.csv").read_text(encoding="utf-8")
    return parse_observations(text, "observations.csv")


def load_observations(path: Path) -> tuple[Observation, ...]:
    """Read a file of observations.

    Raises
    ------
    InputError
        One line with row, column, value and what would be accepted.
    """
    try:
        text = read_whole(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: {reason}: accepted is a CSV file with the header {','.join(COLUMNS)}") from None
    return parse_observations(text, str(path))


def gather(files: Sequence[Path], only: bool) -> tuple[Observation, ...]:
    """Return the public rows, unless ``only``, and those of ``files``.

    Raises
    ------
    InputError
        An id stands in two places, or there is nothing to read.
    """
    if only and not files:
        raise InputError("only: accepted with one file of observations or more")
    rows = () if only else built_in()
    for path in files:
        known = {one.id for one in rows}
        for one in (more := load_observations(path)):
            if one.id in known:
                raise InputError(
                    f"{path}: row {one.row}, column 'id', value {one.id!r}: accepted is an id that is not in use yet"
                )
        rows = (*rows, *more)
    return rows


def parse_observations(text: str, name: str, asked: bool = False) -> tuple[Observation, ...]:
    """Read ``text``, the content of a file called ``name``; see :func:`load_observations`.

    With ``asked`` rows are questions, of other roles and without values.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        header = reader.fieldnames or []
        for column in header:
            if column not in COLUMNS or header.count(column) > 1:
                raise InputError(f"{name}: row 1, column {column!r}: accepted, each once, are {', '.join(COLUMNS)}")
        for column in REQUIRED:
            if column not in header and not (asked and column == "value"):
                raise InputError(f"{name}: row 1: column {column!r} is missing; needed are {', '.join(REQUIRED)}")
        rows = [_observation(reader.line_num, cells, asked) for cells in reader]
        _check_together(rows)
    except (csv.Error, _CellError) as error:
        row = error.row if isinstance(error, _CellError) else reader.line_num
        raise InputError(f"{name}: row {row}, {error}") from None
    if not rows:
        raise InputError(f"{name}: no row; accepted is one observation or more below the header")
    return tuple(rows)


class _CellError(ValueError):
    """What is wrong in one cell; `row` is its line."""

    def __init__(self, row: int, column: str, value: object, accepted: str) -> None:
        super().__init__(f"column {column!r}, value {value!r}: accepted {accepted}")
        self.row = row


def _observation(row: int, cells: dict[str, str], asked: bool) -> Observation:
    if None in cells or None in cells.values():
        raise _CellError(row, "id", cells.get("id"), "are as many cells as the header has columns")
    cell = {column: (cells.get(column) or "").strip() for column in COLUMNS}
    for column, text in cell.items():
        if not text.replace("\n", "").isprintable():
            raise _CellError(row, column, text, "is text without control characters")

    def one_of(column: str, accepted: Sequence[str], default: str = "") -> str:
        if (value := cell[column] or default) not in accepted:
            raise _CellError(row, column, value, f"are {', '.join(accepted)}")
        return value

    def number(column: str, default: float, low: float, high: float) -> float:
        try:
            value = float(cell[column]) if cell[column] else default
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise _CellError(row, column, cell[column], f"is a number from {low:g} to {high:g}")
        return value

    if not cell["id"]:
        raise _CellError(row, "id", "", "is a name")
    role = one_of("role", ASKED if asked else ROLES, "fit")
    plain: dict[str, Any] = {key: cell[key] for key in ("id", "minus", "source", "url", "date", "note")}
    plain |= {key: cell[key] or cell["id"] for key in ("fold", "host")}
    if role in ROLES[-2:]:
        return Observation(row=row, role=role, **plain)
    operation = one_of("operation", OPERATIONS)
    quantity = one_of("quantity", tuple(UNITS))
    units = [*UNITS[quantity], *(["cycles"] if quantity.startswith("time") else [])]
    unit = one_of("unit", units)
    tsc_ghz = number("tsc_ghz", 0.0, 0.1 if unit == "cycles" else 0.0, 10.0)
    difference = role in EXPRESSED[2:] and cell["value"] in ("0", "0.0")
    value = 0.0 if difference or asked else number("value", math.nan, 1e-12, 1e30)
    vcpus = int(_whole(row, cell, "vcpus", 1, 1, 1024))
    return Observation(
        row=row, role=role, operation=operation, page_size=one_of("page_size", ("4K", "2M"), "4K"),
        memory_bytes=_memory(row, cell["memory"], operation),
        request_pages=_whole(row, cell, "request_pages", 512, 1, 512), vcpus=vcpus,
        inside=_whole(row, cell, "inside", 0, 0, vcpus - 1), stages=_stages(row, cell),
        knobs=_knobs(row, cell["knobs"]), core_ghz=number("core_ghz", DEFAULT_GHZ, 0.1, 10.0), tsc_ghz=tsc_ghz,
        quantity=quantity, value=value, unit=unit,
        error=number("error", DEFAULT_ERROR, 0.0, 2.0), **plain,
    )  # fmt: skip


def _whole(row: int, cell: dict[str, str], column: str, default: int, low: int, high: int) -> int:
    text = cell[column] or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise _CellError(row, column, text, f"is a whole number from {low} to {high}")
    return int(text)


def _memory(row: int, text: str, operation: str) -> int:
    if operation == "clflush-before-alloc":
        return 0
    try:
        size = parse_size(text, "memory")
    except InputError:
        raise _CellError(row, "memory", text, "is a size such as 2GiB, of at least 4KiB") from None
    if not 4096 <= size <= LIMIT or size % 4096:
        raise _CellError(row, "memory", text, "is a size such as 2GiB, a multiple of 4KiB and at most 64TiB")
    return size


def _stages(row: int, cell: dict[str, str]) -> tuple[str, ...]:
    def named(column: str, default: str) -> set[str]:
        stages: set[str] = set()
        for word in (cell[column] or default).split():
            if word not in COVERS and word not in ALL_STAGES:
                raise _CellError(row, column, word, f"are {', '.join((*COVERS, *ALL_STAGES))}")
            stages |= set(COVERS.get(word, (word,)))
        return stages

    chosen = named("covers", "all") - named("leaves_out", "")
    if not chosen:
        raise _CellError(row, "leaves_out", cell["leaves_out"], "is less than what 'covers' names")
    return tuple(stage for stage in ALL_STAGES if stage in chosen)


def _knobs(row: int, text: str) -> Knobs:
    accepted = {name: get_args(kind) or ("false", "true") for name, kind in get_type_hints(WhatIf).items()}
    accepted["tracer"] = TRACERS
    chosen: dict[str, bool | str] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in accepted or value not in accepted[name] or name in chosen:
            listed = ", ".join(f"{knob}={'|'.join(map(str, values))}" for knob, values in accepted.items())
            raise _CellError(row, "knobs", word, f"are, each once, {listed}")
        chosen[name] = {"false": False, "true": True}.get(value, value)
    tracer = str(chosen.pop("tracer", "none"))
    return Knobs(what_if=msgspec.convert(chosen, WhatIf), tracer=tracer)


def _check_together(rows: Sequence[Observation]) -> None:
    known: dict[str, Observation] = {}
    clocks: dict[str, Observation] = {}
    for one in rows:
        if one.id in known:
            raise _CellError(one.row, "id", one.id, f"is each id once, and row {known[one.id].row} has it")
        if one.minus:
            other = known.get(one.minus)
            if other is None or not (one.is_time and other.is_time):
                raise _CellError(one.row, "minus", one.minus, "is the id of a row above that is a time too")
            if one.in_base_unit(one.value) <= other.in_base_unit(other.value):
                raise _CellError(one.row, "minus", one.minus, "is the id of a row with a smaller value")
        if one.role in EXPRESSED:
            same = clocks.setdefault(one.host, one)
            if same.core_ghz != one.core_ghz:
                raise _CellError(one.row, "core_ghz", one.core_ghz, f"is that of host {one.host!r} in row {same.row}")
        known[one.id] = one
