"""The page allocator's free lists of one host, and what it hands out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from perfmodel.host.blocks import Pfns, blocks_to_runs, runs_to_blocks
from perfmodel.host.model import Host

UNUSED_ZONES = ("DMA", "Movable", "Device")
"""Zones that give guest_memfd no page: ``lowmem_reserve`` keeps DMA from requests that higher zones can meet,
and GFP_HIGHUSER, guest_memfd's mask, does not reach Movable or Device."""


class Grant(NamedTuple):
    """``folios[i]`` consecutive folios of the order asked for, from ``pfn[i]`` upward."""

    pfn: Pfns
    folios: Pfns


class FreeLists:
    """Free blocks by zone and order, in the order in which they are handed out.

    A request of an order goes to the first zone with a block that is big enough, takes the smallest such
    block and splits it, low half first (``__rmqueue_smallest``). The list of one order is taken from its
    front.
    """

    def __init__(self, zones: Iterable[Sequence[Pfns]]) -> None:
        self._zones = [list(lists) for lists in zones]

    def take(self, order: int, count: int) -> Grant:
        """Meet up to ``count`` requests of ``order``, in the time that the number of blocks takes.

        Meeting them one by one gives the same pages: the halves of a split block go to lists that are empty,
        or the block would not have been the smallest, and so are used up before the next block.
        """
        pfns: list[Pfns] = []
        folios: list[Pfns] = []
        for lists in self._zones:
            for larger in range(order, len(lists)):
                if not count:
                    break
                each = 1 << (larger - order)
                blocks = min(len(lists[larger]), -(-count // each))
                if not blocks:
                    continue
                taken, lists[larger] = lists[larger][:blocks], lists[larger][blocks:]
                granted = np.full(blocks, each, np.int64)
                granted[-1] = min(each, count - (blocks - 1) * each)
                self._give_back(lists, int(taken[-1]), larger, int(granted[-1]) << order)
                pfns.append(taken)
                folios.append(granted)
                count -= int(granted.sum())
        none = np.zeros(0, np.int64)
        return Grant(np.concatenate([none, *pfns]), np.concatenate([none, *folios]))

    @staticmethod
    def _give_back(lists: list[Pfns], pfn: int, order: int, used_pages: int) -> None:
        end = pfn + (1 << order)
        pfn += used_pages
        while pfn < end:
            half = (pfn & -pfn).bit_length() - 1
            lists[half] = np.concatenate([np.array([pfn], np.int64), lists[half]])
            pfn += 1 << half

    def remaining(self) -> list[list[Pfns]]:
        """Return the blocks that are still free, by zone and order."""
        return [list(lists) for lists in self._zones]

    @property
    def pages(self) -> int:
        """Free pages in all zones."""
        return sum(len(pfns) << order for lists in self._zones for order, pfns in enumerate(lists))


def host_zones(host: Host, seed: int = 0) -> list[list[Pfns]]:
    """Return the host's free blocks by zone and order, zones in the order in which Linux falls back.

    Nodes ascending, as for a VMM on the first one; in each node from the highest zone down: Normal, then
    DMA32; :data:`UNUSED_ZONES` not at all. Inferred memory counts as free blocks of the largest order.
    Watermarks are ignored: page cache, which is not free but can be reclaimed, outweighs them. A page that
    two zones span belongs to the first.

    Parameters
    ----------
    seed : int
        No file tells in which order a free list holds its blocks: 0 takes them ascending by PFN, any other
        seed shuffles each list.
    """
    top = len(host.free_pfns) - 1
    free = blocks_to_runs(host.free_arrays())
    inferred = host.inferred_runs()
    rng = np.random.default_rng(seed)
    zones: list[tuple[tuple[int, int], list[Pfns]]] = []
    below = 0
    for zone in sorted(host.zones, key=lambda zone: zone.start_pfn):
        low, below = max(below, zone.start_pfn), max(below, zone.end_pfn)
        if zone.name in UNUSED_ZONES:
            continue
        # each run is one block and no block crosses a zone's border, so cutting gives the blocks back
        parts = (runs_to_blocks(runs.clip(low, zone.end_pfn), top) for runs in (free, inferred))
        lists = [np.sort(np.concatenate(same)) for same in zip(*parts, strict=True)]
        if seed:
            lists = [rng.permutation(pfns) for pfns in lists]
        zones.append(((zone.node, -zone.start_pfn), lists))
    return [lists for _, lists in sorted(zones, key=lambda item: item[0])]
