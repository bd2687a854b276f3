"""Cache lines: what queues in the order of arrival.

A line that another thread had last is transferred, and transfers of one line follow one another. A thread that has the
line already pays nothing: the instruction itself is part of its work. Lock words change in the order in which their
lines are reached, so a lock's state may be looked at on arrival.
"""

from kernels.jit import step
from kernels.queueing.layout import (
    FREE_AT,
    LOCAL,
    NODE,
    OCCUPIED,
    OWNER,
    QUEUED,
    REGISTERS,
    REMOTE,
    SERVED,
    VISITS,
)


@step
def transfer_time(sim, thread, owner):
    """Return how long a line takes from ``owner`` to ``thread``."""
    near = sim.threads[thread, NODE] == sim.threads[owner, NODE]
    return sim.settings[LOCAL] if near else sim.settings[REMOTE]


@step
def use_line(sim, thread, register, now):
    """Execute one atomic instruction on the line in ``register``; return when it is done."""
    if register < 0:
        return now
    row = sim.threads[thread, REGISTERS + register]
    owner = sim.resources[row, OWNER]
    sim.tally[register, VISITS] += 1
    if owner == thread:
        return now
    sim.resources[row, OWNER] = thread
    if owner < 0:
        return now
    takes = transfer_time(sim, thread, owner)
    begins = max(now, sim.resources[row, FREE_AT])
    sim.resources[row, FREE_AT] = begins + takes
    sim.resources[row, OCCUPIED] += takes
    sim.tally[register, QUEUED] += begins - now
    sim.tally[register, SERVED] += takes
    return begins + takes
