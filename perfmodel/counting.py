"""Count what a scenario comes to under each interface: integers only, and nothing that a price could change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

import kernels.counters as k
from kernels.keyhole_calls import GUEST_MISSES, HOST_MISSES
from kernels.keyhole_populate import ESTIMATED
from perfmodel.life.pricing import inside_vcpus, kick_counters
from perfmodel.memory import GuestMemory
from perfmodel.memory_model import LinesFound, lines_found, stretch_count
from perfmodel.platform import static_pamt_bytes
from perfmodel.policies import POLICIES
from perfmodel.policies.contract import Policy
from perfmodel.populate import Tally, populate_guest
from perfmodel.refusals import CAUSES
from perfmodel.result import Leaves, Pages
from perfmodel.scenario import Scenario, able_interfaces
from perfmodel.walk_hardware import load_walk_hardware
from perfmodel.workers import Progress, thread_count

_FLUSHED_BY_2M = 512
_LATER = (*k.ChangeCounter, *k.LifeCounter)
_SPLITS = {
    "TDH.MEM.RANGE.BLOCK": "BLOCK_2M",
    "TDH.MEM.TRACK": "MEM_TRACK",
    "TDH.MEM.PAGE.DEMOTE": "DEMOTE",
}
"""SEAMCALLs that only a guest that touches first brings into populating."""
_ACCEPTS = ("ACCEPT_4K", "ACCEPT_2M", "ACCEPT_EXIT", "ACCEPT_SIZE_MISMATCH", "ACCEPT_1G_INVALID")


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interface's run before any price; fields are those of :class:`perfmodel.result.Row`.

    ``counters`` are what ``data/work.toml`` prices.
    """

    interface: str
    leaves: Leaves
    pages: Pages
    faults: int
    td_exits: int
    seamcalls: dict[str, int]
    tdcalls: dict[str, int]
    refused_hugepages: dict[str, int]
    sept_pages: int
    pamt_bytes: int
    counters: dict[str, int]
    model_seconds: float


@dataclass(frozen=True)
class Counts:
    """All interfaces of a scenario, with the memory that they ran on."""

    memory: GuestMemory
    interfaces: list[Counted]
    notes: dict[str, Any]


def count_scenario(
    scenario: Scenario,
    preset: str,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Counts:
    """Populate the guest of ``scenario`` under each of its interfaces.

    Parameters
    ----------
    scenario : Scenario
    preset : str
        The processor whose caches the memory model "simulated" has; nothing else depends on it.
    threads, progress, every_region
        As for :func:`perfmodel.comparison.compare`.

    Raises
    ------
    InputError
        The scenario cannot be run; one line says what would be accepted.
    """
    memory = GuestMemory.build(scenario)
    scenario = memory.scenario
    names = able_interfaces(scenario.interfaces, memory.backing.has_struct_page, scenario.backing)
    policies = [POLICIES[name] for name in names]
    tallies, lines = _populate(memory, policies, preset, threads, progress, every_region)
    counters = [
        priced_counters(t, p, scenario.flush_first_page_only, scenario.vcpus, inside_vcpus(scenario))
        for t, p in zip(tallies, policies, strict=True)
    ]
    for n, found in zip(counters, lines, strict=False):  # none with the constant model
        n |= {"sept_lines": 0, "pamt_lines": 0} | found.counters()
    pamt_bytes = static_pamt_bytes(memory.backing.blocks().size << 30)
    counted = [_counted(*one, pamt_bytes) for one in zip(policies, tallies, counters, strict=True)]
    return Counts(memory, counted, memory.notes | _notes(names, tallies) | _notes_of_lines(names, lines))


def _populate(
    memory: GuestMemory,
    policies: Sequence[Policy],
    preset: str,
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
    hardware = load_walk_hardware(preset)
    return tallies, lines_found(memory, policies, tallies, hardware, thread_count(memory, threads), then)


def _notes_of_lines(names: Sequence[str], lines: Sequence[LinesFound]) -> dict[str, Any]:
    if not lines:
        return {}
    shares = {n: found.estimated_share for n, found in zip(names, lines, strict=True) if found.estimated_share}
    return {"lines_found": {n: found.by_name() for n, found in zip(names, lines, strict=True)}} | (
        {"lines_estimated_share": shares} if shares else {}
    )


def _notes(names: Sequence[str], tallies: Sequence[Tally]) -> dict[str, Any]:
    estimated = {
        name: int(t.keyholes[ESTIMATED]) / t.mapped for name, t in zip(names, tallies, strict=True) if t.mapped
    }
    shares = {name: share for name, share in estimated.items() if share}
    return {"keyholes_estimated_share": shares} if shares else {}


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


def _counted(policy: Policy, tally: Tally, counters: dict[str, int], pamt_bytes: int) -> Counted:
    n = {c.name: int(tally.counts[c]) for c in (*k.Counter, *_LATER)}
    return Counted(
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
        tdcalls={"TDG.MEM.PAGE.ACCEPT": sum(n[name] for name in _ACCEPTS)},
        refused_hugepages=dict(zip(CAUSES, tally.refused.tolist(), strict=True)),
        sept_pages=n["SEPT_ADD"] + n["DEMOTE"],
        pamt_bytes=pamt_bytes,
        counters=counters,
        model_seconds=tally.model_seconds,
    )
