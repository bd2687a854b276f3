"""Where two final states differ: TD by TD, S-EPT entry by S-EPT entry, PAMT entry by PAMT entry."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from perfmodel.vectors.final import Final, expand_pamt, expand_sept

_LEVELS = ("4K", "2M", "1G", "512G", "256T")


class FinalDifference(msgspec.Struct, frozen=True):
    """A place in the final state, and what stands there; None where nothing is listed."""

    place: str
    expected: str | None
    got: str | None


def final_differences(expected: Final, got: Final) -> Iterator[FinalDifference]:
    """Yield every difference between two final states; tables are compared entry by entry, whatever their runs."""
    yield from _differ("records", expected.records, got.records)
    yield from _differ("TDs", [td.id for td in expected.tds], [td.id for td in got.tds])
    for ours, theirs in zip(expected.tds, got.tds, strict=False):
        for field in ours.__struct_fields__:
            yield from _differ(f"TD {ours.id} {field}", getattr(ours, field), getattr(theirs, field))
    yield from _differ("TDs with an S-EPT", [s.td for s in expected.sept], [s.td for s in got.sept])
    for before, after in zip(expected.sept, got.sept, strict=False):
        yield from _differ(f"TD {before.td} S-EPT count", before.count, after.count)
        tables = [zip(*(c.tolist() for c in expand_sept(sept.runs)), strict=True) for sept in (before, after)]
        for (gpa, level, table), a, b in _entries(*([((g, n, t), (r,)) for g, n, r, t in rows] for rows in tables)):
            place = f"TD {before.td} S-EPT {_LEVELS[level]} entry of GPA {gpa:#x} in table {table:#x}"
            yield FinalDifference(place, _text(a, _raw), _text(b, _raw))
    yield from _differ("PAMT count", expected.pamt.count, got.pamt.count)
    tables = [zip(*(c.tolist() for c in expand_pamt(final.pamt.runs)), strict=True) for final in (expected, got)]
    for (hpa, level), a, b in _entries(*([(row[:2], row[2:]) for row in rows] for rows in tables)):
        yield FinalDifference(f"PAMT {_LEVELS[level]} entry of HPA {hpa:#x}", _text(a, _pamt), _text(b, _pamt))


def _differ(place: str, expected: Any, got: Any) -> Iterator[FinalDifference]:
    if expected != got:
        yield FinalDifference(place, str(expected), str(got))


_Entry = tuple[Any, Any]


def _entries(expected: Iterable[_Entry], got: Iterable[_Entry]) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Yield the keys of entries that differ and what is listed there; one listed twice differs as well."""
    before, after = Counter(expected), Counter(got)
    keys = {key for key, _ in [*(before - after), *(after - before)]}
    if not keys:
        return
    listed: list[dict[Any, list[Any]]] = [{key: [] for key in keys} for _ in range(2)]
    for values, entries in zip(listed, (before, after), strict=True):
        for (key, value), times in entries.items():
            if key in keys:
                values[key] += [value] * times
    for key in sorted(keys):
        yield key, listed[0][key], listed[1][key]


def _text(values: list[Any], show: Callable[[Any], str]) -> str | None:
    return " and ".join(map(show, values)) or None


def _raw(entry: tuple[int]) -> str:
    return f"{entry[0]:#x}"


def _pamt(entry: tuple[int, int, int, int]) -> str:
    page_type, owner, bepoch, lock = entry
    return f"type {page_type}, owner {owner:#x}, bepoch {bepoch}, lock {lock:#x}"
