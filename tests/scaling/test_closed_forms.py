"""Does the simulation give what can be calculated? One queue, one at a time, nobody to meet, private resources."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from queues import finish, situation, small, started, unstarted

from kernels.queueing import layout as q
from kernels.queueing.layout import REGISTERS, Op
from perfmodel.parameters import load_parameters
from perfmodel.scaling.measure import run_until_steady
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script
from perfmodel.scaling.services import Prices, counters_of_a_gib

LOCK = 15


def take_turns(think_ns: float, hold_ns: float, threads: int) -> Any:
    """Write: think, hold the one lock, again."""

    def write(script: Script) -> list[int]:
        loop = Label()
        script.place(loop)
        script.work(think_ns)
        script.add(Op.BEGIN)
        script.add(Op.WRITE_LOCK, LOCK)
        script.work(hold_ns)
        script.add(Op.WRITE_UNLOCK, LOCK)
        script.add(Op.NOTHING)
        script.add(Op.DONE, arg=1)
        script.add(Op.JUMP, arg=loop)
        return [0] * threads

    return write


def machine_repairman(threads: int, think: float, hold: float) -> float:
    """Return the throughput of M/M/1//N, by mean value analysis."""
    queue = throughput = 0.0
    for n in range(1, threads + 1):
        waits = hold * (1 + queue)
        throughput = n / (think + waits)
        queue = throughput * waits
    return throughput


@pytest.mark.parametrize(
    ("threads", "think", "hold"), [(2, 100, 100), (4, 300, 100), (8, 1000, 100), (12, 1000, 100), (48, 1000, 30)]
)
def test_machine_repairman(threads: int, think: float, hold: float) -> None:
    """Exponential thinking and holding: throughput and mean wait, within the interval of the batch means."""
    sim = started(
        small(take_turns(think, hold, threads), resources=1, points={LOCK: 0}, spread="exponential", seed=1)
    )  # fmt: skip
    measured = run_until_steady(sim, 5_000, 10_000, batches=60)
    throughput = measured.units / (measured.seconds * 1e9)
    expected = machine_repairman(threads, think, hold)
    assert measured.half_width < 0.01
    assert throughput == pytest.approx(expected, rel=measured.half_width + 0.001)  # 1024 quantiles cut off the tail
    waited = int(measured.tally[LOCK, q.BLOCKED]) / measured.units / 1e3
    assert waited == pytest.approx(threads / expected - think - hold, rel=5 * measured.half_width, abs=0.5)


@pytest.mark.parametrize("transfer_ps", [0, 700])
@pytest.mark.parametrize("threads", [2, 3, 17])
def test_one_at_a_time(threads: int, transfer_ps: int) -> None:
    """A writer-only lock under full load: one turn every hold, and what its line takes to the holder and on."""
    hold_ps = 5_000
    sim = small(
        take_turns(0.0, hold_ps / 1e3, threads), resources=1, points={LOCK: 0}, settings={q.LOCAL: transfer_ps}
    )  # fmt: skip
    started(sim)
    finish(sim[0], 100)
    before = int(sim[0].totals[q.NOW])
    finish(sim[0], 1100)
    assert int(sim[0].totals[q.NOW]) - before == 1000 * (hold_ps + 2 * transfer_ps)


def test_guest_lock_held_lets_one_vcpu_work_at_a_time() -> None:
    """Where lines are free of charge, eight vCPUs accept a chunk in the time of one, to the ps."""
    ends = []
    for vcpus in (1, 8):
        d = situation(vcpus=vcpus, options={"guest_lock": "held"})
        costs = replace(d.costs, line_transfer=0.0)
        sim = started(unstarted(replace(d, spread="none", costs=costs)))
        ends.append([int(finish(sim, 1024 * chunk).totals[q.NOW]) for chunk in range(1, 30)])
        assert int(sim.tally[Reg.GUEST_LOCK, q.BLOCKED]) > 0 or vcpus == 1
    assert ends[0] == ends[1]


def test_guest_lock_held_is_held_always() -> None:
    """With lines that cost, time is what the lock is held and what it takes from holder to holder."""
    d = replace(situation(vcpus=8, options={"guest_lock": "held"}), spread="none")
    sim = started(unstarted(d))
    finish(sim, 8 * 1024)
    held, now = int(sim.tally[Reg.GUEST_LOCK, q.HELD]), int(sim.totals[q.NOW])
    finish(sim, 28 * 1024)
    handed = 20 * round(d.costs.line_transfer * 1000)
    last_unlock = 2 * handed // 20  # the last page is done before its chunk's lock is given back, which is counted
    elapsed = int(sim.totals[q.NOW]) - now
    assert elapsed == pytest.approx(int(sim.tally[Reg.GUEST_LOCK, q.HELD]) - held + handed, abs=last_unlock)


@pytest.mark.parametrize("mix", ["4K", "2M"])
@pytest.mark.parametrize("guest", ["linux-lazy", "prefault", "touch-first"])
def test_alone_a_vcpu_takes_what_the_ledger_says(guest: str, mix: str) -> None:
    """Calls and time of whole GiBs: the counters, and their price to half a ps a step."""
    d = replace(situation(mix, guest=guest), spread="none")
    level = d.kinds[0].services.level
    counters = Counter(counters_of_a_gib(guest, level, 4, False))
    units = 512 if level else 1 << 18
    sim = started(unstarted(d))
    measured = run_until_steady(sim, 2 * units, units, batches=1)
    expected = {
        Call.FAULT: counters["fault"], Call.AUG: counters["aug_4k"] + counters["aug_2m"],
        Call.SEPT_ADD: counters["sept_add"], Call.TD_EXIT: counters["td_exit"], Call.VP_ENTER: counters["vp_enter"],
        Call.ACCEPT: counters["accept_4k"] + counters["accept_2m"] + counters["accept_exit"]
        + counters["accept_size_mismatch"],
        Call.BLOCK: counters["block_2m"], Call.TRACK: counters["mem_track"], Call.DEMOTE: counters["demote"],
    }  # fmt: skip
    assert {call.name: int(measured.calls[call]) for call in Call} == {
        call.name: expected.get(call, 0) for call in Call
    }  # fmt: skip
    price_ps = Prices(load_parameters()).of(counters, tuple(counters)) * 1e3
    steps = np.count_nonzero(sim.script[:, q.STEP_WORK]) * units
    taken = int(measured.totals[q.NOW])
    assert taken == pytest.approx(price_ps, abs=0.5 * steps)
    assert taken == pytest.approx(price_ps, rel=1e-6)
    assert taken == int(measured.totals[q.WORKED])


@pytest.mark.parametrize("mix", ["4K", "2M"])
@pytest.mark.parametrize("tds", [2, 5])
def test_private_resources_scale_linearly(tds: int, mix: str) -> None:
    """vCPUs of one TD each have nothing in common but memory bandwidth: n take n times as many units, to the ps."""
    ends = []
    for count in (1, tds):
        sim, starts = unstarted(replace(situation(mix, tds=count), spread="none"))
        sim.threads[:, REGISTERS + Reg.FIRST_COUNT] = 0
        started((sim, [(thread, starts[0][1], 0) for thread, _, _ in starts]))
        ends.append([int(finish(sim, count * units).totals[q.NOW]) for units in range(1, 2000, 333)])
        assert not sim.tally[:, [q.QUEUED, q.SERVED, q.BLOCKED, q.BUSY]].any()
    assert ends[0] == ends[1]


def test_streams_share_a_server() -> None:
    """Two that ask for 80 % each take 1.6 times as long; the one left over goes on at full pace."""
    server, link = 15, 16

    def write(script: Script) -> list[int]:
        begins = []
        for own in (100.0, 200.0):
            begins.append(script.here)
            script.stream(own, server, 0.8 * own, link)
            script.add(Op.DONE, arg=1)
            script.add(Op.PARK)
        return begins

    sim = started(small(write, resources=1, points={server: 0, link: -1}))
    assert finish(sim, 1).totals[q.NOW] == pytest.approx(160_000, abs=2)
    assert finish(sim, 2).totals[q.NOW] == pytest.approx(260_000, abs=2)
    assert sim.tally[server, q.QUEUED] == pytest.approx(60_000 + 60_000, abs=4)
    assert sim.resources[0, q.LOAD] == 0


def test_latencies_are_those_of_the_units() -> None:
    """The histogram of one vCPU alone holds two bins: ranges' first pages, and the others."""
    d = replace(situation(), spread="none")
    measured = run_until_steady(started(unstarted(d)), 1024, 512, batches=2)
    bins = np.flatnonzero(measured.latency)
    assert measured.latency[bins].tolist() == [1022, 2]
    lowest = 2 ** (bins[0] / q.LATENCY_BINS_PER_OCTAVE)
    others_ps = int(measured.totals[q.WORKED]) / 1024
    assert lowest <= others_ps
    assert math.log2(others_ps / lowest) < 2 / q.LATENCY_BINS_PER_OCTAVE
