"""What a simulation consists of: scripts of steps, the threads that run them, and the resources that they meet at.

Times are picoseconds in int64. Every thread has one pending event at the most, which is the step that it executes
next. ``perfmodel/scaling`` writes the scripts; nothing here knows what a step stands for.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Simulation(NamedTuple):
    """The whole state; every kernel of this package works on it in place.

    Attributes
    ----------
    script : ndarray of int64, shape (steps, STEP_FIELDS)
        Steps of all scripts, by the ``STEP_`` columns.
    threads : ndarray of int64, shape (n, REGISTERS + r)
        Fields of each thread, then its registers. n is at most THREADS.
    events : ndarray of int64, shape (2 * leaves,)
        Tournament tree over ``time << THREAD_BITS | thread``; see ``events.py``.
    stream_ends : ndarray of int64, shape (2 * nodes, 2 * leaves)
        The same over ``end << THREAD_BITS | thread`` for each class of streams, in the time of its clock.
    resources : ndarray of int64, shape (m, RESOURCE_FIELDS)
        Cache lines, locks and servers; registers hold rows of it.
    tds : ndarray of int64, shape (t, TD_FIELDS)
    tally : ndarray of int64, shape (r, TALLY_FIELDS)
        What threads met, by the register through which they met it.
    calls : ndarray of int64, shape (c,)
        Events that scripts count by number.
    totals : ndarray of int64, shape (TOTALS,)
    latency : ndarray of int64, shape (LATENCY_BINS,)
        Units done by the logarithm of the time that each took.
    spread : ndarray of int64, shape (1024,)
        Quantiles of the distribution of work around its mean, in 1 / 65536; all 65536 for none.
    settings : ndarray of int64, shape (SETTINGS,)
    """

    script: np.ndarray
    threads: np.ndarray
    events: np.ndarray
    stream_ends: np.ndarray
    resources: np.ndarray
    tds: np.ndarray
    tally: np.ndarray
    calls: np.ndarray
    totals: np.ndarray
    latency: np.ndarray
    spread: np.ndarray
    settings: np.ndarray


THREAD_BITS = 11
THREADS = 1 << THREAD_BITS
FOREVER = np.int64(1) << 51
"""A time that never comes: 37 minutes."""

STEP_OP, STEP_LINE, STEP_LOCK, STEP_WORK, STEP_ARG, STEP_ELSE = 0, 1, 2, 3, 4, 5
"""Operation; register of the cache line or server (-1: none); register of the lock or state; mean of the work before
the operation takes effect; what the operation says; step to go on at when it fails."""
STEP_FIELDS = 6

(PC, TD, NODE, RANDOM, STARTED, INSIDE, EPOCH, AWAY, SAVED_PC, REMAINING, NEXT, WANTS, GRANTED, BLOCKED_AT, STREAMS,
 STREAM_LEFT, DEMAND, DEMAND_FAR, STREAM_BEGAN, STREAM_OWN, TAKEN, CHOSEN,
 KICK_PENDING) = range(23)  # fmt: skip
"""Fields of a thread. AWAY: it was interrupted, and takes up SAVED_PC again in REMAINING ps, or -1 where it waits.
STREAMS: class of the stream that it moves, -1 for none; STREAM_LEFT: own time that an interrupt left of it; the shares
of the servers that it asks for; when it began, and how long it takes alone. TAKEN: units of its stripe that it has
taken. CHOSEN: what its choices so far leave over, in 1 / ONE. KICK_PENDING: an interrupt waits until it has entered."""
REGISTERS = 24
"""Column of the first register."""

FREE_AT, OWNER, STATE, HOST_PRIORITY, HEAD, TAIL, OCCUPIED, LOAD = range(8)
HELD_SINCE = LOAD
CLASS_CLOCK, CLASS_READ_AT = STATE, FREE_AT
"""Fields of a resource: when its queue is served; the thread that has the line, -1 for none yet; readers of a lock, or
EXCLUSIVE, or the state of a table; whether a host call failed on it; first and last waiting thread, -1 for none; time
for which it was in use; what the streams through a server ask for, in ONE of it, or since when one thread has a
lock. The first rows are the nodes' memories, then the links into them; of both CLASS_CLOCK runs as slow as their
streams do, and was read at CLASS_READ_AT."""
RESOURCE_FIELDS = 8

OUTSIDE, ENTERING, IN_GUEST = 0, 1, 2
"""``threads[INSIDE]``: KVM kicks a vCPU from the moment at which it sets out to enter."""

EXCLUSIVE = -1
ONE = 1 << 20
ABSENT, FROZEN, PRESENT = 0, 1, 2

(TD_EPOCH, REFERENCES, _, NO_ENTRY, NEXT_UNIT, PENDING, KICKER, FIRST_THREAD, TD_THREADS, BASE_GIB, BASE_1G, BASE_RANGE,
 BASE_LINE) = range(13)  # fmt: skip
"""Fields of a TD: TD_EPOCH and its two reference counts; ``wait_for_sept_zap``; next unit of memory; acknowledgements
that a kick waits for, and who kicked; its threads; first resource of its GiBs, PAMT_1G lines, 2M ranges, 4K lines."""
TD_FIELDS = 16

VISITS, QUEUED, SERVED, BLOCKED, BUSY, HELD = range(6)
"""``tally``: uses of a line or server; time queued for it; its transfer or service; time blocked on the lock in it;
try-once locks found taken, entries found frozen; time for which the lock in it was held by one thread alone."""
TALLY_FIELDS = 6

NOW, UNITS, PAGES, POLLS, WORKED = range(5)
"""``totals``: time of the last event; units of work done; 4K pages in them; entries that ``wait_for_sept_zap`` held;
work that threads have begun."""
TOTALS = 5

LATENCY_BINS_PER_OCTAVE = 16
LATENCY_BINS = 53 * LATENCY_BINS_PER_OCTAVE

(LOCAL, REMOTE, WAKE, IPI_SEND, IPI_DELIVERY, KICKED, UNITS_IN_GUEST, UNIT_STRIDE, UNIT_SHIFT, STRIPED, GIBS, RANGES,
 LINES, PLACEMENT, NODES, REMOTE_PACE, LINK_PACE, COURIERS) = range(18)  # fmt: skip
"""``settings``: transfer of a line within a node and between nodes; wake-up of a sleeper; sending one IPI, and its way;
step at which an interrupted thread goes on; units of memory in a guest, the stride that orders them, log2 of the pages
of a unit, whether each thread has a stripe of its own; GiBs, 2M ranges and 16 KiB that resources stand for; where data
lie; nodes; what a thread's own pace loses in another node's memory, and what the link takes, both in 1 / 1024 of the
memory's time; the first of the threads that stand for IPIs on their way, one for each thread that may get them."""
SETTINGS = 18

ON_FIRST_NODE, ON_OWN_NODE, INTERLEAVED = 0, 1, 2
"""``settings[PLACEMENT]``: pages lie on node 0, on the node of the thread that takes them, or on each in turn."""


class Op(IntEnum):
    """What steps do. The first group takes time; steps from JUMP on take none and follow the step before them."""

    NOTHING = 0  # only its work
    ATOMIC = 1  # one atomic instruction on a line
    TRY_SHARED = 2  # ... that takes a try-once lock, or fails with BUSY
    TRY_EXCLUSIVE = 3
    TRY_PROMOTE = 4  # the only reader becomes exclusive
    TRY_GUEST = 5  # a guest's exclusive attempt, which host priority turns away
    DROP_SHARED = 6
    DROP_EXCLUSIVE = 7
    READ_LOCK = 8  # a lock that threads queue for, readers together, first come first served
    READ_UNLOCK = 9
    WRITE_LOCK = 10
    WRITE_UNLOCK = 11
    SLEEP_LOCK = 12  # a lock whose waiters sleep; who wakes tries again
    SLEEP_UNLOCK = 13
    STREAM = 14  # move bytes through a server (LINE) and, where registered, another (LOCK); STREAM_END follows
    STREAM_END = 15
    TAKE = 16  # the next unit of the guest's memory
    MOVE = 17  # to the page ARG pages further in it
    FREEZE = 18  # an absent table becomes frozen; present: goes on at ELSE; frozen: at ARG
    SET_STATE = 19
    ENTER = 20  # the epoch's reference count, and the thread is inside the TD
    EXIT = 21
    TRACK = 22  # TD_EPOCH + 1, unless the epoch before is still referenced
    KICK = 23  # interrupt every other thread of the TD that is inside, wait until all have answered
    ANSWER = 24
    RESUME = 25  # take up what the interrupt broke off
    LAND = 26  # the first instruction of the guest
    GATE = 27  # wait while wait_for_sept_zap is set
    FLAG = 28  # set or clear wait_for_sept_zap
    PARK = 29  # nothing more, ever
    INTERRUPT = 30  # an IPI reaches its thread
    JUMP = 31
    SET = 32  # a register
    ADD = 33
    IF_LESS = 34  # register < ARG, else go on at ELSE
    IF_STATE = 35  # the state is ARG, else go on at ELSE
    CHOOSE = 36  # go on ARG times in ONE, evenly spread, else at ELSE
    BEGIN = 37  # a unit of work
    DONE = 38  # ... of ARG pages
    COUNT = 39  # the call with number ARG


FIRST_UNTIMED = int(Op.JUMP)
