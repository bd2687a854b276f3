"""Threads, resources and events of the queueing simulation's twin; ``twin_queueing.py`` adds what steps do."""

import heapq
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from kernels.queueing import layout as q
from kernels.queueing.layout import Op, Simulation

_WHOLE_WORK = 16
_RANDOM_BITS = 40


class Step(NamedTuple):
    """One step of a script."""

    op: Op
    line: int
    lock: int
    work: int
    arg: int
    otherwise: int


@dataclass
class Stream:
    """Bytes on their way: their class, what they ask of servers, since when, what they take alone.

    ``end`` is a time of the class's clock; ``left`` what is left of their own time while an interrupt keeps them out.
    """

    where: int
    asks: dict[int, int]
    began: int
    own: int
    end: int | None = None
    left: int = 0


@dataclass
class Thread:
    """A vCPU's thread. ``broken_off``: the step and the time that an interrupt left over, None where it waits."""

    number: int
    td: int
    node: int
    random: int
    chosen: int
    registers: list[int]
    pc: int = 0
    due: int | None = None
    started: int = 0
    where: int = q.OUTSIDE
    epoch: int = 0
    broken_off: tuple[int, int | None] | None = None
    granted: bool = False
    kick_pending: bool = False
    blocked_at: int = 0
    taken: int = 0
    stream: Stream | None = None


@dataclass
class Resource:
    """A cache line, and what is in it: a lock, the state of a table, or a server of streams.

    A class of streams has its clock in ``table``, read at ``free_at``.
    """

    owner: int | None = None
    free_at: int = 0
    occupied: int = 0
    shared: Counter[int] = field(default_factory=Counter)
    exclusive: int | None = None
    host_priority: bool = False
    waiting: deque[tuple[int, Op]] = field(default_factory=deque)
    held_since: int = 0
    table: int = q.ABSENT
    load: int = 0

    @property
    def readers(self) -> int:
        return self.shared.total()

    @property
    def state(self) -> int:
        return q.EXCLUSIVE if self.exclusive is not None else self.readers or self.table

    def leave(self, thread: int, exclusive: bool) -> None:
        if exclusive:
            assert self.exclusive == thread, f"{thread} gives back what {self.exclusive} holds"
            self.exclusive = None
        else:
            assert self.shared[thread] > 0, f"{thread} is no reader"
            self.shared[thread] -= 1


@dataclass
class Td:
    """A TD's epoch, its reference counts, the gate, the kick under way."""

    threads: range
    epoch: int
    references: list[int]
    no_entry: int = 0
    next_unit: int = 0
    pending: int = 0
    kicker: int = 0


class Events:
    """Threads, their events, and what takes no time or only a line."""

    def __init__(self, sim: Simulation) -> None:
        self.script = [Step(Op(row[0]), *row[1:]) for row in sim.script.tolist()]
        self.settings = sim.settings.tolist()
        self.spread = sim.spread.tolist()
        self.threads = [
            Thread(n, row[q.TD], row[q.NODE], row[q.RANDOM], row[q.CHOSEN], row[q.REGISTERS :], row[q.PC])
            for n, row in enumerate(sim.threads.tolist())
        ]
        self.tds = [
            Td(range(row[q.FIRST_THREAD], row[q.FIRST_THREAD] + row[q.TD_THREADS]), row[q.TD_EPOCH],
               row[q.REFERENCES : q.REFERENCES + 2])
            for row in sim.tds.tolist()
        ]  # fmt: skip
        self.bases = [row[q.BASE_GIB : q.BASE_LINE + 1] for row in sim.tds.tolist()]
        self.states = sim.resources[:, q.STATE].tolist()
        self.resources: dict[int, Resource] = {}
        self.visits: Counter[tuple[int, int]] = Counter()
        self.calls: Counter[int] = Counter()
        self.latency: Counter[int] = Counter()
        self.now = self.units = self.pages = self.polls = self.worked = 0
        self._heap: list[tuple[int, int]] = []
        self._do = {op: getattr(self, f"_{op.name.lower()}") for op in Op if op < Op.JUMP}

    # events

    def start(self, thread: int, pc: int, time: int) -> None:
        """Let a thread begin at ``pc``."""
        self._go_on(self.threads[thread], pc, time)

    def run(self, units: int) -> bool:
        """Run until so many units are done in all; False where nobody can go on."""
        while self.units < units:
            while self._heap and self.threads[self._heap[0][1]].due != self._heap[0][0]:
                heapq.heappop(self._heap)  # put off or called off since
            if not self._heap:
                return False
            self.now, number = heapq.heappop(self._heap)
            thread = self.threads[number]
            thread.due = None
            step = self.script[thread.pc]
            self._do[step.op](thread, step, self.now)
        return True

    def _wake(self, t: Thread, time: int) -> None:
        t.due = time
        heapq.heappush(self._heap, (time, t.number))

    def _begin_step(self, t: Thread, pc: int, time: int) -> None:
        t.pc = pc
        work = self.script[pc].work
        if work:
            t.random = (t.random * 3081125 + 11) % (1 << _RANDOM_BITS)
            work = work * self.spread[t.random >> _RANDOM_BITS - 10] >> _WHOLE_WORK
            self.worked += work
        self._wake(t, time + work)

    def _go_on(self, t: Thread, pc: int, time: int) -> None:
        """Execute what takes no time from ``pc`` on, then begin the step that does."""
        while (step := self.script[pc]).op >= Op.JUMP:
            pc = self._untimed(t, pc, step, time)
        self._begin_step(t, pc, time)

    def _next(self, t: Thread, time: int) -> None:
        self._go_on(t, t.pc + 1, time)

    def _untimed(self, t: Thread, pc: int, step: Step, time: int) -> int:
        goes_on = True
        match step.op:
            case Op.JUMP:
                return step.arg
            case Op.SET:
                t.registers[step.line] = step.arg
            case Op.ADD:
                t.registers[step.line] += step.arg
            case Op.IF_LESS:
                goes_on = t.registers[step.line] < step.arg
            case Op.IF_STATE:
                goes_on = self._at(t, step.lock).state == step.arg
            case Op.CHOOSE:
                goes_on = t.chosen + step.arg >= q.ONE
                t.chosen = (t.chosen + step.arg) % q.ONE
            case Op.BEGIN:
                t.started = time
            case Op.DONE:
                self.units += 1
                self.pages += step.arg
                took = time - t.started
                self.latency[0 if took < 1 else int(q.LATENCY_BINS_PER_OCTAVE * math.log2(took))] += 1
            case Op.COUNT:
                self.calls[step.arg] += 1
        return pc + 1 if goes_on else step.otherwise

    # lines

    def row(self, number: int) -> Resource:
        return self.resources.setdefault(number, Resource(table=self.states[number]))

    def _at(self, t: Thread, register: int) -> Resource:
        assert register >= 0
        assert t.registers[register] >= 0, f"register {register} points nowhere"
        return self.row(t.registers[register])

    def _tally(self, register: int, column: int, more: int = 1) -> None:
        self.visits[register, column] += more

    def _distance(self, a: int, b: int) -> int:
        same = self.threads[a].node == self.threads[b].node
        return self.settings[q.LOCAL if same else q.REMOTE]

    def _reach(self, t: Thread, register: int, now: int) -> int:
        """Bring a line to the thread; return when it is there."""
        if register < 0:
            return now
        line = self._at(t, register)
        self._tally(register, q.VISITS)
        last, line.owner = line.owner, t.number
        if last is None or last == t.number:
            return now
        takes = self._distance(t.number, last)
        begins = max(line.free_at, now)
        line.free_at = begins + takes
        line.occupied += takes
        self._tally(register, q.QUEUED, begins - now)
        self._tally(register, q.SERVED, takes)
        return begins + takes

    def _nothing(self, t: Thread, step: Step, now: int) -> None:
        self._next(t, self._reach(t, step.line, now))

    _atomic = _nothing
