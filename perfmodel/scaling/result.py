"""What many vCPUs come to: points by vCPU count, the bound of each resource, and everything that made them."""

import math
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.result import ParametersId, load_document, schema_of
from perfmodel.scaling.together import Limit, ScalePoint

SCHEMA = "perfmodel/scale/1"


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
    schema_of(path, (SCHEMA,))
    result = load_document(path, ScaleResult)
    points = [point for curve in result.curves for point in curve.points]
    if not points or not all(math.isfinite(p.gib_per_s.value) and p.gib_per_s.value > 0 for p in points):
        raise InputError(f"{path}: a curve without throughput: accepted is what perfmodel writes as schema {SCHEMA}")
    return result
