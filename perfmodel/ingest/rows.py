"""Measurements as rows of observations, which ``calibrate`` and ``validate`` take.

``data/measured.csv`` says which observation a measurement is; what an id of ``data/questions.csv`` covers stands there.
"""

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from perfmodel.calibration.observations import COLUMNS, DEFAULT_ERROR, parse_observations
from perfmodel.errors import InputError
from perfmodel.ingest.contract import Measurement, Reading
from perfmodel.ingest.report import Report

_ONE_CALL = 0.5
"""Standard error of the logarithm that a single call is trusted with; falls with the root of their number."""

_PAGES_PER_2M = 512
_BY_PAGES = ("populate-4k", "populate-2m", "convert-4k")
_NEEDS_VCPUS = ("kick", "convert-4k")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the user says about the machine that was measured.

    Attributes
    ----------
    host : str
        Rows of one host share a scale.
    page_size : {"4K", "2M"}, optional
        Level of mappings, where a file does not tell.
    vcpus, inside : int, optional
        Of the TD; ``inside``: those that ran beside the one that acted.
    core_ghz, tsc_ghz : float, optional
    tracer : str, optional
        Instead of what the reader says ran inside the intervals.
    error : float
        Standard deviation of the logarithm beyond what the file itself shows.
    names : mapping of str to str
        Ids of observations for names that only the file's author knows.
    """

    host: str = "mine"
    page_size: str | None = None
    vcpus: int | None = None
    inside: int | None = None
    core_ghz: float | None = None
    tsc_ghz: float | None = None
    tracer: str | None = None
    error: float = DEFAULT_ERROR
    names: Mapping[str, str] = field(default_factory=dict)


class Unused(NamedTuple):
    """A measurement that is no row, and why."""

    what: str
    why: str


@functools.cache
def templates() -> tuple[dict[str, str], ...]:
    """Return the rows of ``measured.csv``, each with the cells of the question of its id."""
    asked = {row["id"]: row for row in _rows("questions.csv")}
    done = []
    for row in _rows("measured.csv"):
        base = {name: text for name, text in asked.get(row["id"], {}).items() if name in COLUMNS}
        done.append({**base, **{name: text for name, text in row.items() if text or name not in base}})
    return tuple(done)


def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("perfmodel") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text), strict=True))


def observation_rows(reading: Reading, machine: Machine) -> tuple[list[dict[str, str]], list[Unused]]:
    """Return a row for each measurement that the model has an observation for, and those that it has none for.

    Raises
    ------
    InputError
        ``names`` has an id that no template has, or a name that the file has not.
    """
    known = {template["id"] for template in templates()}
    for name, wanted in machine.names.items():
        if wanted not in known:
            raise InputError(f"row {name}={wanted!r}: accepted are {', '.join(sorted(known))}")
        if not any(one.what == name for one in reading.measurements):
            listed = ", ".join(dict.fromkeys(one.what for one in reading.measurements)) or "none: the file has no times"
            raise InputError(f"row {name!r}: accepted are the file's own names, {listed[:300]}")
    rows: dict[str, dict[str, str]] = {}
    unused: list[Unused] = []
    for one in reading.measurements:
        template, why = _template(one, machine, reading.report)
        if template is None:
            unused.append(Unused(_title(one), why))
        elif template["id"] in rows:
            unused.append(Unused(_title(one), f"row {template['id']} is there already"))
        elif why := _lacks(template, one, machine):
            unused.append(Unused(_title(one), why))
        else:
            rows[template["id"]] = _row(template, one, machine, reading.report)
    return list(rows.values()), unused


def _title(one: Measurement) -> str:
    return f"{one.what} at {one.level}" if one.level else one.what


def _template(one: Measurement, machine: Machine, report: Report) -> tuple[dict[str, str] | None, str]:
    if wanted := machine.names.get(one.what):
        return next(row for row in templates() if row["id"] == wanted), ""
    like = [row for row in templates() if row["what"] == one.what]
    if not like:
        return None, "no observation of the model is this"
    if not like[0]["level"]:
        return like[0], ""
    level = one.level or machine.page_size
    if level is None:
        report.warn(f"{one.what}: the file does not tell the level; taken as 4K (--page-size)")
        level = "4K"
    found = next((row for row in like if row["level"] == level), None)
    return found, f"no observation of the model is at {level}"


def _lacks(template: Mapping[str, str], one: Measurement, machine: Machine) -> str:
    if one.mean_ns <= 0:
        return "it takes no time by the clock of the trace"
    if template["id"] in _NEEDS_VCPUS and machine.vcpus is None:
        return "how long it takes depends on the TD's vCPUs: give --vcpus, and --inside"
    if template["id"] in _BY_PAGES and not one.pages:
        return "the pages that it is about are not counted beside it"
    return ""


def _row(template: Mapping[str, str], one: Measurement, machine: Machine, report: Report) -> dict[str, str]:
    value = one.mean_ns
    if template["id"] in _BY_PAGES:
        value *= one.count / one.pages
        value *= _PAGES_PER_2M if template["quantity"] == "time-per-2m" else 1
    tracer = machine.tracer or one.tracer
    knobs = [*template["knobs"].split(), *([f"tracer={tracer}"] if tracer != "none" else [])]
    error = math.hypot(machine.error, max(one.error, _ONE_CALL / math.sqrt(one.count)))
    row = dict.fromkeys(COLUMNS, "") | {name: template[name] for name in COLUMNS if name in template}
    row |= {
        "id": f"{machine.host}-{template['id']}-{report.kind}", "role": "fit", "host": machine.host,
        "fold": f"{machine.host}-{template['id']}", "knobs": " ".join(knobs), "value": f"{value:.6g}", "unit": "ns",
        "error": f"{error:.3g}", "source": f"{Path(report.file).name}: {one.count} of {_title(one)}",
    }  # fmt: skip
    if template["id"] in _NEEDS_VCPUS:
        row |= {"vcpus": str(machine.vcpus), "inside": str(machine.inside or 0)}
    for name in ("core_ghz", "tsc_ghz"):
        if (clock := getattr(machine, name)) is not None:
            row[name] = f"{clock:g}"
    return row


def observations_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return a file for ``--observations``, held against its own reader."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    parse_observations(out.getvalue(), "the rows made here")
    return out.getvalue().encode()
