"""perf ftrace latency and perf ftrace profile. Layouts: Linux ``tools/perf/builtin-ftrace.c``."""

import math
import re
from dataclasses import replace

from perfmodel.errors import InputError
from perfmodel.ingest.contract import Measurement, Options, Reading, bucket_mean
from perfmodel.ingest.lines import Lines

KIND = "perf-ftrace"
ACCEPTS = "output of perf ftrace latency or perf ftrace profile"

_LATENCY = re.compile(r"#\s+DURATION\s+\|\s+COUNT\s+\|\s+GRAPH")
_PROFILE = re.compile(r"#\s+Total \(us\)\s+Avg \(us\)\s+Max \(us\)\s+Count\s+Function")
_ROW = re.compile(r"\s*([\d.]{1,18})\s+-\s+([\d.]{1,18}|\.\.\.)\s+(ns|us|ms|s)\s*\|\s*(\d{1,18})\s*\|")
_STATISTICS = re.compile(r"#\s*statistics\s+\(in (nsec|usec|msec)\)")
_STATISTIC = re.compile(r"\s*(total time|avg time|max time|min time|count):\s*(-?\d{1,18})\s*$")
_CALLS = re.compile(r"\s*([\d.]{1,18})\s+([\d.]{1,18})\s+([\d.]{1,18})\s+(\d{1,18})\s+(\S+)")
_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "nsec": 1.0, "usec": 1e3, "msec": 1e6}


def recognises(head: str) -> bool:
    """Whether either header is there."""
    return bool(_LATENCY.search(head) or _PROFILE.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read a profile's rows, or one latency histogram with its statistics."""
    report = lines.report
    found: list[Measurement] = []
    buckets: list[tuple[float, float | None, int]] = []
    statistics: dict[str, float] = {}
    unit, in_profile = 1.0, False
    for line in lines:
        if _LATENCY.search(line):
            report.renderer, in_profile = "perf ftrace latency", False
        elif _PROFILE.search(line):
            report.renderer, in_profile = "perf ftrace profile", True
            report.units.add("us")
        elif head := _STATISTICS.match(line):
            unit = _NS[head[1]]
        elif row := _ROW.match(line):
            try:
                scale = _NS[row[3]]
                low, high = float(row[1]) * scale, None if row[2] == "..." else float(row[2]) * scale
            except ValueError:
                report.drop("cut or damaged")
                continue
            if high is not None and high < low:
                report.drop("of a bucket that ends before it starts")
                continue
            report.units.add(row[3])
            if len(buckets) < 4096:
                buckets.append((low, high, int(row[4])))
                report.used += 1
        elif statistic := _STATISTIC.match(line):
            if int(statistic[2]) < 0:
                report.drop("with a negative duration")
            else:
                statistics[statistic[1]] = float(int(statistic[2])) * (1 if statistic[1] == "count" else unit)
                report.used += 1
        elif in_profile and (call := _CALLS.match(line)):
            one = _profiled(call)
            report.drop(one) if isinstance(one, str) else found.append(one)
            report.used += not isinstance(one, str)
        elif line.strip() and not line.startswith("#") and (in_profile or buckets):
            report.drop("cut or damaged")
    if buckets:
        found += _latency(buckets, statistics, options, lines)
    report.warn("a function's entry and exit were traced; what that costs is in the times")
    return Reading(report, found, {"buckets": sum(n for *_, n in buckets)} if buckets else {})


def _profiled(call: "re.Match[str]") -> Measurement | str:
    try:
        mean, high = float(call[2]) * 1e3, float(call[3]) * 1e3
    except ValueError:
        return "cut or damaged"
    if int(call[4]) == 0 or not math.isfinite(mean) or mean <= 0:
        return "without a call"
    return Measurement(what=call[5][:60], level=None, count=int(call[4]), mean_ns=mean, high_ns=high)


def _latency(
    buckets: list[tuple[float, float | None, int]], statistics: dict[str, float], options: Options, lines: Lines
) -> list[Measurement]:
    report = lines.report
    name = options.function or "function"
    if options.function is None:
        report.warn("perf ftrace latency does not print the function: name it with --function")
    try:
        mean, error = bucket_mean(buckets)
    except InputError:
        return []
    counted = [one for one in buckets if one[2]]
    low, high, count = counted[0][0], counted[-1][1], sum(n for *_, n in buckets)
    one = Measurement(what=name, level=None, count=count, mean_ns=mean, low_ns=low, high_ns=high, error=error)
    exact = statistics.get("avg time", 0.0)
    if exact and low <= exact and (high is None or exact <= high):
        one = replace(
            one, mean_ns=exact, error=0.0, low_ns=statistics.get("min time", low), high_ns=statistics.get("max time")
        )
        if statistics.get("count", count) != count:
            report.warn(f"statistics count {statistics['count']:,.0f} calls, the histogram {count:,}")
    elif statistics:
        report.warn("the statistics' average contradicts the histogram, as of some versions below 1 us: not used")
    return [one]
