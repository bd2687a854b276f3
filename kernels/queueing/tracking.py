"""TLB tracking: epochs, kicks, and the interrupt that takes a thread out of its TD.

Source: Intel TDX module, tag TDX_1.5.01, ``tdh_mem_track.c``, ``adjust_tlb_tracking_state``; Linux
``kvm_make_all_cpus_request(KVM_REQ_OUTSIDE_GUEST_MODE)``, which interrupts vCPUs in guest mode and waits for all.
"""

from kernels.jit import njit, step
from kernels.queueing.events import event_time, schedule, schedule_step, suspend
from kernels.queueing.layout import (
    AWAY,
    BLOCKED,
    BLOCKED_AT,
    BUSY,
    COURIERS,
    ENTERING,
    EPOCH,
    FIRST_THREAD,
    FOREVER,
    GRANTED,
    IN_GUEST,
    INSIDE,
    IPI_DELIVERY,
    IPI_SEND,
    KICK_PENDING,
    KICKED,
    KICKER,
    NO_ENTRY,
    OUTSIDE,
    PC,
    PENDING,
    POLLS,
    REFERENCES,
    REMAINING,
    SAVED_PC,
    STEP_ARG,
    STEP_ELSE,
    STEP_LINE,
    STEP_LOCK,
    STREAMS,
    TD,
    TD_EPOCH,
    TD_THREADS,
)
from kernels.queueing.lines import use_line
from kernels.queueing.locks import NOT_YET
from kernels.queueing.streams import continue_stream, pause_stream
from kernels.queueing.untimed import proceed


@step
def cross(sim, thread, pc, inside, now):
    """Count the thread into the TD's epoch, or out of the epoch with which it entered."""
    td = sim.threads[thread, TD]
    if inside:
        sim.threads[thread, EPOCH] = sim.tds[td, TD_EPOCH]
    sim.tds[td, REFERENCES + (sim.threads[thread, EPOCH] & 1)] += 1 if inside else -1
    if not inside:
        sim.threads[thread, INSIDE] = OUTSIDE
    return use_line(sim, thread, sim.script[pc, STEP_LINE], now)


@step
def track(sim, thread, pc, now):
    """Advance the TD's epoch, or fail with PREVIOUS_TLB_EPOCH_BUSY."""
    td = sim.threads[thread, TD]
    epoch = sim.tds[td, TD_EPOCH]
    if sim.tds[td, REFERENCES + (epoch & 1 ^ 1)] == 0:
        sim.tds[td, TD_EPOCH] = epoch + 1
    else:
        sim.tally[sim.script[pc, STEP_LOCK], BUSY] += 1
        sim.threads[thread, PC] = sim.script[pc, STEP_ELSE] - 1
    return now


@step
def _leave(sim, thread, time):
    """Send an interrupted thread out of the TD."""
    sim.threads[thread, AWAY] = 1
    sim.threads[thread, INSIDE] = OUTSIDE
    sim.threads[thread, KICK_PENDING] = 0
    pc = sim.settings[KICKED]
    sim.threads[thread, PC] = pc
    schedule_step(sim, thread, pc, time)


@step
def _interrupt(sim, thread, now):
    """Break off what a thread inside does."""
    sim.threads[thread, SAVED_PC] = sim.threads[thread, PC]
    due = event_time(sim, thread)
    sim.threads[thread, REMAINING] = due - now if due < FOREVER else NOT_YET
    if sim.threads[thread, STREAMS] >= 0:
        pause_stream(sim, thread, now)
    _leave(sim, thread, now)


@njit
def kick(sim, thread, now):
    """Send an IPI to every other thread of the TD that is inside, and wait; who finds none goes on at once.

    A thread on its way in is interrupted when it gets there.
    """
    td = sim.threads[thread, TD]
    first = sim.tds[td, FIRST_THREAD]
    sent = 0
    for other in range(first, first + sim.tds[td, TD_THREADS]):
        inside = sim.threads[other, INSIDE]
        if other != thread and inside != OUTSIDE:
            sent += 1
            if inside == ENTERING:
                sim.threads[other, KICK_PENDING] = 1
            else:
                arrives = now + sent * sim.settings[IPI_SEND] + sim.settings[IPI_DELIVERY]
                schedule(sim, sim.settings[COURIERS] + other, arrives)
    if sent == 0:
        return now
    sim.tds[td, PENDING] = sent
    sim.tds[td, KICKER] = thread
    sim.threads[thread, BLOCKED_AT] = now
    return NOT_YET


@step
def _answer(sim, thread, register, now):
    """Acknowledge a kick; the last to do so lets the kicker go on."""
    td = sim.threads[thread, TD]
    sim.tds[td, PENDING] -= 1
    if sim.tds[td, PENDING] == 0:
        kicker = sim.tds[td, KICKER]
        sim.tally[register, BLOCKED] += now - sim.threads[kicker, BLOCKED_AT]
        proceed(sim, kicker, now)


@step
def deliver(sim, courier, pc, now):
    """Let an IPI arrive: at a thread inside, on its way in again, or outside, which acknowledges it as it is."""
    suspend(sim, courier)
    thread = courier - sim.settings[COURIERS]
    inside = sim.threads[thread, INSIDE]
    if inside == IN_GUEST:
        _interrupt(sim, thread, now)
    elif inside == ENTERING:
        sim.threads[thread, KICK_PENDING] = 1
    else:
        _answer(sim, thread, sim.script[pc, STEP_LINE], now)


@step
def answer(sim, thread, pc, now):
    """Acknowledge the kick that took the thread out."""
    _answer(sim, thread, sim.script[pc, STEP_LINE], now)
    return now


@step
def land(sim, thread, pc, now):
    """Arrive in the guest, to be interrupted at once if a kick came on the way."""
    if sim.threads[thread, KICK_PENDING]:
        sim.threads[thread, SAVED_PC] = pc
        sim.threads[thread, REMAINING] = 0
        _leave(sim, thread, now)
    else:
        sim.threads[thread, INSIDE] = IN_GUEST
        proceed(sim, thread, now)


@step
def resume(sim, thread, now):
    """Arrive in the guest again and take up what the interrupt broke off."""
    if sim.threads[thread, KICK_PENDING]:
        _leave(sim, thread, now)
        return
    sim.threads[thread, INSIDE] = IN_GUEST
    sim.threads[thread, AWAY] = 0
    sim.threads[thread, PC] = sim.threads[thread, SAVED_PC]
    remaining = sim.threads[thread, REMAINING]
    if sim.threads[thread, GRANTED]:
        sim.threads[thread, GRANTED] = 0
        proceed(sim, thread, now)
    elif sim.threads[thread, STREAMS] >= 0:
        continue_stream(sim, thread, now)
    elif remaining >= 0:
        schedule(sim, thread, now + remaining)
    else:
        suspend(sim, thread)


@step
def gate(sim, thread, pc, now):
    """Stay outside while ``wait_for_sept_zap`` is set, looking again each time that the run loop has gone round.

    The work before the step is done once, not each time.
    """
    if sim.tds[sim.threads[thread, TD], NO_ENTRY] == 0:
        sim.threads[thread, INSIDE] = ENTERING
        proceed(sim, thread, now)
        return
    sim.threads[thread, INSIDE] = OUTSIDE
    if sim.threads[thread, KICK_PENDING]:
        sim.threads[thread, KICK_PENDING] = 0
        _answer(sim, thread, sim.script[pc, STEP_LINE], now)
    sim.totals[POLLS] += 1
    schedule(sim, thread, now + sim.script[pc, STEP_ARG])
