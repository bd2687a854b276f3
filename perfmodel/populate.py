"""Populate a guest's memory under several policies: regions stream through tables, on threads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from kernels.census import LEAVES_2M, LEAVES_4K, STRAY, census_region
from kernels.counters import (
    ALL_COUNTERS,
    AUG_2M,
    AUG_4K,
    DEMOTE,
    EXISTING_TABLE,
    SEPT_ADD,
    ChangeCounter,
    Counter,
    LifeCounter,
)
from kernels.fault import LINES
from kernels.keyhole_populate import COUNTS as KEYHOLE_COUNTS
from kernels.populate import PAGES_PER_RANGE, populate_region
from kernels.ranges import RangeFacts, count_by_run, describe_ranges
from kernels.status import SUCCESS, as_unsigned
from kernels.tables import TD_CHLDCNT, TD_NEXT_SEPT
from perfmodel.backings.contract import REGION_PAGES, RegionBacking
from perfmodel.errors import ModelError
from perfmodel.guests import GUESTS, Guest
from perfmodel.keyholes import KeyholeReplay
from perfmodel.memory import GuestMemory
from perfmodel.orders import chunk_order
from perfmodel.policies.contract import Policy
from perfmodel.recognition import RegionTurn, kind_of, merge_alike, region_turns
from perfmodel.refusals import CAUSES, MAPPED_2M, NOT_ASKED, refusal_causes
from perfmodel.td_tables import TdTables
from perfmodel.touch_first import keyhole_misses, touch_order, touch_region
from perfmodel.workers import Progress, run_regions, thread_count

_RANGES = REGION_PAGES // PAGES_PER_RANGE
NO_REGION = 1 << 62
_FLAGS = ("aligned", "contiguous", "shared_in_folio")


@dataclass
class Tally:
    """Exact counts of one policy's run; every field is an integer but ``model_seconds``.

    Attributes
    ----------
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Indexed by the enums of :mod:`kernels.counters`.
    refused : ndarray of int64, shape (len(CAUSES),)
        2M ranges that were asked for and not mapped at 2M, by cause.
    leaves_4k, leaves_2m : int
        Counted in the tables after the run.
    asked, refused_pages, shared : int
        4K pages.
    ranges : int
        2M ranges of which at least one private page was asked for.
    folios : int
        Folios that guest_memfd allocated.
    keyholes : ndarray of int64, shape (kernels.keyhole_populate.COUNTS,)
        Keyhole maps and misses, and the pages for which they are estimates.
    first_4k, first_2m : int
        First region with pages mapped at 4K, at 2M; ``NO_REGION`` where none has.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(ALL_COUNTERS, np.int64))
    refused: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CAUSES), np.int64))
    leaves_4k: int = 0
    leaves_2m: int = 0
    asked: int = 0
    refused_pages: int = 0
    shared: int = 0
    ranges: int = 0
    folios: int = 0
    keyholes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(KEYHOLE_COUNTS, np.int64))
    first_4k: int = NO_REGION
    first_2m: int = NO_REGION
    model_seconds: float = 0.0

    @property
    def mapped(self) -> int:
        """4K pages mapped."""
        return self.leaves_4k + PAGES_PER_RANGE * self.leaves_2m

    def add(self, other: "Tally", times: int = 1) -> None:
        """Add the counts of another part of the guest, or of several that are alike."""
        self.counts += other.counts * times
        self.refused += other.refused * times
        self.keyholes += other.keyholes * times
        self.first_4k = min(self.first_4k, other.first_4k)
        self.first_2m = min(self.first_2m, other.first_2m)
        for name in ("leaves_4k", "leaves_2m", "asked", "refused_pages", "shared", "ranges", "folios"):
            setattr(self, name, getattr(self, name) + getattr(other, name) * times)
        self.model_seconds += other.model_seconds

    def check(self) -> None:
        """Hold the run against the laws of conservation; raise :class:`ModelError` where one is broken."""
        count = {c.name: int(self.counts[c]) for enum in (Counter, ChangeCounter, LifeCounter) for c in enum}
        split = count["DEMOTE"]  # leaves that a guest which touches first accepts at 4K
        leaves = (count["AUG_4K"] + PAGES_PER_RANGE * split, count["AUG_2M"] - split)
        laws = {
            "asked = mapped + refused": self.asked == self.mapped + self.refused_pages,
            "2M ranges asked = 2M leaves + refused": self.ranges == self.leaves_2m + int(self.refused.sum()),
            "leaves = AUGs": (self.leaves_4k, self.leaves_2m) == leaves,
            "faults = AUGs + splits": count["FAULT"] == count["AUG_4K"] + count["AUG_2M"] + split,
            "faults = exits + prefaults": count["FAULT"] == count["TD_EXIT"] + count["PREFAULT"],
            "exits = entries": count["TD_EXIT"] == count["VP_ENTER"],
            "exits = ACCEPTs that exit, or touches": count["VIRTUALIZATION_EXCEPTION"] > 0
            or count["TD_EXIT"] == count["ACCEPT_EXIT"],
            "leaves = accepted": self.mapped == count["ACCEPT_4K"] + PAGES_PER_RANGE * count["ACCEPT_2M"],
        }
        broken = [law for law, holds in laws.items() if not holds]
        if broken:
            raise ModelError(f"conservation broken: {'; '.join(broken)}; counts {count}")


def describe(behind: RegionBacking, use: npt.NDArray[np.uint8]) -> RangeFacts:
    """Return the facts about the 2M ranges of a region."""
    facts = RangeFacts(
        **{name: np.zeros(_RANGES, np.bool_ if name in _FLAGS else np.int64) for name in RangeFacts._fields}
    )
    describe_ranges(behind.pfn, use, behind.folio_order, facts)
    return facts


class RegionRunner:
    """Runs regions one after the other through one window of tables; one per thread."""

    def __init__(self, memory: GuestMemory, policies: Sequence[Policy]) -> None:
        self._memory = memory
        self._policies = policies
        self._guest = GUESTS[memory.scenario.guest]
        self._window = TdTables(memory.platform, memory.scenario.levels)
        self._blocks = np.empty(REGION_PAGES, np.int64)
        self._levels = np.empty(_RANGES, np.int64)
        self._keyholes = KeyholeReplay(memory.scenario, self._guest)
        self.tallies = [Tally() for _ in policies]

    def run(self, turn: RegionTurn) -> None:
        """Populate one region under every policy and add to the tallies."""
        scenario = self._memory.scenario
        behind, use = self._memory.region(turn.region)
        facts = describe(behind, use)
        folios, runs = count_by_run(behind.pfn, use, behind.folio_order, self._blocks)
        chunks = chunk_order(scenario.order, turn.region, scenario.seed, scenario.vcpus)
        pages = touch_order(scenario.order, turn.region, scenario.seed, chunks)
        self._window.load(np.unique(self._blocks[:runs]).tolist())
        for policy, tally in zip(self._policies, self.tallies, strict=True):
            start = time.perf_counter()
            causes = refusal_causes(policy, facts, not scenario.features_off)
            part = populate(
                self._window, turn, self._guest, policy, behind, use, facts, causes, chunks, pages, self._levels
            )
            if self._guest.touch_first:
                part.keyholes = keyhole_misses(part.counts, int(facts.asked.sum()))
            else:
                held = scenario.levels - 1 if turn.link_above is None else turn.link_above
                part.keyholes = self._keyholes.replay(
                    self._window.tables, turn.region, turn.ordinal, held, behind, use, facts, self._levels, chunks
                )
            census = np.zeros(3, np.int64)
            census_region(self._window.tables, turn.region * REGION_PAGES, True, census)
            if census[STRAY]:
                raise ModelError(f"region {turn.region}: {census[STRAY]} leaves that the PAMT or ACCEPT denies")
            part.leaves_4k, part.leaves_2m = int(census[LEAVES_4K]), int(census[LEAVES_2M])
            part.folios = int(folios) if self._memory.backing.has_struct_page else 0
            (self._window.scrub if self._guest.touch_first else self._window.clear)()
            part.model_seconds = time.perf_counter() - start
            tally.add(part, turn.times)


def populate(
    window: TdTables,
    turn: RegionTurn,
    guest: Guest,
    policy: Policy,
    behind: RegionBacking,
    use: npt.NDArray[np.uint8],
    facts: RangeFacts,
    causes: npt.NDArray[np.int8],
    chunks: npt.NDArray[np.int64],
    pages: npt.NDArray[np.int64],
    levels: npt.NDArray[np.int64],
    linked_above: bool = False,
) -> Tally:
    """Populate one region in ``window`` and return its tally without leaves.

    Parameters
    ----------
    chunks : ndarray of int64, shape (256,)
        Order of the 4 MiB chunks.
    pages : ndarray of int64, shape (262144,)
        Order of the pages, for a guest that touches first.
    levels : ndarray of int64, shape (512,)
        Out: the level that KVM maps each 2M range at.
    linked_above : bool
        The tables above the region are there already: the window holds the whole guest.
    """
    part = Tally()
    gfn = turn.region * REGION_PAGES
    if not linked_above and turn.link_above is not None:
        window.link_above(gfn, turn.link_above)
    children_before = int(window.tables.td[TD_CHLDCNT])
    sept_before = int(window.tables.td[TD_NEXT_SEPT])
    whole = int(facts.asked.sum()) == REGION_PAGES
    if guest.touch_first:
        status = touch_region(
            window.tables, gfn, behind, use, facts, causes == MAPPED_2M, policy, pages, part.counts
        )  # fmt: skip
    else:
        status = populate_region(
            window.tables, gfn, behind.pfn, use, facts.asked, causes == MAPPED_2M, chunks,
            guest.prefault, guest.one_range and whole, np.empty(LINES, np.int64), levels, part.counts,
        )  # fmt: skip
    if status != SUCCESS:
        raise ModelError(f"region {turn.region}: a SEAMCALL returned {as_unsigned(status):#018x}")
    sept_pages = int(window.tables.td[TD_NEXT_SEPT]) - sept_before
    children = int(window.tables.td[TD_CHLDCNT]) - children_before
    leaves = int(part.counts[AUG_4K]) + PAGES_PER_RANGE * int(part.counts[AUG_2M])
    if sept_pages != part.counts[SEPT_ADD] + part.counts[DEMOTE] or children != sept_pages + leaves:
        raise ModelError(f"region {turn.region}: S-EPT pages or TDR.CHLDCNT disagree with the calls")
    part.refused += np.bincount(causes[causes >= 0], minlength=len(CAUSES))
    part.refused[CAUSES.index("existing-table")] += part.counts[EXISTING_TABLE]
    part.refused[CAUSES.index("accept-level")] += part.counts[DEMOTE]
    part.first_4k = turn.region if part.counts[AUG_4K] else NO_REGION
    part.first_2m = turn.region if part.counts[AUG_2M] else NO_REGION
    part.asked = int(facts.asked.sum() + facts.refused.sum())
    part.refused_pages = int(facts.refused.sum())
    part.shared = int(facts.shared.sum())
    part.ranges = int((causes != NOT_ASKED).sum())
    return part


def populate_guest(
    memory: GuestMemory,
    policies: Sequence[Policy],
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> list[Tally]:
    """Populate the whole guest under every policy.

    Parameters
    ----------
    memory : GuestMemory
    policies : sequence of Policy
    threads : int, optional
        Default: one a core. The counts do not depend on it.
    progress : callable, optional
        Called from this thread with regions done and in all.
    every_region : bool
        Run regions that are alike one by one too. The counts do not depend on it.

    Returns
    -------
    list of Tally
        One a policy, checked against the laws of conservation.
    """
    turns = region_turns(memory) if every_region else merge_alike(region_turns(memory), partial(kind_of, memory))
    regions = sum(1 for _ in memory.layout.regions())
    runners = run_regions(
        lambda: RegionRunner(memory, policies), turns, thread_count(memory, threads), regions, progress
    )
    totals = [Tally() for _ in policies]
    for runner in runners:
        for total, part in zip(totals, runner.tallies, strict=True):
            total.add(part)
    for total in totals:
        total.check()
    return totals
