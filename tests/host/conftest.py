"""A small fabricated host: 64 MiB DMA32 and 192 MiB Normal, 1 GiB apart, with /proc and /sys."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from perfmodel.host.blocks import Runs, runs_to_blocks

BUDDY = 1 << 10
TOP = 10


class Tree(NamedTuple):
    proc: Path
    sys: Path
    flags: np.ndarray


ZONES = {"DMA32": (4096, 16384), "Normal": (1 << 20, 49152)}
FREE = {"DMA32": [(5000, 6200), (8192, 10240)], "Normal": [((1 << 20) + 3, (1 << 20) + 9000)]}
DEFERRED = ((1 << 20) + 16384, (1 << 20) + 49152)
DEFERRED_PAGES = 28672


def free_runs() -> Runs:
    return Runs.of(pair for pairs in FREE.values() for pair in pairs)


def write_tree(root: Path, heads_only: bool = False) -> Tree:
    proc, sys = root / "proc", root / "sys"
    (proc / "sys/kernel").mkdir(parents=True)
    rows, info, ram = [], [], []
    flags = np.full((1 << 20) + 49152, 1 << 7, "<u8")
    listed = 0
    for name, (start, pages) in ZONES.items():
        runs = Runs.of(FREE[name])
        blocks = runs_to_blocks(runs, TOP)
        listed += runs.pages
        rows.append(f"Node 0, zone {name:>8} " + "".join(f"{len(pfns):6d} " for pfns in blocks))
        info.append(
            f"Node 0, zone {name:>8}\n  pages free     {runs.pages}\n"
            "        boost    0\n        min      68\n"
            f"        low      85\n        high     102\n        promo    119\n        spanned  {pages}\n"
            f"        present  {pages}\n        managed  {pages}\n        cma      0\n"
            f"        protection: (0, 0)\n  pagesets\n    cpu: 0\n              count:    0\n"
            f"              high:     7\n              batch:    1\n  node_unreclaimable:  0\n"
            f"  start_pfn:           {start}\n"
        )
        ram.append(f"{start << 12:08x}-{((start + pages) << 12) - 1:08x} : System RAM")
        ram.append("  00000000-00000001 : Kernel code")
        for order, pfns in enumerate(blocks):
            for pfn in pfns:
                flags[pfn : pfn + (1 << order)] = 0 if heads_only else BUDDY
                flags[pfn] = BUDDY
    flags[slice(*DEFERRED)] = 0
    free_kib = (listed + DEFERRED_PAGES) * 4
    (proc / "buddyinfo").write_text("\n".join(rows) + "\n")
    (proc / "zoneinfo").write_text("".join(info))
    (proc / "iomem").write_text("\n".join(ram))
    (proc / "meminfo").write_text(f"MemTotal:  262144 kB\nMemFree:   {free_kib} kB\n")
    (proc / "sys/kernel/osrelease").write_text("6.18.0\n")
    (proc / "cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 207\ncpu MHz\t\t: 2100.000\n"
        "flags\t\t: fpu constant_tsc\nbogomips\t: 4200.00\n\n"
    )
    flags.tofile(proc / "kpageflags")
    cache = sys / "devices/system/cpu/cpu0/cache/index0"
    cache.mkdir(parents=True)
    values = {
        "level": "1",
        "type": "Data",
        "size": "48K",
        "ways_of_associativity": "12",
        "number_of_sets": "64",
        "coherency_line_size": "64",
    }
    for key, value in values.items():
        (cache / key).write_text(value + "\n")
    return Tree(proc, sys, flags)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Return a function that writes the fabricated /proc and /sys."""

    def make(heads_only: bool = False) -> Tree:
        return write_tree(tmp_path / "host", heads_only)

    return make


@pytest.fixture
def tree(make_tree: Callable[..., Tree]) -> Tree:
    """The fabricated /proc and /sys."""
    return make_tree()
