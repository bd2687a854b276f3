"""``perfmodel ingest --json``: what was read, what was dropped, what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perfmodel._version import __version__
from perfmodel.ingest.contract import Reading
from perfmodel.ingest.rows import Unused

SCHEMA = "perfmodel/ingest/1"


class LineCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines: `read` = `used` + `skipped` + the sum of `dropped`."""

    read: int
    used: int
    skipped: int
    dropped: dict[str, int]


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A duration; see :class:`perfmodel.ingest.contract.Measurement`."""

    what: str
    level: str | None
    count: int
    mean_ns: float
    low_ns: float | None
    high_ns: float | None
    self_ns: float | None
    error: float
    tracer: str
    pages: int


class NoRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measurement that is no observation of the model."""

    what: str
    why: str


class Ingested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file that was read.

    Attributes
    ----------
    facts : dict
        What the file says beside times; keys are the kind's own.
    observations : list of dict
        Rows as in the CSV, columns that are empty left out.
    """

    schema: str = SCHEMA
    version: str
    kind: str
    file: str
    renderer: str
    units: list[str]
    lines: LineCounts
    warnings: list[str]
    measurements: list[Measured]
    facts: dict[str, Any]
    observations: list[dict[str, str]]
    no_row: list[NoRow]


def describe(reading: Reading, rows: Sequence[Mapping[str, str]], unused: Sequence[Unused]) -> Ingested:
    """Return the document about ``reading``."""
    report = reading.report
    lines = LineCounts(report.lines, report.used, report.skipped, dict(report.dropped.most_common()))
    return Ingested(
        version=__version__, kind=report.kind, file=report.file.rpartition("/")[2], renderer=report.renderer,
        units=sorted(report.units), lines=lines, warnings=report.warnings,
        measurements=[Measured(**vars(one)) for one in reading.measurements], facts=reading.facts,
        observations=[{name: text for name, text in row.items() if text} for row in rows],
        no_row=[NoRow(*one) for one in unused],
    )  # fmt: skip
