"""What page walks of one logical processor meet: rows of ``data/walk_hardware.toml``, and their place in the kernel."""

import functools
import hashlib
import json
import math
from collections.abc import Iterable
from importlib import resources
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kernels import two_dimensional_walk as kernel
from kernels.lru import EMPTY
from perfmodel.errors import InputError
from perfmodel.parameters import Confidence, Parameter

STRUCTURES = (
    "dtlb_4k", "dtlb_2m", "stlb", "sept_leaves",
    "guest_psc_1", "guest_psc_2", "guest_psc_3", "guest_psc_4",
    "sept_psc_1", "sept_psc_2", "sept_psc_3", "sept_psc_4",
    "l1d", "l2", "l3",
)  # fmt: skip
"""Names in the kernel's order."""

LATENCIES = ("l1_load", "l2_load", "l3_load", "stlb_hit")

_MOST_ENTRIES = 1 << 24

Size = Literal["value", "low", "high"]
SIZES: tuple[Size, ...] = ("value", "low", "high")


class Geometry(NamedTuple):
    """Sets and ways of one structure; ``ways_2m`` of a set may hold 2M translations (STLB)."""

    sets: int
    ways: int
    ways_2m: int


class Structure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One TLB or cache; fields are explained in ``data/walk_hardware.toml``."""

    name: str
    entries: int
    ways: int
    low: int
    high: int
    confidence: Confidence
    meaning: str
    source: str
    low_ways: int | None = None
    high_ways: int | None = None
    ways_2m: int = 0
    low_ways_2m: int | None = None
    high_ways_2m: int | None = None

    def geometry(self, size: Size) -> Geometry:
        """Return its sets and ways at the value or at an end of the range.

        Raises
        ------
        InputError
            Sets that are no power of two.
        """
        entries = self.entries if size == "value" else getattr(self, size)
        ways = self.ways if size == "value" else self._of(size, "ways", self.ways)
        ways_2m = self.ways_2m if size == "value" else self._of(size, "ways_2m", self.ways_2m)
        if entries == 0:
            return Geometry(1, 0, 0)
        sets, rest = divmod(entries, ways)
        if rest or sets == 0 or sets & (sets - 1):
            raise InputError(f"{self.name}={entries}: accepted is 0 or {ways} ways times a power of two")
        return Geometry(sets, ways, ways_2m)

    def _of(self, size: Size, field: str, otherwise: int) -> int:
        found = getattr(self, f"{size}_{field}")
        return otherwise if found is None else int(found)


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entries: int
    ways: int
    low: int
    high: int
    source: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    structure: list[Structure]
    latency: list[Parameter]
    presets: dict[str, dict[str, _Change]]


class WalkHardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All structures in the kernel's order, and the latencies in the order of :data:`LATENCIES`."""

    structures: tuple[Structure, ...]
    latencies: tuple[Parameter, ...]

    def geometry(self, size: Size = "value") -> dict[str, Geometry]:
        """Return sets and ways of every structure, by name."""
        return {s.name: s.geometry(size) for s in self.structures}

    @property
    def sha256(self) -> str:
        """Hex digest over every number that results depend on."""
        content = {
            "structures": {size: self.geometry(size) for size in SIZES},
            "latencies": {p.name: [p.unit, p.distribution, p.value, p.low, p.high] for p in self.latencies},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def empty(self, size: Size) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return ``places`` and ``tags`` for :func:`kernels.two_dimensional_walk.access_lines`, with nothing held."""
        places = np.zeros((kernel.STRUCTURES, 4), np.int64)
        start = 0
        for row, (sets, ways, ways_2m) in enumerate(self.geometry(size).values()):
            places[row] = start, sets - 1, ways, ways_2m
            start += sets * ways
        return places, np.full(start, EMPTY, np.int64)

    def reach_bytes(self, share_2m: float) -> int:
        """Return the most memory whose translations the STLB holds, with ``share_2m`` of it in 2M translations."""
        sets, ways, ways_2m = self.geometry()["stlb"]
        entries_a_byte = (1 - share_2m) / (1 << 12) + share_2m / (1 << 21)
        reach = sets * ways / entries_a_byte
        return int(min(reach, sets * ways_2m * (1 << 21) / share_2m) if share_2m else reach)


@functools.cache
def _file() -> _File:
    return msgspec.toml.decode((resources.files("perfmodel") / "data" / "walk_hardware.toml").read_bytes(), type=_File)


def load_walk_hardware(preset: str, overrides: Iterable[str] = ()) -> WalkHardware:
    """Return the hardware of a preset, with single sizes or latencies changed.

    Parameters
    ----------
    preset : str
        One of :func:`perfmodel.parameters.preset_names`; one that the file does not name is like the base.
    overrides : iterable of str
        ``name=entries`` for a structure, 0 for none of it, or ``name=value`` for a latency in its own unit; each once,
        then known exactly.

    Raises
    ------
    InputError
        One line, for an unknown name, or a number that the structure or latency cannot have.
    """
    content = _file()
    structures = {s.name: s for s in content.structure}
    for name, change in content.presets.get(preset, {}).items():
        structures[name] = msgspec.structs.replace(structures[name], **msgspec.structs.asdict(change))
    latencies = {p.name: p for p in content.latency}
    seen: set[str] = set()
    for text in overrides:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals or name in seen:
            raise InputError(f"hardware {text!r}: accepted is NAME=NUMBER, each name once")
        seen.add(name)
        if name in structures:
            structures[name] = _resized(structures[name], number)
        elif name in latencies:
            latencies[name] = _repriced(latencies[name], number)
        else:
            raise InputError(f"hardware {name!r}: accepted are {', '.join((*STRUCTURES, *LATENCIES))}")
    return WalkHardware(tuple(structures[n] for n in STRUCTURES), tuple(latencies[n] for n in LATENCIES))


def _resized(structure: Structure, number: str) -> Structure:
    if not number.isascii() or not number.isdigit() or int(number) > _MOST_ENTRIES:
        raise InputError(f"hardware {structure.name}={number}: accepted is 0 to {_MOST_ENTRIES} entries")
    entries, ways, ways_2m = int(number), structure.ways, structure.ways_2m
    changed = msgspec.structs.replace(
        structure, entries=entries, low=entries, high=entries, low_ways=ways, high_ways=ways,
        low_ways_2m=ways_2m, high_ways_2m=ways_2m,
    )  # fmt: skip
    changed.geometry("value")
    return changed


def _repriced(latency: Parameter, number: str) -> Parameter:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1e6:
        raise InputError(f"hardware {latency.name}={number}: accepted is a number above 0, to 1e6 {latency.unit}")
    return msgspec.structs.replace(latency, value=value, low=value, high=value, distribution="fixed")
