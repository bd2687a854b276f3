"""What vCPUs meet at, in SimPy: cache lines, locks that are tried, waited for or slept on, and bandwidth.

A line has a queue of turns; a lock word is read and changed when its line has arrived. Who must wait for a lock waits
for an event of its own.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import simpy

Steps = Iterator[simpy.Event]
Transfer = Callable[[Any, Any], float]


@dataclass
class Meter:
    """What vCPUs met at one kind of resource; times in ns."""

    visits: int = 0
    queue: float = 0.0
    transfer: float = 0.0
    blocked: float = 0.0
    busy: int = 0

    def wait(self, ns: float) -> None:
        """Count time blocked."""
        self.blocked += ns


class Line:
    """A cache line: who does not have it waits for its turn, then for the transfer from whoever had it last."""

    def __init__(self, env: simpy.Environment, transfer: Transfer) -> None:
        self.env, self._transfer = env, transfer
        self._in_use, self._turns = False, deque[simpy.Event]()
        self._holder: Any = None

    def fetch(self, vcpu: Any, meter: Meter) -> Steps:
        """Get the line, to be given back at the same time."""
        meter.visits += 1
        if self._in_use:
            arrived, turn = self.env.now, self.env.event()
            self._turns.append(turn)
            yield turn
            meter.queue += self.env.now - arrived
        self._in_use = True
        if self._holder is not vcpu and self._holder is not None:
            takes = self._transfer(self._holder, vcpu)
            meter.transfer += takes
            yield self.env.timeout(takes)
        self._holder = vcpu

    def give_back(self) -> None:
        """Let the next have the line."""
        if self._turns:
            self._turns.popleft().succeed()
        else:
            self._in_use = False

    def use(self, vcpu: Any, meter: Meter) -> Steps:
        """One atomic instruction."""
        yield from self.fetch(vcpu, meter)
        self.give_back()

    def hand_to(self, waiting: list[tuple[Any, simpy.Event]]) -> None:
        """Give the line to these before all others, one after the other; each learns when it has it."""
        turns = [self.env.event() for _ in waiting]
        self._turns.extendleft(reversed(turns))
        for (vcpu, handed), turn in zip(waiting, turns, strict=True):
            self.env.process(self._hand(vcpu, handed, turn))

    def _hand(self, vcpu: Any, handed: simpy.Event, turn: simpy.Event) -> Steps:
        yield turn
        yield self.env.timeout(self._transfer(self._holder, vcpu))
        self._holder = vcpu
        self.give_back()
        handed.succeed()


class QueuedLock(Line):
    """A lock on a line of its own whose waiters queue, readers and writers as in Linux's qrwlock."""

    def __init__(self, env: simpy.Environment, transfer: Transfer) -> None:
        super().__init__(env, transfer)
        self.readers, self.written = 0, False
        self._waiting: deque[tuple[bool, Any, simpy.Event]] = deque()

    def _free_for(self, reads: bool) -> bool:
        return not self.written and (reads or not self.readers)

    def passes(self, reads: bool) -> bool:
        """Whether who comes now may go before those who wait."""
        return False

    def _take(self, reads: bool) -> None:
        if reads:
            self.readers += 1
        else:
            self.written = True

    def lock(self, vcpu: Any, meter: Meter, reads: bool = False) -> Steps:
        """Take the lock, or wait until it is handed over."""
        yield from self.use(vcpu, meter)
        if self._free_for(reads) and (not self._waiting or self.passes(reads)):
            self._take(reads)
            return
        since, handed = self.env.now, self.env.event()
        handed.callbacks.append(lambda _: meter.wait(self.env.now - since))
        self._waiting.append((reads, vcpu, handed))
        yield from vcpu.wait(handed)

    def unlock(self, vcpu: Any, meter: Meter, reads: bool = False) -> Steps:
        """Release the lock and hand it over, to one writer or to readers up to the next writer."""
        yield from self.fetch(vcpu, meter)
        if reads:
            self.readers -= 1
        else:
            self.written = False
        if self._waiting:
            chosen = []
            while self._waiting and self._free_for(self._waiting[0][0]):
                next_reads, waiter, handed = self._waiting.popleft()
                self._take(next_reads)
                chosen.append((waiter, handed))
            self.hand_to(chosen)
        self.give_back()


class SleepLock(Line):
    """A lock whose waiters sleep; who is woken tries again, and may find that another was quicker."""

    def __init__(self, env: simpy.Environment, transfer: Transfer, wake_up: float) -> None:
        super().__init__(env, transfer)
        self._wake_up, self._taken = wake_up, False
        self._asleep: deque[simpy.Event] = deque()

    def lock(self, vcpu: Any, meter: Meter) -> Steps:
        """Take the lock."""
        yield from self.use(vcpu, meter)
        while self._taken:
            since, woken = self.env.now, self.env.event()
            self._asleep.append(woken)
            yield woken
            yield self.env.timeout(self._wake_up)
            meter.blocked += self.env.now - since
            yield from self.use(vcpu, meter)
        self._taken = True

    def unlock(self, vcpu: Any, meter: Meter) -> Steps:
        """Release the lock and wake the first sleeper."""
        yield from self.use(vcpu, meter)
        self._taken = False
        if self._asleep:
            self._asleep.popleft().succeed()


class TryLock:
    """A lock of the module: shared, exclusive or neither, and the priority of a host call that failed."""

    def __init__(self) -> None:
        self.sharers, self.owned, self.host_waits = 0, False, False

    def try_shared(self) -> bool:
        """Share it, for a host call."""
        self.host_waits = self.owned
        self.sharers += not self.owned
        return not self.owned

    def try_exclusive(self, sharers: int = 0) -> bool:
        """Own it, for a host call that is ``sharers`` of its sharers."""
        got = not self.owned and self.sharers == sharers
        self.host_waits = not got
        if got:
            self.sharers, self.owned = 0, True
        return got

    def try_guest(self) -> bool:
        """Own it, for the guest, who steps back for the host."""
        got = not self.owned and not self.sharers and not self.host_waits
        self.owned = self.owned or got
        return got

    def drop_shared(self) -> None:
        """Stop sharing it."""
        self.sharers -= 1

    def drop_exclusive(self) -> None:
        """Stop owning it."""
        self.owned = False


class Server:
    """Bandwidth in shares of the whole; while streams ask for more than it, all of them slow down alike."""

    def __init__(self) -> None:
        self._shares: dict[Stream, float] = {}
        self._asked = 0.0

    @property
    def slowdown(self) -> float:
        """How many times as long as alone streams take."""
        return max(self._asked, 1.0)

    def change(self, stream: "Stream", share: float | None) -> None:
        """Let a stream begin, or end (None)."""
        before = self.slowdown
        if share is not None:
            self._shares[stream] = share
        else:
            del self._shares[stream]
        self._asked = sum(self._shares.values())
        if self.slowdown != before:
            for other in self._shares:
                if other is not stream:
                    other.plan()


class Stream:
    """Bytes on their way through servers, ``left`` ns of them where nobody else moves any."""

    def __init__(self, env: simpy.Environment, own: float, shares: dict[Server, float]) -> None:
        self._env, self.left, self._shares = env, own, shares
        self._pace, self._since, self._timer = 1.0, env.now, env.event()
        self.end = env.event()

    def begin(self) -> None:
        """Begin, or go on."""
        self._since, self.end = self._env.now, self._env.event()
        for server, share in self._shares.items():
            server.change(self, share)
        self.plan()

    def plan(self) -> None:
        """Find the end anew at the servers' slowdown of now."""
        self._catch_up()
        self._pace = max(server.slowdown for server in self._shares)
        self._timer = self._env.timeout(self.left * self._pace)
        self._timer.callbacks.append(self._expire)

    def _catch_up(self) -> None:
        self.left = max(self.left - (self._env.now - self._since) / self._pace, 0.0)
        self._since = self._env.now

    def _expire(self, timer: simpy.Event) -> None:
        if timer is self._timer:
            self.stop()
            self.end.succeed()

    def stop(self) -> None:
        """End, or pause."""
        self._catch_up()
        self._timer = self._env.event()
        for server in self._shares:
            server.change(self, None)
