"""Locks: the module's, which are tried once, and the kernel's and the guest's, which are waited for."""

from kernels.jit import step
from kernels.queueing.events import schedule
from kernels.queueing.layout import (
    AWAY,
    BLOCKED,
    BLOCKED_AT,
    BUSY,
    EXCLUSIVE,
    FREE_AT,
    GRANTED,
    HEAD,
    HELD,
    HELD_SINCE,
    HOST_PRIORITY,
    NEXT,
    OWNER,
    PC,
    REGISTERS,
    STATE,
    STEP_ELSE,
    STEP_LINE,
    STEP_LOCK,
    TAIL,
    WAKE,
    WANTS,
    Op,
)
from kernels.queueing.lines import transfer_time, use_line
from kernels.queueing.untimed import proceed

_TRY_SHARED, _TRY_PROMOTE, _TRY_GUEST = int(Op.TRY_SHARED), int(Op.TRY_PROMOTE), int(Op.TRY_GUEST)
_READ_LOCK, _SLEEP_LOCK = int(Op.READ_LOCK), int(Op.SLEEP_LOCK)
NOT_YET = -1
"""A step that is not done: its thread waits."""


@step
def try_lock(sim, thread, pc, op, now):
    """Try a lock once. A host call that fails plants host priority, one that gets the lock clears it."""
    done = use_line(sim, thread, sim.script[pc, STEP_LINE], now)
    register = sim.script[pc, STEP_LOCK]
    row = sim.threads[thread, REGISTERS + register]
    state = sim.resources[row, STATE]
    if op == _TRY_SHARED:
        got = state >= 0
    else:
        got = state == (1 if op == _TRY_PROMOTE else 0)
    if op == _TRY_GUEST:
        got = got and sim.resources[row, HOST_PRIORITY] == 0
    else:
        sim.resources[row, HOST_PRIORITY] = 0 if got else 1
    if got:
        sim.resources[row, STATE] = state + 1 if op == _TRY_SHARED else EXCLUSIVE
    else:
        sim.tally[register, BUSY] += 1
        sim.threads[thread, PC] = sim.script[pc, STEP_ELSE] - 1  # the step before the one to go on at
    return done


@step
def drop_lock(sim, thread, pc, exclusive, now):
    """Release a lock that was tried."""
    row = sim.threads[thread, REGISTERS + sim.script[pc, STEP_LOCK]]
    sim.resources[row, STATE] = 0 if exclusive else sim.resources[row, STATE] - 1
    return use_line(sim, thread, sim.script[pc, STEP_LINE], now)


@step
def _enqueue(sim, thread, row, wants, now):
    sim.threads[thread, NEXT] = -1
    sim.threads[thread, WANTS] = wants
    sim.threads[thread, BLOCKED_AT] = now
    if sim.resources[row, HEAD] < 0:
        sim.resources[row, HEAD] = thread
    else:
        sim.threads[sim.resources[row, TAIL], NEXT] = thread
    sim.resources[row, TAIL] = thread


@step
def lock(sim, thread, pc, op, now):
    """Take a lock or join its queue; readers join it too as soon as anyone waits, as in Linux's qrwlock."""
    register = sim.script[pc, STEP_LINE]
    row = sim.threads[thread, REGISTERS + register]
    done = use_line(sim, thread, register, now)
    state = sim.resources[row, STATE]
    alone = sim.resources[row, HEAD] < 0 or op == _SLEEP_LOCK
    if alone and (state >= 0 if op == _READ_LOCK else state == 0):
        sim.resources[row, STATE] = state + 1 if op == _READ_LOCK else EXCLUSIVE
        sim.resources[row, HELD_SINCE] = done
        return done
    _enqueue(sim, thread, row, op, done)
    return NOT_YET


@step
def _dequeue(sim, row):
    thread = sim.resources[row, HEAD]
    sim.resources[row, HEAD] = sim.threads[thread, NEXT]
    return thread


@step
def release_waiting(sim, thread, time):
    """Let a thread whose lock step is done at ``time`` go on, or note it where the thread has been interrupted."""
    if sim.threads[thread, AWAY]:
        sim.threads[thread, GRANTED] = 1
    else:
        proceed(sim, thread, time)


@step
def _hand_on(sim, thread, register, row, now):
    """Give a free lock to the threads at the head of its queue: one writer, or readers up to the next writer."""
    while sim.resources[row, HEAD] >= 0:
        waiting = sim.resources[row, HEAD]
        state = sim.resources[row, STATE]
        reads = sim.threads[waiting, WANTS] == _READ_LOCK
        if state < 0 or (state > 0 and not reads):
            return
        sim.resources[row, STATE] = state + 1 if reads else EXCLUSIVE
        _dequeue(sim, row)
        now += transfer_time(sim, thread, waiting)
        sim.resources[row, OWNER] = waiting
        sim.resources[row, FREE_AT] = max(sim.resources[row, FREE_AT], now)
        sim.resources[row, HELD_SINCE] = now
        sim.tally[register, BLOCKED] += now - sim.threads[waiting, BLOCKED_AT]
        release_waiting(sim, waiting, now)


@step
def unlock(sim, thread, pc, reads, now):
    """Release a lock and hand it on."""
    register = sim.script[pc, STEP_LINE]
    row = sim.threads[thread, REGISTERS + register]
    done = use_line(sim, thread, register, now)
    if reads:
        sim.resources[row, STATE] -= 1
    else:
        sim.resources[row, STATE] = 0
        sim.tally[register, HELD] += done - sim.resources[row, HELD_SINCE]
    _hand_on(sim, thread, register, row, done)
    return done


@step
def unlock_sleeper(sim, thread, pc, now):
    """Release a lock and wake its first sleeper, which tries again; others may be quicker."""
    register = sim.script[pc, STEP_LINE]
    row = sim.threads[thread, REGISTERS + register]
    done = use_line(sim, thread, register, now)
    sim.resources[row, STATE] = 0
    sim.tally[register, HELD] += done - sim.resources[row, HELD_SINCE]
    if sim.resources[row, HEAD] >= 0:
        waiting = _dequeue(sim, row)
        wakes = done + sim.settings[WAKE]
        sim.tally[register, BLOCKED] += wakes - sim.threads[waiting, BLOCKED_AT]
        schedule(sim, waiting, wakes)
    return done
