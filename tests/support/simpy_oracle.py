"""Run a description in SimPy, and say of it and of :mod:`kernels.queueing` the same things."""

import random
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import simpy_changes as changes
from scipy import stats
from simpy_lines import Steps
from simpy_populate import Populate
from simpy_vcpus import RANGE, Host, Vcpu

from kernels.queueing import layout as q
from kernels.queueing.engine import start
from kernels.queueing.events import draw_work
from perfmodel.scaling import network
from perfmodel.scaling.measure import run_until_steady
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Description, build
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.simulation import make_simulation

_METERS = {"visits": q.VISITS, "queue": q.QUEUED, "transfer": q.SERVED, "blocked": q.BLOCKED, "busy": q.BUSY}
_COUNTS = ("visits", "busy")
_FALSE_ALARM = 0.001
_ROUNDING, _ROUNDING_NS = 1e-4, 0.01
"""Kernels count whole ps: how much of a mean that may be, and of ns a unit."""
Findings = dict[str, float]


class Beginnings:
    """When vCPUs begin, and in the middle of which range."""

    def __init__(self, d: Description, seed: int) -> None:
        self._draw = random.Random(f"beginnings {seed}")
        self._spread_ns = d.costs.tick_period if d.state == "ticking" else d.kinds[0].services.total

    def of(self, vcpu: Vcpu) -> tuple[float, int]:
        """Return when a vCPU begins, and which page of its range comes before its first."""
        skip = self._draw.randrange((1 << RANGE) - 1)
        return (self._draw.uniform(0, self._spread_ns) if vcpu.number else 0.0), skip


class KernelBeginnings:
    """Those of a simulation by the kernels, whose random numbers the vCPUs then draw too."""

    def __init__(self, d: Description) -> None:
        self._begun: dict[int, tuple[float, int]] = {}
        with mock.patch.object(network, "start", self._note):
            self.sim = build(d)
        threads = self.sim.threads.shape[0]
        self._numbers = make_simulation(self.sim.script, threads, 1, 1, spread=d.spread, seed=d.seed)

    def _note(self, sim: q.Simulation, thread: int, step: int, at: int) -> None:
        self._begun[thread] = at / 1e3, int(sim.threads[thread, q.REGISTERS + Reg.FIRST_COUNT])
        start(sim, thread, step, at)

    def of(self, vcpu: Vcpu) -> tuple[float, int]:
        """Return what the kernels' thread begins with, and share its random numbers."""
        thread = vcpu.host.vcpus.index(vcpu)
        vcpu.scatter = lambda ns: draw_work(self._numbers, thread, round(ns * 1e3)) / 1e3
        vcpu.phase = int(self._numbers.threads[thread, q.CHOSEN]) / q.ONE
        return self._begun.get(thread, (0.0, 0))


def begin(d: Description, seed: int, beginnings: Beginnings | KernelBeginnings | None = None) -> Host:
    """Return a host whose vCPUs begin as :func:`perfmodel.scaling.network.build` says."""
    host, beginnings = Host(d, seed), beginnings or Beginnings(d, seed)
    for vcpu in host.vcpus:
        vcpu.out = changes.leave
        path = _path(d, vcpu, *beginnings.of(vcpu))
        if path is not None:
            vcpu.process = host.env.process(path)
    return host


def _path(d: Description, vcpu: Vcpu, start_ns: float, skip: int) -> Steps | None:
    first = vcpu.number == 0
    if first and d.workload != "populate":
        return changes.tear_down(vcpu, start_ns) if d.workload == "teardown" else changes.convert(vcpu, start_ns)
    if first or d.state == "working":
        (level, *more), options = [kind.services.level for kind in d.kinds], d.options
        within = not more and not level and not options.page_wise and options.guest_lock == "dropped"
        return Populate(vcpu).run(start_ns, skip if within else None)
    return {"inside": changes.stay_inside, "ticking": changes.tick, "halted": lambda *_: None}[d.state](vcpu, start_ns)


def totals(host: Host) -> Findings:
    """Return what was counted and measured in SimPy, times in ns."""
    found = {
        f"{part} {name.name}": float(getattr(meter, part)) for name, meter in host.meters.items() for part in _METERS
    }
    return found | {f"calls {call.name}": float(times) for call, times in host.calls.items()}


def totals_of(sim: q.Simulation) -> Findings:
    """Return what the kernels counted and measured, times in ns."""
    found = {
        f"{part} {name.name}": int(sim.tally[name, column]) / (1 if part in _COUNTS else 1e3)
        for name in Reg
        for part, column in _METERS.items()
    }
    return found | {f"calls {call.name}": float(sim.calls[call]) for call in Call}


def run_simpy(d: Description, seed: int, warm_up: int, units: int) -> Findings:
    """Run ``d`` in SimPy; return units a second, and per unit what was counted and waited for, in ns."""
    host = begin(d, seed)
    host.run(warm_up)
    began, before = host.env.now, totals(host)
    host.run(warm_up + units)
    found = {name: (total - before.get(name, 0.0)) / units for name, total in totals(host).items()}
    return {"units_per_s": units / (host.env.now - began) * 1e9} | {name: each for name, each in found.items() if each}


def run_numba(d: Description, warm_up: int, units: int) -> Findings:
    """Run ``d``, with its own seed, by the kernels; return the same."""
    measured = run_until_steady(build(d), warm_up, units, batches=1)
    found = {"units_per_s": units / measured.seconds}
    for part, column in _METERS.items():
        for name in Reg:
            total = int(measured.tally[name, column])
            found[f"{part} {name.name}"] = total / units / (1 if part in _COUNTS else 1e3)
    found |= {f"calls {call.name}": int(measured.calls[call]) / units for call in Call}
    return {name: each for name, each in found.items() if each}


@dataclass(frozen=True)
class Compared:
    """Two means, the standard error of their difference, and how far they may differ."""

    simpy: float
    numba: float
    error: float
    allowed: float

    @property
    def agree(self) -> bool:
        """Whether nothing speaks against both being means of one model."""
        return abs(self.simpy - self.numba) <= self.allowed


def compare(theirs: list[Findings], ours: list[Findings]) -> dict[str, Compared]:
    """Compare every quantity that either side found: the two-sample t statistic with pooled variance.

    Both sides have the same variance where they are one model. Of all quantities together one is found to differ once
    in 1000 such comparisons of what is the same.
    """
    names = sorted(set().union(*theirs, *ours))
    freedom = len(theirs) + len(ours) - 2
    critical = float(stats.t.ppf(1 - _FALSE_ALARM / len(names) / 2, freedom))
    compared = {}
    for name in names:
        x, y = (np.array([run.get(name, 0.0) for run in runs]) for runs in (theirs, ours))
        pooled = (x.var() * x.size + y.var() * y.size) / freedom
        error = float(np.sqrt(pooled * (1 / x.size + 1 / y.size)))
        rounding = _ROUNDING * float(y.mean()) + _ROUNDING_NS * name.startswith(("queue", "transfer", "blocked"))
        compared[name] = Compared(float(x.mean()), float(y.mean()), error, critical * error + rounding)
    return compared


def compare_runs(
    theirs: Description, ours: Description, warm_up: int, units: int, simpy_runs: int = 6, numba_runs: int = 48
) -> dict[str, Compared]:
    """Run one description in SimPy and another in Numba, each several times, and compare what was found."""
    return compare(
        [run_simpy(theirs, 100 + seed, warm_up, units) for seed in range(simpy_runs)],
        [run_numba(replace(ours, seed=seed), warm_up, units) for seed in range(numba_runs)],
    )
