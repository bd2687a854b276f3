"""What one LP visits when the guest takes its memory into use, in order: 4 MiB chunks, or pages of a touching guest.

Unlike :mod:`perfmodel.orders`, which orders one region, ``random`` is here an order over the whole guest: where a line
is found depends on how long ago its neighbours were used.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.populate import PAGES_PER_RANGE, RANGES_PER_CHUNK, USE_ASKED
from perfmodel.backings.contract import REGION_PAGES
from perfmodel.memory import GuestMemory
from perfmodel.orders import CHUNKS_PER_REGION, by_vcpu, chunk_order
from perfmodel.policies.contract import Policy
from perfmodel.populate import describe
from perfmodel.refusals import MAPPED_2M, refusal_causes

CHUNK_PAGES = RANGES_PER_CHUNK * PAGES_PER_RANGE
_STREAM, _TOUCH_STREAM = 0xCAC4E, 0xCAC4F  # keep these draws apart from the others of the same seed

Ints = npt.NDArray[np.int64]


class ChunkOrder:
    """The chunks of one LP, numbered over the guest's regions, in its order.

    Parameters
    ----------
    memory : GuestMemory
    name : str
        One of :data:`perfmodel.names.ORDERS`.
    vcpu : int
        Whose order; all but ``striped`` are the first one's alone.
    """

    def __init__(self, memory: GuestMemory, name: str, vcpu: int = 0) -> None:
        self.regions = np.fromiter(memory.layout.regions(), np.int64)
        self.is_random = name == "random"
        self._drawn: Ints | None = None
        scenario = memory.scenario
        if self.is_random:
            self.own = np.arange(CHUNKS_PER_REGION, dtype=np.int64)
            draw = np.random.default_rng([_STREAM, scenario.seed])
            self._drawn = draw.permutation(self.regions.size * CHUNKS_PER_REGION)
        else:
            chunks = chunk_order(name, 0, scenario.seed, scenario.vcpus)
            self.own = by_vcpu(name, chunks, scenario.vcpus)[vcpu]
        self.size = self.regions.size * self.own.size

    @staticmethod
    def lps(memory: GuestMemory, name: str) -> int:
        """Return how many LPs take part."""
        scenario = memory.scenario
        return len(by_vcpu(name, chunk_order(name, 0, scenario.seed, scenario.vcpus), scenario.vcpus))

    def chunks(self, start: int, stop: int) -> Ints:
        """Return the numbers of the chunks from place ``start`` to before ``stop``."""
        if self._drawn is not None:
            return np.asarray(self._drawn[start:stop])
        place = np.arange(start, stop, dtype=np.int64)
        return np.asarray(place // self.own.size * CHUNKS_PER_REGION + self.own[place % self.own.size])

    def begun(self, start: int) -> Ints:
        """Return the regions (GFN >> 18) that the chunks before place ``start`` lie in."""
        if self._drawn is not None:
            return self.regions[np.unique(self._drawn[:start] // CHUNKS_PER_REGION)]
        return self.regions[: -(-start // self.own.size)]


class Chunks(NamedTuple):
    """Chunks in order, as :func:`kernels.cache_populate.run_chunks` takes them; ``levels`` is by policy."""

    gfn: Ints
    pfn: npt.NDArray[np.int64]
    use: npt.NDArray[np.uint8]
    asked: Ints
    levels: Ints
    lowest: Ints


def load_chunks(memory: GuestMemory, policies: Sequence[Policy], regions: Ints, chunks: Ints, begun: Ints) -> Chunks:
    """Return what lies behind ``chunks``.

    Parameters
    ----------
    regions : ndarray of int64
        The guest's regions, by which chunks are numbered.
    begun : ndarray of int64
        Regions that some chunk before these has begun.
    """
    n, shape = chunks.size, (chunks.size, RANGES_PER_CHUNK)
    pfn = np.empty((n, CHUNK_PAGES), np.int64)
    use = np.empty((n, CHUNK_PAGES), np.uint8)
    asked, levels = np.empty(shape, np.int64), np.empty((len(policies), *shape), np.int64)
    region_of, within = regions[chunks // CHUNKS_PER_REGION], chunks % CHUNKS_PER_REGION
    for region in np.unique(region_of).tolist():
        here = np.flatnonzero(region_of == region)
        behind, used = memory.region(region)
        facts = describe(behind, used)
        pfn[here] = behind.pfn.reshape(CHUNKS_PER_REGION, -1)[within[here]]
        use[here] = used.reshape(CHUNKS_PER_REGION, -1)[within[here]]
        asked[here] = facts.asked.reshape(CHUNKS_PER_REGION, -1)[within[here]]
        for p, policy in enumerate(policies):
            mapped_2m = refusal_causes(policy, facts, not memory.scenario.features_off) == MAPPED_2M
            levels[p, here] = mapped_2m.reshape(CHUNKS_PER_REGION, -1)[within[here]]
    gfn = region_of * REGION_PAGES + within * CHUNK_PAGES
    lowest = np.ones(n, np.int64)
    asks = asked.any(axis=1)
    lowest[asks] = lowest_tables(gfn[asks], memory.scenario.levels, tables_of(begun, memory.scenario.levels))
    return Chunks(gfn, pfn, use, asked, levels, lowest)


def lowest_tables(gfn: Ints, levels: int, before: dict[int, Ints]) -> Ints:
    """Return the level of the lowest entry on each path that exists when its turn comes.

    Parameters
    ----------
    gfn : ndarray of int64
        In the order of the visits, each of which leaves a table of 4K entries or one of 2M entries behind.
    levels : int
        S-EPT levels.
    before : dict of int to ndarray of int64
        By level of its entries: the tables, GFN >> 9 * (level + 1), that visits before these have left. Levels that
        are missing here are not looked at.
    """
    lowest = np.full(gfn.size, levels - 1, np.int64)
    for level in sorted(before, reverse=True):
        table = gfn >> 9 * (level + 1)
        exists = np.ones(gfn.size, np.bool_)
        tables, first = np.unique(table, return_index=True)
        exists[first] = np.isin(tables, before[level])
        lowest[exists] = level
    return lowest


def tables_of(begun: Ints, levels: int) -> dict[int, Ints]:
    """Return the tables with entries of level 1 and up that ``begun`` regions have, as :func:`lowest_tables` does."""
    return {level: np.unique(begun >> 9 * (level - 1)) for level in range(1, levels - 1)}


class Touches(NamedTuple):
    """Pages in order, as :func:`kernels.cache_populate.run_touches` takes them; ``pfn`` and ``level`` are by policy."""

    gfn: Ints
    pfn: npt.NDArray[np.int64]
    level: Ints
    lowest: Ints


def load_touches(
    memory: GuestMemory, policies: Sequence[Policy], regions: Ints, pages: Ints, before: dict[int, Ints]
) -> Touches:
    """Return touches of single pages; those that the guest does not ask for are left out.

    Parameters
    ----------
    regions : ndarray of int64
        The guest's regions.
    pages : ndarray of int64
        Numbers of the pages over those regions, in the order of the touches.
    before : dict
        As :func:`lowest_tables` takes it, from level 0 on.
    """
    region_of, within = regions[pages // REGION_PAGES], pages % REGION_PAGES
    asked = np.zeros(pages.size, np.bool_)
    pfn, level = (np.empty((len(policies), pages.size), np.int64) for _ in range(2))
    for region in np.unique(region_of).tolist():
        here = np.flatnonzero(region_of == region)
        behind, used = memory.region(region)
        facts = describe(behind, used)
        at = within[here]
        asked[here] = used[at] == USE_ASKED
        for p, policy in enumerate(policies):
            mapped_2m = refusal_causes(policy, facts, not memory.scenario.features_off) == MAPPED_2M
            level[p, here] = mapped_2m[at // PAGES_PER_RANGE]
            pfn[p, here] = behind.pfn[np.where(level[p, here] == 1, at // PAGES_PER_RANGE * PAGES_PER_RANGE, at)]
    gfn = (region_of * REGION_PAGES + within)[asked]
    lowest = lowest_tables(gfn, memory.scenario.levels, before)
    return Touches(gfn, np.ascontiguousarray(pfn[:, asked]), np.ascontiguousarray(level[:, asked]), lowest)


def draw_pages(memory: GuestMemory, regions: Ints, count: int) -> Ints:
    """Return the numbers of ``count`` pages among the guest's regions, each at most once, in random order."""
    draw = np.random.default_rng([_TOUCH_STREAM, memory.scenario.seed])
    pages = regions.size * REGION_PAGES
    if count >= pages:
        return draw.permutation(np.arange(pages, dtype=np.int64))
    found = np.unique(draw.integers(0, pages, count + count // 8 + 64))
    return draw.permutation(found)[:count]


def draw_touched(memory: GuestMemory, ranges: Ints, progress: float) -> Ints:
    """Return which of ``ranges`` have been touched when ``progress`` of the guest's pages have, at random."""
    draw = np.random.default_rng([_TOUCH_STREAM, memory.scenario.seed, 1])
    return ranges[draw.random(ranges.size) < 1 - (1 - progress) ** PAGES_PER_RANGE]
