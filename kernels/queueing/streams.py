"""Bandwidth: streams of bytes that share a server, each at its own pace until together they ask for more than it has.

A stream that takes ``own`` ps alone and ``served`` ps of the server asks for ``served / own`` of it. While the streams
ask for more than the whole, all of them slow down alike, so that the server is never idle and never overcommitted.
"""

from kernels.jit import njit, step
from kernels.queueing.events import event_time, schedule
from kernels.queueing.layout import (
    AWAY,
    DEMAND,
    DEMAND_FAR,
    LINK_PACE,
    LOAD,
    OCCUPIED,
    ONE,
    QUEUED,
    REGISTERS,
    REMOTE_PACE,
    SERVED,
    SLOWED,
    STEP_ARG,
    STEP_ELSE,
    STEP_LINE,
    STEP_LOCK,
    STREAM_BEGAN,
    STREAM_OWN,
    STREAMS,
    STREAMS_FAR,
    VISITS,
    WORKED,
)


@step
def _slowdown(sim, thread):
    """Return how many times as long as alone the thread's stream takes now, in 1 / ONE."""
    slow = max(sim.resources[sim.threads[thread, STREAMS], LOAD], ONE)
    far = sim.threads[thread, STREAMS_FAR]
    return max(slow, sim.resources[far, LOAD]) if far >= 0 else slow


@njit
def _rebalance(sim, server, but, now):
    """Reschedule the ends of all streams through ``server`` but one thread's, after its load has changed."""
    for other in range(sim.threads.shape[0]):
        if other == but or sim.threads[other, AWAY]:
            continue
        if sim.threads[other, STREAMS] != server and sim.threads[other, STREAMS_FAR] != server:
            continue
        before, after = sim.threads[other, SLOWED], _slowdown(sim, other)
        if after != before:
            sim.threads[other, SLOWED] = after
            left = event_time(sim, other) - now
            schedule(sim, other, now + int(left * (after / before)))


@step
def _load(sim, thread, server, demand, now):
    """Change what is asked of a server."""
    before = sim.resources[server, LOAD]
    sim.resources[server, LOAD] = before + demand
    if max(before, before + demand) > ONE:
        _rebalance(sim, server, thread, now)


@step
def begin_stream(sim, thread, pc, now):
    """Begin to move bytes: ELSE holds the thread's own time, ARG the server's; return the end.

    Many lines make up a stream, so its own time does not scatter as other work does.
    """
    register, takes = sim.script[pc, STEP_LINE], sim.script[pc, STEP_ARG]
    far = sim.threads[thread, REGISTERS + sim.script[pc, STEP_LOCK]]
    own = max(sim.script[pc, STEP_ELSE], takes, 1)
    sim.tally[register, VISITS] += 1
    if far >= 0:
        more = takes * sim.settings[REMOTE_PACE] >> 10
        linked = takes * sim.settings[LINK_PACE] >> 10
        sim.tally[sim.script[pc, STEP_LOCK], SERVED] += more
        own = max(own + more, linked)
        sim.threads[thread, DEMAND_FAR] = linked * ONE // own
        sim.resources[far, OCCUPIED] += linked
    row = sim.threads[thread, REGISTERS + register]
    sim.resources[row, OCCUPIED] += takes
    sim.threads[thread, STREAMS] = row
    sim.threads[thread, STREAMS_FAR] = far
    sim.threads[thread, DEMAND] = takes * ONE // own
    sim.threads[thread, STREAM_BEGAN] = now
    sim.threads[thread, STREAM_OWN] = own
    sim.totals[WORKED] += own
    _load(sim, thread, row, sim.threads[thread, DEMAND], now)
    if far >= 0:
        _load(sim, thread, far, sim.threads[thread, DEMAND_FAR], now)
    slowed = _slowdown(sim, thread)
    sim.threads[thread, SLOWED] = slowed
    return now + (own if slowed == ONE else int(own * (slowed / ONE)))


@step
def end_stream(sim, thread, pc, now):
    """End the thread's stream; what it took longer than alone was waiting."""
    sim.tally[sim.script[pc, STEP_LINE], QUEUED] += (
        now - sim.threads[thread, STREAM_BEGAN] - sim.threads[thread, STREAM_OWN]
    )
    row, far = sim.threads[thread, STREAMS], sim.threads[thread, STREAMS_FAR]
    sim.threads[thread, STREAMS] = -1
    sim.threads[thread, STREAMS_FAR] = -1
    _load(sim, thread, row, -sim.threads[thread, DEMAND], now)
    if far >= 0:
        _load(sim, thread, far, -sim.threads[thread, DEMAND_FAR], now)
    return now
