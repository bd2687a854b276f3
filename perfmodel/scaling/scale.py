"""Curves: throughput, waits and limits of a workload by the number of vCPUs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel._version import __version__
from perfmodel.comparison import execute
from perfmodel.costs import ledger
from perfmodel.errors import InputError
from perfmodel.names import INTERFACES, MOST_VCPUS, VCPU_STATES, WORKLOADS
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.result import ParametersId
from perfmodel.scaling.estimate import Estimate, estimate, limits_of, model_scatter, sample_values, scale_point
from perfmodel.scaling.faults import PathOptions
from perfmodel.scaling.network import Description, Workload
from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.situation import Mix, change_counters, describe, mix_of
from perfmodel.scenario import Scenario
from perfmodel.workers import Progress

DYNAMIC_PAMT = ("none", "fast-path", "global-lock")
GUEST_LOCKS = ("dropped", "held")
CLEARS = ("mapping", "folio")
DEFAULT_VCPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class ScaleOptions:
    """What ``perfmodel scale`` is asked for beyond the scenario.

    Attributes
    ----------
    vcpus : tuple of int
        Ascending.
    workloads, states : tuple of str
        A curve for each pair; populating is shown with all vCPUs at work unless states are given, tear-down always
        with none inside.
    dynamic_pamt : {"none", "fast-path", "global-lock"}
    guest_lock : {"dropped", "held"}
    clear : {"mapping", "folio"}
    same_rip : bool
    reset_pages : bool
    samples : int
        Of the parameters, for the intervals.
    """

    vcpus: tuple[int, ...] = DEFAULT_VCPUS
    workloads: tuple[str, ...] = ("populate",)
    states: tuple[str, ...] = ()
    dynamic_pamt: str = "none"
    guest_lock: str = "dropped"
    clear: str = "mapping"
    same_rip: bool = False
    reset_pages: bool = False
    samples: int = 16

    def __post_init__(self) -> None:
        """Check every field."""
        for key, value, accepted in (
            ("dynamic-pamt", self.dynamic_pamt, DYNAMIC_PAMT),
            ("guest-lock", self.guest_lock, GUEST_LOCKS),
            ("clear", self.clear, CLEARS),
            *(("workload", name, WORKLOADS) for name in self.workloads),
            *(("state", name, VCPU_STATES) for name in self.states),
        ):
            if value not in accepted:
                raise InputError(f"{key} {value!r}: accepted are {', '.join(accepted)}")
        for count in self.vcpus:
            if not 1 <= count <= MOST_VCPUS:
                raise InputError(f"vcpus {count}: accepted are whole numbers from 1 to {MOST_VCPUS}")
        if not self.vcpus or list(self.vcpus) != sorted(set(self.vcpus)):
            raise InputError(f"vcpus {self.vcpus}: accepted are ascending numbers, such as 1,2,4,8")
        if not 0 <= self.samples <= 4096:
            raise InputError(f"samples {self.samples}: accepted is a whole number from 0 to 4096")
        if "working" in self.states and set(self.workloads) - {"populate"}:
            raise InputError("state 'working': accepted with workload populate; one vCPU changes mappings at a time")

    def describe(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, for a result."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}


@dataclass(frozen=True)
class _Line:
    """A curve to be simulated."""

    workload: Workload
    interface: str
    state: str
    mix: Mix
    scatter: npt.NDArray[np.float64]


def scale(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    options: ScaleOptions | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ScaleResult:
    """Simulate a workload under each interface for every number of vCPUs.

    Parameters
    ----------
    scenario : Scenario
        Its memory, backing, guest, TDs and nodes; ``vcpus`` is not used.
    parameters : ParameterSet, optional
        Default: the default preset.
    options : ScaleOptions, optional
    threads : int, optional
        Default: one a core. Changes nothing in the result but ``model_seconds``.
    progress : callable, optional
        Called with points done and in all.

    Raises
    ------
    InputError
        The scenario cannot be run, or more vCPUs are asked for than can be simulated.
    """
    began = time.perf_counter()
    parameters, options = parameters or load_parameters(), options or ScaleOptions()
    if options.vcpus[-1] * scenario.tds > MOST_VCPUS:
        raise InputError(
            f"vcpus {options.vcpus[-1]} in each of tds {scenario.tds}: accepted are at most {MOST_VCPUS} in all"
        )
    lines = _lines(scenario, parameters, options, threads)
    values = sample_values(parameters, options.samples, scenario.seed)
    counts = [n for n in options.vcpus if n >= scenario.nodes]
    if not counts:
        raise InputError(f"nodes {scenario.nodes}: accepted are at most as many as vcpus, {options.vcpus[-1]}")
    total, done = len(lines) * len(counts), 0
    curves = []
    known: dict[tuple[object, ...], Estimate] = {}  # interfaces whose ranges are mapped alike meet alike
    for line in lines:
        for vcpus in counts:
            if progress:
                progress(done, total)
            key = (line.workload, line.state, line.mix, vcpus)
            if key not in known:
                known[key] = _estimate(line, replace(scenario, vcpus=vcpus), parameters, options, values, threads)
            done += 1
        curves.append(_curve(line, [known[line.workload, line.state, line.mix, vcpus] for vcpus in counts]))
    if progress:
        progress(total, total)
    return ScaleResult(
        version=__version__, seed=scenario.seed, parameters=ParametersId(parameters.name, parameters.sha256),
        scenario=scenario.describe(), options=options.describe(), curves=curves,
        model_seconds=time.perf_counter() - began,
    )  # fmt: skip


def _lines(
    scenario: Scenario, parameters: ParameterSet, options: ScaleOptions, threads: int | None
) -> list[_Line]:  # fmt: skip
    done = execute(replace(scenario, vcpus=1, tds=1, nodes=1, placement="own", vcpu_state="working"), parameters,
                   threads=threads)  # fmt: skip
    lines = []
    workloads: tuple[Workload, ...] = options.workloads  # type: ignore[assignment]
    for workload in workloads:
        for row, units in zip(done.rows, done.ledgers, strict=True):
            mix = mix_of(scenario, row.interface, row.leaves.size_4k, row.leaves.size_2m)
            if workload == "split" and not mix.ranges_2m:
                continue
            work = units if workload == "populate" else ledger(change_counters(scenario, mix, workload))
            scatter = model_scatter(work, parameters, options.samples, scenario.seed)
            lines += [_Line(workload, row.interface, state, mix, scatter) for state in _states(workload, options)]
    if not lines:
        raise InputError("workload 'split': accepted are interfaces that map at 2M; none of those named does")
    return lines


def _states(workload: str, options: ScaleOptions) -> Sequence[str]:
    if workload == "teardown":
        return ("halted",)
    return options.states or (("working",) if workload == "populate" else ("inside", "halted"))


def _estimate(
    line: _Line,
    scenario: Scenario,
    parameters: ParameterSet,
    options: ScaleOptions,
    values: npt.NDArray[np.float64],
    threads: int | None,
) -> Estimate:
    path = PathOptions(
        dynamic_pamt=options.dynamic_pamt, guest_lock=options.guest_lock, clear=options.clear,
        same_rip=options.same_rip,
    )  # fmt: skip

    def at(sample: npt.NDArray[np.float64] | None) -> Description:
        described = describe(
            scenario, line.mix, parameters, sample, workload=line.workload, options=path,
            reset_pages=options.reset_pages,
        )  # fmt: skip
        return replace(described, state=line.state)  # type: ignore[arg-type]

    return estimate(at, values, threads)


def _curve(line: _Line, estimates: list[Estimate]) -> Curve:
    most = estimates[-1]
    alone = 1e9 / most.point.service_ns if line.workload == "populate" else 1e9 / estimates[0].point.service_ns
    share = line.mix.ranges_2m * 512 / (line.mix.ranges_2m * 512 + line.mix.pages_4k)
    return Curve(
        workload=line.workload,
        interface=line.interface,
        state=line.state,
        leaves_2m_share=share,
        pages_per_unit=most.pages_per_unit,
        limits=limits_of(most),
        knee_vcpus=most.knee_vcpus,
        points=[scale_point(one, alone, line.scatter) for one in estimates],
    )


def interfaces_of(result: ScaleResult) -> list[str]:
    """Return the interfaces of a result in the usual order."""
    named = {curve.interface for curve in result.curves}
    return [name for name in INTERFACES if name in named]
