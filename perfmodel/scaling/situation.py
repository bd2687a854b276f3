"""From a scenario and its prices to the description of a simulation."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError
from perfmodel.names import ORDERS
from perfmodel.parameters import ParameterSet
from perfmodel.scaling.changes import ChangeServices
from perfmodel.scaling.faults import Extras, PathOptions
from perfmodel.scaling.network import Costs, Description, Kind, Workload
from perfmodel.scaling.services import Prices, counters_of_a_gib, fault_services
from perfmodel.scenario import Scenario

COST_NAMES = tuple(Costs.__dataclass_fields__)
CONTENTION_PARAMETERS = (*COST_NAMES, "dram_read_remote")
"""Parameters without a unit of work: what meeting other vCPUs costs."""

RANGE_PAGES = 512
_RARE = 0.05
"""Share of a guest's ranges below which a kind is priced but not simulated."""
_FOLIOS_PER_GIB = {"hugetlb-1g": 1, "hugetlb-2m": 512, "thp": 512, "pfnmap": 0}
_FAILED_CALL = {"keyhole_hit": 8, "locked_operation": 9, "module_instruction": 2500}
"""A call that finds the tree lock taken: maps, locked instructions and instructions, facts of TDX module 1.5.01
observed by executing its handlers in user space; transitions are those of any SEAMCALL."""


@dataclass(frozen=True)
class Mix:
    """How a guest's 2M ranges are mapped.

    Attributes
    ----------
    ranges_2m, pages_4k : int
    folio_per_gib : bool
        Pages at 4K lie in whole 1G folios, so that faults take one folio lock a GiB.
    folio_per_gib_2m : bool
        The same of the ranges at 2M.
    """

    ranges_2m: int
    pages_4k: int
    folio_per_gib: bool
    folio_per_gib_2m: bool


def mix_of(scenario: Scenario, interface: str, leaves_4k: int, leaves_2m: int) -> Mix:
    """Return the mix of one interface's result."""
    whole = scenario.backing == "hugetlb-1g"
    return Mix(leaves_2m, leaves_4k, whole and interface == "page-4k", whole)


def describe(
    scenario: Scenario,
    mix: Mix,
    parameters: ParameterSet,
    values_ns: npt.NDArray[np.float64] | None = None,
    *,
    workload: Workload = "populate",
    options: PathOptions | None = None,
    reset_pages: bool = False,
) -> Description:
    """Return what to simulate.

    Parameters
    ----------
    scenario : Scenario
        Its vCPUs, TDs, nodes, placement, order and seed.
    mix : Mix
    parameters : ParameterSet
    values_ns : ndarray of float64, shape (n,), optional
        One sample of the parameters.
    workload : {"populate", "convert", "split", "teardown"}
    options : PathOptions, optional
    reset_pages : bool
        See :func:`change_services`.
    """
    prices = Prices(parameters, values_ns)
    costs = Costs(**{name: prices.parameter(name) for name in COST_NAMES})
    touches = scenario.guest == "touch-first"
    touched_2m = touches and mix.ranges_2m > 0
    page_wise = touches and not touched_2m
    options = replace(options or PathOptions(), touch_first=touches, page_wise=page_wise)
    extras = Extras(
        failed_call=failed_call_ns(prices),
        failed_accept=prices["accept_1g_invalid"],
        dram_line=costs.dram_line,
        poll=prices.stage("td_exit", "kvm_fault"),
        pamt_get=prices["pamt_get"],
        pamt_lock=prices["pamt_lock"],
        pamt_add=prices["pamt_add"],
        pamt_pair=prices["pamt_pairs_returned"],
        remote_line=_remote_line_ns(scenario, prices),
    )
    kinds, rare_kinds = _kinds(scenario, mix, prices)
    change = None
    if workload != "populate" or touched_2m:
        change = change_services(scenario, mix, prices, workload, reset_pages)
    return Description(
        workload=workload, state=scenario.vcpu_state, vcpus=scenario.vcpus, tds=scenario.tds,  # type: ignore[arg-type]
        nodes=scenario.nodes, placement=scenario.placement,  # type: ignore[arg-type]
        gibs=max(-(-scenario.memory_bytes >> 30), 1), order=scenario.order if scenario.order in ORDERS else "random",
        kinds=kinds,
        rare_kinds=rare_kinds, costs=costs, extras=extras, options=options, change=change, seed=scenario.seed,
    )  # fmt: skip


def _kinds(scenario: Scenario, mix: Mix, prices: Prices) -> tuple[tuple[Kind, ...], float]:
    """Return the kinds of chunks worth simulating, and what the others add to the mean time of a page."""
    ranges_4k = mix.pages_4k / RANGE_PAGES
    total = mix.ranges_2m + ranges_4k
    if not total:
        raise InputError("vcpus: the guest maps no memory, so nothing can be simulated; accepted is --vcpus 1")
    folios = _FOLIOS_PER_GIB.get(scenario.backing, 1 << 18)
    kinds = []
    for level, ranges, whole in ((1, mix.ranges_2m, mix.folio_per_gib_2m), (0, ranges_4k, mix.folio_per_gib)):
        if ranges:
            counters = counters_of_a_gib(scenario.guest, level, scenario.levels, scenario.flush_first_page_only)
            services = replace(fault_services(prices, counters, level), folios=folios)
            kinds.append((Kind(ranges / total, services, whole), prices.of(counters, tuple(counters))))
    kept = [(kind, gib_ns) for kind, gib_ns in kinds if kind.share >= _RARE]
    share = sum(kind.share for kind, _ in kept)
    mean_ns = sum(kind.share * gib_ns for kind, gib_ns in kinds)
    kept_ns = sum(kind.share * gib_ns for kind, gib_ns in kept) / share
    return tuple(replace(kind, share=kind.share / share) for kind, _ in kept), mean_ns / kept_ns


def failed_call_ns(prices: Prices) -> float:
    """Return what a SEAMCALL costs that finds the S-EPT tree lock taken."""
    inside = sum(count * prices.parameter(name) for name, count in _FAILED_CALL.items())
    return prices.stage("aug_4k", "seamcall") + inside


def _remote_line_ns(scenario: Scenario, prices: Prices) -> float:
    """Return what a cold PAMT line costs more on average: PAMT lies on the node of the memory that it describes."""
    remote = 0.0 if scenario.placement == "own" else 1 - 1 / scenario.nodes
    return remote * max(prices.parameter("dram_read_remote") - prices.parameter("dram_read"), 0.0)


def change_counters(scenario: Scenario, mix: Mix, workload: Workload) -> dict[str, int]:
    """Return the priced counters of changing one leaf, without those of its MapGPA chunk and of kicks."""
    level = int(mix.ranges_2m * RANGE_PAGES > mix.pages_4k)
    size = "2m" if level else "4k"
    last = {"demote": 1} if workload == "split" else {f"remove_{size}": 1, "page_wbinvd": RANGE_PAGES**level}
    return {
        f"block_{size}": 1, "mem_track": 1, "kick_looks": scenario.vcpus,
        "walk_reads_host": 2 * (scenario.levels - level), **last,
    }  # fmt: skip


def change_services(
    scenario: Scenario, mix: Mix, prices: Prices, workload: Workload, reset_pages: bool = False
) -> ChangeServices:
    """Cut the ledger of zaps and conversions into pieces.

    Parameters
    ----------
    scenario : Scenario
    mix : Mix
        Leaves are at 2M where most of the memory is.
    prices : Prices
    workload : {"populate", "convert", "split", "teardown"}
        Populating splits too where the guest touches first; its faults hold the walks of all its calls.
    reset_pages : bool
        The host clears removed pages by MOVDIR64B (X86_BUG_TDX_PW_MCE).
    """
    level = int(mix.ranges_2m * RANGE_PAGES > mix.pages_4k)
    size = "2m" if level else "4k"
    walk = 0.0 if workload == "populate" else (scenario.levels - level) * prices["walk_reads_host"]
    whole_run = workload == "teardown"
    return ChangeServices(
        level=level,
        block=prices[f"block_{size}"] + walk,
        track=prices.stage("mem_track", "track"),
        remove=prices[f"remove_{size}"] + walk,
        wbinvd=prices["page_wbinvd"],
        reset=prices["reset_page"] if reset_pages else 0.0,
        demote=prices["demote"] + walk,
        kick=prices.stage("mem_track", "kick") + scenario.vcpus * prices["kick_looks"],
        write_lock=prices["write_lock"] / (RANGE_PAGES if whole_run else 1),
        map_gpa=prices.parameter("userspace_exit"),
        attributes=prices["set_attributes"] + RANGE_PAGES * prices["attribute_pages"],
        free=prices["folio_frees"] if whole_run and scenario.backing == "order0" else 0.0,
        exit=prices.stage("td_exit", "exit"),
        dispatch=prices.stage("td_exit", "kvm_fault"),
        enter=prices["vp_enter"],
        failed_call=failed_call_ns(prices),
        leaves=1 if level else RANGE_PAGES,
    )
