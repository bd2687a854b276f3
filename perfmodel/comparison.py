"""Run a scenario under each interface and price what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels.counters as k
from kernels.keyhole_calls import GUEST_MISSES, HOST_MISSES
from kernels.keyhole_populate import ESTIMATED
from perfmodel._version import __version__
from perfmodel.costs import INTERVAL, Ledger, Price, cost_ratio, ledger, price_many
from perfmodel.life.pricing import inside_vcpus, kick_counters
from perfmodel.memory import GuestMemory
from perfmodel.memory_model import LinesFound, lines_found, stretch_count
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.platform import static_pamt_bytes
from perfmodel.policies import POLICIES
from perfmodel.policies.contract import Policy
from perfmodel.populate import Tally, populate_guest
from perfmodel.refusals import CAUSES
from perfmodel.result import (
    Comparison,
    Cost,
    Leaves,
    Pages,
    ParametersId,
    Ratio,
    Row,
    Run,
    RunRow,
)
from perfmodel.scaling.together import Scaling
from perfmodel.scenario import Scenario, able_interfaces
from perfmodel.walk_hardware import load_walk_hardware
from perfmodel.workers import Progress, thread_count

_FLUSHED_BY_2M = 512
_LATER = (*k.ChangeCounter, *k.LifeCounter)
_GIB_PAGES = 1 << 18
_SPLITS = {
    "TDH.MEM.RANGE.BLOCK": "BLOCK_2M",
    "TDH.MEM.TRACK": "MEM_TRACK",
    "TDH.MEM.PAGE.DEMOTE": "DEMOTE",
}
"""SEAMCALLs that only a guest that touches first brings into populating."""


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to, before it is shown one way or another; ``seconds`` are those of each sample where vCPUs
    meet."""

    memory: GuestMemory
    parameters: ParameterSet
    rows: list[Row]
    counters: list[dict[str, int]]
    ledgers: list[Ledger]
    seconds: list[npt.NDArray[np.float64]]
    notes: dict[str, Any]


def compare(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Comparison:
    """Populate the guest of ``scenario`` under each of its interfaces.

    Parameters
    ----------
    scenario : Scenario
    parameters : ParameterSet, optional
        Default: the default preset.
    threads : int, optional
        Default: one a core. Changes nothing in the result but ``model_seconds``.
    progress : callable, optional
        Called with regions done and in all.
    every_region : bool
        Run regions that are alike one by one too; changes nothing in the result but ``model_seconds``.

    Raises
    ------
    InputError
        The scenario cannot be run; one line says what would be accepted.
    """
    return compare_rows(execute(scenario, parameters, threads=threads, progress=progress, every_region=every_region))


def compare_rows(done: Outcome) -> Comparison:
    """Return what came out of :func:`execute`, each row held against the first."""
    first = done.rows[0].interface
    ratios = [Ratio(row.interface, first, **_ratio_of(done, number)) for number, row in enumerate(done.rows)]
    return Comparison(**_head(done), rows=done.rows, ratios=ratios)


def run(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Run:
    """Do what :func:`compare` does and return counters and ledgers too, without ratios."""
    done = execute(scenario, parameters, threads=threads, progress=progress, every_region=every_region)
    runs = []
    for row, counters, units in zip(done.rows, done.counters, done.ledgers, strict=True):
        by_stage: dict[str, dict[str, int]] = {}
        for (stage, unit), count in units.units.items():
            by_stage.setdefault(stage, {})[unit] = count
        runs.append(RunRow(row, counters, by_stage))
    return Run(**_head(done), runs=runs)


def execute(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Outcome:
    """Run and price ``scenario``: the common part of :func:`compare` and :func:`run`."""
    parameters = parameters or load_parameters()
    memory = GuestMemory.build(scenario)
    scenario = memory.scenario
    names = able_interfaces(scenario.interfaces, memory.backing.has_struct_page, scenario.backing)
    policies = [POLICIES[name] for name in names]
    tallies, lines = _count(memory, policies, parameters, threads, progress, every_region)
    counters = [
        priced_counters(t, p, scenario.flush_first_page_only, scenario.vcpus, inside_vcpus(scenario))
        for t, p in zip(tallies, policies, strict=True)
    ]
    for n, found in zip(counters, lines, strict=False):  # none with the constant model
        n |= {"sept_lines": 0, "pamt_lines": 0} | found.counters()
    ledgers = [ledger(c) for c in counters]
    prices = price_many(ledgers, parameters, seed=scenario.seed)
    pamt_bytes = static_pamt_bytes(memory.backing.blocks().size << 30)
    met: list[tuple[Scaling | None, npt.NDArray[np.float64]]] = []
    for number, one in enumerate(zip(policies, tallies, counters, strict=True)):
        if progress and scenario.vcpus * scenario.tds > 1:
            progress(number, len(policies))
        met.append(_meet(scenario, *one, parameters, threads))
    if progress and scenario.vcpus * scenario.tds > 1:
        progress(len(policies), len(policies))
    rows = [
        _row(policy, tally, price, scenario.tds, scaling, parameters.tsc_ghz, pamt_bytes)
        for policy, tally, price, (scaling, _) in zip(policies, tallies, prices, met, strict=True)
    ]
    return Outcome(
        memory, parameters, rows, counters, ledgers, [seconds for _, seconds in met],
        _notes(memory, names, tallies) | _notes_of_lines(names, lines),
    )  # fmt: skip


def _meet(
    scenario: Scenario,
    policy: Policy,
    tally: Tally,
    counters: Mapping[str, int],
    parameters: ParameterSet,
    threads: int | None,
) -> tuple[Scaling | None, npt.NDArray[np.float64]]:
    """Simulate the vCPUs of one interface's run; one vCPU of one TD meets nobody."""
    if scenario.vcpus * scenario.tds == 1 or not tally.mapped:
        return None, np.zeros(0)
    from perfmodel.scaling.estimate import together
    from perfmodel.scaling.situation import describe, mix_of

    mix = mix_of(scenario, policy.name, tally.leaves_4k, tally.leaves_2m)
    return together(
        lambda sample: describe(scenario, mix, parameters, sample), counters, tally.mapped, parameters, scenario.seed,
        threads,
    )  # fmt: skip


def _count(
    memory: GuestMemory,
    policies: Sequence[Policy],
    parameters: ParameterSet,
    threads: int | None,
    progress: Progress | None,
    every_region: bool,
) -> tuple[list[Tally], list[LinesFound]]:
    """Populate, and with the memory model "simulated" look for the lines; stretches of that count as regions."""
    if memory.scenario.memory_model == "constant":
        return populate_guest(memory, policies, threads, progress, every_region), []
    regions = sum(1 for _ in memory.layout.regions())
    stretches = stretch_count(memory, policies)
    in_all = regions + stretches

    def first(done: int, total: int) -> None:
        if progress:
            progress(done, in_all)

    def then(done: int, total: int) -> None:
        if progress:
            progress(regions + done * stretches // total, in_all)

    tallies = populate_guest(memory, policies, threads, first, every_region)
    hardware = load_walk_hardware(parameters.preset)
    return tallies, lines_found(memory, policies, tallies, hardware, thread_count(memory, threads), then)


def _notes_of_lines(names: Sequence[str], lines: Sequence[LinesFound]) -> dict[str, Any]:
    if not lines:
        return {}
    shares = {n: found.estimated_share for n, found in zip(names, lines, strict=True) if found.estimated_share}
    return {"lines_found": {n: found.by_name() for n, found in zip(names, lines, strict=True)}} | (
        {"lines_estimated_share": shares} if shares else {}
    )


def _notes(memory: GuestMemory, names: Sequence[str], tallies: Sequence[Tally]) -> dict[str, Any]:
    estimated = {
        name: int(t.keyholes[ESTIMATED]) / t.mapped for name, t in zip(names, tallies, strict=True) if t.mapped
    }
    shares = {name: share for name, share in estimated.items() if share}
    return memory.notes | ({"keyholes_estimated_share": shares} if shares else {})


def priced_counters(
    tally: Tally, policy: Policy, flush_first_page_only: bool, vcpus: int = 1, inside: int = 0
) -> dict[str, int]:  # fmt: skip
    """Return the counters that ``data/work.toml`` prices.

    Parameters
    ----------
    tally : Tally
    policy : Policy
        Decides what the wrapper does with its argument.
    flush_first_page_only : bool
        A 2M AUG flushes one 4K page instead of 512.
    vcpus, inside : int
        vCPUs that a kick looks at, and those inside the TD that it interrupts.
    """
    n = {c.name.lower(): int(tally.counts[c]) for c in k.Counter if c != k.Counter.EXISTING_TABLE}
    n |= {c.name.lower(): int(tally.counts[c]) for c in _LATER if tally.counts[c]}
    if "kick" in n:
        n |= kick_counters(n["kick"], vcpus, inside)
    flushed_2m = n["aug_2m"] * (1 if flush_first_page_only else _FLUSHED_BY_2M)
    augs = n["aug_4k"] + n["aug_2m"]
    n |= {
        "flush_pages": n["aug_4k"] + flushed_2m + n["sept_add"],
        "clear_pages": tally.mapped,
        "folio_allocs": tally.folios,
        "gmem_lookups": n["fault"],
        "mirror_installs": n["sept_add"] + augs,
        "mirror_tables": n["sept_add"],
        "folio_checks_4k": n["aug_4k"] if policy.wrapper == "folio" else 0,
        "folio_checks_2m": n["aug_2m"] if policy.wrapper == "folio" else 0,
        "page_conversions": augs if policy.wrapper == "page" else 0,
        "keyhole_misses_host": int(tally.keyholes[HOST_MISSES]),
        "keyhole_misses_guest": int(tally.keyholes[GUEST_MISSES]),
    }
    return n


def _row(
    policy: Policy,
    tally: Tally,
    price: Price,
    tds: int,
    scaling: Scaling | None,
    tsc_ghz: float,
    pamt_bytes: int,
) -> Row:
    n = {c.name: int(tally.counts[c]) for c in (*k.Counter, *_LATER)}
    ns = Cost(price.total_ns, price.low_ns, price.high_ns, price.by_stage_ns)
    seconds = scaling.seconds.value if scaling else ns.total / 1e9
    accepts = ("ACCEPT_4K", "ACCEPT_2M", "ACCEPT_EXIT", "ACCEPT_SIZE_MISMATCH", "ACCEPT_1G_INVALID")
    return Row(
        interface=policy.name,
        leaves=Leaves(tally.leaves_4k, tally.leaves_2m),
        pages=Pages(tally.asked, tally.mapped, tally.refused_pages, tally.shared),
        faults=n["FAULT"],
        td_exits=n["TD_EXIT"],
        seamcalls={
            "TDH.MEM.SEPT.ADD": n["SEPT_ADD"],
            "TDH.MEM.PAGE.AUG": n["AUG_4K"] + n["AUG_2M"],
            "TDH.VP.ENTER": n["VP_ENTER"],
            **{name: n[counter] for name, counter in _SPLITS.items() if n["DEMOTE"]},
        },
        tdcalls={"TDG.MEM.PAGE.ACCEPT": sum(n[name] for name in accepts)},
        refused_hugepages=dict(zip(CAUSES, tally.refused.tolist(), strict=True)),
        sept_pages=n["SEPT_ADD"] + n["DEMOTE"],
        host_table_pages=2 * (n["SEPT_ADD"] + n["DEMOTE"]),
        pamt_bytes=pamt_bytes,
        ns=ns,
        cycles=ns.times(tsc_ghz),
        seconds=seconds,
        gib_per_s=_per(tds * tally.mapped / _GIB_PAGES, seconds),
        faults_per_s=_per(tds * n["FAULT"], seconds),
        scaling=scaling,
        model_seconds=tally.model_seconds,
    )


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds else 0.0


def _ratio_of(done: Outcome, number: int) -> Mapping[str, float]:
    """Return how many times as long a row takes as the first: of the work where one vCPU does it, else of the time."""
    above, below = done.seconds[number], done.seconds[0]
    if above.size and below.size:
        value = done.rows[number].seconds / done.rows[0].seconds
        low, high = np.quantile(above / below, INTERVAL).tolist()
        return {"value": value, "low": min(low, value), "high": max(high, value)}
    if not done.ledgers[0].units:  # nothing was mapped, so nothing differs
        return {"value": 1.0, "low": 1.0, "high": 1.0}
    ratio = cost_ratio(done.ledgers[number], done.ledgers[0], done.parameters, seed=done.memory.scenario.seed)
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high}


def _head(done: Outcome) -> dict[str, Any]:
    return {
        "version": __version__,
        "seed": done.memory.scenario.seed,
        "parameters": ParametersId(done.parameters.name, done.parameters.sha256),
        "scenario": done.memory.scenario.describe(),
        "notes": done.notes,
    }
