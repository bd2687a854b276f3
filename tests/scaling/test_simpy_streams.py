"""Streams that share bandwidth: kernels and SimPy let each end at the same time."""

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from simpy_lines import Server, Stream

from kernels.queueing import layout as q
from kernels.queueing.engine import advance, start
from kernels.queueing.layout import Op
from perfmodel.scaling.registers import REGISTERS
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Script
from perfmodel.scaling.simulation import make_simulation

Move = tuple[int, int, int]
"""Beginning, own time and time of the server, in ns."""


def ends_by_kernels(moves: list[Move]) -> list[float]:
    script, starts = Script(), []
    for _, own, served in moves:
        starts.append(script.here)
        script.stream(own, Reg.DRAM, served, Reg.LINK)
        script.add(Op.BEGIN)
        script.add(Op.DONE, arg=1)
        script.add(Op.PARK)
    sim = make_simulation(script.assemble(), len(moves), REGISTERS, 4)
    sim.threads[:, q.REGISTERS + Reg.DRAM] = 0
    for thread, (begin, _, _) in enumerate(moves):
        start(sim, thread, starts[thread], begin * 1000)
    ends = {}
    for units in range(1, len(moves) + 1):
        assert advance(sim, units) == 0
        done = [t for t in range(len(moves)) if sim.threads[t, q.PC] == starts[t] + 4 and t not in ends]
        ends |= dict.fromkeys(done, int(sim.totals[q.NOW]) / 1000)
    return [ends[thread] for thread in range(len(moves))]


def ends_by_simpy(moves: list[Move]) -> list[float]:
    env, server, ends = simpy.Environment(), Server(), {}

    def move(number: int, begin: int, own: int, served: int):
        yield env.timeout(begin)
        own = max(own, served)
        stream = Stream(env, own, {server: served / own})
        stream.begin()
        yield stream.end
        ends[number] = env.now

    for number, one in enumerate(moves):
        env.process(move(number, *one))
    env.run()
    return [ends[number] for number in range(len(moves))]


moves = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(moves)
def test_streams_end_alike(given_moves: list[Move]) -> None:
    assert ends_by_kernels(given_moves) == pytest.approx(ends_by_simpy(given_moves), abs=0.1)


def test_who_is_overtaken_does_not_end_early() -> None:
    """The first stream would end at 100 ns alone; one that ends before it takes half of the server from 10 ns on."""
    both = [(0, 100, 100), (10, 80, 80)]
    assert ends_by_simpy(both) == ends_by_kernels(both) == [180, 170]
