"""Question 9: table memory and page-walk reach once the guest is up."""

import shlex
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from perfmodel.parameters import ParameterSet
from perfmodel.report.amounts import amount, with_unit
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.causes import Causes
from perfmodel.report.sampled import Sampled, exact
from perfmodel.report.situation import SAMPLES, Situation
from perfmodel.sizes import format_size
from perfmodel.steady import GUEST_PAGES, SteadyScenario, prices_of, run_steady
from perfmodel.steady_result import Interval, Loads, SteadyRow
from perfmodel.walk_hardware import load_walk_hardware
from perfmodel.workers import Progress

ACCESSES = 1 << 18
_MIXED = 0.001
"""A guest with this share of its memory at either size, or less, is all of one."""


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Simulate accesses to an eighth of the guest with 4K and 2M leaves, and with what ``folio-strict`` leaves."""
    done = situation.populate(situation.scenario, progress)
    share = next(
        (
            512 * row.leaves.size_2m / row.pages.mapped
            for row in done.rows
            if row.interface == "folio-strict" and row.pages.mapped
        ),
        0.0,
    )
    scenario = SteadyScenario(
        memory=situation.scenario.memory_bytes,
        levels=situation.scenario.levels,
        seed=situation.scenario.seed,
        accesses=ACCESSES,
        share_2m=share if _MIXED < share < 1 - _MIXED else None,
    )
    hardware = load_walk_hardware(situation.parameters.preset)
    found, huge = (
        run_steady(replace(scenario, guest_pages=size), situation.parameters, hardware, progress)
        for size in GUEST_PAGES
    )
    names = {row.leaf: row.leaf if row.leaf != "mixed" else "as folio-strict" for row in found.rows}
    faster, faster_huge = (one.times for run in (found, huge) for one in run.speedups if one.leaf == "2M")
    runs = dict(zip(GUEST_PAGES, (found, huge), strict=True))
    tables = {row.interface: row.host_table_pages << 12 for row in done.rows}
    prices = prices_of(situation.parameters, hardware)
    mixed = [f" ({_words(one.times)} as folio-strict leaves it)" for one in found.speedups if one.leaf == "mixed"]
    return Answer(
        headline=f"An access to a working set of {format_size(int(found.scenario['working_set_bytes']))} goes "
        f"{_words(faster)} as fast with 2M leaves as with 4K"
        + "".join(mixed)
        + f", {_words(faster_huge)} if the guest's own pages are 2M; tables take "
        + ", ".join(f"{with_unit(size, 'bytes')} under {name}" for name, size in tables.items())
        + ".",
        groups=[
            Group(
                "Time of an access, page walk and data",
                [
                    _row(names[row.leaf], f"guest pages {size}", row.access_ns, 1e-9, "s")
                    for size, run in runs.items()
                    for row in run.rows
                ],
                drawn=True,
            ),
            Group(
                "How many times as fast as with 4K leaves",
                [
                    _row(names[one.leaf], f"guest pages {size}", one.times, 1.0, "times")
                    for size, run in runs.items()
                    for one in run.speedups
                ],
            ),
            *(
                Group(
                    f"Page walks, guest pages {size}",
                    [line for row in run.rows for line in _walks(names[row.leaf], row)],
                )
                for size, run in runs.items()
            ),
            Group(
                "S-EPT pages and KVM's mirror of them",
                [exact("tables", name, size, "bytes") for name, size in tables.items()],
            ),
        ],
        hangs_on=Causes.of(prices, SAMPLES, scenario.seed).most(
            "2M over 4K", speed_up(found.rows, prices, scenario.seed)
        ),
        notes=[
            "Intervals also span the ranges of sizes of TLBs and caches, each at its ends; what the number hangs on "
            "is among prices, at the central sizes. Accesses are uniform, by one vCPU."
        ],
        command=_command(scenario, situation),
    )


def _command(scenario: SteadyScenario, situation: Situation) -> str:
    words = ["--memory", format_size(int(scenario.memory)).replace(" ", ""), "--accesses", str(scenario.accesses)]
    for name in ("levels", "seed", "share_2m"):
        if (value := getattr(scenario, name)) != SteadyScenario.__dataclass_fields__[name].default:
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join(["perfmodel", "steady", *words, *situation.words])


def _words(one: Interval) -> str:
    return amount(_row("", "", one, 1.0, "times"))


def _row(label: str, column: str, one: Interval, factor: float, unit: str) -> Row:
    return Row(label, column, one.value * factor, one.low * factor, one.high * factor, unit)


def _walks(label: str, row: SteadyRow) -> list[Row]:
    return [
        exact("reach of the second-level TLB", label, row.reach_bytes, "bytes"),
        exact("TLB misses an access", label, row.misses_per_access),
        exact("references a walk, nothing cached", label, row.uncached_references),
        exact("references a walk", label, row.loads_per_walk),
        exact("of them S-EPT entries", label, row.sept_loads_per_walk),
    ]


def speed_up(rows: list[SteadyRow], prices: ParameterSet, seed: int) -> Sampled:
    """Return how many times as fast 2M is as 4K under each sample of the prices, structures at their values."""
    central, sampled = prices.values_ns(), prices.sample_ns(SAMPLES, seed)
    slow, fast = (_loads(next(row for row in rows if row.leaf == leaf)) for leaf in ("4K", "2M"))
    return Sampled(float(slow @ central), sampled @ slow) / Sampled(float(fast @ central), sampled @ fast)


def _loads(row: SteadyRow) -> npt.NDArray[np.float64]:
    """Return how often each price of :func:`perfmodel.steady.prices_of` is paid."""
    l1d, l2, l3, memory = (
        sum(getattr(loads, level) for loads in (row.guest_loads, row.sept_loads, row.data_loads))
        for level in Loads.__struct_fields__
    )
    return np.array([l1d, l2, l3, row.dtlb_misses, memory, memory], np.float64)
