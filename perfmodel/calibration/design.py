"""Observations as integer counts in a matrix: a prediction is a product of counts and prices, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.observations import ROLES, Observation
from perfmodel.calibration.operations import Counted, count, not_a_time
from perfmodel.calibration.settings import settings
from perfmodel.costs import ALL_STAGES, ledger
from perfmodel.parameters import Parameter
from perfmodel.workers import Progress

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Times among observations, with what they count.

    Attributes
    ----------
    rows : tuple of Observation
    counted : tuple of Counted
    units : ndarray of float64, shape (rows, stages + 1, prices + extras)
        Units by stage, for one of what the quantity counts; the last stage holds the extras. Prices in cycles are
        divided by the host's clock, so that a price in its own unit gives ns.
    host : ndarray of int64, shape (rows,)
        Index in `hosts`.
    hosts : tuple of str
    measured_ns : ndarray of float64, shape (rows,)
        Less the row that `minus` names, if any.
    """

    rows: tuple[Observation, ...]
    counted: tuple[Counted, ...]
    units: Floats
    host: npt.NDArray[np.int64]
    hosts: tuple[str, ...]
    measured_ns: Floats

    @property
    def errors(self) -> Floats:
        """Standard deviations of the logarithms of `measured_ns`."""
        return np.array([one.error for one in self.rows])

    def unscaled_ns(self, prices: Floats) -> Floats:
        """Return what each row takes by stage at ``prices`` (with extras) on a host of scale 1."""
        return self.units @ prices

    def take(self, chosen: Sequence[int]) -> "Design":
        """Return the rows ``chosen``; hosts stay."""
        index = np.asarray(chosen, np.int64)
        return Design(
            tuple(self.rows[i] for i in chosen), tuple(self.counted[i] for i in chosen), self.units[index],
            self.host[index], self.hosts, self.measured_ns[index],
        )  # fmt: skip


def build_design(
    observations: Sequence[Observation], parameters: Sequence[Parameter], progress: Progress | None = None
) -> Design:
    """Count every time among ``observations``.

    Parameters
    ----------
    observations : sequence of Observation
        Ids are unique. Rows that are no time or not expressed are left out.
    parameters : sequence of Parameter
        All prices of the model; only names and units matter.
    progress : callable, optional
        Called with rows counted and in all.
    """
    times = [one for one in observations if one.role not in ROLES[-2:] and one.is_time]
    counted = []
    for done, one in enumerate(times):
        counted.append(count(one))
        if progress:
            progress(done + 1, len(times))
    extras = settings().extra_names
    units = np.zeros((len(times), len(ALL_STAGES) + 1, len(parameters) + len(extras)))
    for i, pair in enumerate(zip(times, counted, strict=True)):
        units[i] = _units(*pair, parameters, extras)
    measured = np.array([_measured_ns(one) for one in times])
    place = {one.id: i for i, one in enumerate(times)}
    plain_units, plain_measured = units.copy(), measured.copy()
    for i, one in enumerate(times):
        if one.minus:
            j = place[one.minus]
            units[i] -= plain_units[j]
            measured[i] -= plain_measured[j]
    hosts = tuple(dict.fromkeys(one.host for one in times))
    host = np.array([hosts.index(one.host) for one in times], np.int64)
    return Design(tuple(times), tuple(counted), units, host, hosts, measured)


def _units(one: Observation, counted: Counted, parameters: Sequence[Parameter], extras: Sequence[str]) -> Floats:
    column = {parameter.name: j for j, parameter in enumerate(parameters)}
    matrix = np.zeros((len(ALL_STAGES) + 1, len(parameters) + len(extras)))
    for (stage, unit), n in ledger(counted.counters).units.items():
        if stage in one.stages:
            clock = one.core_ghz if parameters[column[unit]].unit == "cycles" else 1.0
            matrix[ALL_STAGES.index(stage), column[unit]] += n / counted.per / clock
    for name, n in counted.extras.items():
        matrix[-1, len(parameters) + extras.index(name)] = n / counted.per
    return matrix


def _measured_ns(one: Observation) -> float:
    """Return the measured time; a bandwidth is the time of the memory that it moves."""
    base = one.in_base_unit(one.value)
    return one.memory_bytes / base if one.quantity == "bandwidth" and base else base


def other_prediction(one: Observation) -> float:
    """Return the model's figure for an observation that is no time."""
    return not_a_time(one, count(one))
