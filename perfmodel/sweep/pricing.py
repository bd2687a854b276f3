"""Prices of all points under all parameter sets: the last product of a sweep, done anew whenever it is read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.costs import ALL_STAGES, Ledger, prices_of, ratio_of, sample_costs, unit_matrix
from perfmodel.interrupts import side_by_side
from perfmodel.parameters import ParameterSet
from perfmodel.sweep.layout import Layout
from perfmodel.sweep.point import PointCounts, PointMeeting
from perfmodel.workers import Progress

Floats = npt.NDArray[np.float64]

TIMES = (
    "ns_total", "ns_low", "ns_high", "seconds", "seconds_low", "seconds_high", "gib_per_s", "gib_per_s_low",
    "gib_per_s_high", "faults_per_s", "ratio", "ratio_low", "ratio_high", "knee_vcpus",
)  # fmt: skip
_ENDS = {"": "_total", "_low": "_low", "_high": "_high"}
_GIB_PAGES = 1 << 18
_BLOCK = 256
"""Ledgers that are priced together: their samples take 8 MiB."""
_SAMPLE_BYTES = 2000
"""In memory for each sample of all prices, while it is drawn."""
_CELL_BYTES = 1000
"""In memory for each point and parameter set."""


@dataclass(frozen=True)
class Ready:
    """A point that has been counted: its place among all points, its ledgers, and its meetings by parameter set."""

    place: int
    counts: PointCounts
    phases: dict[str, Ledger]
    total: Ledger
    meetings: Sequence[PointMeeting | None]


@dataclass(frozen=True)
class Priced:
    """Times by name, shape (points, sets), and by stage and by phase, with one axis more; NaN where not done."""

    times: dict[str, Floats]
    by_stage: Floats
    by_phase: Floats


def need_of(layout: Layout, threads: int | None) -> int:
    """Return about how many bytes pricing takes: samples on each thread, and the times of all cells."""
    together = min(_BLOCK, len(layout.points))
    samples_bytes = layout.samples * (_SAMPLE_BYTES + 16 * together)
    cells = len(layout.points) * len(layout.sets)
    return min(threads or len(os.sched_getaffinity(0)), cells) * samples_bytes + _CELL_BYTES * cells


def price_points(
    layout: Layout, ready: Sequence[Ready], stages: Sequence[str], phases: Sequence[str],
    threads: int | None = None, progress: Progress | None = None,
) -> Priced:  # fmt: skip
    """Price every point that is ``ready`` under every parameter set of ``layout``.

    Each number is that of :func:`perfmodel.comparison.compare` on the same scenario, parameters and samples. It does
    not depend on ``threads``: a set is priced by one thread, and its matrix products by one too.
    """
    from threadpoolctl import threadpool_limits

    shape = (len(layout.points), len(layout.sets))
    done = Priced(
        {name: np.full(shape, np.nan) for name in TIMES}, np.full((*shape, len(stages)), np.nan),
        np.full((*shape, len(phases)), np.nan),
    )  # fmt: skip
    blocks = [(number, block) for number in range(len(layout.sets)) for block in _blocks(layout, ready)]

    def work(one: tuple[int, list[Ready]]) -> None:
        _price_block(layout, *one, stages, phases, done)

    with threadpool_limits(1):
        for number, _ in enumerate(side_by_side(work, blocks, threads or len(os.sched_getaffinity(0))), 1):
            if progress:
                progress(number, len(blocks))
    return done


def _blocks(layout: Layout, ready: Sequence[Ready]) -> list[list[Ready]]:
    """Cut the points where a guest ends, so that its interfaces are priced under the same samples."""
    interfaces = layout.point_shape[-1]
    blocks: list[list[Ready]] = []
    for one in ready:
        guest = one.place // interfaces
        seed = layout.points[one.place].seed
        if blocks:
            last = blocks[-1][-1]
            same_guest = last.place // interfaces == guest
            if same_guest or (len(blocks[-1]) < _BLOCK and layout.points[last.place].seed == seed):
                blocks[-1].append(one)
                continue
        blocks.append([one])
    return blocks


def _price_block(
    layout: Layout, number: int, block: Sequence[Ready], stages: Sequence[str], phases: Sequence[str], done: Priced
) -> None:
    parameters = layout.sets[number]
    ledgers = [one.total for one in block]
    costs = sample_costs(ledgers, parameters, layout.samples, layout.points[block[0].place].seed)
    prices = prices_of(ledgers, parameters, costs)
    at = {one.place: k for k, one in enumerate(block)}
    interfaces = layout.point_shape[-1]
    for k, (one, price) in enumerate(zip(block, prices, strict=True)):
        cell = (one.place, number)
        times = {"ns_total": price.total_ns, "ns_low": price.low_ns, "ns_high": price.high_ns}
        times |= _passing(layout, one, number, times)
        first = at.get(one.place - one.place % interfaces)
        if first is not None:
            base = block[first]
            times |= _ratio(one, base, number, price.total_ns, prices[first].total_ns, costs[:, k], costs[:, first])
        for name, value in times.items():
            done.times[name][cell] = value
        done.by_stage[cell] = [price.by_stage_ns.get(stage, 0.0) for stage in stages]
        done.by_phase[cell] = _phases_ns(one, phases, parameters)


def _phases_ns(one: Ready, phases: Sequence[str], parameters: ParameterSet) -> list[float]:
    """Return the time of each kind of phase; NaN for one that the point does not have."""
    sums = unit_matrix(list(one.phases.values()), parameters.names).sum(axis=1) @ parameters.values_ns()
    by_name = dict(zip(one.phases, sums.tolist(), strict=True))
    return [by_name.get(phase, np.nan) for phase in phases]


def _passing(layout: Layout, one: Ready, number: int, work: dict[str, float]) -> dict[str, float]:
    """Return the time that passes and what is mapped in it; of a life, which does more than map, the time only."""
    planned, meeting = layout.points[one.place], one.meetings[number]
    scaling = meeting.scaling if meeting else None
    pages = planned.tds * one.counts.counts["pages_mapped"]
    faults = planned.tds * one.counts.counts["faults"]
    if scaling is not None:
        seconds, speed = scaling.seconds, scaling.point.gib_per_s
        times = {"seconds": seconds.value, "seconds_low": seconds.low, "seconds_high": seconds.high}
        speeds = (_per(pages / _GIB_PAGES, seconds.value), speed.low, speed.high)
        times["knee_vcpus"] = scaling.knee_vcpus
    else:
        times = {f"seconds{end}": work[f"ns{ns_end}"] / 1e9 for end, ns_end in _ENDS.items()}
        value, low, high = (
            _per(pages / _GIB_PAGES, times[name]) for name in ("seconds", "seconds_high", "seconds_low")
        )
        speeds = (value, low, high)
    if planned.life:
        return times
    return times | {
        "gib_per_s": speeds[0], "gib_per_s_low": speeds[1], "gib_per_s_high": speeds[2],
        "faults_per_s": _per(faults, times["seconds"]),
    }  # fmt: skip


def _ratio(
    one: Ready, base: Ready, number: int, ns: float, base_ns: float, costs: Floats, base_costs: Floats
) -> dict[str, float]:
    """Return how many times as long a point takes as with the first interface, of the time that passes."""
    met, base_met = one.meetings[number], base.meetings[number]
    if met and base_met and met.scaling and base_met.scaling:
        value = met.scaling.seconds.value / base_met.scaling.seconds.value
        found = ratio_of(value, np.array(met.seconds), np.array(base_met.seconds))
    elif not base.total.units:
        return {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0} if not one.total.units else {}
    else:
        found = ratio_of(ns / base_ns, costs, base_costs)
    return {"ratio": found.value, "ratio_low": found.low, "ratio_high": found.high}


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds else 0.0


def used_stages(ledgers: Sequence[Ledger]) -> list[str]:
    """Return the stages in which there is any work, in their order."""
    used = {stage for one in ledgers for stage, _ in one.units}
    return [stage for stage in ALL_STAGES if stage in used]
