"""What ``perfmodel steady`` gives: counts and times by size of the S-EPT leaves, and everything that made them."""

from pathlib import Path
from typing import Any

import msgspec

from perfmodel.accounting import MemoryUse
from perfmodel.errors import InputError
from perfmodel.result import ParametersId, load_document
from perfmodel.sound import check_sound

SCHEMA = "perfmodel/steady/1"


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value, and the ends of its interval over the parameters' and the structures' ranges."""

    value: float
    low: float
    high: float


class Loads(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loads by where they found their line; those of ``memory`` found it in no cache."""

    l1d: int
    l2: int
    l3: int
    memory: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.l1d + self.l2 + self.l3 + self.memory


class SteadyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of S-EPT leaf; counts are those with all structures at their values."""

    leaf: str
    share_2m: float
    reach_bytes: int
    uncached_references: int
    dtlb_misses: int
    walks: int
    guest_loads: Loads
    sept_loads: Loads
    data_loads: Loads
    misses_per_access: float
    sept_loads_per_walk: float
    loads_per_walk: float
    walk_ns: Interval
    access_ns: Interval
    walk_cycles: Interval
    access_cycles: Interval
    busy_walkers: Interval
    memory: MemoryUse
    memory_total: int


class Speedup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many times as fast accesses go as with ``over``, and the ns each saves, under the same prices and sizes."""

    leaf: str
    over: str
    times: Interval
    saved_ns: Interval


class Structure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries and ways of a TLB or cache at their values; no entries: there is none."""

    entries: int
    ways: int


class SteadyResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scenario with 4K leaves, with 2M leaves and, if asked for, with a mix."""

    schema: str = SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    hardware: dict[str, Structure]
    hardware_sha256: str
    scenario: dict[str, Any]
    rows: list[SteadyRow]
    speedups: list[Speedup]


def to_json(result: SteadyResult) -> bytes:
    """Return ``result`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def load_steady(path: Path) -> SteadyResult:
    """Read a result that ``perfmodel steady --json`` wrote.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is not such a result.
    """
    result = load_document(path, SteadyResult)
    given = result.scenario
    sizes = (given.get("memory_bytes"), given.get("working_set_bytes"))
    if not 0 < len(result.rows) == len({row.leaf for row in result.rows}) or not all(
        isinstance(size, int) and size > 0 for size in sizes
    ):
        raise InputError(f"{path}: no rows or sizes: accepted is what perfmodel writes as schema {SCHEMA}")
    check_sound(path, result, ("saved_ns",))
    return result
