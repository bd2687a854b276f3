"""Histograms that bpftrace prints: bucket labels as text, and how a map becomes measurements."""

import re

from perfmodel.errors import InputError
from perfmodel.ingest.contract import Measurement, bucket_mean
from perfmodel.ingest.report import Report

Bucket = tuple[float, float | None, int]

_SCALES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNITS = {
    "ns": 1.0,
    "nsec": 1.0,
    "nsecs": 1.0,
    "us": 1e3,
    "usec": 1e3,
    "usecs": 1e3,
    "ms": 1e6,
    "msec": 1e6,
    "msecs": 1e6,
}
_MOST_FOUND = 100_000
_END = re.compile(r"(-?\d{1,20})([KMGT]?)$")
_UNIT_OF_NAME = re.compile(r"(?:^|_)(ns|nsecs?|us|usecs?|ms|msecs?)$")


def end_of(text: str) -> float | None:
    """Return a bucket's end, K and M being binary, or None for an open one.

    Raises
    ------
    ValueError
        It is neither.
    """
    if text in ("...", "(...", "...)"):
        return None
    found = _END.match(text)
    if found is None:
        raise ValueError(text)
    return float(int(found[1]) * _SCALES[found[2]])


def unit_of(name: str) -> float | None:
    """Return ns in the unit that a map's name ends with, as ``@lat_ns``, or None where it names none."""
    found = _UNIT_OF_NAME.search(name.lstrip("@"))
    return _UNITS[found[1]] if found else None


def split_key(name: str, key: str) -> tuple[str, str | None]:
    """Return what a keyed map is about and the level, for maps of this project's recipes.

    ``@service_ns["private,4K"]`` is a private fault at 4K, ``@call_ns["tdh_mem_page_aug,2M"]`` a function; other maps
    keep their own name and key.
    """
    words = [word.strip() for word in key.split(",")]
    level = words[1] if len(words) == 2 and words[1] in ("4K", "2M", "1G") else None
    if name == "@service_ns" and words[0] in ("private", "shared"):
        return f"{words[0]} fault", level
    if name in ("@call_ns", "@accept_ns", "@convert_ns") and words[0]:
        return words[0], level
    return (f"{name}[{key}]" if key else name), None


def from_histogram(name: str, key: str, buckets: list[Bucket], report: Report, tracer: str) -> Measurement | None:
    """Return a histogram's mean as a measurement; None if it counts nothing."""
    what, level = split_key(name, key)
    unit = unit_of(name)
    if unit is None:
        report.warn(f"{name}: its name ends with no unit; taken as ns")
        unit = 1.0
    report.units.add({1.0: "ns", 1e3: "us", 1e6: "ms", 1e9: "s"}[unit])
    try:
        mean, error = bucket_mean([(low * unit, None if high is None else high * unit, n) for low, high, n in buckets])
    except InputError:
        return None
    counted = [b for b in buckets if b[2]]
    last = counted[-1][1]
    return Measurement(
        what=what, level=level, count=sum(n for _, _, n in buckets), mean_ns=mean, low_ns=counted[0][0] * unit,
        high_ns=None if last is None else last * unit, error=error,
        tracer=tracer if what.endswith("fault") else "none",
    )  # fmt: skip


def from_stats(
    name: str, key: str, count: int, total: float, report: Report, tracer: str, pages: int = 0
) -> Measurement | None:  # fmt: skip
    """Return count and total of ``stats()`` as a measurement; None if it is about no time or counts nothing."""
    if count <= 0 or total < 0:
        return None
    what, level = split_key(name, key)
    unit = unit_of(name)
    if unit is None:
        report.warn(f"{name}: its name ends with no unit; taken as ns")
        unit = 1.0
    report.units.add({1.0: "ns", 1e3: "us", 1e6: "ms", 1e9: "s"}[unit])
    return Measurement(
        what=what, level=level, count=count, mean_ns=total * unit / count,
        tracer=tracer if what.endswith("fault") else "none", pages=pages,
    )  # fmt: skip


class Found:
    """Measurements, each thing once: of ``stats()`` rather than of a histogram, the last print of a map."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, str | None], Measurement] = {}

    def add(self, one: Measurement | None) -> None:
        """Take up what a map told."""
        if one is None:
            return
        key = (one.what, one.level)
        other = self._best.get(key)
        if other is None and len(self._best) >= _MOST_FOUND:
            return
        if other is None or other.low_ns is not None or one.low_ns is None:
            self._best[key] = one

    def all(self) -> list[Measurement]:
        """Return them in the order of their first print."""
        return list(self._best.values())
