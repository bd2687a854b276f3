"""Regions on threads: the same sums on one thread and on many."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from perfmodel.backings.one_block import OneBlockBacking
from perfmodel.memory import GuestMemory
from perfmodel.recognition import RegionTurn

_PAMT_BUDGET_BYTES = 4 << 30
_BLOCK_PAMT_BYTES = 4 << 20

Progress = Callable[[int, int], None]
"""Called with regions done and regions in all."""


class Runner(Protocol):
    """Runs regions one after the other and keeps what it has counted."""

    def run(self, turn: RegionTurn) -> None:
        """Run one region."""


SomeRunner = TypeVar("SomeRunner", bound=Runner)


def thread_count(memory: GuestMemory, threads: int | None) -> int:
    """Return how many threads to use: those asked for, or one a core, as far as PAMT windows fit in memory."""
    threads = threads or len(os.sched_getaffinity(0))
    if not isinstance(memory.backing, OneBlockBacking):
        widest_bytes = memory.backing.blocks().size * _BLOCK_PAMT_BYTES
        threads = min(threads, max(1, _PAMT_BUDGET_BYTES // widest_bytes))
    return threads


def run_regions(
    make: Callable[[], SomeRunner],
    turns: Iterable[RegionTurn],
    threads: int,
    regions: int,
    progress: Progress | None = None,
) -> list[SomeRunner]:
    """Hand ``turns`` to one runner a thread and return the runners.

    Parameters
    ----------
    make : callable
        Makes a runner; called once in each thread.
    turns : iterable of RegionTurn
    threads : int
    regions : int
        Regions that the turns stand for.
    progress : callable, optional
        Called from this thread with regions done and in all.
    """
    waiting = iter(turns)
    lock, stop, done = threading.Lock(), threading.Event(), [0]

    def work() -> SomeRunner:
        runner = make()
        while not stop.is_set():
            with lock:
                turn = next(waiting, None)
            if turn is None:
                break
            runner.run(turn)
            done[0] += turn.times  # only for the display
        return runner

    if progress:
        progress(0, regions)
    with ThreadPoolExecutor(threads) as pool:
        try:
            futures = [pool.submit(work) for _ in range(threads)]
            pending = set(futures)
            while pending:
                _, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                if any(f.done() and f.exception() for f in futures):
                    break
                if progress:
                    progress(min(done[0], regions), regions)
        finally:
            stop.set()
        return [future.result() for future in futures]
