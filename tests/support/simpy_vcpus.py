"""Hosts, TDs and vCPUs in SimPy, and running them: the simulation of :mod:`kernels.queueing` by another hand.

Built from the same :class:`perfmodel.scaling.network.Description`, but no step, script or engine is shared: each vCPU
is a process that walks through the paths of ``simpy_module.py``, ``simpy_populate.py`` and ``simpy_changes.py``.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import simpy
from simpy_lines import Line, Meter, QueuedLock, Server, SleepLock, Steps, Stream, TryLock

from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Description
from perfmodel.scaling.registers import Register as Reg

_STRIDE = 40503  # far from neighbours; in a power of two of units no two are alike
CHUNK, RANGE, GIB = 10, 9, 18
"""log2 of the 4K pages in 4 MiB, 2 MiB, 1 GiB."""


class Mode(Enum):
    """Where a vCPU is: KVM kicks it from the moment at which it sets out to enter."""

    OUTSIDE = 0
    ENTERING = 1
    INSIDE = 2


class Table(Enum):
    """A mirror entry for a table, or a folio."""

    ABSENT = 0
    FROZEN = 1
    PRESENT = 2


class Host:
    """The machine: everything that TDs share, and what is measured."""

    def __init__(self, d: Description, seed: int) -> None:
        self.d, self.env, self.seed = d, simpy.Environment(), seed
        self.meters: defaultdict[Reg, Meter] = defaultdict(Meter)
        self.calls: Counter[Call] = Counter()
        self.units = self.pages = self.polls = 0
        self._goal, self._reached = 0, self.env.event()
        self.memory = [Server() for _ in range(d.nodes)]
        self.links = [Server() for _ in range(d.nodes)]
        self.pamt_lock = self.lock()
        self.random = random.Random(seed)
        self.tds = [Td(self) for _ in range(d.tds)]
        self.vcpus = [vcpu for td in self.tds for vcpu in td.vcpus]

    def line(self) -> Line:
        """Return a new cache line."""
        return Line(self.env, self._transfer)

    def lock(self) -> QueuedLock:
        """Return a new lock that is queued for."""
        return QueuedLock(self.env, self._transfer)

    def sleep_lock(self) -> SleepLock:
        """Return a new lock that is slept on."""
        return SleepLock(self.env, self._transfer, self.d.costs.sleeper_wakeup)

    def _transfer(self, holder: "Vcpu | None", vcpu: "Vcpu") -> float:
        near = holder is None or holder.node == vcpu.node
        return self.d.costs.line_transfer if near else self.d.costs.line_transfer_remote

    def finish(self, pages: int) -> None:
        """Count a unit of work."""
        self.units += 1
        self.pages += pages
        if self.units == self._goal:
            self._reached.succeed()

    def run(self, units: int) -> None:
        """Run until so many units of work are done in all."""
        self._goal, self._reached = units, self.env.event()
        self.env.run(until=self._reached)


@dataclass
class Gib:
    """What the faults of one GiB share."""

    folio_lock: SleepLock
    hugetlb_mutex: QueuedLock
    table_2m: Table
    folio: Table


class Range:
    """What the faults of one 2M range share."""

    def __init__(self, table_4k: Table) -> None:
        self.entry, self.pamt, self.table_4k = TryLock(), TryLock(), table_4k


class Td:
    """A TD: the lines and locks of its TDR and TDCS, its memory and its vCPUs."""

    def __init__(self, host: Host) -> None:
        d, line = host.d, host.line
        self.host = host
        self.tdr_pamt_1g, self.tdr_pamt_2m, self.tdr_pamt_4k, self.tdr_chldcnt = line(), line(), line(), line()
        self.tdvpr_pamt_1g = self.tdr_pamt_1g if d.together else line()
        self.op_state, self.tree_line, self.epoch_line = line(), line(), line()
        self.tdr, self.tree, self.epoch_lock = TryLock(), TryLock(), TryLock()
        self.mmu_lock, self.guest_lock = host.lock(), host.lock()
        there = Table.ABSENT if d.order == "sequential" else Table.PRESENT
        self.gibs = defaultdict(lambda: Gib(host.sleep_lock(), host.lock(), there, there))
        self.ranges = defaultdict(lambda: Range(there))
        self.lines: defaultdict[tuple[Reg, int], Line] = defaultdict(line)
        self.epoch, self.inside_since = 1, Counter[int]()
        self.wait_for_sept_zap, self.answers_due, self.all_out = False, 0, host.env.event()
        self.taken = 0
        self.vcpus = [Vcpu(self, number) for number in range(d.vcpus)]


class Vcpu:
    """A vCPU and the host thread that runs it."""

    def __init__(self, td: Td, number: int) -> None:
        self.td, self.host, self.number = td, td.host, number
        self.env, d = td.host.env, td.host.d
        self.node = number * d.nodes // d.vcpus
        self.random = random.Random(td.host.random.random())
        self.phase = self.random.random()
        self.meters = td.host.meters
        self.mode, self.epoch, self.kicked, self.interruptible = Mode.OUTSIDE, 0, False, False
        self.process: simpy.Process | None = None
        self.out: Any = None  # what a kick makes it do: simpy_changes.leave
        self._owed = 0.0
        self.scatter: Callable[[float], float] = self._exponential if d.spread == "exponential" else lambda ns: ns
        self.page = self.same_rip = self._taken = 0

    def count(self, call: Call) -> None:
        """Count a call."""
        self.host.calls[call] += 1

    # work

    def _exponential(self, ns: float) -> float:
        return ns * self.random.expovariate(1.0)

    def owe(self, ns: float) -> None:
        """Add to the work to be done before whatever comes next."""
        self._owed += ns

    def spend(self, ns: float = 0.0) -> Steps:
        """Do the work owed and ``ns`` more, in one go."""
        ns += self._owed
        if ns:
            self._owed = 0.0
            yield from self._pass(self.scatter(ns))

    def _pass(self, ns: float) -> Steps:
        if self.mode is not Mode.INSIDE:
            yield self.env.timeout(ns)
            return
        while True:
            began = self.env.now
            if (yield from self._undisturbed(self.env.timeout(ns))):
                return
            ns -= self.env.now - began
            yield from self.out(self)

    def _undisturbed(self, event: simpy.Event) -> Iterator[Any]:
        """Wait inside the TD for an event; return False where an interrupt comes before it."""
        if self.kicked:
            return False
        self.interruptible = True
        try:
            yield event
        except simpy.Interrupt:
            return False
        finally:
            self.interruptible = False
        return True

    def wait(self, event: simpy.Event) -> Steps:
        """Wait for an event, and take interrupts meanwhile where inside; return its value."""
        while not event.processed:
            if self.mode is not Mode.INSIDE:
                yield event
            elif not (yield from self._undisturbed(event)):
                yield from self.out(self)
        return event.value

    def move(self, own: float, takes: float) -> Steps:
        """Move bytes that keep the vCPU for ``own`` ns and the memory for ``takes``."""
        yield from self.spend()
        d, far = self.host.d, self.home != self.node
        meter = self.meters[Reg.DRAM]
        meter.visits += takes > 0
        own, link = max(own, takes), 0.0
        if far:
            more = takes * d.costs.remote_line / d.costs.dram_line
            link = takes * d.costs.link_line / d.costs.dram_line
            self.meters[Reg.LINK].transfer += more
            own = max(own + more, link)
        servers = {self.host.memory[self.home]: takes / own, self.host.links[self.home]: link / own} if own else {}
        shares = {server: share for server, share in servers.items() if share}
        if not shares:
            yield from self._pass(own)
            return
        began, stream = self.env.now, Stream(self.env, own, shares)
        stream.begin()
        away = 0.0
        while not stream.end.processed:
            if self.mode is not Mode.INSIDE:
                yield stream.end
            elif not (yield from self._undisturbed(stream.end)):
                left, moving = self.env.now, not stream.end.triggered
                if moving:
                    stream.stop()
                yield from self.out(self)
                away += self.env.now - left
                if moving:
                    stream.begin()
        meter.queue += self.env.now - began - own - away

    # lines and locks

    def atomic(self, line: Line, name: Reg, ns: float = 0.0) -> Steps:
        """Do the work before it, then one atomic instruction on a line."""
        yield from self.spend(ns)
        yield from line.use(self, self.meters[name])

    def tried(self, got: bool, name: Reg) -> bool:
        """Count an attempt that failed."""
        if not got:
            self.meters[name].busy += 1
        return got

    # memory

    def take(self) -> None:
        """Take the next unit of memory: 4 MiB, or a page."""
        td, d = self.td, self.host.d
        shift = 0 if d.options.page_wise else CHUNK
        gibs = min(d.gibs, 1024 if d.order == "sequential" else 128)
        units = gibs << GIB - shift
        if d.order == "striped":
            stripe = max(units // d.vcpus, 1)
            unit = (self.number * stripe + self._taken % stripe) % units
            self._taken += 1
        else:
            unit = td.taken % units
            td.taken += 1
            if d.order == "random":
                unit = unit * _STRIDE % units
        self.home = {"own": self.node, "first": 0, "interleave": unit % d.nodes}[d.placement]
        page = unit << shift
        if page % (1 << GIB) == 0:
            self.td.gibs[page >> GIB].table_2m = self.td.gibs[page >> GIB].folio = Table.ABSENT
        self.point_at(page)

    def point_at(self, page: int) -> None:
        """Look at a page, counted in the guest, and what belongs to it."""
        td = self.td
        self.page, self.gib, self.range = page, td.gibs[page >> GIB], td.ranges[page >> RANGE]
        if page % (1 << RANGE) == 0:
            self.range.table_4k = Table.ABSENT
        self.pamt_1g = td.lines[Reg.PAGE_PAMT_1G, page >> GIB + 2]
        self.pamt_2m = td.lines[Reg.PAGE_PAMT_2M, page >> RANGE + 2]
        self.pamt_4k = td.lines[Reg.PAGE_PAMT_4K, page >> 2]
        self.sept_line = td.lines[Reg.SEPT_LINE, page >> 3]
        self.pamt_references = td.lines[Reg.PAMT_REFERENCES, page >> RANGE + 4]
