"""What of an environment the model can use."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import NamedTuple

import numba

from kernels.jit import cache_folder, is_cached

_HOST_FILES = {
    "meminfo": "required by backing host",
    "buddyinfo": "required by backing host: orders of free blocks",
    "zoneinfo": "required by backing host: zones and watermarks",
    "pagetypeinfo": "free blocks by migrate type",
    "iomem": "physical addresses of System RAM",
    "kpageflags": "real addresses of free blocks",
}


class Finding(NamedTuple):
    """One thing looked at: what it is, whether it can be used, what was found, what follows."""

    what: str
    usable: bool
    found: str
    follows: str


def examine(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> list[Finding]:
    """Look at versions, threads, memory, the kernels' cache and the host's files.

    Parameters
    ----------
    proc, sys : Path
        Roots of procfs and sysfs.
    """
    return [
        Finding("Python", True, platform.python_version(), ""),
        *(_package(name, purpose) for name, purpose in (
            ("numpy", ""), ("numba", ""), ("scipy", "fits parameters"), ("jc", "reads /proc"),
            ("matplotlib", "draws figures: perfmodel[plot]"),
            ("SALib", "screens parameters: perfmodel[sensitivity]"),
            ("pytest-benchmark", "runs bench/: perfmodel[bench]"),
        )),
        Finding("cores", True, str(len(os.sched_getaffinity(0))), "regions run on one thread a core"),
        Finding("Numba threading layer", True, numba.config.THREADING_LAYER,
                "not used: kernels release the GIL and run on Python threads"),
        Finding("JIT", not numba.config.DISABLE_JIT, "off" if numba.config.DISABLE_JIT else "on",
                "without it kernels run as plain Python, thousands of times slower"),
        _cache(),
        _thp(sys),
        *(_host_file(proc / name, purpose) for name, purpose in _HOST_FILES.items()),
    ]  # fmt: skip


def _package(name: str, purpose: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), purpose)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", purpose)


def _cache() -> Finding:
    folder = cache_folder()
    cached = is_cached("populate.populate_region")
    follows = "kernels start at once" if cached else "the first run compiles, about 20 s"
    return Finding("kernel cache", os.access(folder, os.W_OK), str(folder), follows)


def _thp(sys: Path) -> Finding:
    try:
        setting = (sys / "kernel/mm/transparent_hugepage/enabled").read_text().strip()
    except OSError as error:
        return Finding("THP", False, str(error.strerror), "walk speeds cannot be compared between machines")
    return Finding("THP", True, setting, "changes walk speed by about 10 %; recorded with every benchmark")


def _host_file(path: Path, purpose: str) -> Finding:
    try:
        with path.open("rb") as file:
            first = file.read(64)
    except OSError as error:
        return Finding(str(path), False, str(error.strerror), purpose)
    if path.name == "iomem" and first.startswith(b"00000000-00000000"):
        return Finding(str(path), False, "addresses are hidden (no root)", purpose)
    return Finding(str(path), True, "readable", purpose)
