"""Results: exact counts of a run, their price, and everything that made them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from perfmodel.costs import ALL_STAGES, STAGES
from perfmodel.errors import InputError
from perfmodel.files import read_whole
from perfmodel.scaling.together import Scaling
from perfmodel.sound import check_scenario, check_sound

COMPARE_SCHEMA = "perfmodel/compare/1"
RUN_SCHEMA = "perfmodel/run/1"

_Document = TypeVar("_Document", bound=msgspec.Struct)


class Leaves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Present last-level S-EPT entries by size."""

    size_4k: int = msgspec.field(name="4K")
    size_2m: int = msgspec.field(name="2M")


class Pages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """4K guest pages: asked = mapped + refused; shared ones are not asked for."""

    asked: int
    mapped: int
    refused: int
    shared: int


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cost at the parameters' values, its 5 % and 95 % points over their ranges, and its stages."""

    total: float
    low: float
    high: float
    by_stage: dict[str, float]

    def times(self, factor: float) -> "Cost":
        """Return the cost in another unit."""
        stages = {stage: cost * factor for stage, cost in self.by_stage.items()}
        return Cost(self.total * factor, self.low * factor, self.high * factor, stages)


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interface: what happened, to the unit, and what it costs.

    ``ns`` and ``cycles`` are the work of all vCPUs together, waiting left out. ``seconds`` and the rates are of the
    time that passes: the same for one vCPU, and what the simulation of ``scaling`` says for several.

    ``docs/json.md`` says for each count by which KVM counter or tracepoint a user can check it.
    """

    interface: str
    leaves: Leaves
    pages: Pages
    faults: int
    td_exits: int
    seamcalls: dict[str, int]
    tdcalls: dict[str, int]
    refused_hugepages: dict[str, int]
    sept_pages: int
    host_table_pages: int
    pamt_bytes: int
    ns: Cost
    cycles: Cost
    seconds: float
    gib_per_s: float
    faults_per_s: float
    scaling: Scaling | None
    model_seconds: float


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many times as long ``interface`` takes as ``over``, both under the same parameters."""

    interface: str
    over: str
    value: float
    low: float
    high: float


class ParametersId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which parameters priced a result."""

    name: str
    sha256: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scenario under several interfaces."""

    schema: str = COMPARE_SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    scenario: dict[str, Any]
    rows: list[Row]
    ratios: list[Ratio]
    notes: dict[str, Any]


class RunRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interface in full: its row, the counters of the run and the units of work they stand for."""

    row: Row
    counters: dict[str, int]
    ledger: dict[str, dict[str, int]]


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scenario, each interface with its ledger."""

    schema: str = RUN_SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    scenario: dict[str, Any]
    runs: list[RunRow]
    notes: dict[str, Any]


def to_json(result: Comparison | Run) -> bytes:
    """Return ``result`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def load_comparison(path: Path) -> Comparison:
    """Read a comparison that ``perfmodel compare --json`` wrote.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is not a comparison of this schema version.
    """
    result = load_document(path, Comparison)
    check_scenario(path, result.scenario)
    _check_rows(path, result.rows, COMPARE_SCHEMA)
    check_sound(path, result)
    return result


def load_run(path: Path) -> Run:
    """Read what ``perfmodel run --json`` wrote of a scenario that is no life.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is not such a result.
    """
    result = load_document(path, Run)
    check_scenario(path, result.scenario)
    _check_rows(path, [one.row for one in result.runs], RUN_SCHEMA)
    check_sound(path, result)
    return result


def _check_rows(path: Path, rows: Sequence[Row], schema: str) -> None:
    named = {row.interface for row in rows}
    if not 0 < len(rows) == len(named) or not all(is_sound(row.ns) and _is_within(row) for row in rows):
        raise InputError(
            f"{path}: a row whose costs do not add up: accepted is what perfmodel writes as schema {schema}"
        )


def _is_within(row: Row) -> bool:
    """Return whether the throughput of vCPUs that meet lies within its interval."""
    if row.scaling is None:
        return True
    speed = row.scaling.point.gib_per_s
    return speed.low <= row.gib_per_s <= speed.high


def is_sound(cost: Cost) -> bool:
    """Return whether the stages of a cost are known and add up to it, and its interval holds it."""
    parts = cost.by_stage.values()
    return (
        cost.by_stage.keys() in (set(STAGES), set(ALL_STAGES))
        and all(math.isfinite(part) and part >= 0 for part in parts)
        and math.isclose(cost.total, math.fsum(parts), rel_tol=1e-9, abs_tol=1e-9)
        and 0 <= cost.low <= cost.total <= cost.high < math.inf
    )


def schema_of(path: Path, accepted: Sequence[str]) -> str:
    """Return which of the schemas ``accepted`` a result file says it has.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or says something else.
    """
    wanted = f"accepted is a file that perfmodel wrote with --json, of schema {', '.join(accepted)}"
    try:
        schema = msgspec.json.decode(read_whole(path), type=_Headed).schema
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: {wanted}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}: {wanted}") from None
    if schema not in accepted:
        raise InputError(f"{path}: schema {schema!r}: {wanted}")
    return schema


class _Headed(msgspec.Struct):
    """Any result: all have a schema."""

    schema: str


def load_document(path: Path, kind: type[_Document]) -> _Document:
    """Read a result of type ``kind``, whose default schema the file must have.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is no such result.
    """
    schema = next(field.default for field in msgspec.structs.fields(kind) if field.name == "schema")
    schema_of(path, (str(schema),))
    try:
        return msgspec.json.decode(read_whole(path), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}: accepted is what perfmodel writes as schema {schema}") from None
