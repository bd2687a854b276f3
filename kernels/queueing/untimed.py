"""What takes no time: jumps, registers, counts, and the units of work that a script marks."""

import math

from kernels.jit import njit, step
from kernels.queueing.events import schedule_step
from kernels.queueing.layout import (
    CHOSEN,
    FIRST_UNTIMED,
    LATENCY_BINS,
    LATENCY_BINS_PER_OCTAVE,
    ONE,
    PAGES,
    PC,
    REGISTERS,
    STARTED,
    STATE,
    STEP_ARG,
    STEP_ELSE,
    STEP_LINE,
    STEP_LOCK,
    STEP_OP,
    UNITS,
    Op,
)

_JUMP, _SET, _ADD, _IF_LESS, _IF_STATE = int(Op.JUMP), int(Op.SET), int(Op.ADD), int(Op.IF_LESS), int(Op.IF_STATE)
_CHOOSE, _BEGIN, _DONE = int(Op.CHOOSE), int(Op.BEGIN), int(Op.DONE)


@njit
def latency_bin(time_ps):
    """Return the bin of a duration: 16 an octave of picoseconds."""
    if time_ps < 1:
        return 0
    return min(int(LATENCY_BINS_PER_OCTAVE * math.log2(time_ps)), LATENCY_BINS - 1)


@step
def _finish_unit(sim, thread, pages, time):
    sim.totals[UNITS] += 1
    sim.totals[PAGES] += pages
    sim.latency[latency_bin(time - sim.threads[thread, STARTED])] += 1


@step
def _execute(sim, thread, pc, op, time):
    """Execute one step without time; return the step after it."""
    arg, otherwise = sim.script[pc, STEP_ARG], sim.script[pc, STEP_ELSE]
    if op == _JUMP:
        return arg
    if op == _IF_LESS:
        return pc + 1 if sim.threads[thread, REGISTERS + sim.script[pc, STEP_LINE]] < arg else otherwise
    if op == _ADD:
        sim.threads[thread, REGISTERS + sim.script[pc, STEP_LINE]] += arg
    elif op == _SET:
        sim.threads[thread, REGISTERS + sim.script[pc, STEP_LINE]] = arg
    elif op == _IF_STATE:
        row = sim.threads[thread, REGISTERS + sim.script[pc, STEP_LOCK]]
        return pc + 1 if sim.resources[row, STATE] == arg else otherwise
    elif op == _CHOOSE:
        chosen = sim.threads[thread, CHOSEN] + arg
        sim.threads[thread, CHOSEN] = chosen & ONE - 1
        return pc + 1 if chosen >= ONE else otherwise
    elif op == _BEGIN:
        sim.threads[thread, STARTED] = time
    elif op == _DONE:
        _finish_unit(sim, thread, arg, time)
    else:
        sim.calls[arg] += 1
    return pc + 1


@njit
def proceed(sim, thread, time):
    """Go on behind the thread's current step, which is done at ``time``, and schedule the next that takes time."""
    pc = sim.threads[thread, PC] + 1
    op = sim.script[pc, STEP_OP]
    while op >= FIRST_UNTIMED:
        pc = _execute(sim, thread, pc, op, time)
        op = sim.script[pc, STEP_OP]
    sim.threads[thread, PC] = pc
    schedule_step(sim, thread, pc, time)
