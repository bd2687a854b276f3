"""Ctrl-C while threads work: noted at once, acted upon where no lock is held.

Python raises KeyboardInterrupt between any two instructions of the main thread, also within the locks of
concurrent.futures: one that is then never released has threads wait for ever. So it is held back while they run.
"""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


@contextmanager
def interrupts_held() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT has come; where it has, the end of the block raises KeyboardInterrupt.

    In other threads than the main one, and where SIGINT is ignored, nothing is held.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield lambda: False
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def side_by_side(function: Callable[[Item], Found], items: Iterable[Item], threads: int) -> Iterator[Found]:
    """Yield ``function`` of each of ``items``, in their order, from a pool of ``threads``.

    After Ctrl-C no call begins that has not begun, and KeyboardInterrupt is raised once those that have are done.
    """
    with interrupts_held() as came, ThreadPoolExecutor(threads) as pool:

        def one(item: Item) -> Found:
            if came():
                raise KeyboardInterrupt
            return function(item)

        yield from pool.map(one, items)
