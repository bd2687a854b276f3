"""Empty simulations: the arrays of :class:`kernels.queueing.layout.Simulation` for so many threads and resources."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from kernels.queueing.events import RANDOM_BITS
from kernels.queueing.layout import (
    CHOSEN,
    FOREVER,
    HEAD,
    LATENCY_BINS,
    NODES,
    ONE,
    OWNER,
    RANDOM,
    REGISTERS,
    RESOURCE_FIELDS,
    SETTINGS,
    STREAMS,
    TAIL,
    TALLY_FIELDS,
    TD_FIELDS,
    THREAD_BITS,
    TOTALS,
    Simulation,
)

Spread = Literal["none", "exponential"]
_QUANTILES = 1024
_WHOLE = 1 << 16


def make_simulation(
    script: npt.NDArray[np.int64],
    threads: int,
    registers: int,
    resources: int,
    nodes: int = 1,
    tds: int = 1,
    calls: int = 1,
    spread: Spread = "none",
    seed: int = 0,
) -> Simulation:
    """Return a simulation in which no thread has begun and every register is -1.

    Parameters
    ----------
    script : ndarray of int64, shape (steps, STEP_FIELDS)
    threads, registers, resources, nodes, tds, calls : int
    spread : {"none", "exponential"}
        Distribution of every piece of work around its mean.
    seed : int
        Of the threads' random numbers.
    """
    leaves = 1 << max(threads - 1, 0).bit_length()
    never = FOREVER << THREAD_BITS | np.arange(leaves, dtype=np.int64)
    events = np.zeros(2 * leaves, np.int64)
    events[leaves:] = never
    for node in range(leaves - 1, 0, -1):
        events[node] = events[2 * node]
    fields = np.zeros((threads, REGISTERS + registers), np.int64)
    fields[:, REGISTERS:] = -1
    fields[:, STREAMS] = -1
    draw = np.random.default_rng([0x5C4E, seed])
    fields[:, RANDOM] = draw.integers(0, 1 << RANDOM_BITS, threads)
    fields[:, CHOSEN] = draw.integers(0, ONE, threads)
    rows = np.zeros((max(resources, 2 * nodes), RESOURCE_FIELDS), np.int64)  # each node has two classes of streams
    rows[:, [OWNER, HEAD, TAIL]] = -1
    settings = np.zeros(SETTINGS, np.int64)
    settings[NODES] = nodes
    return Simulation(
        script=script, threads=fields, events=events,
        stream_ends=np.tile(events, (2 * nodes, 1)), resources=rows, tds=np.zeros((tds, TD_FIELDS), np.int64),
        tally=np.zeros((registers, TALLY_FIELDS), np.int64), calls=np.zeros(calls, np.int64),
        totals=np.zeros(TOTALS, np.int64), latency=np.zeros(LATENCY_BINS, np.int64), spread=_quantiles(spread),
        settings=settings,
    )  # fmt: skip


def _quantiles(spread: Spread) -> npt.NDArray[np.int64]:
    """Return equally likely multiples of the mean, in 1 / 65536, whose own mean is 1 to the unit."""
    if spread == "none":
        return np.full(_QUANTILES, _WHOLE, np.int64)
    exact = -np.log1p(-(np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    steps = np.round(exact * (_WHOLE / exact.mean())).astype(np.int64)
    steps[-1] += _QUANTILES * _WHOLE - steps.sum()
    return np.asarray(steps)
