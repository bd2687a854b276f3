"""Do epochs, kicks, the gate and the zero-step filter behave as the module and KVM say?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from queues import finish, mark, situation, small, started, trace, unstarted

from kernels.queueing import layout as q
from kernels.queueing.layout import REGISTERS, Op, Simulation
from perfmodel.scaling.changes import ChangePath
from perfmodel.scaling.measure import run_until_steady
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.registers import REGISTERS as EVERY_REGISTER
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script

SEND_NS, DELIVERY_NS, EXIT_NS, BACK_NS, POLL_NS = 2, 30, 7, 50, 10
ANSWERED = 9
POINTS: dict[int, Any] = {register: register for register in range(EVERY_REGISTER)}
Scene = Callable[[Script], None]


def stage(*scenes: Scene) -> Simulation:
    """Give each thread its scene; who is interrupted exits in EXIT_NS, answers, and is back in BACK_NS."""

    def write(script: Script) -> list[int]:
        script.work(EXIT_NS)
        script.add(Op.EXIT)
        script.add(Op.ANSWER, Reg.KICK)
        script.add(Op.COUNT, arg=ANSWERED)
        script.add(Op.GATE, Reg.KICK, arg=POLL_NS * 1000)
        script.work(BACK_NS)
        script.add(Op.ENTER)
        script.add(Op.RESUME)
        begins = []
        for scene in scenes:
            begins.append(script.here)
            scene(script)
            script.add(Op.PARK)
        return begins

    settings = {q.IPI_SEND: SEND_NS * 1000, q.IPI_DELIVERY: DELIVERY_NS * 1000, q.KICKED: 0}
    return started(small(write, resources=EVERY_REGISTER, points=POINTS, calls=10, settings=settings))


def enter(script: Script, at: float, way: float = 0.0) -> None:
    """Set out for the TD at ``at``, be counted and land ``way`` later."""
    script.work(at)
    script.add(Op.GATE, Reg.KICK, arg=POLL_NS * 1000)
    script.work(way)
    script.add(Op.ENTER)
    script.add(Op.LAND)


def works_inside(number: int, at: float, for_ns: float, way: float = 0.0) -> Scene:
    """A vCPU that works in the TD, marks, and leaves."""

    def write(script: Script) -> None:
        enter(script, at, way)
        script.work(for_ns)
        mark(script, number)
        script.add(Op.EXIT)

    return write


def works_outside(number: int, for_ns: float) -> Scene:
    def write(script: Script) -> None:
        script.work(for_ns)
        mark(script, number)

    return write


def kicks(number: int, at: float) -> Scene:
    def write(script: Script) -> None:
        script.work(at)
        script.add(Op.KICK, Reg.KICK)
        mark(script, number)

    return write


def test_a_kick_waits_for_all_inside_and_none_outside() -> None:
    """IPIs go out one by one; each vCPU inside exits and answers; work outside goes on; work inside later."""
    sim = stage(kicks(0, 100), works_inside(1, 0, 500), works_outside(2, 300), works_inside(3, 20, 500))
    last = 100 + 2 * SEND_NS + DELIVERY_NS + EXIT_NS
    first_again = 500 + EXIT_NS + BACK_NS
    assert trace(sim, 4) == [(last, 0), (300, 2), (first_again, 1), (520 + EXIT_NS + BACK_NS, 3)]
    assert sim.calls[ANSWERED] == 2
    assert sim.tally[Reg.KICK, q.BLOCKED] == (last - 100) * 1000


def test_a_kick_that_finds_nobody_waits_for_nobody() -> None:
    sim = stage(kicks(0, 100), works_outside(1, 500), works_inside(2, 110, 500))
    assert trace(sim, 3) == [(100, 0), (500, 1), (610, 2)]
    assert sim.calls[ANSWERED] == 0


def test_an_entering_vcpu_is_interrupted_when_it_lands() -> None:
    """It set out at 95, so KVM kicks it; it takes the interrupt at 200, its first moment inside."""
    sim = stage(kicks(0, 100), works_inside(1, 95, 500, way=105))
    assert trace(sim, 2) == [(200 + EXIT_NS, 0), (200 + EXIT_NS + BACK_NS + 500, 1)]
    assert sim.calls[ANSWERED] == 1


def test_who_waits_inside_gets_the_lock_meanwhile() -> None:
    """A guest's lock is handed to a vCPU that a kick took out; it goes on behind it when it is back."""

    def holds(script: Script) -> None:
        script.add(Op.WRITE_LOCK, Reg.GUEST_LOCK)
        script.work(140)
        script.add(Op.WRITE_UNLOCK, Reg.GUEST_LOCK)

    def waits(script: Script) -> None:
        enter(script, 10)
        script.add(Op.WRITE_LOCK, Reg.GUEST_LOCK)
        mark(script, 2)

    sim = stage(kicks(0, 100), holds, waits)
    back = 100 + SEND_NS + DELIVERY_NS + EXIT_NS + BACK_NS
    assert trace(sim, 2) == [(100 + SEND_NS + DELIVERY_NS + EXIT_NS, 0), (back, 2)]
    assert sim.tally[Reg.GUEST_LOCK, q.BLOCKED] == 130_000


def test_track_finds_the_epoch_before_busy_until_the_kick() -> None:
    """The vCPU entered in epoch 1: one TRACK passes, the next fails, and passes once the kick has had it exit."""

    def track(script: Script, passed: int, failed: int) -> None:
        busy, end = Label(), Label()
        script.add(Op.TRACK, lock=Reg.TD_EPOCH, otherwise=busy)
        mark(script, passed)
        script.add(Op.JUMP, arg=end)
        script.place(busy)
        mark(script, failed)
        script.place(end)

    def tracks(script: Script) -> None:
        script.work(100)
        track(script, 1, 8)
        track(script, 8, 2)
        script.add(Op.KICK, Reg.KICK)
        track(script, 3, 8)

    sim = stage(tracks, works_inside(4, 0, 1000))
    answered = 100 + SEND_NS + DELIVERY_NS + EXIT_NS
    assert trace(sim, 4) == [(100, 1), (100, 2), (answered, 3), (1000 + EXIT_NS + BACK_NS, 4)]
    assert sim.tally[Reg.TD_EPOCH, q.BUSY] == 1
    assert sim.tds[0, q.TD_EPOCH] == 3
    assert sim.tds[0, q.REFERENCES : q.REFERENCES + 2].tolist() == [0, 1]  # back in epoch 3


def test_wait_for_sept_zap_keeps_vcpus_out() -> None:
    """Set from 50 to 203: who is inside is kicked and stays out, who comes polls; both go in at their next look."""

    def zaps(script: Script) -> None:
        script.work(50)
        script.add(Op.FLAG, arg=1)
        script.add(Op.KICK, Reg.KICK)
        mark(script, 0)
        script.work(203 - 50 - SEND_NS - DELIVERY_NS - EXIT_NS)
        script.add(Op.FLAG, arg=0)

    sim = stage(zaps, works_inside(1, 0, 150), works_inside(2, 60, 10))
    out = 50 + SEND_NS + DELIVERY_NS + EXIT_NS
    polls_1, polls_2 = -(-(203 - out) // POLL_NS), -(-(203 - 60) // POLL_NS)
    left = 150 - out + EXIT_NS
    assert trace(sim, 3) == [
        (out, 0), (60 + polls_2 * POLL_NS + 10, 2), (out + polls_1 * POLL_NS + BACK_NS + left, 1),
    ]  # fmt: skip
    assert sim.totals[q.POLLS] == polls_1 + polls_2


def test_a_kick_at_the_gate_is_answered_there() -> None:
    """A vCPU whose entry failed looks at the gate again, finds it closed, and so is outside."""

    def retries(script: Script) -> None:
        script.work(40)
        script.add(Op.GATE, Reg.KICK, arg=POLL_NS * 1000)
        enter(script, 30)
        mark(script, 1)

    def zaps(script: Script) -> None:
        script.work(50)
        script.add(Op.FLAG, arg=1)
        script.add(Op.KICK, Reg.KICK)
        mark(script, 0)
        script.add(Op.FLAG, arg=0)

    sim = stage(zaps, retries)
    assert trace(sim, 2) == [(70, 0), (70 + POLL_NS, 1)]
    assert sim.calls[ANSWERED] == 0


def test_a_busy_block_is_made_once_more_without_vcpus() -> None:
    """RANGE.BLOCK meets the tree lock shared: a second kick, ``wait_for_sept_zap``, and the call until it passes."""
    d = situation("2M", vcpus=2, vcpu_state="inside", workload="convert")
    assert d.change is not None
    change = replace(d.change, kick=0.0)
    held_for = 3 * change.failed_call + change.block / 2

    def maps(script: Script) -> None:
        script.add(Op.TRY_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE)
        script.work(held_for)
        script.add(Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE)

    def blocks(script: Script) -> None:
        ChangePath(script, change)._block()
        mark(script, 0)

    def write(script: Script) -> list[int]:
        begins = []
        for scene in (maps, blocks):
            begins.append(script.here)
            scene(script)
            script.add(Op.PARK)
        return begins

    sim = started(small(write, resources=EVERY_REGISTER, points=POINTS, calls=len(Call)))
    ((at, _),) = trace(sim, 1)
    assert at == pytest.approx(4 * change.failed_call + change.block, abs=0.1)
    assert sim.calls[Call.NO_VCPUS] == 1
    assert sim.calls[Call.BLOCK] == 1
    assert sim.tally[Reg.TDCS_TREE, q.BUSY] == 4
    assert sim.tds[0, q.NO_ENTRY] == 0
    assert not sim.resources[:, q.STATE].any()


def touches(same_rip: bool, faults: int, resets: int = -1) -> list[int]:
    """Return the atomics on the tree lock's line that each fault of one vCPU makes, SEPT.ADDs left out."""
    d = situation(guest="touch-first", options={"same_rip": same_rip})
    sim, starts = unstarted(replace(d, spread="none"))
    started((sim, starts))
    made = []
    for fault in range(faults):
        visits, adds = int(sim.tally[Reg.TDCS_TREE, q.VISITS]), int(sim.calls[Call.SEPT_ADD])
        finish(sim, fault + 1)
        if fault == resets:
            sim.threads[0, REGISTERS + Reg.SAME_RIP] = 0
        more = int(sim.tally[Reg.TDCS_TREE, q.VISITS]) - visits
        made.append(more - 2 * (int(sim.calls[Call.SEPT_ADD]) - adds))
    return made


def test_the_zero_step_filter_acts_from_the_seventh_exit() -> None:
    """6 exits at one RIP count only; the VP.ENTER behind the 7th takes the tree lock exclusive, as all that follow."""
    assert touches(same_rip=True, faults=10) == [2] * 6 + [4] * 4


def test_the_zero_step_filter_is_reset_when_rip_moves() -> None:
    assert touches(same_rip=True, faults=15, resets=7) == [2] * 6 + [4] * 2 + [2] * 6 + [4]
    assert touches(same_rip=False, faults=20) == [2] * 20


def test_the_filter_makes_entries_and_augs_meet() -> None:
    """A tree lock held exclusive by an entry makes AUGs BUSY, one held shared makes the entry BUSY."""
    busy = {}
    for same_rip in (False, True):
        d = situation(guest="touch-first", vcpus=12, options={"same_rip": same_rip})
        measured = run_until_steady(started(unstarted(d)), 600, 400, batches=2)
        busy[same_rip] = [
            int(measured.tally[Reg.TDCS_TREE, q.BUSY]), int(measured.calls[Call.ENTER_BUSY]),
            int(measured.calls[Call.RETRY]),
        ]  # fmt: skip
    assert busy[False][:2] == [0, 0]
    assert min(busy[True]) > 20
