"""Bandwidth: streams of bytes that share servers, each at its own pace until together they ask for more than there is.

A stream that takes ``own`` ps alone and ``served`` ps of a server asks for ``served / own`` of it. While streams ask
for more than the whole, all of them slow down alike, so that the server is neither idle nor overcommitted. Streams of
one class, which is a node's memory reached from the node or from another, slow down together: their class has a clock
that runs as much slower, a stream ends at a time of that clock, and only the first of them needs an event.
"""

import numpy as np

from kernels.jit import step
from kernels.queueing.events import schedule, suspend
from kernels.queueing.layout import (
    CLASS_CLOCK,
    CLASS_READ_AT,
    DEMAND,
    DEMAND_FAR,
    FOREVER,
    LINK_PACE,
    LOAD,
    NODES,
    OCCUPIED,
    ONE,
    PC,
    QUEUED,
    REGISTERS,
    REMOTE_PACE,
    SERVED,
    STEP_ARG,
    STEP_ELSE,
    STEP_LINE,
    STEP_LOCK,
    STREAM_BEGAN,
    STREAM_LEFT,
    STREAM_OWN,
    STREAMS,
    THREAD_BITS,
    THREADS,
    VISITS,
    WORKED,
)


@step
def _home(sim, row):
    """Return the node whose memory a class of streams moves."""
    return row % sim.settings[NODES]


@step
def _slowdown(sim, row):
    """Return how many times as long as alone the streams of a class take now, in ONE."""
    slow = max(sim.resources[_home(sim, row), LOAD], ONE)
    return max(slow, sim.resources[row, LOAD])


@step
def _read_clock(sim, row, now):
    """Bring the clock of a class up to ``now``."""
    passed = now - sim.resources[row, CLASS_READ_AT]
    sim.resources[row, CLASS_READ_AT] = now
    sim.resources[row, CLASS_CLOCK] += passed * ONE // _slowdown(sim, row)


@step
def _set_end(sim, row, thread, end):
    """Enter the class clock's time at which a stream of the class ends, FOREVER to take it out."""
    key = end << THREAD_BITS | thread
    node = (sim.stream_ends.shape[1] >> 1) + thread
    sim.stream_ends[row, node] = key
    while node > 1:
        key = min(key, sim.stream_ends[row, node ^ 1])
        node >>= 1
        sim.stream_ends[row, node] = key


@step
def _schedule_first(sim, row, now):
    """Give the stream of the class that ends first its event."""
    first = sim.stream_ends[row, 1]
    end = first >> THREAD_BITS
    if end < FOREVER:
        left = max(end - sim.resources[row, CLASS_CLOCK], 0)
        slow = _slowdown(sim, row)
        schedule(sim, first & (THREADS - 1), now + (left * slow + ONE - 1) // ONE)


@step
def _change_load(sim, thread, row, sign, now):
    """Add or take away what the thread's stream asks for; both classes of its node's memory feel it."""
    home = _home(sim, row)
    other = home + sim.settings[NODES]
    _read_clock(sim, home, now)
    _read_clock(sim, other, now)
    sim.resources[home, LOAD] += sign * sim.threads[thread, DEMAND]
    if row == other:
        sim.resources[other, LOAD] += sign * sim.threads[thread, DEMAND_FAR]


@step
def _schedule_both(sim, row, now):
    home = _home(sim, row)
    _schedule_first(sim, home, now)
    _schedule_first(sim, home + sim.settings[NODES], now)


@step
def _enter(sim, thread, row, left, now):
    """Let a stream with ``left`` ps of its own time to go run in its class.

    Whose stream ended first until now loses its event: what it said may come too early at the class's new pace.
    """
    suspend(sim, thread)
    _change_load(sim, thread, row, 1, now)
    before = sim.stream_ends[row, 1]
    _set_end(sim, row, thread, sim.resources[row, CLASS_CLOCK] + left)
    if sim.stream_ends[row, 1] != before and before >> THREAD_BITS < FOREVER:
        suspend(sim, before & (THREADS - 1))
    _schedule_both(sim, row, now)


@step
def begin_stream(sim, thread, pc, now):
    """Begin to move bytes: ELSE holds the thread's own time, ARG the server's. The next step is its end.

    Many lines make up a stream, so its own time does not scatter as other work does.
    """
    register, takes = sim.script[pc, STEP_LINE], sim.script[pc, STEP_ARG]
    row = sim.threads[thread, REGISTERS + register]
    link = sim.script[pc, STEP_LOCK]
    far = sim.threads[thread, REGISTERS + link] if link >= 0 else np.int64(-1)
    own = max(sim.script[pc, STEP_ELSE], takes, 1)
    sim.threads[thread, PC] = pc + 1
    sim.threads[thread, STREAM_BEGAN] = now
    sim.totals[WORKED] += own
    if takes == 0:
        sim.threads[thread, STREAM_OWN] = own
        schedule(sim, thread, now + own)
        return
    sim.tally[register, VISITS] += 1
    sim.resources[row, OCCUPIED] += takes
    if far >= 0:
        more = takes * sim.settings[REMOTE_PACE] >> 10
        linked = takes * sim.settings[LINK_PACE] >> 10
        sim.tally[link, SERVED] += more
        own = max(own + more, linked)
        sim.threads[thread, DEMAND_FAR] = linked * ONE // own
        sim.resources[far, OCCUPIED] += linked
        row = far
    sim.threads[thread, STREAM_OWN] = own
    sim.threads[thread, STREAMS] = row
    sim.threads[thread, DEMAND] = takes * ONE // own
    _enter(sim, thread, row, own, now)


@step
def end_stream(sim, thread, pc, now):
    """End the thread's stream; what it took longer than alone was waiting, if it moved any bytes."""
    row = sim.threads[thread, STREAMS]
    if row >= 0:
        took = now - sim.threads[thread, STREAM_BEGAN]
        sim.tally[sim.script[pc, STEP_LINE], QUEUED] += max(took - sim.threads[thread, STREAM_OWN], 0)
        sim.threads[thread, STREAMS] = -1
        _change_load(sim, thread, row, -1, now)
        _set_end(sim, row, thread, FOREVER)
        _schedule_both(sim, row, now)
    return now


@step
def pause_stream(sim, thread, now):
    """Take the stream of a thread that is interrupted out of its class."""
    row = sim.threads[thread, STREAMS]
    _change_load(sim, thread, row, -1, now)
    end = sim.stream_ends[row, (sim.stream_ends.shape[1] >> 1) + thread] >> THREAD_BITS
    sim.threads[thread, STREAM_LEFT] = max(end - sim.resources[row, CLASS_CLOCK], 0)
    sim.threads[thread, STREAM_BEGAN] -= now
    _set_end(sim, row, thread, FOREVER)
    _schedule_both(sim, row, now)


@step
def continue_stream(sim, thread, now):
    """Let a stream go on that an interrupt broke off."""
    sim.threads[thread, STREAM_BEGAN] += now
    _enter(sim, thread, sim.threads[thread, STREAMS], sim.threads[thread, STREAM_LEFT], now)
