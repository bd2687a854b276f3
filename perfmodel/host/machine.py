"""Caches and clocks of CPU 0. Nothing here is required: what cannot be read is left out."""

import re
from pathlib import Path

from perfmodel.host.model import Cache, Cpu
from perfmodel.host.text import read_text

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d{1,9})([KMG]?)\s*")
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?\s*")


def read_caches(sys: Path) -> list[Cache]:
    """Return the caches in ``devices/system/cpu/cpu0/cache``, in the order of their indices."""
    found = []
    folder = sys / "devices/system/cpu/cpu0/cache"
    for index in range(16):
        at = folder / f"index{index}"
        size = _SIZE.fullmatch(_text(at / "size"))
        kind = _text(at / "type").strip()
        level, ways, sets, line = (
            _number(at / name) for name in ("level", "ways_of_associativity", "number_of_sets", "coherency_line_size")
        )
        if size and kind.isalpha() and level and line and ways is not None and sets is not None:
            size_bytes = int(size[1]) * _UNITS[size[2]]
            found.append(Cache(int(level), kind, size_bytes, int(ways), int(sets), int(line)))
    return found


def read_cpu(proc: Path, sys: Path) -> Cpu:
    """Return identity and clocks of CPU 0.

    The TSC's frequency is half of ``bogomips``, exact to 0.01 MHz, on an x86 CPU with a constant TSC: the
    kernel derives its delay loop from the TSC there.
    """
    fields: dict[str, str] = {}
    for line in _text(proc / "cpuinfo").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    bogomips = _mhz(fields.get("bogomips", ""))
    max_khz = _number(sys / "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return Cpu(
        vendor=fields.get("vendor_id"),
        family=_integer(fields.get("cpu family", "")),
        model=_integer(fields.get("model", "")),
        model_name=fields.get("model name"),
        cpu_mhz=_mhz(fields.get("cpu MHz", "")),
        max_mhz=_mhz(str(max_khz / 1000)) if max_khz else None,
        tsc_mhz=bogomips / 2 if bogomips and "constant_tsc" in fields.get("flags", "").split() else None,
    )


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if _NUMBER.fullmatch(text) else None


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _mhz(text: str) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    return value if 0 < value < 100_000 else None
