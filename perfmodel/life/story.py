"""Run a story under each interface and price its phases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernels.keyhole_populate import ESTIMATED
from perfmodel._version import __version__
from perfmodel.accounting import memory_use
from perfmodel.backings.contract import RANGE_PAGES
from perfmodel.costs import Price, ledger, price_many
from perfmodel.errors import InputError
from perfmodel.life.at_1g import leaves_1g
from perfmodel.life.plan import FRAMES_4K, HUGE_LEAVES, LEAVES, SEPT_PAGES, LifeTally, Plan
from perfmodel.life.pricing import priced_phase, total_ledger
from perfmodel.life.runner import run_life
from perfmodel.life.savings import Saving, count_runs, nth_of, savings_of
from perfmodel.life.scenario_file import Story
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.policies import POLICIES
from perfmodel.policies.contract import Policy
from perfmodel.result import Cost, Leaves, ParametersId, is_sound, load_document
from perfmodel.scenario import able_interfaces
from perfmodel.sound import check_scenario, check_sound
from perfmodel.workers import Progress

LIFE_SCHEMA = "perfmodel/life/1"
_FOLIO_ORDERS = {"hugetlb-1g": 18, "hugetlb-2m": 9}
"""What HVO needs: folios of HugeTLB."""


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of host memory by purpose, the guest's own pages left out; :class:`perfmodel.accounting.MemoryUse`."""

    sept: int
    mirror: int
    mirror_headers: int
    pamt_static: int
    pamt_dynamic: int
    pamt_refcounts: int
    vmemmap: int
    vmemmap_with_hvo: int


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is at the end of a phase, and the memory that it takes."""

    leaves: Leaves
    leaves_1g: int
    sept_pages: int
    host_table_pages: int
    memory_bytes: Memory


class PhaseRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One phase: its exact counters, what they cost, and how the TD stands after it."""

    name: str
    kind: str
    counters: dict[str, int]
    ns: Cost
    seconds: float
    after: Standing


class LifeRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interface: its phases, their sum, and what each knob would save of it where that was asked for."""

    interface: str
    phases: list[PhaseRow]
    ns: Cost
    seconds: float
    surviving_2m_share: float
    model_seconds: float
    savings: list[Saving]


class LifeResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One story under several interfaces."""

    schema: str = LIFE_SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    name: str
    scenario: dict[str, Any]
    what_if: dict[str, bool | str]
    rows: list[LifeRow]
    notes: dict[str, Any]


def load_life(path: Path) -> LifeResult:
    """Read what ``perfmodel run --json`` wrote of a life.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is not such a result.
    """
    result = load_document(path, LifeResult)
    accepted = f"accepted is what perfmodel writes as schema {LIFE_SCHEMA}"
    lives = {tuple(phase.name for phase in row.phases) for row in result.rows}
    if len(lives) != 1 or lives == {()} or len({row.interface for row in result.rows}) < len(result.rows):
        raise InputError(f"{path}: interfaces without the same phases: {accepted}")
    if not all(is_sound(cost) for row in result.rows for cost in (row.ns, *(phase.ns for phase in row.phases))):
        raise InputError(f"{path}: a phase whose costs do not add up: {accepted}")
    check_scenario(path, result.scenario)
    check_sound(path, result, ("savings",))
    return result


def live(
    story: Story,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
    savings: bool = False,
) -> LifeResult:
    """Take a TD through all phases of ``story`` under each of its interfaces.

    Parameters
    ----------
    story : Story
    parameters : ParameterSet, optional
        Default: the default preset.
    threads, progress, every_region
        As in :func:`perfmodel.comparison.compare`.
    savings : bool
        Run the story again for each knob, and say what it would save.

    Raises
    ------
    InputError
        The story cannot be run; one line says what would be accepted.
    """
    parameters = parameters or load_parameters()
    plan = Plan.of(story)
    memory = plan.memory
    names = able_interfaces(story.scenario.interfaces, memory.backing.has_struct_page, story.scenario.backing)
    policies = [POLICIES[name] for name in names]
    first = nth_of(progress, 0, count_runs(plan)) if savings else progress
    tallies = run_life(plan, policies, threads, first, every_region)
    saved: list[list[Saving]] = [[] for _ in policies]
    if savings:
        saved = savings_of(plan, policies, tallies, parameters, threads, progress, every_region)
    rows = [_row(plan, *one, parameters) for one in zip(policies, tallies, saved, strict=True)]
    return LifeResult(
        version=__version__, seed=memory.scenario.seed,
        parameters=ParametersId(parameters.name, parameters.sha256), name=story.name,
        scenario=memory.scenario.describe(), what_if=msgspec.structs.asdict(story.what_if), rows=rows,
        notes=memory.notes | _notes(names, tallies, rows),
    )  # fmt: skip


def _notes(names: Sequence[str], tallies: Sequence[LifeTally], rows: Sequence[LifeRow]) -> dict[str, Any]:
    """Say for which share of the booted pages the keyhole misses are estimates."""
    shares = {}
    for name, tally, row in zip(names, tallies, rows, strict=True):
        booted = [phase.after.leaves for phase in row.phases if phase.kind == "boot"]
        pages = sum(leaves.size_4k + RANGE_PAGES * leaves.size_2m for leaves in booted)
        if pages and (estimated := int(tally.keyholes[:, ESTIMATED].sum())):
            shares[name] = estimated / pages
    return {"keyholes_estimated_share": shares} if shares else {}


def _row(
    plan: Plan, policy: Policy, tally: LifeTally, saved: list[Saving], parameters: ParameterSet
) -> LifeRow:  # fmt: skip
    counters = [priced_phase(plan, policy, tally, number) for number in range(len(plan.story.phases))]
    ledgers = [ledger(one) for one in counters]
    prices = price_many([*ledgers, total_ledger(ledgers)], parameters, seed=plan.memory.scenario.seed)
    phases = [
        PhaseRow(
            phase.title,
            phase.kind,
            counted,
            _cost(price),
            price.total_ns / 1e9,
            _standing(plan, standing, leaves_1g(phase, tally.at_1g)),
        )
        for phase, counted, price, standing in zip(
            plan.story.phases, counters, prices[:-1], tally.standing.tolist(), strict=True
        )
    ]
    whole = _cost(prices[-1])
    return LifeRow(policy.name, phases, whole, whole.total / 1e9, _surviving(phases), tally.model_seconds, saved)


def _cost(price: Price) -> Cost:
    return Cost(price.total_ns, price.low_ns, price.high_ns, price.by_stage_ns)


def _standing(plan: Plan, counts: list[int], at_1g: int) -> Standing:
    pages = counts[SEPT_PAGES]
    return Standing(Leaves(counts[LEAVES], counts[HUGE_LEAVES]), at_1g, pages, 2 * pages, memory_behind(plan, counts))


def memory_behind(plan: Plan, counts: list[int]) -> Memory:
    """Account for the host memory behind ``counts``; the host is the TDMRs below the guest and its control pages."""
    backing, platform = plan.memory.backing, plan.memory.platform
    tdmr_bytes = [tdmr.size for tdmr in platform.tdmrs]  # pages outside them are refused
    order = _FOLIO_ORDERS.get(backing.name, 0) if backing.has_struct_page else None
    plain, saving = (
        memory_use(
            guest_bytes=min(plan.memory.layout.pages << 12, sum(tdmr_bytes)), tdmr_bytes=tdmr_bytes,
            sept_pages=counts[SEPT_PAGES], frames_4k=counts[FRAMES_4K], folio_order=order,
            dynamic_pamt=plan.story.what_if.dynamic_pamt, hvo=hvo,
        )
        for hvo in (False, True)
    )  # fmt: skip
    return Memory(
        plain.sept, plain.mirror, plain.mirror_headers, plain.pamt_static, plain.pamt_dynamic, plain.pamt_refcounts,
        plain.vmemmap, saving.vmemmap,
    )  # fmt: skip


def _surviving(phases: list[PhaseRow]) -> float:
    """Return the share of the 2M leaves after the boot that are there before the tear-down."""
    living = [phase.after.leaves.size_2m for phase in phases if phase.kind != "teardown"]
    booted = [phase.after.leaves.size_2m for phase in phases if phase.kind == "boot"]
    return living[-1] / booted[0] if booted and booted[0] else 0.0


def to_json(result: LifeResult) -> bytes:
    """Return ``result`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"
