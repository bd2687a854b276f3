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


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.thread_time) -> float:
    """Return the time of one call: of this thread's processor, which waiting for a core does not lengthen.

    ``time.perf_counter`` as ``clock`` measures calls that run on several threads, whose work this thread's time leaves
    out; other work on the machine then counts.
    """
    start = clock()
    call()
    return clock() - start


def measure_ratio(
    ours: Callable[[], Any],
    theirs: Sequence[Callable[[], Any]],
    pairs: int = 7,
    clock: Callable[[], float] = time.thread_time,
) -> float:
    """Return the median, over interleaved runs, of the rate of ``ours`` over that of the fastest of ``theirs``.

    All run once before, so that they are compiled and their arrays touched. For calls that start threads, ``clock``
    is ``time.perf_counter``: see :func:`seconds`.
    """
    for call in (ours, *theirs):
        call()
    ratios = []
    for _ in range(pairs):
        own = seconds(ours, clock)
        ratios.append(min(seconds(call, clock) for call in theirs) / own)
    return statistics.median(ratios)


def record(benchmark: Any, items: int, unit: str, roofline_ratio: float) -> None:
    """Store what a round processes, its rate over the roofline's, and the THP setting."""
    benchmark.extra_info.update(items=items, unit=unit, roofline_ratio=round(roofline_ratio, 3), thp=thp())
