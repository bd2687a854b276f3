"""perf kvm stat report, in both layouts; the header tells which. Layouts: Linux ``tools/perf/builtin-kvm.c``."""

import math
import re

from perfmodel.ingest.contract import Measurement, Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "perf-kvm-stat"
ACCEPTS = "output of perf kvm stat report"

_OLD_HEAD = re.compile(r"VM-EXIT\s+Samples\s+Samples%\s+Time%\s+Min Time\s+Max Time\s+Avg time")
_NEW_HEAD = re.compile(r"Event name\s+Samples\s+Sample%\s+Time \(ns\)")
# values touch the column before them when they are long: the unit ends a number, not a width
_OLD = re.compile(
    r"\s*(\S.*?)\s+(\d{1,18})\s+[\d.]+%\s+[\d.]+%"
    r"\s+(-?[\d.]{1,20})us\s*(-?[\d.]{1,20})us\s*(-?[\d.]{1,20})us(?:\s*\( \+-\s*([\d.]{1,9})%)?"
)
_TOTAL = re.compile(r"Total Samples:(\d{1,18}), Total events handled time:([\d.]+)us")


_MIXED = 0.1
"""Error of a mean that private faults of all levels and shared faults share, as that of a private 4K fault."""


def recognises(head: str) -> bool:
    """Whether either header is there."""
    return bool(_OLD_HEAD.search(head) or _NEW_HEAD.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Return a measurement for each exit reason; that of EPT_VIOLATION is ``EPT violation``."""
    report, found = lines.report, []
    columns: list[str] = []
    facts: dict[str, object] = {}
    for line in lines:
        if _OLD_HEAD.search(line):
            report.renderer, columns = "old layout, us", ["old"]
            report.units.add("us")
        elif _NEW_HEAD.search(line):
            report.renderer = "new layout, ns"
            columns = [name.split(" (")[0].lower() for name in re.split(r"\s{2,}|(?<=\))\s+|(?<=%)\s+", line.strip())]
            report.units.add("ns")
        elif total := _TOTAL.match(line):
            facts["total_samples"] = int(total[1])
            report.used += 1
        elif columns and line.strip():
            one = _old(line) if columns == ["old"] else _new(line, columns)
            if isinstance(one, str):
                report.drop(one)
            else:
                found.append(one)
                report.used += 1
    if any(one.what == "EPT violation" for one in found):
        report.warn("private and shared faults of all levels are in one mean")
    report.warn("perf recorded kvm_exit and kvm_entry: rows say tracer=service")
    return Reading(report, found, facts)


def _named(name: str) -> str:
    return "EPT violation" if name in ("EPT_VIOLATION", "48", "0x30") else name[:60]


def _old(line: str) -> Measurement | str:
    found = _OLD.match(line)
    if found is None:
        return "cut or damaged"
    try:
        low, high, mean = (1e3 * float(found[k]) for k in (3, 4, 5))
        error = float(found[6]) / 100 if found[6] else 0.0
    except ValueError:
        return "cut or damaged"
    return _checked(found[1], int(found[2]), mean, low, high, error)


def _new(line: str, columns: list[str]) -> Measurement | str:
    cells = line.split()
    if len(cells) < len(columns):
        return "cut or damaged"
    name = " ".join(cells[: len(cells) - len(columns) + 1])
    values = dict(zip(columns, [name, *cells[len(cells) - len(columns) + 1 :]], strict=True))
    try:
        low, high, mean = (float(int(values[key])) for key in ("min time", "max time", "mean time"))
        samples = int(values["samples"])
    except (KeyError, ValueError, OverflowError):
        return "cut or damaged"
    return _checked(name, samples, mean, low, high, 0.0)


def _checked(name: str, count: int, mean: float, low: float, high: float, error: float) -> Measurement | str:
    if low < 0 or mean < 0 or high < 0:
        return "with a negative duration"
    if count <= 0 or not 0 < mean < 1e18 or not low <= high:
        return "that contradict themselves"
    what = _named(name)
    error = math.hypot(error, _MIXED) if what == "EPT violation" else error
    return Measurement(
        what=what, level=None, count=count, mean_ns=mean, low_ns=low, high_ns=high, error=error,
        tracer="service",
    )  # fmt: skip
