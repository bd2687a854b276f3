"""Do locks behave as the kernel's and the module's do? Small scripts in which one vCPU at a time shows one rule."""

from collections.abc import Callable
from typing import Any

import pytest
from queues import finish, mark, situation, small, started, trace, unstarted

from kernels.queueing import layout as q
from kernels.queueing.layout import REGISTERS, Op, Simulation
from perfmodel.scaling.module_calls import Call, page_aug, sept_add
from perfmodel.scaling.registers import REGISTERS as EVERY_REGISTER
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script

LOCK = 15
WAKE_NS = 70
Scene = Callable[[Script], None]


def stage(*scenes: Scene, registers: int = LOCK + 1) -> Simulation:
    """Give each thread its scene, and each register a resource of its own; lines are free of charge."""

    def write(script: Script) -> list[int]:
        begins = []
        for scene in scenes:
            begins.append(script.here)
            scene(script)
            script.add(Op.PARK)
        return begins

    points: dict[int, Any] = {register: register for register in range(registers)}
    settings = {q.WAKE: WAKE_NS * 1000}
    return started(small(write, resources=registers, points=points, calls=len(Call) + 8, settings=settings))


def holding(number: int, asks_at: float, lock: Op, unlock: Op, for_ns: float) -> Scene:
    """A thread that asks for the lock, marks when it has it, and holds it."""

    def write(script: Script) -> None:
        script.work(asks_at)
        script.add(lock, LOCK)
        mark(script, number)
        script.work(for_ns)
        script.add(unlock, LOCK)

    return write


def reader(number: int, asks_at: float, for_ns: float) -> Scene:
    return holding(number, asks_at, Op.READ_LOCK, Op.READ_UNLOCK, for_ns)


def writer(number: int, asks_at: float, for_ns: float) -> Scene:
    return holding(number, asks_at, Op.WRITE_LOCK, Op.WRITE_UNLOCK, for_ns)


def sleeper(number: int, asks_at: float, for_ns: float) -> Scene:
    return holding(number, asks_at, Op.SLEEP_LOCK, Op.SLEEP_UNLOCK, for_ns)


def trying(number: int, op: Op, at: float, for_ns: float, missed: int) -> Scene:
    """A thread that tries the lock once: it marks its number and drops the lock, or marks ``missed``."""

    def write(script: Script) -> None:
        busy, end = Label(), Label()
        script.work(at)
        script.add(op, LOCK, LOCK, otherwise=busy)
        mark(script, number)
        script.work(for_ns)
        script.add(Op.DROP_SHARED if op == Op.TRY_SHARED else Op.DROP_EXCLUSIVE, LOCK, LOCK)
        script.add(Op.JUMP, arg=end)
        script.place(busy)
        mark(script, missed)
        script.place(end)

    return write


def test_a_waiting_writer_keeps_later_readers_out_and_they_enter_together() -> None:
    sim = stage(
        reader(0, 0, 100), reader(1, 5, 30), writer(2, 10, 50), reader(3, 20, 40), reader(4, 30, 60), writer(5, 40, 5),
        reader(6, 50, 1),
    )  # fmt: skip
    assert trace(sim, 7) == [(0, 0), (5, 1), (100, 2), (150, 3), (150, 4), (210, 5), (215, 6)]
    assert sim.tally[LOCK, q.BLOCKED] == (90 + 130 + 120 + 170 + 165) * 1000
    assert sim.tally[LOCK, q.HELD] == (50 + 5) * 1000


def test_writers_are_served_in_turn() -> None:
    sim = stage(*(writer(n, n, 100) for n in range(5)))
    assert trace(sim, 5) == [(100 * n, n) for n in range(5)]


def test_who_is_woken_tries_again_and_others_may_be_quicker() -> None:
    """The first unlock wakes thread 1 at 170; thread 2 comes by at 120 and is quicker; its unlock wakes 1 again."""
    sim = stage(sleeper(0, 0, 100), sleeper(1, 10, 40), sleeper(2, 120, 100))
    assert trace(sim, 3) == [(0, 0), (120, 2), (220 + WAKE_NS, 1)]
    assert sim.tally[LOCK, q.BLOCKED] == (100 + WAKE_NS - 10 + 220 - 170 + WAKE_NS) * 1000


def test_sleepers_are_woken_one_by_one() -> None:
    sim = stage(sleeper(0, 0, 100), sleeper(1, 10, 40), sleeper(2, 20, 40))
    assert trace(sim, 3) == [(0, 0), (170, 1), (210 + WAKE_NS, 2)]


@pytest.mark.parametrize(
    ("first", "second", "gets_it"),
    [(Op.TRY_SHARED, Op.TRY_SHARED, True), (Op.TRY_SHARED, Op.TRY_EXCLUSIVE, False),
     (Op.TRY_EXCLUSIVE, Op.TRY_SHARED, False), (Op.TRY_EXCLUSIVE, Op.TRY_EXCLUSIVE, False),
     (Op.TRY_GUEST, Op.TRY_EXCLUSIVE, False), (Op.TRY_GUEST, Op.TRY_GUEST, False)],
)  # fmt: skip
def test_tried_locks_never_wait(first: Op, second: Op, gets_it: bool) -> None:
    sim = stage(trying(0, first, 0, 100, 9), trying(1, second, 10, 20, 9))
    assert trace(sim, 2) == [(0, 0), (10, 1 if gets_it else 9)]
    assert sim.tally[LOCK, q.BUSY] == (0 if gets_it else 1)
    assert sim.tally[LOCK, q.BLOCKED] == 0


def test_host_priority() -> None:
    """A failed host call plants it; guests are turned away though the lock is free; a host call clears it."""
    sim = stage(
        trying(0, Op.TRY_GUEST, 0, 100, 8), trying(1, Op.TRY_EXCLUSIVE, 10, 0, 9), trying(2, Op.TRY_GUEST, 150, 5, 8),
        trying(3, Op.TRY_GUEST, 160, 5, 8), trying(4, Op.TRY_EXCLUSIVE, 200, 10, 9), trying(5, Op.TRY_GUEST, 250, 5, 8),
    )  # fmt: skip
    assert trace(sim, 6) == [(0, 0), (10, 9), (150, 8), (160, 8), (200, 4), (250, 5)]
    assert sim.tally[LOCK, q.BUSY] == 3


def test_a_guest_that_fails_plants_no_priority() -> None:
    sim = stage(
        trying(0, Op.TRY_EXCLUSIVE, 0, 100, 9), trying(1, Op.TRY_GUEST, 10, 5, 8), trying(2, Op.TRY_GUEST, 150, 5, 8)
    )  # fmt: skip
    assert trace(sim, 3) == [(0, 0), (10, 8), (150, 2)]


@pytest.mark.parametrize("other_reads_until", [0, 30, 200])
def test_only_a_single_reader_is_promoted(other_reads_until: float) -> None:
    def promoted(script: Script) -> None:
        shared, end = Label(), Label()
        script.work(20)
        script.add(Op.TRY_SHARED, LOCK, LOCK)
        script.work(30)
        script.add(Op.TRY_PROMOTE, LOCK, LOCK, otherwise=shared)
        mark(script, 1)
        script.work(30)
        script.add(Op.DROP_EXCLUSIVE, LOCK, LOCK)
        script.add(Op.JUMP, arg=end)
        script.place(shared)
        mark(script, 9)
        script.add(Op.DROP_SHARED, LOCK, LOCK)
        script.place(end)

    sim = stage(trying(0, Op.TRY_SHARED, 0, other_reads_until, 9), promoted, trying(2, Op.TRY_SHARED, 60, 1, 8))
    alone = other_reads_until < 50
    assert trace(sim, 3) == [(0, 0), (50, 1 if alone else 9), (60, 8 if alone else 2)]


LOCKED_BY_ANOTHER = {
    "tree lock": (Op.TRY_EXCLUSIVE, Reg.TDCS_TREE, 0, 0), "entry lock, by a guest": (Op.TRY_GUEST, Reg.RANGE, 1, 0),
    "PAMT_2M entry, above a 4K page": (Op.TRY_EXCLUSIVE, Reg.RANGE_PAMT, 0, 2),
    "PAMT_2M entry, walked by another": (Op.TRY_SHARED, Reg.RANGE_PAMT, 1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCKED_BY_ANOTHER)
def test_a_busy_aug_costs_its_early_out_and_leaves_nothing_locked(name: str) -> None:
    """At the tree lock or behind it, by the module's share of a call that failed; what it holds it gives back."""
    op, register, level, further = LOCKED_BY_ANOTHER[name]
    aug_ns, failed_ns = 3200.0, 1526.0
    each = aug_ns / (8 + 7 + level + 1)

    def other(script: Script) -> None:
        script.add(op, register, register)

    def caller(script: Script) -> None:
        busy = Label()
        page_aug(script, aug_ns, failed_ns, level, busy)
        script.place(busy)
        mark(script, Call.RETRY)

    sim = stage(other, caller, registers=EVERY_REGISTER)
    ((at, _),) = trace(sim, 1)
    assert at == pytest.approx(failed_ns + further * each, abs=0.02)
    assert sim.calls[Call.AUG] == 0
    assert sim.tally[register, q.BUSY] == 1
    states = dict(enumerate(sim.resources[:, q.STATE].tolist()))
    assert states.pop(register) == (1 if op == Op.TRY_SHARED else q.EXCLUSIVE)
    assert set(states.values()) == {0}


@pytest.mark.parametrize("vcpus", [2, 16, 64])
def test_one_sept_add_a_table_however_many_race(vcpus: int) -> None:
    """vCPUs that touch neighbouring pages: who freezes the entry adds the table, others meet FROZEN and retry."""
    sim = started(unstarted(situation(guest="touch-first", vcpus=vcpus)))
    finish(sim, 3 * 512 + 8 * vcpus)
    taken = int(sim.tds[0, q.NEXT_UNIT])
    tables = -(-taken // 512) + 1
    rows = sim.resources[int(sim.tds[0, q.BASE_GIB]) :, q.STATE]
    frozen = sum(int(sim.resources[row, q.STATE]) == q.FROZEN for row in points_at(sim, Reg.TABLE_4K))
    assert rows.max() == q.PRESENT
    assert int(sim.calls[Call.SEPT_ADD]) == tables - frozen
    assert (sim.tally[Reg.TABLE_4K, q.BUSY] > 0) == (sim.calls[Call.RETRY] > 0)
    if vcpus > 2:
        assert sim.tally[Reg.TABLE_4K, q.BUSY] > 0


def points_at(sim: Simulation, register: int) -> set[int]:
    """Return the resources to which any thread's register points."""
    return {int(row) for row in sim.threads[:, REGISTERS + register] if row >= 0}


def test_a_busy_sept_add_thaws_its_entry() -> None:
    """Whose SEPT.ADD finds the tree lock taken makes the entry absent again; the next vCPU adds the table."""

    def zaps(script: Script) -> None:
        script.add(Op.TRY_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE)
        script.work(2000)
        script.add(Op.DROP_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE)

    def maps(number: int, at: float) -> Scene:
        def write(script: Script) -> None:
            busy, there, frozen, end = Label(), Label(), Label(), Label()
            script.work(at)
            script.add(Op.FREEZE, lock=Reg.TABLE_4K, arg=frozen, otherwise=there)
            sept_add(script, 1000.0, 800.0, busy)
            script.add(Op.SET_STATE, lock=Reg.TABLE_4K, arg=q.PRESENT)
            mark(script, len(Call) + number)
            script.add(Op.JUMP, arg=end)
            script.place(busy)
            script.add(Op.SET_STATE, lock=Reg.TABLE_4K, arg=q.ABSENT)
            script.place(frozen)
            mark(script, Call.RETRY)
            script.add(Op.JUMP, arg=end)
            script.place(there)
            mark(script, Call.FAULT)
            script.place(end)

        return write

    sim = stage(zaps, maps(1, 100), maps(2, 500), maps(3, 2500), maps(4, 4000), registers=EVERY_REGISTER)
    seen = [(round(at, 1), who) for at, who in trace(sim, 4)]
    assert seen == [(500, Call.RETRY), (900, Call.RETRY), (3500, len(Call) + 3), (4000, Call.FAULT)]
    assert sim.calls[Call.SEPT_ADD] == 1
