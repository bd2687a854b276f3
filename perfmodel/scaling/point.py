"""One simulated situation: throughput, where the time went, what was BUSY, what is used up."""

import math
from dataclasses import dataclass, replace

import numpy as np

from kernels.queueing import layout as q
from kernels.queueing.layout import REGISTERS as FIRST_REGISTER
from kernels.queueing.layout import Simulation
from perfmodel.scaling.faults import CHUNK_PAGES
from perfmodel.scaling.measure import Measured, percentile, run_until_steady
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Description, build
from perfmodel.scaling.registers import OPERANDS, TITLES, title_of
from perfmodel.scaling.registers import Register as Reg

PERCENTILES = (50, 90, 99, 99.9)
_SATURATED, _LONG_WAIT = 0.85, 0.25
_NOMINAL_UNITS = 1024
_LEAST_CHUNKS = 4
_BRIEF = 4


@dataclass(frozen=True)
class Point:
    """What one simulation says; times are per unit of work, a fault or a changed chunk.

    Attributes
    ----------
    units_per_s, pages_per_s : float
        Of all TDs together.
    cycle_ns : float
        Time of one unit as its vCPU sees it.
    service_ns : float
        Of it, work that the unit needs.
    wasted_ns : float
        Work done again, or for calls that failed, and of other vCPUs on this unit's behalf.
    waits_ns : dict of str to dict of str to float
        For each resource that was waited for: ``queue``, ``transfer`` and ``blocked``.
    busy : dict of str to float
        Failed attempts at try-once locks, and frozen entries met, per unit, by operand.
    calls : dict of str to float
        Calls per unit.
    utilisation : dict of str to float
        Of the busiest instance of each resource, at most 1.
    saturated : str
        The resource that limits the throughput, or ``none``.
    latency_ns : dict of str to float
        Percentiles of a unit's latency.
    half_width : float
        Of the 95 % confidence interval of ``units_per_s``, as share of it.
    units : int
        Simulated.
    """

    units_per_s: float
    pages_per_s: float
    cycle_ns: float
    service_ns: float
    wasted_ns: float
    waits_ns: dict[str, dict[str, float]]
    busy: dict[str, float]
    calls: dict[str, float]
    utilisation: dict[str, float]
    saturated: str
    latency_ns: dict[str, float]
    half_width: float
    units: int

    @property
    def stretch(self) -> float:
        """How many times as long a unit takes as its own work; exactly 1 where nobody was met."""
        return self.cycle_ns / self.service_ns


def simulate(d: Description, precision: float = 0.01, brief: bool = False) -> Point:
    """Simulate ``d`` until its throughput is known to ``precision``, or only briefly, to some per cent."""
    sim = build(d)
    workers = _workers(d)
    warm_up, batch = _run_lengths(d, workers)
    if brief:
        measured = run_until_steady(sim, -(-warm_up // _BRIEF), -(-batch // _BRIEF), precision, 4)
    else:
        measured = run_until_steady(sim, warm_up, batch, precision)
    return _point(d, sim, measured, workers)


def _run_lengths(d: Description, workers: int) -> tuple[int, int]:
    """Return the units to run before anything is measured, and those of a batch.

    Where kinds take different times, every thread goes through all of them in a batch.
    """
    if d.workload != "populate" and d.change is not None:
        batch = max(d.change.leaves // d.vcpus, 16) if d.state == "inside" else d.change.leaves
        return batch, batch
    if d.options.guest_lock == "held":
        return 2 * workers * CHUNK_PAGES, workers * CHUNK_PAGES
    if len(d.kinds) == 1:
        return 48 * workers + 512, max(1024, 32 * workers)
    units_per_chunk = sum(kind.share * CHUNK_PAGES / kind.services.pages for kind in d.kinds)
    chunks = max(workers, _LEAST_CHUNKS) / min(kind.share for kind in d.kinds)
    return math.ceil(chunks * units_per_chunk), math.ceil(chunks * units_per_chunk)


def _workers(d: Description) -> int:
    alone = d.workload != "populate" or d.state != "working"
    return d.tds if alone else d.tds * d.vcpus


def _point(d: Description, sim: Simulation, m: Measured, workers: int) -> Point:
    cycle = m.seconds * 1e9 * workers / m.units
    waits = _waits(m, d.together)
    waited = math.fsum(part for parts in waits.values() for part in parts.values())
    busy = {title: int(m.tally[r, q.BUSY]) / m.units for r, title in OPERANDS.items() if m.tally[r, q.BUSY]}
    service, wasted = _service(d, m, cycle, waited, bool(busy))
    utilisation = _utilisation(sim, m, d)
    return Point(
        units_per_s=m.units / m.seconds,
        pages_per_s=m.pages / m.seconds / d.rare_kinds,
        cycle_ns=cycle,
        service_ns=service,
        wasted_ns=wasted,
        waits_ns=waits,
        busy=busy,
        calls={call.name: int(m.calls[call]) / m.units for call in Call if m.calls[call]},
        utilisation=utilisation,
        saturated=_limiting(waits, utilisation, cycle),
        latency_ns={f"p{share:g}": percentile(m.latency, share / 100) for share in PERCENTILES},
        half_width=m.half_width,
        units=m.units,
    )


def _waits(m: Measured, together: bool) -> dict[str, dict[str, float]]:
    waits: dict[str, dict[str, float]] = {}
    for register in TITLES:
        parts = waits.setdefault(title_of(register, together), {"queue": 0.0, "transfer": 0.0, "blocked": 0.0})
        for name, column in (("queue", q.QUEUED), ("transfer", q.SERVED), ("blocked", q.BLOCKED)):
            parts[name] += int(m.tally[register, column]) / m.units / 1e3
    return {title: parts for title, parts in waits.items() if any(parts.values())}


def _limiting(waits: dict[str, dict[str, float]], utilisation: dict[str, float], cycle: float) -> str:
    """Return the resource that is used up, or waited for through much of a unit's time; ``none`` where there is none.

    A lock whose waiters sleep stops the throughput long before it is held all the time.
    """
    waited = {title: sum(parts.values()) for title, parts in waits.items()}
    longest = max(waited, key=waited.__getitem__, default="none")
    busiest = max(utilisation, key=utilisation.__getitem__, default="none")
    if waited.get(longest, 0.0) >= _LONG_WAIT * cycle or utilisation.get(longest, 0.0) >= _SATURATED:
        return longest
    return busiest if utilisation.get(busiest, 0.0) >= _SATURATED else "none"


def _service(d: Description, m: Measured, cycle: float, waited: float, busy: bool) -> tuple[float, float]:
    """Return what of a unit's time is its own work, and what is wasted.

    Without failed calls all work is useful, and what the clock shows beyond it is waiting: the service is then scaled
    to the cycle, so that a batch that ends in the middle of units does not look like contention.
    """
    worked = int(m.totals[q.WORKED]) / m.units / 1e3
    if d.workload == "populate" and d.state == "working" and not busy and not m.totals[q.POLLS]:
        return cycle * worked / (worked + waited), 0.0
    useful = nominal_service_ns(d)
    return useful, max(cycle - waited - useful, 0.0)


def nominal_service_ns(d: Description) -> float:
    """Return the work of a unit of one vCPU that is alone: the mean over the kinds, to the ps."""
    measured = run_until_steady(build(alone(d)), _NOMINAL_UNITS, _NOMINAL_UNITS, batches=2)
    return int(measured.totals[q.WORKED]) / measured.units / 1e3


def alone(d: Description) -> Description:
    """Return ``d`` with one vCPU that meets nobody, and no scatter in its work."""
    return replace(d, vcpus=1, tds=1, nodes=1, placement="own", spread="none")


def _utilisation(sim: Simulation, m: Measured, d: Description) -> dict[str, float]:
    """Return the share of the time for which the busiest instance of each resource was in use."""
    elapsed = m.seconds * 1e12
    used: dict[str, float] = {}
    for register in TITLES:
        title = title_of(register, d.together)
        rows = np.unique(sim.threads[:, FIRST_REGISTER + register])
        rows = rows[rows >= 0]
        share = float(m.occupied[rows].max()) / elapsed if rows.size else 0.0
        held = int(m.tally[register, q.HELD]) / elapsed / (1 if register == Reg.PAMT_LOCK else d.tds)
        if register in (Reg.FOLIO_LOCK, Reg.HUGETLB_MUTEX) and d.order != "sequential":
            held = 0.0  # many locks, none of them with all of it
        if max(share, held) > 0.005:
            used[title] = min(max(share, held, used.get(title, 0.0)), 1.0)
    return used
