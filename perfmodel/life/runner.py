"""Run a life: every region goes through all phases on one window of tables, regions side by side on threads."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernels.census import LEAVES_2M, LEAVES_4K, STRAY, census_region
from kernels.convert import CONVERSION_FIELDS, convert_region, punch_hole
from kernels.counters import SEPT_ADD
from kernels.first_pages import build_region, note_populated
from kernels.life_guest import accept_pages, touch_pages
from kernels.life_state import FREED, USE_ADDED, Knobs, Life, start_life
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK
from kernels.populate import PAGES_PER_RANGE, USE_ASKED, USE_SHARED, populate_region
from kernels.private_fault import prefault_range
from kernels.ranges import count_by_run
from kernels.status import SUCCESS, as_unsigned
from kernels.tables import TD_NEXT_SEPT
from kernels.teardown import teardown_region
from perfmodel.backings.contract import REGION_PAGES, RegionBacking
from perfmodel.errors import ModelError
from perfmodel.guests import GUESTS
from perfmodel.keyholes import KeyholeReplay
from perfmodel.life.at_1g import live_at_1g, maps_at_1g, refuse_touched
from perfmodel.life.conversions import Requests
from perfmodel.life.phases import AcceptMismatch, AnyPhase, Boot, Build, Convert, PunchHole, Teardown
from perfmodel.life.plan import LifeTally, Plan
from perfmodel.names import INTERFACES
from perfmodel.orders import chunk_order
from perfmodel.policies.contract import Policy
from perfmodel.populate import describe
from perfmodel.recognition import RegionTurn, merge_alike, region_turns
from perfmodel.refusals import MAPPED_2M, refusal_causes
from perfmodel.td_tables import TdTables
from perfmodel.touch_first import keyhole_misses, touch_order
from perfmodel.workers import Progress, run_regions, thread_count


def run_life(
    plan: Plan, policies: Sequence[Policy], threads: int | None = None, progress: Progress | None = None,
    every_region: bool = False,
) -> list[LifeTally]:  # fmt: skip
    """Run all regions and return one tally a policy.

    Raises
    ------
    InputError
        With ``aug_1g``, a phase changes a region that is mapped at 1G.
    """
    memory = plan.memory
    if plan.story.what_if.aug_1g:
        refuse_touched(plan, policies)
    turns = region_turns(memory)
    runners = run_regions(
        lambda: LifeRunner(plan, policies),
        turns if every_region else merge_alike(turns, plan.kind),
        thread_count(memory, threads), sum(1 for _ in memory.layout.regions()), progress,
    )  # fmt: skip
    tallies = [LifeTally(len(plan.story.phases)) for _ in policies]
    for runner in runners:
        for tally, part in zip(tallies, runner.tallies, strict=True):
            tally.add(part)
    return tallies


class LifeRunner:
    """Runs regions one after the other through one window of tables; one per thread."""

    def __init__(self, plan: Plan, policies: Sequence[Policy]) -> None:
        self._plan = plan
        self._policies = policies
        scenario = plan.memory.scenario
        self._guest = GUESTS[scenario.guest]
        self._window = TdTables(plan.memory.platform, scenario.levels)
        self._keyholes = KeyholeReplay(scenario, self._guest)
        self._blocks = np.empty(REGION_PAGES, np.int64)
        self.tallies = [LifeTally(len(plan.story.phases)) for _ in policies]

    def run(self, turn: RegionTurn) -> None:
        """Take one region through all phases under every policy and add to the tallies."""
        memory = self._plan.memory
        behind, use = memory.region(turn.region)
        folios, runs = count_by_run(behind.pfn, use, behind.folio_order, self._blocks)
        self._window.load(np.unique(self._blocks[:runs]).tolist())
        for policy, tally in zip(self._policies, self.tallies, strict=True):
            start = time.perf_counter()
            if self._plan.story.what_if.aug_1g and maps_at_1g(self._plan, turn.region, policy, behind, use):
                part = live_at_1g(self._plan, turn)
            else:
                part = self._live(turn, policy, behind, use)
            part.folios = int(folios) if memory.backing.has_struct_page else 0
            self._window.scrub()
            part.model_seconds = time.perf_counter() - start
            tally.add(part, turn.times)

    def _live(self, turn: RegionTurn, policy: Policy, behind: RegionBacking, use: npt.NDArray[np.uint8]) -> LifeTally:
        window, what_if, scenario = self._window, self._plan.story.what_if, self._plan.memory.scenario
        if turn.link_above is not None:
            window.link_above(turn.region * REGION_PAGES, turn.link_above)
        facts = describe(behind, np.where(use == USE_SHARED, np.uint8(USE_ASKED), use))
        map_2m = refusal_causes(policy, facts, not scenario.features_off) == MAPPED_2M
        knobs = Knobs(
            INTERFACES.index(policy.name), what_if.batch_track, what_if.reset_pages, what_if.dynamic_pamt,
            what_if.dynamic_pamt_fast_path, what_if.promote,
        )  # fmt: skip
        life = start_life(window.tables, turn.region * REGION_PAGES, behind.pfn, use, map_2m, facts.folio_order, knobs)
        part = LifeTally(len(self._plan.story.phases))
        first_row = int(window.tables.td[TD_NEXT_SEPT])
        for number, phase in enumerate(self._plan.story.phases):
            before = life.counts.copy()
            status = self._run_phase(number, phase, turn, policy, behind, life, part)
            if status != SUCCESS:
                raise ModelError(
                    f"region {turn.region}, {policy.name}, phase {phase.title}: a SEAMCALL returned "
                    f"{as_unsigned(status):#018x}"
                )
            part.counts[number] = life.counts - before
            part.standing[number] = self._standing(turn.region, life, first_row, isinstance(phase, Teardown))
        return part

    def _run_phase(
        self, number: int, phase: AnyPhase, turn: RegionTurn, policy: Policy, behind: RegionBacking, life: Life,
        part: LifeTally,
    ) -> int:  # fmt: skip
        requests = self._plan.requests[number]
        match phase:
            case Build():
                chosen = np.zeros(REGION_PAGES, np.uint8)
                chosen[self._plan.early_pages(number, turn.region, life.use)] = 1
                return int(build_region(life, chosen, phase.measured))
            case AcceptMismatch():
                pages = self._plan.early_pages(number, turn.region, life.use)
                status = SUCCESS
                if phase.prefault and pages.size:
                    status = prefault_range(life, int(pages[0]), int(pages[-1]) + 1)
                if status == SUCCESS:
                    status = accept_pages(life, pages)
                life.use[pages] = USE_ADDED
                return int(status)
            case Boot():
                return self._boot(number, turn, policy, behind, life, part)
            case Convert():
                assert requests is not None
                return int(convert_region(life, _conversions(requests, turn.region, phase.back)))
            case PunchHole():
                assert requests is not None
                for first in requests.of(turn.region).tolist():
                    status = punch_hole(life, first, first + requests.pages)
                    if status != SUCCESS:
                        return int(status)
                return int(SUCCESS)
            case Teardown():
                return int(teardown_region(life, phase.how == "reclaim"))

    def _boot(
        self, number: int, turn: RegionTurn, policy: Policy, behind: RegionBacking, life: Life, part: LifeTally
    ) -> int:
        scenario, tables, guest = self._plan.memory.scenario, life.tables, self._guest
        facts = describe(behind, life.use)
        map_2m = refusal_causes(policy, facts, not scenario.features_off) == MAPPED_2M
        chunks = chunk_order(scenario.order, turn.region, scenario.seed, scenario.vcpus)
        if guest.touch_first:
            pages = touch_order(scenario.order, turn.region, scenario.seed, chunks)
            before = life.counts.copy()
            status = touch_pages(life, pages[life.use[pages] == USE_ASKED])
            part.keyholes[number] = keyhole_misses(life.counts - before, int(facts.asked.sum()))
            return int(status)
        there = int(tables.td[TD_NEXT_SEPT]) - int(life.state[2])
        levels = np.empty(REGION_PAGES // PAGES_PER_RANGE, np.int64)
        whole = int(facts.asked.sum()) == REGION_PAGES
        added = int(life.counts[SEPT_ADD])
        status = populate_region(
            tables, turn.region * REGION_PAGES, behind.pfn, life.use, facts.asked, map_2m, chunks, guest.prefault,
            guest.one_range and whole, life.lines, levels, life.counts,
        )  # fmt: skip
        if status != SUCCESS:
            return int(status)
        held = scenario.levels - 1 if turn.link_above is None else turn.link_above
        part.keyholes[number] = self._keyholes.replay(
            tables, turn.region, turn.ordinal, held if added == 0 else 1, behind, life.use, facts, levels, chunks
        )
        return int(note_populated(life, there, guest.prefault))

    def _standing(self, region: int, life: Life, first_row: int, torn_down: bool) -> list[int]:
        census = np.zeros(3, np.int64)
        if torn_down:
            return [0, 0, 0, 0]
        census_region(life.tables, region * REGION_PAGES, False, census)
        if census[STRAY]:
            raise ModelError(f"region {region}: {census[STRAY]} leaves that the PAMT or ACCEPT denies")
        tables = int(life.tables.td[TD_NEXT_SEPT]) - first_row - int(life.state[FREED])
        frames = life.references.reshape(-1, ENTRIES_2M_PER_BLOCK) > 0
        frames[life.tables.slot[self._plan.memory.platform.control_block]] = False
        held = int(frames.sum()) if self._plan.story.what_if.dynamic_pamt else 0
        return [int(census[LEAVES_4K]), int(census[LEAVES_2M]), tables, held]


def _conversions(requests: Requests, region: int, back: bool) -> npt.NDArray[np.int64]:
    """Return the rows that ``convert_region`` takes: each request, and back again where it says so."""
    first = requests.of(region)
    rows = np.empty((first.size, 2 if back else 1, CONVERSION_FIELDS), np.int64)
    rows[:, :, 0] = first[:, None]
    rows[:, :, 1] = requests.pages
    rows[:, 0, 2] = 1
    rows[:, 1:, 2] = 0
    return rows.reshape(-1, CONVERSION_FIELDS)
