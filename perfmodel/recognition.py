"""Which regions are alike, so that the counts of one hold for all: they need not be run twice."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from kernels.pamt_entry import ENTRY_BYTES
from perfmodel.memory import GuestMemory

_PAMT_1G_PER_PAGE = 4096 // ENTRY_BYTES


class RegionTurn(NamedTuple):
    """A region, and how far the tables above it exist when its turn comes in GFN order.

    Attributes
    ----------
    region : int
    link_above : int or None
        Level of the lowest entry that an earlier region's tables already hold; None where only the root does.
    ordinal : int
        How many regions with private pages come before.
    times : int
        How many regions its counts stand for, itself included.
    """

    region: int
    link_above: int | None
    ordinal: int = 0
    times: int = 1


def region_turns(memory: GuestMemory) -> Iterator[RegionTurn]:
    """Yield the guest's regions, ascending, with what the regions before them have left.

    A table of entries at level ``n`` covers ``512 ** (n - 1)`` regions. It comes with the first private page in
    them, so a region that asks for nothing leaves none.
    """
    upper_levels = range(2, memory.scenario.levels - 1)
    before = -1
    ordinal = 0
    for region in memory.layout.regions():
        held = [level for level in upper_levels if before >> (9 * (level - 1)) == region >> (9 * (level - 1))]
        yield RegionTurn(region, min(held, default=None), ordinal)
        if len(held) == len(upper_levels) or memory.asks(region):
            before = region
            ordinal += 1


def merge_alike(turns: Iterable[RegionTurn], kind_of: Callable[[RegionTurn], Hashable]) -> list[RegionTurn]:
    """Return one turn for each kind of region, the first of its kind, with how often it comes.

    Parameters
    ----------
    turns : iterable of RegionTurn
    kind_of : callable
        What decides a region's counts, or None where only a run tells.
    """
    kinds: dict[Hashable, RegionTurn] = {}
    for turn in turns:
        kind = kind_of(turn)
        key = ("alone", turn.region) if kind is None else kind
        known = kinds.get(key)
        kinds[key] = turn if known is None else known._replace(times=known.times + 1)
    return list(kinds.values())


def kind_of(memory: GuestMemory, turn: RegionTurn) -> Hashable:
    """Return what decides the counts of a region, or None where only a run tells.

    Keyholes see which PAMT_1G entries share a page: with those of the region before, with the TDR's.
    """
    block = memory.backing.like_others(turn.region)
    if block is None or memory.scenario.order not in ("sequential", "striped") or memory.platform.has_holes:
        return None
    shared = memory.shattering.shared_pages(turn.region).tobytes()
    page, first = divmod(block, _PAMT_1G_PER_PAGE)
    return (
        tuple(memory.layout.in_region(turn.region)), shared, turn.link_above, turn.ordinal == 0,
        first == 0, page == memory.platform.control_block // _PAMT_1G_PER_PAGE,
    )  # fmt: skip
