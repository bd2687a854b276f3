"""Guest memory as extents: runs of GFNs backed by consecutive PFNs."""

import csv
import re
from array import array
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import NO_PFN, REGION_PAGES, RegionBacking
from perfmodel.errors import InputError
from perfmodel.files import open_csv
from perfmodel.layout import GuestLayout

HEADER = ("gfn", "pfn", "pages", "folio_order", "has_struct_page")
MAX_FRAME = 1 << 40
"""GFNs and PFNs end here: 52 address bits."""
MAX_FOLIO_ORDER = 18

_NUMBER = re.compile(r"[0-9]{1,15}|0[xX][0-9a-fA-F]{1,12}")
_BOOLEANS = {"0": 0, "false": 0, "1": 1, "true": 1}
_LIMITS = {
    "gfn": (0, MAX_FRAME - 1),
    "pfn": (0, MAX_FRAME - 1),
    "pages": (1, MAX_FRAME),
    "folio_order": (0, MAX_FOLIO_ORDER),
}
_OFFSETS = np.arange(REGION_PAGES, dtype=np.int64)

Pages = npt.NDArray[np.int64]


class ExtentMap:
    """Extents of one guest, sorted by GFN and disjoint; four int64 arrays of equal length.

    Neighbours that continue each other in GFN and PFN with the same folio order are joined.
    """

    def __init__(self, gfn: Pages, pfn: Pages, pages: Pages, order: Pages) -> None:
        by_gfn = np.argsort(gfn, kind="stable")
        gfn, pfn, pages, order = gfn[by_gfn], pfn[by_gfn], pages[by_gfn], order[by_gfn]
        first = starts_of_runs(gfn, pfn, pages, order)
        self.gfn = gfn[first]
        self.pfn = pfn[first]
        self.pages = np.add.reduceat(pages, first) if len(first) else pages
        self.order = order[first]

    def region(self, index: int) -> RegionBacking:
        """Return the pages behind region ``index``."""
        low = index * REGION_PAGES
        first = int(np.searchsorted(self.gfn, low, "right")) - 1
        part = slice(max(first, 0), int(np.searchsorted(self.gfn, low + REGION_PAGES, "left")))
        gfn, pages = self.gfn[part], self.pages[part]
        start = np.clip(gfn - low, 0, REGION_PAGES)
        end = np.clip(gfn + pages - low, 0, REGION_PAGES)
        # odd pieces are extents, even ones the gaps around them: few, as slots have no gaps inside
        edges = np.concatenate([[0], np.stack([start, end], axis=1).ravel(), [REGION_PAGES]])
        length = np.diff(edges)
        shift, order = np.zeros(len(length), np.int64), np.zeros(len(length), np.int8)
        shift[1::2], order[1::2] = self.pfn[part] - gfn + low, self.order[part]
        pfn = np.repeat(shift, length)
        pfn += _OFFSETS
        for gap in np.flatnonzero(length[::2]) * 2:
            pfn[edges[gap] : edges[gap + 1]] = NO_PFN
        return RegionBacking(pfn, np.repeat(order, length))

    def like_others(self, index: int) -> None:
        """Return None: no two regions are known to be alike."""

    def blocks(self) -> Pages:
        """Return the sorted numbers of the 1 GiB blocks (HPA >> 30) that hold pages."""
        first = self.pfn >> 18
        count = ((self.pfn + self.pages - 1) >> 18) - first + 1
        inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.unique(np.repeat(first, count) + inside)

    def blocks_of_widest_region(self) -> int:
        """Return in how many blocks the pages of one region lie at most."""
        first = self.gfn >> 18
        count = (self.gfn + self.pages - 1 >> 18) - first + 1
        region = np.repeat(first, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        gfn, pages, pfn = (np.repeat(column, count) for column in (self.gfn, self.pages, self.pfn))
        low, high = np.maximum(gfn, region << 18), np.minimum(gfn + pages, region + 1 << 18)
        ends = [(pfn - gfn + page) >> 18 for page in (low, high - 1)]  # a GiB of consecutive pages has two at most
        pairs = np.unique(np.concatenate([region << 22 | block for block in ends]))
        return int(np.unique(pairs >> 22, return_counts=True)[1].max())


def starts_of_runs(gfn: Pages, pfn: Pages, pages: Pages, order: Pages | None = None) -> npt.NDArray[np.intp]:
    """Return the indices of extents that do not continue the one before in GFN, PFN and ``order``."""
    new = np.ones(len(gfn), np.bool_)
    new[1:] = (gfn[1:] != gfn[:-1] + pages[:-1]) | (pfn[1:] != pfn[:-1] + pages[:-1])
    if order is not None:
        new[1:] |= order[1:] != order[:-1]
    return np.flatnonzero(new)


class ExtentsBacking:
    """Extents from a CSV file with the header :data:`HEADER`.

    Numbers are decimal or hexadecimal with ``0x``; ``has_struct_page`` is 0, 1, true or false. What lies
    outside the guest's slots is cut off.

    Attributes
    ----------
    map : ExtentMap
        The extents inside the slots.
    has_struct_page : bool
        Whether all of them have struct pages.

    Raises
    ------
    InputError
        One line: file and line, column, value and what is accepted.
    """

    name = "extents"

    def __init__(self, path: Path, layout: GuestLayout) -> None:
        rows = _read(path)
        _refuse_overlap(path, "gfn", rows["gfn"], rows["pages"], rows["line"])
        _refuse_overlap(path, "pfn", rows["pfn"], rows["pages"], rows["line"])
        by_gfn = np.argsort(rows["gfn"])
        gfn, pfn, pages, order, struct_page = (rows[name][by_gfn] for name in HEADER)
        parts = []
        for slot in layout.slots:
            start = np.maximum(gfn, slot.gfn)
            end = np.minimum(gfn + pages, slot.gfn + slot.pages)
            kept = start < end
            start, end = start[kept], end[kept]
            _refuse_gap(path, start, end, slot.gfn, slot.gfn + slot.pages)
            shift = start - gfn[kept]
            parts.append((start, pfn[kept] + shift, end - start, order[kept], struct_page[kept]))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        self.map = ExtentMap(columns[0], columns[1], columns[2], columns[3])
        self.has_struct_page = bool(columns[4].all())

    def region(self, index: int) -> RegionBacking:
        """Return the pages behind region ``index``."""
        return self.map.region(index)

    def like_others(self, index: int) -> None:
        """Return None: no two regions are known to be alike."""

    def blocks_of_widest_region(self) -> int:
        """Return in how many blocks the pages of one region lie at most."""
        return self.map.blocks_of_widest_region()

    def blocks(self) -> Pages:
        """Return the sorted numbers of the 1 GiB blocks that hold the guest's pages."""
        return self.map.blocks()


def _read(path: Path) -> dict[str, Pages]:
    columns = {name: array("q") for name in (*HEADER, "line")}
    line = 1
    try:
        with open_csv(path) as file:
            reader = csv.reader(file)
            header = tuple(cell.strip() for cell in next(reader, ()))
            if header != HEADER:
                _refuse(path, 1, "header", ",".join(header), ",".join(HEADER))
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if len(row) != len(HEADER):
                    _refuse(path, line, "row", ",".join(row), f"{len(HEADER)} values")
                for name, cell in zip(HEADER, row, strict=True):
                    columns[name].append(_value(path, line, name, cell.strip()))
                for name in ("gfn", "pfn"):
                    if columns[name][-1] + columns["pages"][-1] > MAX_FRAME:
                        _refuse(
                            path,
                            line,
                            "pages",
                            row[2],
                            f"at most {MAX_FRAME - columns[name][-1]} from {name}",
                        )
                columns["line"].append(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): accepted is a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{path}:{line}: not text ({reason}): accepted is a CSV file") from None
    if not columns["gfn"]:
        raise InputError(f"{path}: no extents: accepted is one row or more below the header")
    return {name: np.array(values, np.int64) for name, values in columns.items()}


def _value(path: Path, line: int, name: str, cell: str) -> int:
    if name == "has_struct_page":
        if cell.lower() not in _BOOLEANS:
            _refuse(path, line, name, cell, "0, 1, true or false")
        return _BOOLEANS[cell.lower()]
    low, high = _LIMITS[name]
    value = -1
    if _NUMBER.fullmatch(cell):
        value = int(cell, 16 if cell[:2] in ("0x", "0X") else 10)
    if not low <= value <= high:
        _refuse(path, line, name, cell, f"a number from {low} to {high}")
    return value


def _refuse(path: Path, line: int, column: str, value: str, accepted: str) -> NoReturn:
    text = ascii(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    raise InputError(f"{path}:{line}: {column}: {text}: accepted is {accepted}")


def _refuse_overlap(path: Path, name: str, start: Pages, pages: Pages, line: Pages) -> None:
    by_start = np.argsort(start, kind="stable")
    clash = np.flatnonzero(start[by_start][1:] < (start + pages)[by_start][:-1])
    if len(clash):
        first, second = by_start[clash[0]], by_start[clash[0] + 1]
        raise InputError(
            f"{path}:{line[second]}: {name}: {start[second]}: accepted are {name}s that line {line[first]} "
            f"({start[first]} to {start[first] + pages[first] - 1}) does not hold"
        )


def _refuse_gap(path: Path, start: Pages, end: Pages, low: int, high: int) -> None:
    begins, ends = np.append(start, high), np.insert(end, 0, low)
    gap = np.flatnonzero(begins > ends)
    if len(gap):
        raise InputError(
            f"{path}: gfn: {ends[gap[0]]} is in no extent: accepted are extents that hold all of the guest's "
            f"pages, {low} to {high - 1} among them"
        )
