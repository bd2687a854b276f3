"""What many vCPUs come to: points by vCPU count, the bound of each resource, and everything that made them."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.names import MOST_VCPUS, VCPU_STATES, WORKLOADS
from perfmodel.result import ParametersId, load_document
from perfmodel.scaling.together import Limit, ScalePoint
from perfmodel.sound import check_scenario, check_sound

SCHEMA = "perfmodel/scale/1"
_PERCENTILE = re.compile(r"p\d{1,2}(\.\d{1,3})?", re.ASCII)
_BEST = 1e6
"""Efficiencies, which results are divided by, are far below it and far above its inverse."""


class Curve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workload under one interface, with the other vCPUs in one state, by number of vCPUs."""

    workload: str
    interface: str
    state: str
    leaves_2m_share: float
    pages_per_unit: float
    limits: list[Limit]
    knee_vcpus: float
    points: list[ScalePoint]


class ScaleResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Curves, and everything that made them."""

    schema: str = SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    scenario: dict[str, Any]
    options: dict[str, Any]
    curves: list[Curve]
    model_seconds: float


def to_json(result: ScaleResult) -> bytes:
    """Return ``result`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def load_scale(path: Path) -> ScaleResult:
    """Read a result that ``perfmodel scale --json`` wrote.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is not such a result.
    """
    result = load_document(path, ScaleResult)
    points = [point for curve in result.curves for point in curve.points]
    if not points or not all(math.isfinite(p.gib_per_s.value) and p.gib_per_s.value > 0 for p in points):
        raise InputError(f"{path}: a curve without throughput: accepted is what perfmodel writes as schema {SCHEMA}")
    named = {(curve.workload, curve.interface, curve.state) for curve in result.curves}
    if len(named) < len(result.curves) or not all(map(_is_sound, result.curves)):
        raise InputError(f"{path}: a curve that is none: accepted is what perfmodel writes as schema {SCHEMA}")
    check_scenario(path, result.scenario)
    check_sound(path, result)
    return result


def _is_sound(curve: Curve) -> bool:
    counts = [point.vcpus for point in curve.points]
    return (
        curve.workload in WORKLOADS
        and curve.state in VCPU_STATES
        and bool(counts)
        and all(before < after for before, after in itertools.pairwise([0, *counts]))
        and counts[-1] <= MOST_VCPUS
        and all(map(_is_sound_point, curve.points))
        and all(point.latency_ns.keys() == curve.points[0].latency_ns.keys() for point in curve.points)
    )


def _is_sound_point(point: ScalePoint) -> bool:
    times = (point.cycle_ns, point.service_ns, *point.latency_ns.values())
    return (
        bool(point.latency_ns) and min(times) > 0 and point.gib_per_s.low > 0 and 1 / _BEST < point.efficiency < _BEST
    )
