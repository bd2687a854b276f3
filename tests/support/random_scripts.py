"""Random scripts that may do anything but hang: every operation, nested locks, kicks of who is inside, deadlocks too.

A failed attempt goes on behind its block, never back, so that every turn of a thread ends or its thread waits. Only a
TD's first thread kicks and tracks, and it waits for nothing while ``wait_for_sept_zap`` is set.
"""

import random

import numpy as np
from queues import Start, small

from kernels.queueing import layout as q
from kernels.queueing import memory as m
from kernels.queueing.layout import Op, Simulation
from perfmodel.scaling.script import Label, Script
from perfmodel.scaling.simulation import Spread

LINES = (15, 16)
TRIED = (17, 18)
QUEUED = (19, 20)
SLEEPING, SERVER, NO_LINK, KICK, FIRST_COUNTER = 21, 22, 23, 26, 27
TABLES = (24, 25, m.TABLE_4K, m.TABLE_2M)
_NODES, _GIBS, _RANGES, _UNIT_LINES = 2, 2, 32, 16
_OWN = 2 * _NODES
_FIRST_TD = _OWN + 11
_PARTS = {
    q.BASE_GIB: _GIBS * m.GIB_RESOURCES, q.BASE_1G: 1, q.BASE_RANGE: _RANGES * m.RANGE_RESOURCES,
    q.BASE_LINE: _UNIT_LINES * m.LINE_RESOURCES,
}  # fmt: skip
_PER_TD = sum(_PARTS.values())
POINTS: dict[int, int | list[int]] = {
    register: _OWN + n for n, register in enumerate((*LINES, *TRIED, *QUEUED, SLEEPING, SERVER, *TABLES[:2]))
} | {NO_LINK: -1, KICK: _FIRST_TD - 1, SERVER: 1}

_NS = (0.0, 0.001, 1.0, 7.5, 40.0, 333.3)


def random_simulation(
    chance: random.Random, threads: int, tds: int, blocks: int, spread: Spread
) -> tuple[Simulation, list[Start]]:  # fmt: skip
    """Give each of ``tds`` times ``threads`` threads a turn of so many blocks, on two nodes; nobody has begun.

    Lines and nodes are far enough apart to show who pays for what.
    """

    def write(script: Script) -> list[int]:
        write_kicked(script)
        return [_Program(script, chance, kicks=n % threads == 0).write(blocks) for n in range(tds * threads)]

    page_wise, striped, placement = chance.random() < 0.5, chance.random() < 0.5, chance.randrange(3)
    shift = 0 if page_wise else 10
    fields = {
        q.LOCAL: 11_000, q.REMOTE: 23_000, q.WAKE: 70_000, q.IPI_SEND: 900, q.IPI_DELIVERY: 13_000, q.KICKED: 0,
        q.UNITS_IN_GUEST: (_GIBS << 18) >> shift, q.UNIT_STRIDE: 211, q.UNIT_SHIFT: shift, q.STRIPED: int(striped),
        q.GIBS: _GIBS, q.RANGES: _RANGES, q.LINES: _UNIT_LINES, q.PLACEMENT: placement, q.NODES: _NODES,
        q.REMOTE_PACE: 700, q.LINK_PACE: 3000,
    }  # fmt: skip
    sim, starts = small(
        write,
        resources=_FIRST_TD + tds * _PER_TD,
        points=POINTS,
        tds=tds,
        settings=fields,
        spread=spread,
        seed=chance.randrange(1000),
    )
    sim.threads[: tds * threads, q.NODE] = np.arange(tds * threads) % _NODES
    for td in range(tds):
        base = _FIRST_TD + td * _PER_TD
        for field, size in _PARTS.items():
            sim.tds[td, field] = base
            base += size
    return sim, starts


def write_kicked(script: Script) -> None:
    """What an interrupted thread does, at step 0."""
    script.work(5)
    script.add(Op.EXIT, LINES[1])
    script.add(Op.ANSWER, KICK)
    script.add(Op.COUNT, arg=0)
    script.work(20)
    script.add(Op.GATE, KICK, arg=3_000)
    script.work(9)
    script.add(Op.ENTER, LINES[1])
    script.add(Op.RESUME)


class _Program:
    """Writes a thread's turn block by block, as chance has it."""

    def __init__(self, script: Script, chance: random.Random, kicks: bool) -> None:
        self._script, self._chance, self._kicks = script, chance, kicks
        self._inside, self._depth = False, 0

    def write(self, blocks: int) -> int:
        """Write turns that never end; return the first step."""
        script = self._script
        first = script.add(Op.TAKE)
        loop = Label()
        script.place(loop)
        script.add(Op.BEGIN)
        self._blocks(blocks)
        script.add(Op.DONE, arg=blocks)
        script.add(Op.NOTHING)
        script.add(Op.JUMP, arg=loop)
        return first

    def _blocks(self, count: int) -> None:
        plain = [
            self._atomic,
            self._stream,
            self._stream,
            self._take,
            self._move,
            self._state,
            self._table,
            self._count,
        ]
        nests = [self._try, self._try, self._promote, self._queue, self._choose, self._if, self._repeat]
        if not self._inside:  # sleeping locks are the host's, where nobody is interrupted
            nests += [self._sleep, *6 * [self._go_inside]]
            plain += [*4 * [self._kick], *4 * [self._track]] * self._kicks
        else:
            nests += 6 * [self._queue]
        for _ in range(count):
            self._script.work(self._chance.choice(_NS))
            deep = self._depth < 3 and self._chance.random() < 0.6
            self._chance.choice(nests if deep else plain)()

    def _body(self) -> None:
        self._depth += 1
        self._blocks(self._chance.randint(1, 3))
        self._depth -= 1

    def _atomic(self) -> None:
        self._script.add(
            Op.ATOMIC, self._chance.choice([-1, *LINES, m.PAGE_PAMT_2M, m.PAGE_PAMT_1G, m.PAMT_REFERENCES])
        )  # fmt: skip

    def _stream(self) -> None:
        own, served = self._chance.choice(_NS), self._chance.choice([0.0, 3.0, 200.0, 200.0])
        registers = self._chance.choice([(SERVER, NO_LINK), (m.DRAM, m.LINK)])
        self._script.stream(own, registers[0], served, registers[1])

    def _take(self) -> None:
        self._script.add(Op.TAKE)

    def _move(self) -> None:
        self._script.add(Op.MOVE, arg=self._chance.choice([0, 1, 512]))

    def _state(self) -> None:
        state = self._chance.choice([q.ABSENT, q.PRESENT])
        self._script.add(Op.SET_STATE, lock=self._chance.choice(TABLES), arg=state)

    def _table(self) -> None:
        table, there, frozen = self._chance.choice(TABLES), Label(), Label()
        self._script.add(Op.FREEZE, lock=table, arg=frozen, otherwise=there)
        self._script.work(self._chance.choice(_NS))
        self._script.add(Op.SET_STATE, lock=table, arg=q.PRESENT)
        self._script.place(frozen)
        self._script.place(there)

    def _count(self) -> None:
        self._script.add(Op.COUNT, arg=self._chance.randrange(8))

    def _kick(self) -> None:
        gated = self._chance.random() < 0.5
        if gated:
            self._script.add(Op.FLAG, arg=1)
        self._script.work(self._chance.choice(_NS))
        self._script.add(Op.KICK, KICK)
        if gated:
            self._script.work(self._chance.choice(_NS))
            self._script.add(Op.FLAG, arg=0)

    def _track(self) -> None:
        busy = Label()
        self._script.add(Op.ATOMIC, LINES[0])
        self._script.add(Op.TRACK, lock=KICK, otherwise=busy)
        self._script.add(Op.COUNT, arg=1)
        self._script.place(busy)

    def _try(self) -> None:
        busy, op = Label(), self._chance.choice([Op.TRY_SHARED, Op.TRY_SHARED, Op.TRY_EXCLUSIVE, Op.TRY_GUEST])
        lock = self._chance.choice(TRIED)
        line = self._chance.choice([-1, lock, LINES[0]])
        self._script.add(op, line, lock, otherwise=busy)
        self._body()
        self._script.add(Op.DROP_SHARED if op == Op.TRY_SHARED else Op.DROP_EXCLUSIVE, line, lock)
        self._script.place(busy)

    def _promote(self) -> None:
        lock, busy, shared, end = self._chance.choice(TRIED), Label(), Label(), Label()
        self._script.add(Op.TRY_SHARED, lock, lock, otherwise=busy)
        self._script.work(self._chance.choice(_NS))
        self._script.add(Op.TRY_PROMOTE, lock, lock, otherwise=shared)
        self._body()
        self._script.add(Op.DROP_EXCLUSIVE, lock, lock)
        self._script.add(Op.JUMP, arg=end)
        self._script.place(shared)
        self._script.add(Op.DROP_SHARED, lock, lock)
        self._script.place(busy)
        self._script.place(end)

    def _queue(self) -> None:
        reads, lock = self._chance.random() < 0.6, QUEUED[self._depth % 2]
        self._script.add(Op.READ_LOCK if reads else Op.WRITE_LOCK, lock)
        self._body()
        self._script.add(Op.READ_UNLOCK if reads else Op.WRITE_UNLOCK, lock)

    def _sleep(self) -> None:
        self._script.add(Op.SLEEP_LOCK, SLEEPING)
        self._body()
        self._script.add(Op.SLEEP_UNLOCK, SLEEPING)

    def _choose(self) -> None:
        other = Label()
        self._script.add(Op.CHOOSE, arg=self._chance.randint(0, q.ONE), otherwise=other)
        self._body()
        self._script.place(other)

    def _if(self) -> None:
        other, state = Label(), self._chance.choice([q.ABSENT, q.FROZEN, q.PRESENT])
        self._script.add(Op.IF_STATE, lock=self._chance.choice(TABLES), arg=state, otherwise=other)
        self._body()
        self._script.place(other)

    def _repeat(self) -> None:
        with self._script.repeat(FIRST_COUNTER + self._depth, self._chance.randint(1, 3)):
            self._body()

    def _go_inside(self) -> None:
        script = self._script
        script.work(4)
        for _ in range(self._chance.randint(1, 2)):  # as where the first TDH.VP.ENTER failed
            script.add(Op.GATE, KICK, arg=2_000)
            script.work(90)
        script.add(Op.ENTER, LINES[1])
        script.work(20)
        script.add(Op.LAND)
        self._inside = True
        self._body()
        self._inside = False
        script.work(2)
        script.add(Op.EXIT, LINES[1])
