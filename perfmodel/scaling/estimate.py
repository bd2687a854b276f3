"""Points with intervals: one simulation at the parameters' values, short ones at samples of their ranges."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.costs import INTERVAL, Ledger, ledger, sample_costs, unit_matrix
from perfmodel.interrupts import side_by_side
from perfmodel.parameters import ParameterSet
from perfmodel.scaling.bounds import Bound, find_bounds, find_knee
from perfmodel.scaling.network import Description
from perfmodel.scaling.point import Point, simulate
from perfmodel.scaling.together import Interval, Limit, ScalePoint, Scaling, Wait

SAMPLES = 32
_CHUNK_PAGES = 1024
_GIB_PAGES = 1 << 18
STREAM = 0x5CA1E

Describe = Callable[[npt.NDArray[np.float64] | None], Description]
"""Describes a situation at the parameters' values (None) or at one sample of them."""


@dataclass(frozen=True)
class Estimate:
    """A point, its bounds, and throughput and stretch of the samples, shape (samples,)."""

    description: Description
    point: Point
    bounds: list[Bound]
    pages_per_s: npt.NDArray[np.float64]
    stretch: npt.NDArray[np.float64]

    @property
    def knee_vcpus(self) -> float:
        """See :func:`perfmodel.scaling.bounds.find_knee`."""
        return find_knee(self.point.service_ns, self.bounds, self.description.tds)

    @property
    def pages_per_unit(self) -> float:
        """4K pages of a unit of work."""
        return self.point.pages_per_s / self.point.units_per_s


def estimate(describe: Describe, values: npt.NDArray[np.float64], threads: int | None = None) -> Estimate:
    """Simulate a situation, and a short run of it for each sample of the parameters.

    Parameters
    ----------
    describe : callable
    values : ndarray of float64, shape (samples, n)
        Samples of the parameters, in ns.
    threads : int, optional
        Default: one a core. The result does not depend on it.
    """
    description = describe(None)
    point = simulate(description)
    bounds = find_bounds(description)

    def one(sample: npt.NDArray[np.float64]) -> tuple[float, float]:
        done = simulate(describe(sample), brief=True)
        return done.pages_per_s, done.stretch

    drawn = list(side_by_side(one, values, threads or len(os.sched_getaffinity(0))))
    sampled = np.array(drawn, np.float64).reshape(-1, 2)
    return Estimate(description, point, bounds, sampled[:, 0], sampled[:, 1])


def sample_values(parameters: ParameterSet, samples: int, seed: int) -> npt.NDArray[np.float64]:
    """Return samples of the parameters in ns, shape (samples, n)."""
    return parameters.sample_ns(samples, STREAM + seed)


def model_scatter(units: Ledger, parameters: ParameterSet, samples: int, seed: int) -> npt.NDArray[np.float64]:
    """Return by which factor each sample's work is off beyond its prices, shape (samples,): hosts, and the model.

    A calibrated set knows it; 1 for all others.
    """
    if parameters.joint is None or not samples:
        return np.ones(samples)
    drawn = sample_values(parameters, samples, seed) @ _unit_counts(units, parameters.names)
    return np.asarray(sample_costs([units], parameters, samples, STREAM + seed)[:, 0] / drawn)


def spread_of(value: float, sampled: npt.NDArray[np.float64], scale: float = 1.0) -> Interval:
    """Return ``value`` with the 5 % and 95 % points of ``sampled``, all times ``scale``."""
    if not sampled.size:
        return Interval(value * scale, value * scale, value * scale)
    low, high = np.quantile(sampled, INTERVAL).tolist()
    return Interval(value * scale, min(low, value) * scale, max(high, value) * scale)


def scale_point(
    done: Estimate, alone_units_per_s: float, scatter: npt.NDArray[np.float64] | None = None
) -> ScalePoint:  # fmt: skip
    """Return the result's form of an estimate.

    Parameters
    ----------
    done : Estimate
    scatter : ndarray of float64, shape (samples,), optional
        See :func:`model_scatter`.
    alone_units_per_s : float
        Units a second of one vCPU alone.
    """
    p, d = done.point, done.description
    sampled = done.pages_per_s if scatter is None else done.pages_per_s / scatter
    speed_up = p.units_per_s / alone_units_per_s
    at_work = d.tds * (d.vcpus if d.workload == "populate" and d.state == "working" else 1)
    return ScalePoint(
        vcpus=d.vcpus,
        gib_per_s=spread_of(p.pages_per_s, sampled, 1 / _GIB_PAGES),
        units_per_s=p.units_per_s,
        speed_up=speed_up,
        efficiency=speed_up / at_work,
        cycle_ns=p.cycle_ns,
        service_ns=p.service_ns,
        wasted_ns=p.wasted_ns,
        waits_ns={name: Wait(**parts) for name, parts in p.waits_ns.items()},
        busy=p.busy,
        calls=p.calls,
        utilisation=p.utilisation,
        saturated=p.saturated,
        latency_ns=p.latency_ns,
        half_width=p.half_width,
        units=p.units,
    )


def limits_of(done: Estimate) -> list[Limit]:
    """Return the result's form of the bounds."""
    pages = done.pages_per_unit
    return [
        Limit(b.resource, b.per_unit, b.ns_per_unit, b.units_per_s, b.units_per_s * pages / _GIB_PAGES)
        for b in done.bounds
    ]


def together(
    describe: Describe,
    counters: Mapping[str, int],
    mapped_pages: int,
    parameters: ParameterSet,
    seed: int,
    threads: int | None = None,
) -> tuple[Scaling, npt.NDArray[np.float64]]:
    """Return what the vCPUs of a comparison's row come to, and the seconds of each sample.

    The row's ledger, without its kicks, is shared out among the vCPUs at work and stretched as the simulation says.
    Where the guest has few 4 MiB chunks, those that take one more than others decide.

    Parameters
    ----------
    describe : callable
    counters : dict of str to int
        Of the row.
    mapped_pages : int
    parameters : ParameterSet
    seed : int
    threads : int, optional
    """
    units = ledger({**counters, "kick": 0, "kick_rounds": 0})
    costs = sample_costs([units], parameters, SAMPLES, STREAM + seed)[:, 0]
    done = estimate(describe, sample_values(parameters, SAMPLES, seed), threads)
    d = done.description
    at_work = d.vcpus if d.state == "working" else 1
    chunks = max(-(-mapped_pages // _CHUNK_PAGES), 1)
    turns = -(-chunks // at_work)
    share = turns / chunks / 1e9
    seconds = float(_unit_counts(units, parameters.names) @ parameters.values_ns()) * done.point.stretch * share
    sampled = costs * done.stretch * share
    pages_per_s = d.tds * mapped_pages / seconds
    point = scale_point(done, 1e9 / done.point.service_ns)
    point = _with_throughput(point, pages_per_s, d.tds * mapped_pages / sampled)
    return Scaling(
        seconds=spread_of(seconds, sampled), point=point, limits=limits_of(done), knee_vcpus=done.knee_vcpus
    ), sampled  # fmt: skip


def _unit_counts(one: Ledger, names: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.asarray(unit_matrix([one], names).sum(axis=1)[0])


def _with_throughput(point: ScalePoint, pages_per_s: float, sampled: npt.NDArray[np.float64]) -> ScalePoint:
    return msgspec.structs.replace(point, gib_per_s=spread_of(pages_per_s, sampled, 1 / _GIB_PAGES))
