"""Counts first, prices later: integer units of work by stage, and what they cost with a set of parameters.

A run yields counters; ``data/work.toml`` and ``data/work_life.toml`` turn each counter into integer units by stage;
each unit has one parameter of the same name. Pricing is one matrix product over all parameter samples.
"""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.draws import cost_factors
from perfmodel.parameters import ParameterSet

PopulateStage = Literal[
    "exit",
    "kvm_fault",
    "guest_memfd",
    "host_clear",
    "mirror",
    "flush",
    "seamcall",
    "module_keyhole",
    "module_locks",
    "module_memory",
    "module_fill",
    "module_code",
    "guest_accept",
    "guest_zero",
    "entry",
]

LifeStage = Literal[
    "build",
    "measure",
    "guest_ve",
    "convert",
    "mmu_lock",
    "block",
    "track",
    "kick",
    "demote",
    "promote",
    "remove",
    "wbinvd",
    "reset",
    "reclaim",
    "pamt",
]

Stage = PopulateStage | LifeStage

STAGES: tuple[str, ...] = get_args(PopulateStage)
"""Stages in the order of a fault; docs/costs.md says from where to where each one is counted."""

LIFE_STAGES: tuple[str, ...] = get_args(LifeStage)
"""Stages that only the rest of a TD's life has: building, converting, splitting, removing, reclaiming."""

ALL_STAGES = STAGES + LIFE_STAGES

INTERVAL = (0.05, 0.95)
"""The two points of the distribution of a cost that bound its interval."""


class WorkRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`count` units of `unit` per event of `counter`, booked under `stage`."""

    counter: str
    stage: Stage
    unit: str
    count: int
    source: str


class _Likeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event of `counter` includes `times` the rows of counter `like` in stage `part`, booked under `stage`."""

    counter: str
    stage: Stage
    like: str
    part: Stage
    times: int = 1


class _WorkFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    work: list[WorkRow]
    like: list[_Likeness] = []


class Ledger(msgspec.Struct, frozen=True):
    """Integer units of work by (stage, unit); units that do not occur are absent."""

    units: dict[tuple[str, str], int]

    def __add__(self, other: "Ledger") -> "Ledger":
        total = dict(self.units)
        for key, count in other.units.items():
            total[key] = total.get(key, 0) + count
        return Ledger(total)

    def total(self, unit: str, stage: str | None = None) -> int:
        """Units of one kind, in all stages or in one."""
        return sum(n for (s, u), n in self.units.items() if u == unit and stage in (None, s))


class Price(msgspec.Struct, frozen=True):
    """Cost of a ledger in ns: central value, 5 % and 95 % points over the parameters' ranges, and its parts.

    `by_stage_ns` sums to `total_ns`. Its stages are those of `stages_of` all ledgers priced together.
    """

    total_ns: float
    low_ns: float
    high_ns: float
    by_stage_ns: dict[str, float]


class Ratio(msgspec.Struct, frozen=True):
    """A quotient of two costs, both under the same parameters: central value, 5 % and 95 % points."""

    value: float
    low: float
    high: float


@functools.cache
def work_rows() -> tuple[WorkRow, ...]:
    """The rows of ``data/work.toml`` and ``data/work_life.toml``, in file order; taken-over rows are written out."""
    populate, life = _read_work("work.toml"), _read_work("work_life.toml")
    taken_over = [
        msgspec.structs.replace(row, counter=one.counter, stage=one.stage, count=one.times * row.count)
        for one in life.like
        for row in (*populate.work, *life.work)
        if (row.counter, row.stage) == (one.like, one.part)
    ]
    return (*populate.work, *taken_over, *life.work)


def _read_work(name: str) -> _WorkFile:
    return msgspec.toml.decode((resources.files("perfmodel") / "data" / name).read_bytes(), type=_WorkFile)


@functools.cache
def _work_by_counter() -> Mapping[str, tuple[WorkRow, ...]]:
    counters: dict[str, list[WorkRow]] = {}
    for row in work_rows():
        counters.setdefault(row.counter, []).append(row)
    return {counter: tuple(rows) for counter, rows in counters.items()}


@functools.cache
def counter_names() -> tuple[str, ...]:
    """Counters that `ledger` knows."""
    return tuple(_work_by_counter())


def ledger(counters: Mapping[str, int]) -> Ledger:
    """Units of work of a run.

    Parameters
    ----------
    counters : mapping of str to int
        How often each kind of event happened; a counter left out is 0. Integers of any size, exact.

    Raises
    ------
    KeyError
        For a counter that no row of work is about.
    TypeError
        For a count that is not an integer.
    """
    work = _work_by_counter()
    units: dict[tuple[str, str], int] = {}
    for counter, events in counters.items():
        events = operator.index(events)
        for row in work[counter]:
            if events:
                key = (row.stage, row.unit)
                units[key] = units.get(key, 0) + events * row.count
    return Ledger(units)


def stages_of(ledgers: Sequence[Ledger]) -> tuple[str, ...]:
    """`STAGES` where all work is populating; `ALL_STAGES` as soon as one ledger holds any other work."""
    used = {stage for one in ledgers for stage, _ in one.units}
    return STAGES if used <= set(STAGES) else ALL_STAGES


def unit_matrix(ledgers: Sequence[Ledger], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Units by ledger, stage of `stages_of` them, and parameter, shape (ledgers, stages, n); counts become floats.

    Raises
    ------
    KeyError
        If a ledger holds a unit that is not in `names`.
    """
    column = {name: j for j, name in enumerate(names)}
    row = {stage: i for i, stage in enumerate(stages_of(ledgers))}
    matrix = np.zeros((len(ledgers), len(row), len(names)))
    for k, one in enumerate(ledgers):
        for (stage, unit), count in one.units.items():
            matrix[k, row[stage], column[unit]] = count
    return matrix


def sample_costs(
    ledgers: Sequence[Ledger], parameters: ParameterSet, samples: int = 4096, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Total cost in ns of each ledger under each parameter sample, shape (samples, ledgers).

    With a calibrated set the draws are factors of mean 1, correlated as the calibration says, with what the host and
    each stage may be off by: the same for all ledgers, so that less work never costs more.
    """
    units = unit_matrix(ledgers, parameters.names)
    if parameters.joint is None:
        return np.asarray(parameters.sample_ns(samples, seed) @ units.sum(axis=1).T)
    prices, stages = cost_factors(parameters.parameters, parameters.joint, len(ALL_STAGES), samples, seed)
    rows, columns = np.nonzero(
        units.any(axis=0)
    )  # of all pairs of stage and price few occur: one product for all ledgers
    factors = prices[:, columns] * stages[:, [ALL_STAGES.index(stage) for stage in stages_of(ledgers)]][:, rows]
    return np.asarray(factors @ (units * parameters.values_ns())[:, rows, columns].T)


def price_many(ledgers: Sequence[Ledger], parameters: ParameterSet, samples: int = 4096, seed: int = 0) -> list[Price]:
    """Price several ledgers under the same samples.

    Returns
    -------
    list of Price
        An interval always holds its central value; should sampling leave it out, the interval is widened.
    """
    return prices_of(ledgers, parameters, sample_costs(ledgers, parameters, samples, seed))


def prices_of(ledgers: Sequence[Ledger], parameters: ParameterSet, costs: npt.NDArray[np.float64]) -> list[Price]:
    """Do what `price_many` does with the ``costs`` that `sample_costs` has drawn, shape (samples, ledgers)."""
    stages_ns = unit_matrix(ledgers, parameters.names) @ parameters.values_ns()
    bounds = np.quantile(costs, INTERVAL, axis=0)
    prices, stages = [], stages_of(ledgers)
    for k in range(len(ledgers)):
        by_stage = dict(zip(stages, stages_ns[k].tolist(), strict=True))
        total = math.fsum(by_stage.values())
        low, high = bounds[:, k].tolist()
        prices.append(Price(total, min(low, total), max(high, total), by_stage))
    return prices


def price(one: Ledger, parameters: ParameterSet, samples: int = 4096, seed: int = 0) -> Price:
    """Price one ledger: see `price_many`."""
    return price_many([one], parameters, samples, seed)[0]


def cost_ratio(
    numerator: Ledger, denominator: Ledger, parameters: ParameterSet, samples: int = 4096, seed: int = 0
) -> Ratio:
    """How many times `denominator` the cost of `numerator` is, with both under the same samples.

    Raises
    ------
    ZeroDivisionError
        If `denominator` costs nothing.
    """
    above, below = price_many([numerator, denominator], parameters, samples=1, seed=seed)
    costs = sample_costs([numerator, denominator], parameters, samples, seed)
    return ratio_of(above.total_ns / below.total_ns, costs[:, 0], costs[:, 1])


def ratio_of(value: float, above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> Ratio:
    """Return the quotient ``value`` with the interval of its samples, shape (samples,) each."""
    low, high = np.quantile(above / below, INTERVAL).tolist()
    return Ratio(value, min(low, value), max(high, value))
