"""Run a scenario under each interface and price what happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel._version import __version__
from perfmodel.costs import Ledger, Price, cost_ratio, ledger, price_many, ratio_of
from perfmodel.counting import Counted, count_scenario
from perfmodel.memory import GuestMemory
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.result import Comparison, Cost, Leaves, ParametersId, Ratio, Row, Run, RunRow
from perfmodel.scaling.together import Scaling
from perfmodel.scenario import Scenario
from perfmodel.workers import Progress

_GIB_PAGES = 1 << 18


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to, before it is shown one way or another; ``seconds`` are those of each sample where vCPUs
    meet."""

    memory: GuestMemory
    parameters: ParameterSet
    rows: list[Row]
    counters: list[dict[str, int]]
    ledgers: list[Ledger]
    seconds: list[npt.NDArray[np.float64]]
    notes: dict[str, Any]


def compare(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Comparison:
    """Populate the guest of ``scenario`` under each of its interfaces.

    Parameters
    ----------
    scenario : Scenario
    parameters : ParameterSet, optional
        Default: the default preset.
    threads : int, optional
        Default: one a core. Changes nothing in the result but ``model_seconds``.
    progress : callable, optional
        Called with regions done and in all.
    every_region : bool
        Run regions that are alike one by one too; changes nothing in the result but ``model_seconds``.

    Raises
    ------
    InputError
        The scenario cannot be run; one line says what would be accepted.
    """
    return compare_rows(execute(scenario, parameters, threads=threads, progress=progress, every_region=every_region))


def compare_rows(done: Outcome) -> Comparison:
    """Return what came out of :func:`execute`, each row held against the first."""
    first = done.rows[0].interface
    ratios = [Ratio(row.interface, first, **_ratio_of(done, number)) for number, row in enumerate(done.rows)]
    return Comparison(**_head(done), rows=done.rows, ratios=ratios)


def run(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Run:
    """Do what :func:`compare` does and return counters and ledgers too, without ratios."""
    done = execute(scenario, parameters, threads=threads, progress=progress, every_region=every_region)
    runs = []
    for row, counters, units in zip(done.rows, done.counters, done.ledgers, strict=True):
        by_stage: dict[str, dict[str, int]] = {}
        for (stage, unit), count in units.units.items():
            by_stage.setdefault(stage, {})[unit] = count
        runs.append(RunRow(row, counters, by_stage))
    return Run(**_head(done), runs=runs)


def execute(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    every_region: bool = False,
) -> Outcome:
    """Run and price ``scenario``: the common part of :func:`compare` and :func:`run`."""
    parameters = parameters or load_parameters()
    counts = count_scenario(scenario, parameters.preset, threads=threads, progress=progress, every_region=every_region)
    scenario, counted = counts.memory.scenario, counts.interfaces
    ledgers = [ledger(one.counters) for one in counted]
    prices = price_many(ledgers, parameters, seed=scenario.seed)
    met: list[tuple[Scaling | None, npt.NDArray[np.float64]]] = []
    for number, one in enumerate(counted):
        if progress and scenario.vcpus * scenario.tds > 1:
            progress(number, len(counted))
        met.append(meet(scenario, one.interface, one.leaves, one.counters, parameters, threads))
    if progress and scenario.vcpus * scenario.tds > 1:
        progress(len(counted), len(counted))
    rows = [
        _row(one, price, scenario.tds, scaling, parameters.tsc_ghz)
        for one, price, (scaling, _) in zip(counted, prices, met, strict=True)
    ]
    return Outcome(
        counts.memory, parameters, rows, [one.counters for one in counted], ledgers, [seconds for _, seconds in met],
        counts.notes,
    )  # fmt: skip


def meet(
    scenario: Scenario,
    interface: str,
    leaves: Leaves,
    counters: Mapping[str, int],
    parameters: ParameterSet,
    threads: int | None = None,
) -> tuple[Scaling | None, npt.NDArray[np.float64]]:
    """Simulate the vCPUs of one interface's run, and return the seconds of each sample too.

    One vCPU of one TD meets nobody: None, and no samples.
    """
    mapped = leaves.size_4k + 512 * leaves.size_2m
    if scenario.vcpus * scenario.tds == 1 or not mapped:
        return None, np.zeros(0)
    from perfmodel.scaling.estimate import together
    from perfmodel.scaling.situation import describe, mix_of

    mix = mix_of(scenario, interface, leaves.size_4k, leaves.size_2m)
    return together(
        lambda sample: describe(scenario, mix, parameters, sample), counters, mapped, parameters, scenario.seed, threads
    )


def _row(
    counted: Counted, price: Price, tds: int, scaling: Scaling | None, tsc_ghz: float
) -> Row:  # fmt: skip
    facts = msgspec.structs.asdict(counted)
    del facts["counters"]
    ns = Cost(price.total_ns, price.low_ns, price.high_ns, price.by_stage_ns)
    seconds = scaling.seconds.value if scaling else ns.total / 1e9
    return Row(
        **facts,
        host_table_pages=2 * counted.sept_pages,
        ns=ns,
        cycles=ns.times(tsc_ghz),
        seconds=seconds,
        gib_per_s=_per(tds * counted.pages.mapped / _GIB_PAGES, seconds),
        faults_per_s=_per(tds * counted.faults, seconds),
        scaling=scaling,
    )


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds else 0.0


def _ratio_of(done: Outcome, number: int) -> Mapping[str, float]:
    """Return how many times as long a row takes as the first: of the work where one vCPU does it, else of the time."""
    above, below = done.seconds[number], done.seconds[0]
    if above.size and below.size:
        ratio = ratio_of(done.rows[number].seconds / done.rows[0].seconds, above, below)
        return msgspec.structs.asdict(ratio)
    if not done.ledgers[0].units:  # nothing was mapped, so nothing differs
        return {"value": 1.0, "low": 1.0, "high": 1.0}
    ratio = cost_ratio(done.ledgers[number], done.ledgers[0], done.parameters, seed=done.memory.scenario.seed)
    return msgspec.structs.asdict(ratio)


def _head(done: Outcome) -> dict[str, Any]:
    return {
        "version": __version__,
        "seed": done.memory.scenario.seed,
        "parameters": ParametersId(done.parameters.name, done.parameters.sha256),
        "scenario": done.memory.scenario.describe(),
        "notes": done.notes,
    }
