"""Ratios of two timings on a noisy machine, and what each benchmark stores: the one place for both."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def thp() -> str:
    """Return the setting for transparent hugepages: always, madvise, never, or unknown."""
    text = _THP.read_text() if _THP.exists() else ""
    return text[text.find("[") + 1 : text.find("]")] if "[" in text else "unknown"


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of one call on one thread, which waiting for a core does not lengthen."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def measure_ratio(ours: Callable[[], Any], theirs: Sequence[Callable[[], Any]], pairs: int = 7) -> float:
    """Return the median, over interleaved runs, of the rate of ``ours`` over that of the fastest of ``theirs``.

    All run once before, so that they are compiled and their arrays touched. Both sides run on the calling thread.
    """
    for call in (ours, *theirs):
        call()
    ratios = []
    for _ in range(pairs):
        own = seconds(ours)
        ratios.append(min(map(seconds, theirs)) / own)
    return statistics.median(ratios)


def record(benchmark: Any, items: int, unit: str, roofline_ratio: float) -> None:
    """Store what a round processes, its rate over the roofline's, and the THP setting."""
    benchmark.extra_info.update(items=items, unit=unit, roofline_ratio=round(roofline_ratio, 3), thp=thp())
