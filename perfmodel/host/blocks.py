"""Runs of pages and naturally aligned blocks, as int64 arrays of PFNs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pfns = npt.NDArray[np.int64]


class Runs(NamedTuple):
    """Runs of pages ``[start, end)``: two int64 arrays of equal length."""

    start: Pfns
    end: Pfns

    @property
    def pages(self) -> int:
        """Pages in all runs."""
        return int((self.end - self.start).sum())

    def clip(self, low: int, high: int) -> "Runs":
        """Return the parts of the runs that lie in ``[low, high)``."""
        start, end = np.maximum(self.start, low), np.minimum(self.end, high)
        kept = start < end
        return Runs(start[kept], end[kept])

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield start and end PFN of each run as plain integers."""
        yield from zip(self.start.tolist(), self.end.tolist(), strict=True)

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Runs":
        """Build runs from pairs of start and end PFN."""
        flat = np.array(list(pairs), np.int64).reshape(-1, 2)
        return cls(flat[:, 0], flat[:, 1])


def runs_to_blocks(runs: Runs, max_order: int) -> list[Pfns]:
    """Cut disjoint runs into the fewest naturally aligned blocks of order ``max_order`` or less.

    Returns
    -------
    list of ndarray of int64
        For each order from 0 to ``max_order``, the ascending first PFNs of its blocks.
    """
    start, end = runs.start.copy(), runs.end.copy()
    blocks: list[Pfns] = []
    for order in range(max_order):
        size = 1 << order
        low = ((start & size) != 0) & (start + size <= end)
        first = start[low]
        start[low] += size
        high = ((end & size) != 0) & (end - size >= start)
        end[high] -= size
        blocks.append(np.sort(np.concatenate([first, end[high]])))
    size = 1 << max_order
    count = (end - start) >> max_order
    index = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    blocks.append(np.sort(np.repeat(start, count) + index * size))
    return blocks


def blocks_to_runs(blocks: Sequence[Pfns]) -> Runs:
    """Return one run for each block, ascending; ``blocks[k]`` holds the PFNs of the blocks of order ``k``."""
    start = np.concatenate([np.zeros(0, np.int64), *blocks])
    pages = np.concatenate(
        [
            np.zeros(0, np.int64),
            *[np.full(len(pfns), 1 << order, np.int64) for order, pfns in enumerate(blocks)],
        ]
    )
    by_pfn = np.argsort(start, kind="stable")
    return Runs(start[by_pfn], (start + pages)[by_pfn])


def split_at(runs: Runs, cuts: Iterable[int]) -> Runs:
    """Cut ascending runs at each PFN in ``cuts``, so that no run spans one."""
    start, end = runs
    for cut in sorted(set(cuts)):
        inside = np.flatnonzero((start < cut) & (cut < end))
        start, end = np.insert(start, inside + 1, cut), np.insert(end, inside, cut)
    return Runs(start, end)
