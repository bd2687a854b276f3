"""bpftrace -f json: an object a map, on one line or over many. Layout: bpftrace's own test fixtures (Apache-2.0)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from perfmodel.ingest.contract import Measurement, Options, Reading
from perfmodel.ingest.histogram import Bucket, Found, from_histogram, from_stats
from perfmodel.ingest.lines import Lines

KIND = "bpftrace-json"
ACCEPTS = "output of bpftrace -f json"

_LONGEST_OBJECT_BYTES = 1 << 22
_MOST_MAPS = 100_000
_LIMIT = 1 << 62
_LOOKS = re.compile(
    r'^\s*\{\s*"type"\s*:\s*"'
    r'(?:map|hist|stats|tseries|attached_probes|printf|time|lost_events|join|value)"',
    re.MULTILINE,
)
_DECODER = msgspec.json.Decoder()


def recognises(head: str) -> bool:
    """Whether an object begins with a type that bpftrace writes."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Take up maps of type hist and stats as times, others as facts."""
    report = lines.report
    report.renderer = "bpftrace -f json"
    lines.longest_bytes = _LONGEST_OBJECT_BYTES  # a map is one line, however many keys it has
    found = Found()
    maps: dict[str, Any] = {}
    lost = 0
    tracer = "service"
    for count, one in _objects(lines):
        kind, data = one.get("type"), one.get("data")
        if kind == "lost_events" and isinstance(data, dict):
            lost += _whole(data.get("events")) or 0
            report.drop("that says events were lost", count)
            continue
        if not isinstance(data, dict) or kind not in ("hist", "stats", "map", "tseries"):
            continue
        try:
            for name, value in data.items():
                if kind == "hist":
                    _add(found, _histograms(name, value, report, tracer))
                elif kind == "stats":
                    _add(found, _stats(name, value, report, tracer))
                if kind in ("map", "tseries") and len(maps) < _MOST_MAPS:
                    maps[name] = value
            report.used += count
        except (ValueError, KeyError, TypeError, AttributeError):
            report.drop(f"of type {kind} in an unknown layout", count)
    if lost:
        report.warn(f"{lost:,} events were lost")
    if any(m.what.endswith("fault") for m in found.all()):
        report.warn("BPF programs ran inside the intervals: rows say tracer=service")
    facts = {"maps": {k: v for k, v in maps.items() if len(str(v)) < 4096}, "lost_events": lost}
    return Reading(report, _with_pages(found.all(), maps), facts)


def _add(found: Found, several: Iterator[Measurement | None]) -> None:
    for one in several:
        found.add(one)


def _with_pages(found: list[Measurement], maps: dict[str, Any]) -> list[Measurement]:
    """Give measurements the pages that a recipe counted beside them, in ``@pages["name,level"]``."""
    counts = maps.get("@pages")
    if not isinstance(counts, dict):
        return found
    done = []
    for one in found:
        pages = counts.get(f"{one.what},{one.level}", counts.get(one.what)) if one.level else counts.get(one.what)
        done.append(replace(one, pages=pages) if isinstance(pages, int) and 0 < pages < _LIMIT else one)
    return done


def _objects(lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield lines taken and each JSON object, whether it stands on one line or on many."""
    held: list[str] = []
    size = 0
    for line in lines:
        if not line.strip():
            continue
        if held and line.startswith('{"type"'):
            lines.report.drop("of an object that does not end", len(held))
            held, size = [], 0
        if not held:
            if not line.lstrip().startswith("{"):
                lines.report.drop("that are no JSON")
                continue
            if (one := _decode(line)) is not None:
                yield 1, one
                continue
        held.append(line)
        size += len(line)
        if size > _LONGEST_OBJECT_BYTES:
            lines.report.drop("of an object that does not end", len(held))
            held, size = [], 0
        elif line.rstrip().endswith("}") and not line.startswith(" ") and (one := _decode("\n".join(held))) is not None:
            yield len(held), one
            held, size = [], 0
    if held:
        one = _decode("\n".join(held))
        if one is None:
            lines.report.drop("of an object that does not end", len(held))
        else:
            yield len(held), one


def _decode(text: str) -> dict[str, Any] | None:
    try:
        one = _DECODER.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return one if isinstance(one, dict) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LIMIT else None


def _histograms(name: str, value: Any, report: Any, tracer: str) -> Iterator[Measurement | None]:
    keyed = value.items() if isinstance(value, dict) else [("", value)]
    for key, buckets in keyed:
        yield from_histogram(name, str(key), [_bucket(one) for one in buckets], report, tracer)


def _bucket(one: Any) -> Bucket:
    """Return ``(low, high, count)``, half-open; ``max`` is inclusive in JSON."""
    count = _whole(one["count"])
    low, high = one.get("min"), one.get("max")
    if count is None or (low is None and high is None):
        raise ValueError(one)
    for end in (low, high):
        if end is not None and (not isinstance(end, int) or abs(end) >= _LIMIT):
            raise ValueError(one)
    if low is not None and high is not None and high < low:
        raise ValueError(one)
    start = float(low) if low is not None else min(float(high), 0.0)
    return start, None if high is None else float(high) + 1.0, count


def _stats(name: str, value: Any, report: Any, tracer: str) -> Iterator[Measurement | None]:
    keyed = [("", value)] if "count" in value and "total" in value else value.items()
    for key, one in keyed:
        count, total = _whole(one["count"]), _whole(one["total"])
        if count is None or total is None:
            raise ValueError(one)
        yield from_stats(name, str(key), count, total, report, tracer)
