"""Documents as pytest-benchmark writes them, as small as figures of them allow."""

import itertools
from typing import Any

ROOFLINES = {
    ("walk", "test_walk", "walks"): (2.5e8, 0.55, 0.71, 0.98),
    ("PAMT lookup", "test_pamt_lookup", "lookups"): (3.1e8, 0.67, 0.83, 1.02),
    ("4K region, contiguous", "test_4k_calls", "4K pages"): (9e6, 0.44, 0.6),
    ("DEMOTE", "test_demote", "leaves"): (4e4, 0.2),
}
PEERS = {
    ("peer C", "test_calls_against_c", "4K pages", "C"): (2e7, 0.61, 0.93),
    ("peer numpy", "test_aug_against_numpy", "4K pages", "numpy"): (2e7, 14.0),
    ("peer Python", "test_aug_against_python", "4K pages", "Python"): (2e7, 310.0),
    ("peer SimPy", "test_faults_of_64_vcpus", "faults", "SimPy"): (3e6, 120.0),
}


def benchmark(group: str, function: str, rate: float, case: int = 0, **extra: Any) -> dict[str, Any]:
    """Return one case of a benchmark that does 1000 items a round at ``rate`` items a second."""
    return {
        "group": group, "fullname": f"bench/test_x.py::{function}[{case}]", "params": {"case": case},
        "stats": {"median": 1000 / rate, "rounds": 3}, "extra_info": {"items": 1000, "thp": "madvise"} | extra,
    }  # fmt: skip


def document(benchmarks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a file with them."""
    return {
        "machine_info": {"python_version": "3.11.2", "cpu": {"count": 2, "brand_raw": "A processor"}},
        "datetime": "2026-11-22T00:00:00+00:00", "version": "5.3.1", "benchmarks": benchmarks,
    }  # fmt: skip


def every_kind() -> dict[str, Any]:
    """Return a file with rooflines and peers."""
    number = itertools.count()
    roofs = [
        benchmark(group, function, rate, next(number), unit=unit, roofline_ratio=ratio)
        for (group, function, unit), (rate, *ratios) in ROOFLINES.items()
        for ratio in ratios
    ]
    peers = [
        benchmark(group, function, rate, next(number), unit=unit, peer=peer, peer_ratio=ratio)
        for (group, function, unit, peer), (rate, *ratios) in PEERS.items()
        for ratio in ratios
    ]
    return document(roofs + peers)
