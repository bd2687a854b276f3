"""Ctrl-C while threads work: held until no lock is, then raised; nothing that has not begun begins."""

import os
import signal

import pytest

from perfmodel.interrupts import interrupts_held, side_by_side


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_is_raised_where_the_block_ends() -> None:
    def held() -> None:
        with interrupts_held() as came:
            assert not came()
            interrupt()
            while not came():
                pass
            reached.append(True)

    reached: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        held()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_has_not_begun_does_not_begin() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            handler = signal.getsignal(signal.SIGINT)
            interrupt()
            while not handler.__closure__[0].cell_contents:  # until the main thread has noted it
                pass
        return item

    found: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(side_by_side(work, range(1000), 1))
    assert begun == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_not_hidden_and_order_is_kept() -> None:
    assert list(side_by_side(lambda x: x * x, range(50), 4)) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda x: 1 // x, range(5), 2))


def test_where_it_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held() as came:
            interrupt()
            assert not came()
    finally:
        signal.signal(signal.SIGINT, before)
