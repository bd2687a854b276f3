"""Caches as sysfs has them: ``grep . /sys/devices/system/cpu/cpu0/cache/index*/*`` on one file."""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "sysfs-cache"
ACCEPTS = "output of: grep . /sys/devices/system/cpu/cpu0/cache/index*/*"

_LINE = re.compile(r"(?:.*/)?index(\d{1,2})/(\w+):(.*)$")
_SIZE = re.compile(r"(\d{1,9})([KMG]?)$")
_SCALE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NUMBERS = {
    "level": "level", "ways_of_associativity": "ways", "number_of_sets": "sets", "coherency_line_size": "line_bytes",
}  # fmt: skip


def recognises(head: str) -> bool:
    """Whether a line is a file of a cache's index."""
    return bool(re.search(r"index\d{1,2}/(?:level|size|type|coherency_line_size):", head))


def read(lines: Lines, options: Options) -> Reading:
    """Read the files of each index."""
    report = lines.report
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        row = _LINE.match(line)
        if row is None:
            if line.strip():
                report.drop("cut or damaged")
            continue
        cache, name, value = found.setdefault(int(row[1]), {}), row[2], row[3].strip()
        if name == "size" and (size := _SIZE.match(value)):
            cache["size_bytes"] = int(size[1]) * _SCALE[size[2]]
        elif name == "type" and value.isalpha():
            cache["type"] = value
        elif name in _NUMBERS and value.isdecimal() and len(value) < 10:
            cache[_NUMBERS[name]] = int(value)
        elif name in ("size", "type", *_NUMBERS):
            report.drop("cut or damaged")
            continue
        else:
            continue
        report.used += 1
    whole = [found[index] for index in sorted(found) if len(found[index]) == 6]
    if len(whole) < len(found):
        report.warn(f"{len(found) - len(whole)} caches are not described whole and left out")
    report.renderer = "sysfs"
    return Reading(report, [], {"caches": whole}, {"caches": whole} if whole else None)
