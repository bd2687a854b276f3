"""Run a sweep: count what is not there yet, simulate what meets, price everything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfmodel.sweep.dataset import assemble
from perfmodel.sweep.grid import Grid
from perfmodel.sweep.layout import Layout, lay_out
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.point import meeting_key, meets
from perfmodel.sweep.schedule import Outcome, Task, run_on_cluster, run_serially
from perfmodel.workers import Progress

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

SAMPLES = 4096


@dataclass
class Tally:
    """How a sweep went.

    Attributes
    ----------
    counted, simulated : int
        Points and meetings that were computed.
    found : int
        Parts that were there already.
    failed : dict of str to str
        Reasons by key.
    """

    counted: int = 0
    simulated: int = 0
    found: int = 0
    failed: dict[str, str] = field(default_factory=dict)


Stage = Callable[[str], Progress]
"""Gives the progress of one part of the work, by its name."""


def sweep(
    grid: Grid,
    parts: Parts | None = None,
    *,
    samples: int = SAMPLES,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Stage | None = None,
    tally: Tally | None = None,
) -> "xr.Dataset":
    """Return the Dataset of ``grid``.

    Parameters
    ----------
    grid : Grid
    parts : Parts, optional
        Where parts are kept, and found by another run. Default: in memory.
    samples : int
        Of the parameters, behind each interval.
    threads : int, optional
        Default: one a core. The result does not depend on it.
    client : distributed.Client, optional
        Counts and simulates on its workers; nothing but ``model_seconds`` depends on that.
    progress : callable, optional
    tally : Tally, optional
        Filled in.
    """
    parts, tally = parts or Parts(), tally or Tally()
    layout = lay_out(grid, samples)
    parts.keep_layout(layout)

    def run(tasks: Sequence[Task]) -> Iterator[Outcome]:
        return run_on_cluster(client, tasks) if client else run_serially(tasks, threads)

    tally.counted = _do(_to_count(grid, parts, tally), run, parts, tally, progress and progress("GiB counted"))
    tally.simulated = _do(_to_meet(grid, layout, parts, tally), run, parts, tally, progress and progress("GiB met"))
    return assemble(layout, parts, tally.failed, threads, progress and progress("priced"))


def _do(
    tasks: Sequence[Task], run: Callable[[Sequence[Task]], Iterator[Outcome]], parts: Parts, tally: Tally,
    progress: Progress | None,
) -> int:  # fmt: skip
    """Run ``tasks``, keep what they give, and return how many gave something."""
    total, done, gave = sum(task.size for task in tasks), 0, 0
    if progress and tasks:
        progress(0, total)
    for outcome in run(tasks) if tasks else ():
        if outcome.part is None:
            tally.failed[outcome.task.key] = outcome.failed
        else:
            parts.keep(outcome.part)
            gave += 1
        done += outcome.task.size
        if progress:
            progress(done, total)
    return gave


def _to_count(grid: Grid, parts: Parts, tally: Tally) -> list[Task]:
    tasks: dict[str, Task] = {}
    for one in grid.points:
        if one.point is not None and (key := one.point.key) not in tasks:
            if parts.counts(key) is None:
                tasks[key] = Task(one.point)
            else:
                tally.found += 1
    return list(tasks.values())


def _to_meet(grid: Grid, layout: Layout, parts: Parts, tally: Tally) -> list[Task]:
    tasks: dict[str, Task] = {}
    for one in grid.points:
        if one.point is None or not meets(one.point):
            continue
        counts = parts.counts(one.point.key)
        if counts is None or counts.refused:
            continue
        for parameters in layout.sets:
            key = meeting_key(counts.key, parameters)
            if key not in tasks:
                if parts.meeting(key) is None:
                    tasks[key] = Task(one.point, counts, parameters)
                else:
                    tally.found += 1
    return list(tasks.values())
