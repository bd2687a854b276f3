"""Question 11: how populating scales with vCPUs, and what stops it."""

from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.names import INTERFACES
from perfmodel.report.amounts import amount, vcpus_text, with_unit
from perfmodel.report.answer import Answer, Group, HangsOn, Row
from perfmodel.report.causes import Causes
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import Sampled, exact
from perfmodel.report.situation import Situation
from perfmodel.scaling.estimate import STREAM, estimate, model_scatter, sample_values
from perfmodel.scaling.network import Description
from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.scaling.situation import describe, mix_of
from perfmodel.scaling.together import ScalePoint
from perfmodel.workers import Progress

VCPUS = (1, 8, 32, 64, 128, 256)
MIXED_VCPUS = (1, 8, 32, 64)
"""Of interfaces that map much at 4K and much at 2M: with more vCPUs such simulations take half a minute a point."""

SAMPLES = 8
CAUSE_SAMPLES = 128
_MIXED = (0.02, 0.98)


def answer(situation: Situation, progress: Progress | None = None) -> tuple[Answer, ScaleResult]:
    """Simulate all interfaces, and more samples of the last point of the slowest and of the reference."""
    curves = simulate(situation, progress)
    slowest = min(curves.curves, key=lambda one: _end(one).gib_per_s.value)
    reference = next(one for one in curves.curves if one.interface == situation.reference)
    heads = list({one.interface: one for one in (slowest, reference)}.values())
    return Answer(
        headline="; ".join(_sentence(one) for one in heads) + ".",
        groups=[
            Group(
                "Throughput of all TDs",
                [_throughput(curve, point) for curve in curves.curves for point in curve.points],
            ),
            Group(
                "Times as fast as one vCPU",
                [
                    exact(vcpus_text(point.vcpus), curve.interface, point.speed_up, "times")
                    for curve in curves.curves
                    for point in curve.points
                ],
            ),
            Group("Bounds", [row for curve in curves.curves for row in _bounds(curve)]),
        ],
        hangs_on=[one for curve in heads for one in _hangs_on(situation, curve)],
        notes=[
            *(f"{curve.interface}: {_stops(curve)}" for curve in curves.curves),
            f"Interfaces that map much at both sizes are simulated up to {MIXED_VCPUS[-1]} vCPUs; bounds hold for any "
            "number.",
            "Bounds of lines are counts of locked instructions on lines that all vCPUs of a TD share "
            "(docs/scaling.md) times line_transfer; which lines share a home with what else is the module's and "
            "KVM's layout, TDX_1.5.01.",
        ],
        command=command(
            "scale", situation.alone, situation.words, "--counts", ",".join(map(str, VCPUS)), "--samples", str(SAMPLES)
        ),
    ), curves


def simulate(situation: Situation, progress: Progress | None) -> ScaleResult:
    """Return the curves of all interfaces, those of mixed leaves up to fewer vCPUs."""
    done = situation.populate(situation.alone, progress)
    groups: dict[tuple[int, ...], list[str]] = {VCPUS: [], MIXED_VCPUS: []}
    for row in done.rows:
        share = 512 * row.leaves.size_2m / row.pages.mapped if row.pages.mapped else 1.0
        groups[MIXED_VCPUS if _MIXED[0] < share < _MIXED[1] else VCPUS].append(row.interface)
    parts = [
        scale(
            replace(situation.scenario, vcpus=counts[-1], vcpu_state="working", interfaces=tuple(names)),
            situation.parameters,
            ScaleOptions(vcpus=counts, samples=SAMPLES),
            threads=situation.threads,
            progress=progress,
        )
        for counts, names in groups.items()
        if names
    ]
    curves = sorted((one for part in parts for one in part.curves), key=lambda one: INTERFACES.index(one.interface))
    scenario = parts[0].scenario | {"interfaces": list(situation.scenario.interfaces)}
    return msgspec.structs.replace(parts[0], curves=curves, scenario=scenario)


def _end(curve: Curve) -> ScalePoint:
    return curve.points[-1]


def _throughput(curve: Curve, point: ScalePoint) -> Row:
    speed = point.gib_per_s
    return Row(vcpus_text(point.vcpus), curve.interface, speed.value, speed.low, speed.high, "GiB/s")


def _bounds(curve: Curve) -> list[Row]:
    if not curve.limits:
        return []
    return [
        exact("tightest bound", curve.interface, curve.limits[0].gib_per_s, "GiB/s"),
        exact("vCPUs that would reach it unhindered", curve.interface, curve.knee_vcpus),
    ]


def _sentence(curve: Curve) -> str:
    point = _end(curve)
    stop = f"stopped by {point.saturated}" if point.saturated != "none" else "stopped by nothing yet"
    return (
        f"{curve.interface} reaches {amount(_throughput(curve, point))} with {vcpus_text(point.vcpus)}, "
        f"{with_unit(point.speed_up, 'times')} one vCPU, {stop}"
    )


def _stops(curve: Curve) -> str:
    stopped = [f"{vcpus_text(p.vcpus)}: {p.saturated}" for p in curve.points if p.saturated != "none"]
    bound = f"; tightest bound {curve.limits[0].resource}, knee at {curve.knee_vcpus:.0f} vCPUs" if curve.limits else ""
    return ("limited at " + ", ".join(stopped) if stopped else "nothing limits it at these numbers") + bound


def _hangs_on(situation: Situation, curve: Curve) -> list[HangsOn]:
    """Simulate the curve's last point under more samples than an interval needs."""
    point = _end(curve)
    done = situation.populate(situation.alone)
    names = [row.interface for row in done.rows]
    at = names.index(curve.interface)
    row, units = done.rows[at], done.ledgers[at]
    scenario = replace(situation.scenario, vcpus=point.vcpus, vcpu_state="working")
    mix = mix_of(scenario, curve.interface, row.leaves.size_4k, row.leaves.size_2m)

    def described(sample: npt.NDArray[np.float64] | None) -> Description:
        return describe(scenario, mix, situation.parameters, sample)

    seed = situation.scenario.seed
    values = sample_values(situation.parameters, CAUSE_SAMPLES, seed)
    scatter = model_scatter(units, situation.parameters, CAUSE_SAMPLES, seed)
    sampled = Sampled(point.gib_per_s.value, estimate(described, values, situation.threads).pages_per_s / scatter)
    causes = Causes.of(situation.parameters, CAUSE_SAMPLES, STREAM + seed)
    return causes.most(f"{curve.interface}, {vcpus_text(point.vcpus)}", sampled)
