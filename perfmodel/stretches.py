"""Which visits are run through simulated caches: all of a small guest, stretches of a large one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kernels.cache_populate import ACCEPT, DEMAND, PREFAULT
from perfmodel.backings.contract import REGION_PAGES
from perfmodel.guests import GUESTS
from perfmodel.memory import GuestMemory
from perfmodel.policies.contract import Policy
from perfmodel.visits import (
    CHUNK_PAGES,
    ChunkOrder,
    Chunks,
    Ints,
    Touches,
    draw_pages,
    draw_touched,
    load_chunks,
    load_touches,
    tables_of,
)

WHOLE_CHUNKS = 512
"""Guests of up to so many chunks are run whole."""

_STRETCHES, _FEW_REGIONS = 3, 32
_WARM_CHUNKS, _SEQUENTIAL_CHUNKS, _RANDOM_CHUNKS = 32, 64, 128
_MEASURED_TOUCHES = 1 << 15
_CHUNK_LINES, _TOUCH_LINES = 256, 3
"""At least so many lines come into the third level with 4 MiB, and with a touch at random."""

_NEVER = 1 << 62

_VISIT_BYTES, _TOUCH_BYTES, _TOUCH_POLICY_BYTES = 10, 60, 32
"""In memory for each page that is visited: its PFN and use; or for touches more, and for each policy."""
_DRAWN_CHUNK_BYTES = 24


class Stretch(NamedTuple):
    """Visits that begin with empty caches.

    Attributes
    ----------
    vcpu : int
    parts : tuple of (int, Chunks or Touches)
        One after the other, each with its mode.
    warm : int
        Visits that are not counted, or fewer if the third level has missed ``warm_misses`` lines before.
    measured : int
        Visits that are counted then.
    warm_misses : int
    """

    vcpu: int
    parts: tuple[tuple[int, Chunks | Touches], ...]
    warm: int = 0
    measured: int = _NEVER
    warm_misses: int = _NEVER


def is_whole(memory: GuestMemory) -> bool:
    """Whether the guest is run whole."""
    regions = sum(1 for _ in memory.layout.regions())
    return memory.scenario.keyholes == "exact" or regions * REGION_PAGES <= WHOLE_CHUNKS * CHUNK_PAGES


def need_of(memory: GuestMemory, policies: Sequence[Policy]) -> int:
    """Return about how many bytes the visits take that are held, or an order that is drawn over the whole guest."""
    guest, pages = GUESTS[memory.scenario.guest], memory.layout.pages
    if not is_whole(memory):
        return _DRAWN_CHUNK_BYTES * pages // CHUNK_PAGES if memory.scenario.order == "random" else 0
    if guest.touch_first:
        return pages * (_TOUCH_BYTES + _TOUCH_POLICY_BYTES * len(policies))
    return pages * _VISIT_BYTES * (2 if guest.prefault else 1)


def whole_stretches(memory: GuestMemory, policies: Sequence[Policy]) -> Iterator[Stretch]:
    """Yield everything that each LP does."""
    guest, name = GUESTS[memory.scenario.guest], memory.scenario.order
    begun = np.zeros(0, np.int64)
    for vcpu in range(ChunkOrder.lps(memory, name)):
        order = ChunkOrder(memory, name, vcpu)
        visits = _load(memory, policies, order, 0, order.size, begun)
        parts: tuple[tuple[int, Chunks | Touches], ...] = ((ACCEPT if guest.prefault else DEMAND, visits),)
        if guest.prefault and vcpu == 0:
            first = ChunkOrder(memory, "sequential")
            parts = ((PREFAULT, _load(memory, policies, first, 0, first.size, begun)), *parts)
        yield Stretch(vcpu, parts)
        asks = visits.gfn if isinstance(visits, Touches) else visits.gfn[visits.asked.any(axis=1)]
        begun = np.union1d(begun, asks // REGION_PAGES)


def sampled_stretches(memory: GuestMemory, policies: Sequence[Policy], l3_lines: int) -> Iterator[Stretch]:
    """Yield stretches of what the first LP does, evenly spaced.

    In sequence nothing is used again after more than a few chunks but what every call uses. At random it is, so caches
    are warm when the third level has been filled. There the share of lines that come for the first time falls as the
    run goes on; it matters as long as caches remember much of the guest, and above 32 GiB one stretch does.
    """
    guest, name = GUESTS[memory.scenario.guest], memory.scenario.order
    if guest.prefault:
        yield from _evenly(memory, policies, ChunkOrder(memory, "sequential"), PREFAULT)
    order, mode = ChunkOrder(memory, name), ACCEPT if guest.prefault else DEMAND
    if not order.is_random:
        yield from _evenly(memory, policies, order, mode)
    elif guest.touch_first:
        yield _random_touches(memory, policies, order, l3_lines)
    else:
        warm = -(-l3_lines // _CHUNK_LINES)
        for start in _places(order.size, _STRETCHES if order.regions.size <= _FEW_REGIONS else 1):
            begin = max(start - warm, 0)
            visits = _load(memory, policies, order, begin, start + _RANDOM_CHUNKS, order.begun(begin))
            yield Stretch(0, ((mode, visits),), start - begin, _RANDOM_CHUNKS, l3_lines)


def _places(size: int, number: int) -> list[int]:
    """Return the middles of so many equal parts."""
    return [(2 * i + 1) * size // (2 * number) for i in range(number)]


def region_stretches(memory: GuestMemory, policies: Sequence[Policy], region: int) -> Iterator[Stretch]:
    """Yield one region in sequence: for kinds of call that no other stretch holds."""
    order = ChunkOrder(memory, "sequential")
    place = int(np.searchsorted(order.regions, region))
    for mode in (PREFAULT, ACCEPT) if GUESTS[memory.scenario.guest].prefault else (DEMAND,):
        yield _from_region(memory, policies, order, mode, place, order.own.size)


def _evenly(memory: GuestMemory, policies: Sequence[Policy], order: ChunkOrder, mode: int) -> Iterator[Stretch]:
    """Yield stretches that begin where a region does, as upper tables come new there.

    Scattered pages come back to the PAMT lines of earlier ones all over their region, which is then run to its end.
    """
    for place in _places(order.regions.size, _STRETCHES):
        contiguous = memory.backing.like_others(int(order.regions[place])) is not None
        measured = _SEQUENTIAL_CHUNKS if contiguous else max(_SEQUENTIAL_CHUNKS, order.own.size)
        yield _from_region(memory, policies, order, mode, place, measured)


def _from_region(
    memory: GuestMemory, policies: Sequence[Policy], order: ChunkOrder, mode: int, place: int, measured: int
) -> Stretch:
    start = place * order.own.size
    warm = min(_WARM_CHUNKS, start)
    visits = _load(memory, policies, order, start - warm, min(start + measured, order.size), order.begun(start - warm))
    if isinstance(visits, Touches):
        warm = int(np.searchsorted(visits.gfn, order.regions[place] * REGION_PAGES))
    return Stretch(0, ((mode, visits),), warm)


def _load(
    memory: GuestMemory, policies: Sequence[Policy], order: ChunkOrder, start: int, stop: int, begun: Ints
) -> Chunks | Touches:
    """Return the visits of ``order`` from place ``start`` to before ``stop``; ``begun`` regions have their tables."""
    chunks = order.chunks(start, stop)
    if not GUESTS[memory.scenario.guest].touch_first:
        return load_chunks(memory, policies, order.regions, chunks, begun)
    if order.is_random:  # each page by itself: only ever asked for whole
        pages = draw_pages(memory, order.regions, order.regions.size * REGION_PAGES)
    else:
        pages = (chunks[:, None] * CHUNK_PAGES + np.arange(CHUNK_PAGES)).ravel()
    tables = tables_of(begun, memory.scenario.levels) | {0: np.zeros(0, np.int64)}
    return load_touches(memory, policies, order.regions, pages, tables)


def _random_touches(memory: GuestMemory, policies: Sequence[Policy], order: ChunkOrder, l3_lines: int) -> Stretch:
    """Return touches at random of a guest that has touched half its pages."""
    warm = l3_lines // _TOUCH_LINES
    pages = draw_pages(memory, order.regions, warm + _MEASURED_TOUCHES)
    ranges = np.unique(order.regions[pages // REGION_PAGES] << 9 | pages % REGION_PAGES >> 9)
    tables = tables_of(order.regions, memory.scenario.levels) | {0: draw_touched(memory, ranges, 0.5)}
    visits = load_touches(memory, policies, order.regions, pages, tables)
    return Stretch(0, ((DEMAND, visits),), warm, _MEASURED_TOUCHES, l3_lines)
