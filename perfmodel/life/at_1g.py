"""What if a module took AUG and ACCEPT at 1G: the life of a region that one leaf maps, in closed form.

No module does; the exact calls of TDX_1.5.01 refuse AUG and ACCEPT at level 2. So nothing is executed: the counts are
those that the calls of one 2M range would have one level up, and ``data/work_life.toml`` takes the work on the data
512 times and the work of a call once. That is a bound on what such a module could save, not a model of one.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernels import counters as k
from kernels.populate import USE_ASKED
from perfmodel.backings.contract import REGION_PAGES, RegionBacking
from perfmodel.errors import InputError
from perfmodel.guests import GUESTS
from perfmodel.life.phases import AcceptMismatch, AnyPhase, Boot, Build, Teardown
from perfmodel.life.plan import SEPT_PAGES, LifeTally, Plan
from perfmodel.policies.contract import Policy
from perfmodel.populate import describe
from perfmodel.recognition import RegionTurn
from perfmodel.refusals import MAPPED_2M, refusal_causes

LEVEL = 2
_FOLIO_ORDER = 18


def maps_at_1g(
    plan: Plan, region: int, policy: Policy, behind: RegionBacking, use: npt.NDArray[np.uint8]
) -> bool:  # fmt: skip
    """Whether the boot maps ``region`` by one leaf.

    All of it is private and untouched until then, contiguous and aligned to 1 GiB, each of its ranges would be mapped
    at 2M, and where the interface asks for a folio it is one.
    """
    if (
        not any(isinstance(phase, Boot) for phase in plan.story.phases)
        or GUESTS[plan.memory.scenario.guest].touch_first
    ):
        return False
    first = region * REGION_PAGES
    early = any(start < min(end, first + REGION_PAGES) and end > first for start, end in plan.early_spans())
    if early or use.size != REGION_PAGES or not (use == USE_ASKED).all():
        return False
    start = int(behind.pfn[0])
    if start % REGION_PAGES or not np.array_equal(behind.pfn, np.arange(start, start + REGION_PAGES)):
        return False
    facts = describe(behind, use)
    if policy.in_one_folio is not None and (facts.folio_order < _FOLIO_ORDER).any():
        return False
    return bool((refusal_causes(policy, facts, not plan.memory.scenario.features_off) == MAPPED_2M).all())


def refuse_touched(plan: Plan, policies: Sequence[Policy]) -> None:
    """Raise :class:`InputError` where a phase changes a region that is mapped at 1G."""
    asked: dict[int, int] = {}
    for number, requests in enumerate(plan.requests):
        for region in np.unique(requests.regions).tolist() if requests is not None else ():
            asked.setdefault(region, number)
    for region, number in sorted(asked.items(), key=lambda item: (item[1], item[0])):
        for policy in policies:
            if maps_at_1g(plan, region, policy, *plan.memory.region(region)):
                raise InputError(
                    f"what_if.aug_1g true: phase[{number}] {plan.story.phases[number].title!r} changes GiB {region}, "
                    f"which {policy.name} maps at 1G: accepted there are boot and teardown"
                )


def live_at_1g(plan: Plan, turn: RegionTurn) -> LifeTally:
    """Return the counts of a region that the boot maps at 1G and only the tear-down takes away."""
    scenario = plan.memory.scenario
    tally = LifeTally(len(plan.story.phases))
    tally.at_1g = 1
    held = scenario.levels - 1 if turn.link_above is None else turn.link_above
    tables = held - LEVEL
    for number, phase in enumerate(plan.story.phases):
        if isinstance(phase, Teardown):
            _tear_down(plan, tally.counts[number], tables, phase.how == "removal")
            continue
        if isinstance(phase, Boot):
            _boot(plan, tally.counts[number], held)
        tally.standing[number, SEPT_PAGES] = 0 if _before_boot(phase) else tables
    return tally


def counters_at_1g(phase: AnyPhase, regions: int) -> dict[str, int]:
    """Return the calls at 1G in a phase of a life with ``regions`` such regions."""
    booted = regions if isinstance(phase, Boot) else 0
    removed = regions if isinstance(phase, Teardown) and phase.how == "removal" else 0
    reclaimed = regions if isinstance(phase, Teardown) and phase.how == "reclaim" else 0
    return {
        "aug_1g": booted, "accept_1g": booted, "block_1g": removed, "remove_1g": removed, "reclaim_1g": reclaimed,
    }  # fmt: skip


def leaves_1g(phase: AnyPhase, regions: int) -> int:
    """Return the leaves at 1G at the end of ``phase``."""
    return 0 if _before_boot(phase) or isinstance(phase, Teardown) else regions


def _before_boot(phase: AnyPhase) -> bool:
    return isinstance(phase, Build | AcceptMismatch)


def _boot(plan: Plan, counts: npt.NDArray[np.int64], held: int) -> None:
    """One fault: the missing tables down to the one with the entry at 1G, then AUG; two ACCEPTs, or one."""
    levels, what_if = plan.memory.scenario.levels, plan.story.what_if
    counts[k.SEPT_ADD] = held - LEVEL
    counts[[k.FAULT, k.SEPT_LINES, k.PAMT_LINES]] = 1
    counts[k.WALK_READS_HOST] = sum(levels - parent for parent in range(held, LEVEL - 1, -1))
    counts[k.WALK_READS_GUEST] = levels - LEVEL
    if GUESTS[plan.memory.scenario.guest].prefault:
        counts[k.PREFAULT] = 1
    else:
        counts[[k.TD_EXIT, k.ACCEPT_EXIT, k.VP_ENTER]] = 1
        counts[k.WALK_READS_GUEST] += levels - held
    if what_if.dynamic_pamt:  # the first S-EPT pages lie in the TDR's 2 MiB, whose pair is there
        counts[k.PAMT_GET] = held - LEVEL
        counts[k.PAMT_LOCK] = 0 if what_if.dynamic_pamt_fast_path else held - LEVEL


def _tear_down(plan: Plan, counts: npt.NDArray[np.int64], tables: int, removal: bool) -> None:
    what_if = plan.story.what_if
    counts[k.RECLAIM_4K] = tables
    if removal:
        counts[[k.WRITE_LOCK, k.MEM_TRACK, k.KICK]] = 1
        counts[[k.SEPT_LINES, k.PAMT_LINES]] = 1
        counts[k.PAGE_WBINVD] = REGION_PAGES
        counts[k.WALK_READS_HOST] = 2 * (plan.memory.scenario.levels - LEVEL)
    if what_if.reset_pages:
        counts[k.RESET_PAGE] = REGION_PAGES + tables
    if what_if.dynamic_pamt:
        counts[k.PAMT_PUT] = tables
        counts[k.PAMT_LOCK] = 0 if what_if.dynamic_pamt_fast_path else tables
