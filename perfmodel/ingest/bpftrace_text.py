"""bpftrace's text: maps, stats, histograms, and records of single faults that a program prints with tabs."""

import re
from typing import Any

from perfmodel.ingest.contract import Measurement, Options, Reading, Spread, split_gpa
from perfmodel.ingest.histogram import Bucket, Found, end_of, from_histogram, from_stats
from perfmodel.ingest.lines import Lines

KIND = "bpftrace-text"
ACCEPTS = "output of bpftrace: @maps, stats, histograms, or EPT_SERVICE records"

_MOST_MAPS = 100_000
_LIMIT = 1 << 62
_HEAD = re.compile(r"(@\w*)(?:\[(.*)\])?:\s*$")
_STATS = re.compile(r"(@\w*)(?:\[(.*)\])?: count (\d{1,19}), average (-?\d{1,19}), total (-?\d{1,19})\s*$")
_VALUE = re.compile(r"(@\w*)(?:\[(.*)\])?: (-?\d{1,19})\s*$")
_ROW = re.compile(r"[\[(](\S+?)(?:, (\S+?))?[\])]\s+(\d{1,19}) \|")
_LOST = re.compile(r"Lost (\d+) events", re.IGNORECASE)
_LOOKS = re.compile(r"^(?:@\w*(?:\[.*\])?:|EPT_SERVICE\t|Attach(?:ing|ed) \d+ probe)", re.MULTILINE)
SERVICE = "EPT_SERVICE"
"""Tag of a record: wall, exit_ns, entry_ns, pid, tid, exit_cpu, entry_cpu, duration_ns, fault_gpa, error_code."""


def recognises(head: str) -> bool:
    """Whether a line is a map, a record or bpftrace's greeting."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Take up maps and records line by line."""
    return _Text(lines, options).run()


class _Text:
    def __init__(self, lines: Lines, options: Options) -> None:
        self.lines, self.report, self.options = lines, lines.report, options
        self.found = Found()
        self.maps: dict[str, int] = {}
        self.open: tuple[str, str] | None = None
        self.buckets: list[Bucket] = []
        self.faults: dict[str, Spread] = {}
        self.vcpus: dict[str, int] = {}
        self.lost = 0

    def run(self) -> Reading:
        self.report.renderer = "bpftrace"
        for line in self.lines:
            if line.startswith(SERVICE):
                why = self._record(line)
            elif line.startswith(("[", "(")):
                why = self._row(line)
            elif line.startswith("@"):
                why = self._map(line)
            elif found := _LOST.search(line):
                self.lost += int(found[1][:18])
                why = "that says events were lost"
            else:
                if not line.strip():
                    self._close()
                continue
            if why:
                self.report.drop(why)
            else:
                self.report.used += 1
        self._close()
        return self._result()

    def _map(self, line: str) -> str | None:
        self._close()
        if found := _HEAD.match(line):
            self.open = (found[1], found[2] or "")
            return None
        if found := _STATS.match(line):
            count, total = int(found[3]), int(found[5])
            if count >= _LIMIT or total < 0:
                return "with a negative duration" if total < 0 else "cut or damaged"
            self.found.add(from_stats(found[1], found[2] or "", count, total, self.report, "service"))
            return None
        if found := _VALUE.match(line):
            if len(self.maps) < _MOST_MAPS:
                self.maps[f"{found[1]}[{found[2]}]" if found[2] else found[1]] = int(found[3])
            return None
        return "cut or damaged"

    def _row(self, line: str) -> str | None:
        found = _ROW.match(line)
        if self.open is None:
            return "of a histogram without a name"
        if found is None or len(self.buckets) >= 1 << 16:
            return "cut or damaged"
        try:
            low, high = end_of(found[1]), end_of(found[2]) if found[2] else None
        except ValueError:
            return "cut or damaged"
        if found[2] is None and low is not None:
            high = low + 1  # a single value
        if low is None:
            low = 0.0 if high is None else min(high, 0.0)
        if high is not None and high < low:
            return "of a bucket that ends before it starts"
        self.buckets.append((low, high, int(found[3]) % _LIMIT))
        return None

    def _close(self) -> None:
        if self.open and self.buckets:
            self.found.add(from_histogram(*self.open, self.buckets, self.report, "service"))
        if self.buckets:
            self.open = None
        self.buckets = []

    def _record(self, line: str) -> str | None:
        cells = line.split("\t")
        try:
            exit_ns, entry_ns, _, tid, _, _, duration, gpa = map(int, cells[2:10])
        except ValueError:
            return "cut or damaged"
        if max(entry_ns, duration, tid, -exit_ns) >= _LIMIT:
            return "cut or damaged"
        if entry_ns < exit_ns or duration < 0:
            return "with a negative duration"
        if abs(entry_ns - exit_ns - duration) > 1000 or not 0 <= gpa < 1 << 52:
            return "whose times contradict each other" if 0 <= gpa < 1 << 52 else "cut or damaged"
        gfn, shared = split_gpa(gpa)
        self.faults.setdefault("private fault" if shared is None else "shared fault", Spread()).add(duration)
        vcpu = self.vcpus.setdefault(str(tid), len(self.vcpus)) if len(self.vcpus) < 1 << 16 else 0
        if shared is None and self.options.on_fault:
            self.options.on_fault(gfn, None, None, vcpu, exit_ns)
        return None

    def _result(self) -> Reading:
        report = self.report
        if self.lost:
            report.warn(f"{self.lost:,} events were lost")
        found = self.found.all()
        found += [
            Measurement.of(what, None, spread, tracer="addresses") for what, spread in sorted(self.faults.items())
        ]
        if self.faults:
            report.units.add("ns")
            report.warn("a record was printed of each fault, inside or beside it: rows say tracer=addresses")
        elif any(one.what.endswith("fault") for one in found):
            report.warn("BPF programs ran inside the intervals: rows say tracer=service")
        facts: dict[str, Any] = {"maps": self.maps, "lost_events": self.lost}
        return Reading(report, found, facts)
