"""Run a simulation until its throughput is known: batch means."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.queueing import layout as q
from kernels.queueing.engine import FINISHED, advance
from kernels.queueing.layout import Simulation
from perfmodel.errors import ModelError

_LEAST_BATCHES, _MOST_BATCHES = 6, 40
_MOST_DOUBLINGS = 5


@dataclass(frozen=True)
class Measured:
    """What a simulation did between two moments.

    Attributes
    ----------
    seconds : float
        Simulated.
    units, pages : int
    half_width : float
        Of the 95 % confidence interval of pages a second, as share of their mean.
    tally, calls, totals, latency : ndarray of int64
        What the fields of :class:`kernels.queueing.layout.Simulation` grew by.
    occupied : ndarray of int64, shape (m,)
        Time for which each resource was in use, in ps.
    """

    seconds: float
    units: int
    pages: int
    half_width: float
    tally: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]
    latency: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.int64]


def run_until_steady(
    sim: Simulation, warm_up: int, batch: int, precision: float = 0.01, batches: int | None = None
) -> Measured:
    """Run ``warm_up`` units, then batches until the throughput is within ``precision`` at 95 %.

    Parameters
    ----------
    sim : Simulation
        Goes on from where it is.
    warm_up, batch : int
        Units of work.
    precision : float
        Half width of the interval over the mean. Batches are made longer as long as it is not reached.
    batches : int, optional
        Run so many, whatever the precision.

    Raises
    ------
    ModelError
        Every thread waits for another.
    """
    _advance(sim, int(sim.totals[q.UNITS]) + warm_up)
    before = [field.copy() for field in (sim.tally, sim.calls, sim.totals, sim.latency, sim.resources[:, q.OCCUPIED])]
    ends = [(int(sim.totals[q.NOW]), int(sim.totals[q.PAGES]))]
    half_width, doublings = math.inf, 0
    while len(ends) <= (batches or _MOST_BATCHES):
        _advance(sim, int(sim.totals[q.UNITS]) + batch)
        ends.append((int(sim.totals[q.NOW]), int(sim.totals[q.PAGES])))
        if len(ends) > 2:
            half_width = _half_width(ends)
        if batches is None and len(ends) > _LEAST_BATCHES and half_width <= precision:
            break
        if batches is None and len(ends) > _MOST_BATCHES and doublings < _MOST_DOUBLINGS:
            ends, batch, doublings = ends[::2], 2 * batch, doublings + 1  # short batches are not independent
    tally, calls, totals, latency, occupied = (
        now - then
        for now, then in zip(
            (sim.tally, sim.calls, sim.totals, sim.latency, sim.resources[:, q.OCCUPIED]), before, strict=True
        )
    )
    return Measured(
        int(totals[q.NOW]) / 1e12, int(totals[q.UNITS]), int(totals[q.PAGES]), half_width, tally, calls, totals,
        latency, occupied,
    )  # fmt: skip


def _half_width(ends: list[tuple[int, int]]) -> float:
    """Return the half width of the 95 % interval of pages over time: a ratio estimate, by Student's t."""
    from scipy import stats

    times, pages = np.diff(np.array(ends, np.float64), axis=0).T
    scatter = (pages - pages.sum() / times.sum() * times).std(ddof=1) / math.sqrt(times.size)
    return float(stats.t.ppf(0.975, times.size - 1) * scatter / pages.mean())


def _advance(sim: Simulation, units: int) -> None:
    if advance(sim, units) != FINISHED:
        raise ModelError("the simulated vCPUs wait for each other forever")


def percentile(latency: npt.NDArray[np.int64], share: float) -> float:
    """Return a percentile of a histogram of durations in ns: the geometric middle of its bin.

    Parameters
    ----------
    latency : ndarray of int64, shape (LATENCY_BINS,)
    share : float
        0 to 1.
    """
    if not latency.sum():
        return 0.0
    at = int(np.searchsorted(np.cumsum(latency), share * latency.sum()))
    return float(2 ** ((at + 0.5) / q.LATENCY_BINS_PER_OCTAVE) / 1e3)
