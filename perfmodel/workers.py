"""Regions on threads: the same sums on one thread and on many."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from perfmodel.interrupts import interrupts_held
from perfmodel.memory import GuestMemory
from perfmodel.memory_need import available_bytes, require_memory
from perfmodel.recognition import RegionTurn

_THREAD_BYTES = 32 << 20
"""Of one thread: S-EPT pages, the control pages' block, and a region's pages."""
_BLOCK_BYTES = 8 << 20
"""Of one thread for a block of 1 GiB: its PAMT, twice while the window grows."""

Progress = Callable[[int, int], None]
"""Called with regions done and regions in all."""


class Runner(Protocol):
    """Runs regions one after the other and keeps what it has counted."""

    def run(self, turn: RegionTurn) -> None:
        """Run one region."""


SomeRunner = TypeVar("SomeRunner", bound=Runner)


def thread_count(memory: GuestMemory, threads: int | None) -> int:
    """Return how many threads to use: those asked for, or one a core; half the free memory has to hold their tables.

    Raises
    ------
    InputError
        Not even one thread's tables fit.
    """
    threads = threads or len(os.sched_getaffinity(0))
    blocks = memory.backing.blocks_of_widest_region()
    each_bytes = _THREAD_BYTES + blocks * _BLOCK_BYTES
    require_memory(
        each_bytes, f"PAMT of the {blocks} blocks of 1 GiB behind one GiB of the guest", "memory that is less scattered"
    )
    return max(1, min(threads, available_bytes() // 2 // each_bytes))


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
    lock, done = threading.Lock(), [0]
    stop = False

    def work() -> SomeRunner:
        runner = make()
        while not (stop or came()):
            with lock:
                turn = next(waiting, None)
            if turn is None:
                break
            runner.run(turn)
            done[0] += turn.times  # only for the display
        return runner

    threads = max(1, min(threads, regions))
    if progress:
        progress(0, regions)
    with interrupts_held() as came, ThreadPoolExecutor(threads) as pool:
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
            stop = True
        return [future.result() for future in futures]
