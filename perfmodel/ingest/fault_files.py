"""Private faults as files: traces for ``--order`` and extents for ``--backing extents``."""

from array import array
from typing import IO

import numpy as np
import numpy.typing as npt

from perfmodel.backings.extents import HEADER

TRACE_HEADER = "gfn,level,vcpu,time"
"""GFN as hexadecimal, level or nothing, vCPU, ns since the first fault."""

_ORDERS = {"4K": 0, "2M": 9, "1G": 18}
_ROWS_AT_ONCE = 4096
_MOST_OVERLAPPING_PAGES = 1 << 26

Pages = npt.NDArray[np.int64]


class TraceWriter:
    """Writes faults as they come."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = [TRACE_HEADER]
        self._start: int | None = None
        self.faults = 0

    def add(self, gfn: int, pfn: int | None, level: str | None, vcpu: int, time_ns: int) -> None:
        """Take up one fault."""
        if self._start is None:
            self._start = time_ns
        self._rows.append(f"{gfn:#x},{level or ''},{vcpu},{time_ns - self._start}")
        self.faults += 1
        if len(self._rows) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        if self._rows:
            self._file.write(("\n".join(self._rows) + "\n").encode())
            self._rows = []


class Extents:
    """Runs of GFNs on consecutive PFNs, joined as they come; a later mapping takes the place of an earlier one."""

    def __init__(self) -> None:
        self._columns = tuple(array("q") for _ in range(4))  # gfn, pfn, pages, order

    def add(self, gfn: int, pfn: int | None, level: str | None, vcpu: int, time_ns: int) -> None:
        """Take up one fault; one without PFN or level tells no extent."""
        if pfn is None or level is None:
            return
        order = _ORDERS[level]
        size = 1 << order
        gfn, pfn = gfn & -size, pfn & -size
        if gfn >= 1 << 40 or pfn >= 1 << 40:
            return
        gfns, pfns, pages, orders = self._columns
        if gfns and orders[-1] == order and gfn == gfns[-1] + pages[-1] and pfn == pfns[-1] + pages[-1]:
            pages[-1] += size
            return
        for column, value in zip(self._columns, (gfn, pfn, size, order), strict=True):
            column.append(value)

    def __len__(self) -> int:
        """Return how many runs there are, before any is replaced."""
        return len(self._columns[0])

    def table(self) -> tuple[Pages, Pages, Pages, Pages]:
        """Return GFN, PFN, pages and folio order, ascending by GFN and disjoint in both addresses."""
        gfn, pfn, pages, order = (np.array(column, np.int64) for column in self._columns)
        gfn, pfn, pages, order = latest(gfn, pfn, pages, order)
        pfn, gfn, pages, order = latest(pfn, gfn, pages, order)
        by_gfn = np.argsort(gfn, kind="stable")
        return gfn[by_gfn], pfn[by_gfn], pages[by_gfn], order[by_gfn]

    def csv(self) -> bytes:
        """Return a file for ``--extents``: private memory of KVM's page allocator has struct pages."""
        rows = zip(*(column.tolist() for column in self.table()), strict=True)
        lines = [f"{gfn:#x},{pfn:#x},{pages},{order},1" for gfn, pfn, pages, order in rows]
        return ("\n".join([",".join(HEADER), *lines]) + "\n").encode()


def latest(start: Pages, other: Pages, pages: Pages, order: Pages) -> tuple[Pages, Pages, Pages, Pages]:
    """Return the extents without overlap in ``start``; where they overlap, pages of the last one stay.

    Parameters
    ----------
    start, other, pages, order : ndarray of int64
        In the order of their making, which the result keeps.
    """
    if not len(start):
        return start, other, pages, order
    columns = np.stack([start, other, pages, order, np.arange(len(start))])
    rank = np.argsort(start, kind="stable")
    top = np.maximum.accumulate((start + pages)[rank])
    cluster = np.zeros(len(rank), np.int64)
    cluster[1:] = np.cumsum(start[rank][1:] >= top[:-1])
    crowded = np.bincount(cluster)[cluster] > 1
    parts = [columns[:, rank[~crowded]]]
    inside = rank[crowded]
    for members in np.split(inside, np.flatnonzero(np.diff(cluster[crowded])) + 1) if len(inside) else ():
        parts.append(_settle(columns[:, np.sort(members)]))
    done = np.concatenate(parts, axis=1)
    start, other, pages, order, _ = done[:, np.argsort(done[4], kind="stable")]
    return start, other, pages, order


def _settle(columns: Pages) -> Pages:
    """Return the pieces of overlapping extents that no later one covers."""
    start, other, pages, order, when = columns
    low = int(start.min())
    size = int((start + pages).max()) - low
    if size > _MOST_OVERLAPPING_PAGES:  # such a run is no guest's: the last one alone
        return columns[:, -1:]
    owner = np.full(size, -1, np.int64)
    for i in range(len(start)):
        owner[start[i] - low : start[i] - low + pages[i]] = i
    edge = np.flatnonzero(np.diff(owner, prepend=-2))
    length = np.diff(np.append(edge, size))
    who = owner[edge]
    edge, length, who = edge[who >= 0], length[who >= 0], who[who >= 0]
    first = edge + low
    whole = length >= (np.int64(1) << order[who])
    return np.stack([first, other[who] + first - start[who], length, np.where(whole, order[who], 0), when[who]])
