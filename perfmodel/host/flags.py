"""/proc/kpageflags: which pages are free, and which have no initialised struct page."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from perfmodel.files import open_regular
from perfmodel.host.blocks import Pfns, Runs

Progress = Callable[[int, int], None]

CHUNK_PAGES = 1 << 20
"""Pages read at a time: 8 MiB of flags."""

_BUDDY = np.uint64(1 << 10)
_FREE_MASK = np.uint64(1 << 10 | 1 << 19 | 1 << 23)
"""KPF_BUDDY, and KPF_HWPOISON and KPF_OFFLINE, with which the allocator hands no page out."""

_OTHER, _FREE, _EMPTY = 0, 1, 2


class FlagRuns(NamedTuple):
    """Runs of pages by what their flags say.

    Attributes
    ----------
    free : Runs
        KPF_BUDDY is set.
    empty : Runs
        No flag at all: no initialised struct page, or a plain kernel allocation.
    read_pages, ram_pages : int
        Pages that the file covers and pages asked for.
    """

    free: Runs
    empty: Runs
    read_pages: int
    ram_pages: int


def scan(path: Path, ram: Runs, progress: Progress | None = None) -> FlagRuns:
    """Read the flags of the pages in ``ram``; memory use does not grow with the host. Raises OSError."""
    pfns: list[Pfns] = []
    kinds: list[npt.NDArray[np.uint8]] = []
    done, read, total = 0, 0, ram.pages
    with open_regular(path, buffering=0) as file:
        for start, end in ram.pairs():
            last = _OTHER
            for first in range(start, end, CHUNK_PAGES):
                pages = min(CHUNK_PAGES, end - first)
                flags = _read(file, first, pages)
                read += len(flags)
                if not len(flags):  # the file ends here
                    end = first
                    break
                kind = np.full(pages, _OTHER, np.uint8)
                kind[: len(flags)][(flags & _FREE_MASK) == _BUDDY] = _FREE
                kind[: len(flags)][flags == 0] = _EMPTY
                at = np.flatnonzero(np.diff(kind, prepend=np.uint8(last)))
                pfns.append(at + first)
                kinds.append(kind[at])
                last = int(kind[-1])
                done += pages
                if progress:
                    progress(done, total)
            pfns.append(np.array([end], np.int64))
            kinds.append(np.array([_OTHER], np.uint8))
    if progress and done < total:
        progress(total, total)
    start_pfn = np.concatenate([np.zeros(0, np.int64), *pfns])
    kind = np.concatenate([np.zeros(0, np.uint8), *kinds])
    run = Runs(start_pfn[:-1], start_pfn[1:])
    free, empty = kind[:-1] == _FREE, kind[:-1] == _EMPTY
    return FlagRuns(Runs(run.start[free], run.end[free]), Runs(run.start[empty], run.end[empty]), read, total)


def _read(file: BinaryIO, first_pfn: int, pages: int) -> npt.NDArray[np.uint64]:
    file.seek(first_pfn * 8)
    data = bytearray()
    while len(data) < pages * 8 and (part := file.read(pages * 8 - len(data))):
        data += part
    return np.frombuffer(data, "<u8", len(data) // 8)


def grow_heads(found: FlagRuns, max_order: int) -> Runs:
    """Return the free runs of a kernel that sets KPF_BUDDY on the first page of a free block only.

    A head that another head follows is a block of order 0. The last head of a run is the longest naturally
    aligned block over the flagless pages behind it; allocated pages without flags may be counted in, never
    pages with flags.
    """
    start, end = found.free
    if not len(start) or not len(found.empty.start):
        return found.free
    head = end - 1
    index = np.minimum(np.searchsorted(found.empty.start, end), len(found.empty.start) - 1)
    follows = found.empty.start[index] == end
    room = np.where(follows, found.empty.end[index] - head, 1)
    size = np.full(len(head), 1, np.int64)
    for order in range(1, max_order + 1):
        fits = (head % (1 << order) == 0) & (room >= 1 << order)
        size[fits] = 1 << order
    return Runs(start, head + size)


def longest_empty(empty: Runs, need_pages: int, least_pages: int, align_pages: int) -> Runs:
    """Return up to ``need_pages`` of the longest empty runs, trimmed to ``align_pages``, ascending.

    Runs below ``least_pages`` are left alone: a plain allocation has no flags either, but is one buddy block
    at most. Of the last run the low end is taken: memblock allocates from the top of memory downward before
    the page allocator exists, so what is taken among uninitialised struct pages is at the top.
    """
    start = -(-empty.start // align_pages) * align_pages
    pages = empty.end // align_pages * align_pages - start
    start, pages = start[pages >= least_pages], pages[pages >= least_pages]
    longest = np.argsort(-pages, kind="stable")
    start, pages = start[longest], pages[longest]
    before = np.cumsum(pages) - pages
    pages = np.minimum(pages, np.maximum(need_pages - before, 0)) // align_pages * align_pages
    kept = np.flatnonzero(pages)
    kept = kept[np.argsort(start[kept])]
    return Runs(start[kept], start[kept] + pages[kept])
