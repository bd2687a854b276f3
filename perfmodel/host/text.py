"""The text files of /proc: parsed with jc where it parses right. Every parser raises InputError on bad text.

jc is not used for zoneinfo: it merges nodes without a DMA zone into the node before and drops ``start_pfn``.
jc's pagetypeinfo takes a count capped as ``>100000`` for a word, so the sign is removed first.
jc raises bare ValueError, IndexError and others on damaged text.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jc

from perfmodel.errors import InputError
from perfmodel.files import open_regular

MAX_COUNT = 1 << 36
"""No count of pages or KiB is accepted above this (256 TiB of pages)."""

MAX_ORDERS = 19
"""Orders up to blocks of 1 GiB; x86-64 has 11."""

_T = TypeVar("_T")
_MAX_TEXT_BYTES = 1 << 26
_ZONE = re.compile(r"Node\s+(\d{1,5}), zone\s+(\S+)\s*$")
_FIELD = re.compile(r"\s+(?:pages )?(free|min|low|high|promo|spanned|present|managed|start_pfn):?\s+(\d{1,18})\s*$")


class ZoneInfo(NamedTuple):
    """A zone of /proc/zoneinfo; sizes in pages, ``promo`` is None on kernels without it."""

    free: int
    min: int
    low: int
    high: int
    promo: int | None
    spanned: int
    present: int
    managed: int
    start_pfn: int


def read_text(path: Path) -> str:
    """Return the text of ``path``; bytes that are not ASCII become U+FFFD. Raises OSError."""
    data = bytearray()
    with open_regular(path, buffering=0) as file:
        # small pieces: the kernel allocates a buffer of the size asked for and fails on a large one
        while len(data) < _MAX_TEXT_BYTES and (part := file.read(1 << 16)):
            data += part
    return data.decode("ascii", "replace")


def buddyinfo(text: str) -> dict[tuple[int, str], list[int]]:
    """Return free blocks by order of each ``(node, zone)``; as many orders as the row has."""

    def rows(parsed: Any) -> dict[tuple[int, str], list[int]]:
        return {(_count(row["node"]), str(row["zone"])): _counts(row["free_chunks"]) for row in parsed}

    found = _jc("buddyinfo", text, rows)
    if not found or len({len(counts) for counts in found.values()}) != 1:
        raise InputError("accepted are rows of equally many counts, one row for each zone")
    return found


def pagetypeinfo(text: str) -> dict[tuple[int, str], dict[str, list[int]]]:
    """Return free blocks by order of each ``(node, zone)`` and migratetype."""

    def rows(parsed: Any) -> dict[tuple[int, str], dict[str, list[int]]]:
        zones: dict[tuple[int, str], dict[str, list[int]]] = {}
        for row in parsed["free_pages"]:
            zones.setdefault((_count(row["node"]), str(row["zone"])), {})[str(row["type"])] = _counts(row["free"])
        return zones

    found = _jc("pagetypeinfo", text.replace(">", " "), rows)
    if not found or len({len(counts) for types in found.values() for counts in types.values()}) != 1:
        raise InputError("accepted are rows of equally many counts, one row for each zone and type")
    return found


def meminfo(text: str) -> dict[str, int]:
    """Return ``MemTotal`` and ``MemFree`` in KiB; jc sees these lines only: any other could stop it."""

    def rows(parsed: Any) -> dict[str, int]:
        return {name: _count(parsed[name]) for name in ("MemTotal", "MemFree")}

    wanted = [line for line in text.splitlines() if line.startswith(("MemTotal:", "MemFree:"))]
    found = _jc("meminfo", "\n".join(wanted), rows)
    if found["MemFree"] > found["MemTotal"]:
        raise InputError(f"MemFree: {found['MemFree']}: accepted is MemTotal {found['MemTotal']} or less")
    return found


def iomem(text: str) -> list[tuple[int, int]]:
    """Return System RAM as ascending, disjoint ``[start_hpa, end_hpa)``, wherever in the tree it stands.

    Memory that a driver added (``System RAM (kmem)``) is nested in other resources; jc drops the nesting,
    which is right here, because overlapping ranges are merged. Without root all addresses are zero: refused.
    """

    def rows(parsed: Any) -> list[tuple[int, int]]:
        ranges = [
            (int(row["start"], 16), int(row["end"], 16) + 1) for row in parsed if row["device"].startswith("System RAM")
        ]
        if any(not 0 <= start < end <= 1 << 52 for start, end in ranges):
            raise ValueError("range")
        return ranges

    merged: list[tuple[int, int]] = []
    for start, end in sorted(_jc("iomem", text, rows)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    if not merged or merged[-1][1] <= 1 << 20:
        raise InputError("no System RAM above 1 MiB; without root all addresses read as zero")
    return merged


def zoneinfo(text: str) -> dict[tuple[int, str], ZoneInfo]:
    """Return the populated zones by ``(node, zone)``."""
    raw: dict[tuple[int, str], dict[str, int]] = {}
    fields: dict[str, int] = {}
    for line in text.splitlines():
        if head := _ZONE.match(line):
            fields = raw.setdefault((int(head[1]), head[2]), {})
        elif field := _FIELD.match(line):
            # the first one counts: a per-CPU page set has a "high" of its own
            if int(field[2]) > MAX_COUNT:
                raise InputError(f"{field[1]}: {field[2]}: accepted is {MAX_COUNT} or less")
            fields.setdefault(field[1], int(field[2]))
    zones = {}
    for (node, name), values in raw.items():
        if not values.get("present"):
            continue
        lacking = sorted(set(ZoneInfo._fields) - set(values) - {"promo"})
        if lacking:
            raise InputError(f"node {node}, zone {name}: {lacking[0]} is missing: accepted is a whole file")
        zone = ZoneInfo(promo=values.pop("promo", None), **values)
        if not zone.free <= zone.present <= zone.spanned:
            raise InputError(
                f"node {node}, zone {name}: free {zone.free}, present {zone.present}, spanned "
                f"{zone.spanned}: accepted is free <= present <= spanned"
            )
        zones[node, name] = zone
    if not zones:
        raise InputError("no populated zone: accepted is a file with at least one")
    return zones


def _jc(name: str, text: str, rows: Callable[[Any], _T]) -> _T:
    try:
        return rows(jc.parse(f"proc_{name}", text, quiet=True))
    except Exception as error:  # jc and damaged rows raise whatever the slip happens to be
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise InputError(f"not understood ({reason}): accepted is the text of a Linux kernel") from None


def _counts(values: list[int]) -> list[int]:
    if not 1 <= len(values) <= MAX_ORDERS:
        raise ValueError(f"{len(values)} orders are not in 1 to {MAX_ORDERS}")
    return [_count(value) for value in values]


def _count(value: int) -> int:
    if not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{value} is not in 0 to {MAX_COUNT}")
    return value
