"""Addresses for free blocks of which only the number by order is known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perfmodel.host.blocks import Pfns, Runs, runs_to_blocks


class Placed(NamedTuple):
    """Free blocks by order, and the pages of blocks that fitted nowhere."""

    free_pfns: list[Pfns]
    lost_pages: int


def place_blocks(room: Runs, counts: Sequence[int], rng: np.random.Generator) -> Placed:
    """Place ``counts[k]`` free blocks of order ``k`` in ``room``: naturally aligned, disjoint, at random.

    Two buddies are never both free, as in the kernel, which would have merged them: so cutting the placed
    pages into maximal blocks gives ``counts`` again. From the largest order down, each block takes one half,
    drawn at random, of a block of the next order that is in use; only as many blocks are split as are needed.
    """
    top = len(counts) - 1
    used = [rng.permutation(pfns) for pfns in runs_to_blocks(room, top)]
    edges = [len(pfns) for pfns in used]  # blocks whose buddy lies outside the room: free ones need no parent
    free: list[Pfns] = [np.zeros(0, np.int64)] * (top + 1)
    lost = 0
    for order in range(top, -1, -1):
        alone = min(counts[order], edges[order])
        free[order], used[order] = used[order][:alone], used[order][alone:]
        need = counts[order] - alone
        _supply(used, order + 1, need, rng)
        if need and order < top:
            parents, used[order + 1] = used[order + 1][:need], used[order + 1][need:]
            half = rng.integers(0, 2, len(parents)) << order
            free[order] = np.concatenate([free[order], parents + half])
            used[order] = rng.permutation(np.concatenate([used[order], parents + ((1 << order) - half)]))
        free[order] = np.sort(free[order])
        lost += (counts[order] - len(free[order])) << order
    return Placed(free, lost)


def _supply(used: list[Pfns], order: int, need: int, rng: np.random.Generator) -> None:
    """Split larger blocks until ``need`` blocks of ``order`` are in ``used``, or none is left to split."""
    if order >= len(used) or len(used[order]) >= need:
        return
    wanted = -(-(need - len(used[order])) // 2)
    _supply(used, order + 1, wanted, rng)
    if order + 1 < len(used):
        split, used[order + 1] = used[order + 1][:wanted], used[order + 1][wanted:]
        used[order] = rng.permutation(np.concatenate([used[order], split, split + (1 << order)]))


def reserve_top(room: Runs, need_pages: int, spare_pages: int, align_pages: int) -> Runs:
    """Return one run of up to ``need_pages`` at the top of the longest run of ``room``, both ends aligned.

    ``spare_pages`` of ``room`` are kept for blocks that are still to be placed.
    """
    if not len(room.start):
        return room
    longest = int(np.argmax(room.end - room.start))
    start, end = int(room.start[longest]), int(room.end[longest])
    end = end // align_pages * align_pages
    pages = min(need_pages, room.pages - spare_pages, end - start) // align_pages * align_pages
    return Runs.of([(end - pages, end)] if pages > 0 else [])


def without(room: Runs, taken: Runs) -> Runs:
    """Return ``room`` less ``taken``, a run or none that lies inside one run of it."""
    if not len(taken.start):
        return room
    parts = room.clip(0, int(taken.start[0])), room.clip(int(taken.end[0]), 1 << 62)
    return Runs(*(np.concatenate(sides) for sides in zip(*parts, strict=True)))
