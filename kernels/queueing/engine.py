"""The simulation itself: the earliest event, its step, and so on."""

from kernels.jit import njit, step
from kernels.queueing.events import suspend
from kernels.queueing.layout import FOREVER, NO_ENTRY, NOW, PC, STEP_ARG, STEP_OP, TD, THREAD_BITS, THREADS, UNITS, Op
from kernels.queueing.lines import use_line
from kernels.queueing.locks import NOT_YET, drop_lock, lock, try_lock, unlock, unlock_sleeper
from kernels.queueing.memory import freeze, move, set_state, take
from kernels.queueing.streams import begin_stream, end_stream
from kernels.queueing.tracking import answer, cross, deliver, gate, kick, land, resume, track
from kernels.queueing.untimed import proceed

_ATOMIC, _TRY_GUEST, _DROP_SHARED, _DROP_EXCLUSIVE = (
    int(Op.ATOMIC),
    int(Op.TRY_GUEST),
    int(Op.DROP_SHARED),
    int(Op.DROP_EXCLUSIVE),
)
_READ_UNLOCK, _WRITE_LOCK, _WRITE_UNLOCK = int(Op.READ_UNLOCK), int(Op.WRITE_LOCK), int(Op.WRITE_UNLOCK)
_READ_LOCK, _SLEEP_LOCK, _SLEEP_UNLOCK = int(Op.READ_LOCK), int(Op.SLEEP_LOCK), int(Op.SLEEP_UNLOCK)
_STREAM, _STREAM_END, _TAKE, _MOVE = int(Op.STREAM), int(Op.STREAM_END), int(Op.TAKE), int(Op.MOVE)
_FREEZE, _SET_STATE = int(Op.FREEZE), int(Op.SET_STATE)
_ENTER, _EXIT, _TRACK, _KICK, _ANSWER = int(Op.ENTER), int(Op.EXIT), int(Op.TRACK), int(Op.KICK), int(Op.ANSWER)
_RESUME, _LAND, _GATE = int(Op.RESUME), int(Op.LAND), int(Op.GATE)
_FLAG, _PARK, _INTERRUPT = int(Op.FLAG), int(Op.PARK), int(Op.INTERRUPT)

FINISHED, STALLED = 0, 1
"""What ``advance`` returns: as many units are done as were asked for, or no thread can ever go on."""


@step
def _execute_locks(sim, thread, pc, op, now):
    if op <= _TRY_GUEST:
        return try_lock(sim, thread, pc, op, now)
    if op <= _DROP_EXCLUSIVE:
        return drop_lock(sim, thread, pc, op == _DROP_EXCLUSIVE, now)
    if op == _READ_LOCK or op == _WRITE_LOCK or op == _SLEEP_LOCK:
        return lock(sim, thread, pc, op, now)
    if op == _SLEEP_UNLOCK:
        return unlock_sleeper(sim, thread, pc, now)
    return unlock(sim, thread, pc, op == _READ_UNLOCK, now)


@step
def _execute_rest(sim, thread, pc, op, now):
    if op == _STREAM_END:
        return end_stream(sim, thread, pc, now)
    if op == _TAKE:
        return take(sim, thread, now)
    if op == _MOVE:
        return move(sim, thread, pc, now)
    if op == _FREEZE:
        return freeze(sim, thread, pc, now)
    if op == _SET_STATE:
        return set_state(sim, thread, pc, now)
    if op <= _EXIT:
        return cross(sim, thread, pc, op == _ENTER, now)
    if op == _TRACK:
        return track(sim, thread, pc, now)
    if op == _KICK:
        return kick(sim, thread, now)
    if op == _ANSWER:
        return answer(sim, thread, pc, now)
    if op == _FLAG:
        sim.tds[sim.threads[thread, TD], NO_ENTRY] = sim.script[pc, STEP_ARG]
    return now


@njit
def advance(sim, units):
    """Run until ``units`` units of work are done in all.

    Parameters
    ----------
    sim : Simulation
        Goes on from where it is.
    units : int64
        As ``totals[UNITS]`` counts them.

    Returns
    -------
    int64
        FINISHED, or STALLED where every thread waits for another.
    """
    while sim.totals[UNITS] < units:
        event = sim.events[1]
        now = event >> THREAD_BITS
        if now >= FOREVER:
            return STALLED
        thread = event & (THREADS - 1)
        sim.totals[NOW] = now
        pc = sim.threads[thread, PC]
        op = sim.script[pc, STEP_OP]
        if op <= _ATOMIC:
            done = use_line(sim, thread, sim.script[pc, 1], now)
        elif op <= _SLEEP_UNLOCK:
            done = _execute_locks(sim, thread, pc, op, now)
        elif op == _RESUME:
            resume(sim, thread, now)
            continue
        elif op == _STREAM:
            begin_stream(sim, thread, pc, now)
            continue
        elif op == _LAND:
            land(sim, thread, pc, now)
            continue
        elif op == _GATE:
            gate(sim, thread, pc, now)
            continue
        elif op == _INTERRUPT:
            deliver(sim, thread, pc, now)
            continue
        elif op == _PARK:
            suspend(sim, thread)
            continue
        else:
            done = _execute_rest(sim, thread, pc, op, now)
        if done == NOT_YET:
            suspend(sim, thread)
        else:
            proceed(sim, thread, done)
    return FINISHED


@njit
def start(sim, thread, pc, time):
    """Let a thread begin its script at step ``pc``."""
    sim.threads[thread, PC] = pc - 1
    proceed(sim, thread, time)
