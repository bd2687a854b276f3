"""kvm_stat: live display, old and new, and the CSV log. Layouts: Linux ``tools/kvm/kvm_stat``."""

import csv
import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "kvm-stat"
ACCEPTS = "output of kvm_stat, live (-1) or as a CSV log (-l -c)"

_HEAD = re.compile(r"\s*Event\s+Total\s+(%Total\s+CurAvg/s|Current)\s*$")
_ROW = re.compile(r"\s+([\w.]+(?:\([\w. -]+\))?)\s+(\d{1,18})\s+(.*)$")
_LOG = re.compile(r"(?:timestamp)?,(?:kvm_\w+|\w+\(?)")
_MOST = 4096


def recognises(head: str) -> bool:
    """Whether a header of one of the three layouts is there."""
    return "kvm statistics" in head or bool(re.search(r"^\s*Event\s+Total\s", head, re.MULTILINE) or _LOG.match(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read totals by event; a log's counts are summed over its rows, each of them a rate for about a second."""
    report = lines.report
    events: dict[str, int] = {}
    shares: dict[str, float] = {}
    columns: list[str] = []
    rows = 0
    new = False
    for line in lines:
        if head := _HEAD.match(line):
            new = head[1] != "Current"
            report.renderer = "live, with shares" if new else "live, without shares"
        elif not columns and _LOG.match(line):
            columns, report.renderer = _cells(line)[1:_MOST], "CSV log"
        elif columns and line.strip():
            values = _cells(line)[1:_MOST]
            if len(values) != len(columns) or not all(v.isdecimal() and len(v) < 19 for v in values):
                report.drop("cut or damaged")
                continue
            for name, value in zip(columns, values, strict=True):
                events[name] = events.get(name, 0) + int(value)
            rows += 1
            report.used += 1
        elif (row := _ROW.match(line)) and len(events) < _MOST:
            events[row[1]] = int(row[2])
            if new and (share := re.match(r"([\d.]{1,8})\s", row[3])) and share[1].count(".") < 2:
                shares[row[1]] = float("0" + share[1])  # of a child: of its parent
            report.used += 1
    facts: dict[str, Any] = {"events": events}
    if shares:
        facts["percent"] = shares
    if columns:
        facts["rows"] = rows
    return Reading(report, [], facts)


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except (csv.Error, StopIteration):
        return []
