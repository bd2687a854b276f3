"""How long each piece of a fault, a zap or a conversion takes one vCPU that meets nobody: the ledger, cut into pieces.

The pieces of one GiB add up to the price of the GiB's ledger, so a simulation without contention takes what
``perfmodel compare`` says. What the ledger counts in a pool (walks, keyhole misses, cold lines) is spread evenly.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.costs import ALL_STAGES, counter_names, ledger, unit_matrix
from perfmodel.counting import priced_counters
from perfmodel.memory import GuestMemory
from perfmodel.parameters import ParameterSet
from perfmodel.policies import POLICIES
from perfmodel.populate import populate_guest
from perfmodel.scenario import Scenario

RANGES = 512
_HOST_POOL = (
    "walk_reads_host", "keyhole_misses_host", "sept_lines", "pamt_lines",
    "folio_checks_4k", "folio_checks_2m", "page_conversions",
)  # fmt: skip
_GUEST_POOL = ("walk_reads_guest", "keyhole_misses_guest", "virtualization_exception")


@functools.cache
def _units_of_events(names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return the units of work of one event of each counter by stage, shape (counters, stages, n)."""
    return unit_matrix([ledger({name: 1}) for name in counter_names()], names)


class Prices:
    """What one event of each counter costs, in ns."""

    def __init__(self, parameters: ParameterSet, values_ns: npt.NDArray[np.float64] | None = None) -> None:
        """Price with the parameters' values, or with ``values_ns``, shape (n,), one sample of them."""
        self._values = parameters.values_ns() if values_ns is None else values_ns
        self._names = parameters.names
        by_stage = _units_of_events(self._names) @ self._values
        self._stages = dict(zip(counter_names(), by_stage.tolist(), strict=True))

    def __getitem__(self, counter: str) -> float:
        return math.fsum(self._stages[counter])

    def parameter(self, name: str) -> float:
        """Return the value of one parameter."""
        return float(self._values[self._names.index(name)])

    def of(self, counters: Mapping[str, int], names: tuple[str, ...]) -> float:
        """Return what the named ones of ``counters`` cost together."""
        return sum(counters.get(name, 0) * self[name] for name in names)

    def stage(self, counter: str, stage: str) -> float:
        """Return what one event of ``counter`` costs in one stage."""
        return float(self._stages[counter][ALL_STAGES.index(stage)])


@dataclass(frozen=True)
class FaultServices:
    """Pieces of one fault of one leaf size, in ns, and how often it happens in a GiB.

    Attributes
    ----------
    level : {0, 1}
    exits : bool
        Faults come from TD exits, not from KVM_PRE_FAULT_MEMORY.
    faults, folios : int
        In a GiB.
    table, table_flush, sept_add : float
        Of a missing table: its pages and mirror entry, flushing its page, the call.
    failed_accept, mismatch, accept, zero : float
        ACCEPTs that exit; the one per range that finds a table; those that succeed, and their zeroing.
    pamt_lines : float
        Cold PAMT lines of a fault.
    inhibit : float
        Noting on a range that is split that it may not be mapped at 2M again.
    """

    level: int
    exits: bool
    faults: int
    exit: float
    dispatch: float
    fault: float
    gmem: float
    folio_alloc: float
    folios: int
    clear: float
    install: float
    table: float
    flush: float
    table_flush: float
    sept_add: float
    aug: float
    enter: float
    failed_accept: float
    mismatch: float
    accept: float
    zero: float
    pamt_lines: float
    inhibit: float

    @property
    def total(self) -> float:
        """Work of one fault that meets no missing table, in ns."""
        return (
            self.exit + self.dispatch + self.fault + self.gmem + self.clear + self.install + self.flush + self.aug
            + self.enter + self.failed_accept + self.accept + self.zero
        )  # fmt: skip

    @property
    def pages(self) -> int:
        """4K pages of a fault."""
        return RANGES if self.level else 1


@functools.cache
def counters_of_a_gib(guest: str, level: int, levels: int, flush_first_page_only: bool) -> dict[str, int]:
    """Return the counters of one GiB in the middle of a guest whose memory is all mapped at ``level``.

    Executed, not derived: the third GiB of a guest on HugeTLB 1G folios, by ``page-4k`` or by ``pfn``.
    """
    policy = POLICIES["pfn" if level else "page-4k"]
    totals = []
    for gib in (3, 2):
        scenario = Scenario(
            memory=gib << 30, interfaces=(policy.name,), guest=guest, levels=levels,
            flush_first_page_only=flush_first_page_only,
        )  # fmt: skip
        (tally,) = populate_guest(GuestMemory.build(scenario), [policy], 1)
        totals.append(priced_counters(tally, policy, flush_first_page_only))
    return {name: totals[0][name] - totals[1].get(name, 0) for name in totals[0]}


def fault_services(prices: Prices, counters: Mapping[str, int], level: int) -> FaultServices:
    """Cut the ledger of one GiB into the pieces of its faults.

    Parameters
    ----------
    prices : Prices
    counters : mapping of str to int
        Of one GiB, as :func:`counters_of_a_gib` returns them.
    level : {0, 1}
        Of the leaves.
    """
    faults = counters["aug_2m" if level else "aug_4k"]
    accepts = {name: counters[name] / faults for name in ("accept_4k", "accept_2m") if counters[name]}
    zero = sum(each * prices.stage(name, "guest_zero") for name, each in accepts.items())
    return FaultServices(
        level=level,
        exits=counters["td_exit"] > 0,
        faults=faults,
        exit=prices.stage("td_exit", "exit"),
        dispatch=prices.stage("td_exit", "kvm_fault"),
        fault=prices["fault"] + (prices["prefault"] if counters["prefault"] else 0.0),
        gmem=prices["gmem_lookups"],
        folio_alloc=prices["folio_allocs"],
        folios=counters["folio_allocs"],
        clear=prices["clear_pages"] * counters["clear_pages"] / faults,
        install=prices["mirror_installs"],
        table=prices["mirror_tables"] + prices["mirror_installs"],
        flush=prices["flush_pages"] * (counters["flush_pages"] - counters["sept_add"]) / faults,
        table_flush=prices["flush_pages"],
        sept_add=prices["sept_add"],
        aug=prices["aug_2m" if level else "aug_4k"] + prices.of(counters, _HOST_POOL) / faults,
        enter=prices["vp_enter"],
        failed_accept=prices["accept_exit"] * counters["accept_exit"] / faults,
        mismatch=prices["accept_size_mismatch"],
        accept=sum(each * prices[name] for name, each in accepts.items())
        - zero
        + prices.of(counters, _GUEST_POOL) / faults,
        zero=zero,
        pamt_lines=counters["pamt_lines"] / faults,
        inhibit=prices.of(counters, ("guest_inhibit",)) / faults,
    )
