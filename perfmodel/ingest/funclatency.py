"""bcc's funclatency and kvmexit. Layouts: https://github.com/iovisor/bcc, ``tools/`` (Apache-2.0)."""

import re

from perfmodel.errors import InputError
from perfmodel.ingest.contract import Measurement, Options, Reading, bucket_mean
from perfmodel.ingest.lines import Lines

KIND = "bcc"
ACCEPTS = "output of bcc's funclatency or kvmexit"

_FUNCTION = re.compile(r'Tracing (\d+) functions? for "([^"]{1,200})"')
_HEAD = re.compile(r"\s*(nsecs|usecs|msecs)\s+:\s*count\s+distribution")
_ROW = re.compile(r"\s*(\d{1,19})\s*->\s*(\d{1,19})\s*:\s*(\d{1,18})\s*\|")
_AVERAGE = re.compile(r"avg = (\d{1,18}) (nsecs|usecs|msecs), total: (\d{1,19}) \w+, count: (\d{1,18})")
_KVMEXIT = re.compile(r"PID\s+TID\s+KVM_EXIT_REASON\s+COUNT")
_EXIT = re.compile(r"(?:\^C)?\s*(\d+)\s+(\d+)\s+(\w+)\s+(\d{1,18})\s*$")
_NS = {"nsecs": 1.0, "usecs": 1e3, "msecs": 1e6}


def recognises(head: str) -> bool:
    """Whether one of the headers is there."""
    return any(one.search(head) for one in (_FUNCTION, _HEAD, _KVMEXIT))


def read(lines: Lines, options: Options) -> Reading:
    """Read one histogram with its average, or a table of exits."""
    report = lines.report
    name, several, unit = options.function, False, 1.0
    buckets: list[tuple[float, float | None, int]] = []
    average: tuple[float, int] | None = None
    exits: dict[str, int] = {}
    in_table = False
    for line in lines:
        if found := _FUNCTION.search(line):
            several, name = found[1] != "1", options.function or found[2]
        elif found := _HEAD.match(line):
            unit = _NS[found[1]]
            report.units.add(found[1].removesuffix("ecs"))
            report.renderer = "funclatency"
        elif found := _ROW.match(line):
            if int(found[2]) < int(found[1]):
                report.drop("of a bucket that ends before it starts")
            elif len(buckets) < 4096:
                buckets.append((int(found[1]) * unit, (int(found[2]) + 1) * unit, int(found[3])))
                report.used += 1
        elif found := _AVERAGE.search(line):
            if int(found[4]):
                average = int(found[3]) * _NS[found[2]] / int(found[4]), int(found[4])
                report.used += 1
            else:
                report.drop("without a call")
        elif _KVMEXIT.search(line):
            in_table, report.renderer = True, "kvmexit"
        elif in_table and (found := _EXIT.match(line)):
            reason = found[3].removeprefix("EXIT_REASON_")
            if len(exits) < 256 or reason in exits:
                exits[reason] = exits.get(reason, 0) + int(found[4])
            report.used += 1
        elif line.strip() and (buckets or in_table) and not line.startswith(("Detaching", "^C")):
            report.drop("cut or damaged")
    if several:
        report.warn("several functions are in one histogram")
    found_all = _measure(name or "function", buckets, average)
    if found_all:
        report.warn("kprobes ran inside the times; fentry programs of recipes/ cost less")
    return Reading(report, found_all, {"exits": exits} if exits else {})


def _measure(
    name: str, buckets: list[tuple[float, float | None, int]], average: tuple[float, int] | None
) -> list[Measurement]:
    try:
        mean, error = bucket_mean(buckets)
    except InputError:
        return []
    counted = [one for one in buckets if one[2]]
    count = sum(n for *_, n in buckets)
    low, high = counted[0][0], counted[-1][1]
    if average and low <= average[0] and (high is None or average[0] <= high):
        (mean, count), error = average, 0.0
    return [Measurement(what=name, level=None, count=count, mean_ns=mean, low_ns=low, high_ns=high, error=error)]
