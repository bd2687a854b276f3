"""Simulations of many vCPUs for tests: real situations, small scripts of one's own, engine and twin as a pair."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from twin_events import Resource
from twin_queueing import Twin

from kernels.queueing import layout as q
from kernels.queueing.engine import FINISHED, advance, start
from kernels.queueing.layout import Op, Simulation
from perfmodel.parameters import load_parameters
from perfmodel.scaling import network
from perfmodel.scaling.faults import PathOptions
from perfmodel.scaling.network import Description
from perfmodel.scaling.script import Script
from perfmodel.scaling.simulation import make_simulation
from perfmodel.scaling.situation import Mix, describe
from perfmodel.scenario import Scenario

Start = tuple[int, int, int]
"""Thread, step, time."""
GIB_PAGES, GIB_RANGES = 1 << 18, 512
MIXES = {
    "4K": Mix(0, 4 * GIB_PAGES, True, True),
    "2M": Mix(4 * GIB_RANGES, 0, True, True),
    "both": Mix(3 * GIB_RANGES, GIB_PAGES, False, True),
    "4K, small folios": Mix(0, 4 * GIB_PAGES, False, False),
}


def situation(
    mix: str = "4K", *, options: dict[str, Any] | None = None, workload: str = "populate", reset_pages: bool = False,
    **scenario: Any,
) -> Description:  # fmt: skip
    """Return a description of 4 GiB with the default parameters."""
    return describe(
        Scenario(**({"memory": "4GiB"} | scenario)), MIXES[mix], load_parameters(), workload=workload,
        options=PathOptions(**(options or {})), reset_pages=reset_pages,
    )  # fmt: skip


def unstarted(d: Description) -> tuple[Simulation, list[Start]]:
    """Build a simulation in which nobody has begun, and who is to begin where."""
    starts: list[Start] = []
    with patch.object(network, "start", lambda sim, *one: starts.append(one)):
        return network.build(d), starts


def small(
    write: Callable[[Script], Iterable[int]], *, resources: int, points: dict[int, int | list[int]], calls: int = 8,
    tds: int = 1, threads: int | None = None, settings: dict[int, int] | None = None, spread: str = "none",
    seed: int = 0,
) -> tuple[Simulation, list[Start]]:  # fmt: skip
    """Assemble a script of one's own.

    ``write`` fills it and returns where each thread begins, at time 0; ``points`` gives registers their rows, one for
    all threads or one for each. The TDs' threads follow each other.
    """
    script = Script()
    begins = list(write(script))
    threads = threads or len(begins)
    kicks = [int(row[q.STEP_LINE]) for row in script.assemble() if row[q.STEP_OP] == Op.KICK]
    interrupt = script.add(Op.INTERRUPT, kicks[0]) if kicks else 0
    sim = make_simulation(
        script.assemble(), threads * (2 if kicks else 1), 32, resources, (settings or {}).get(q.NODES, 1), tds, calls,
        spread, seed,
    )  # type: ignore[arg-type]  # fmt: skip
    sim.settings[q.COURIERS] = threads
    sim.threads[threads:, q.PC] = interrupt
    sim.tds[:, q.TD_EPOCH] = 1
    each = threads // tds
    for td in range(tds):
        sim.tds[td, q.FIRST_THREAD], sim.tds[td, q.TD_THREADS] = td * each, each
        sim.threads[td * each : (td + 1) * each, q.TD] = td
    for register, rows in points.items():
        sim.threads[:threads, q.REGISTERS + register] = rows
    for setting, value in (settings or {}).items():
        sim.settings[setting] = value
    return sim, [(thread, step, 0) for thread, step in enumerate(begins)]


def started(built: tuple[Simulation, list[Start]]) -> Simulation:
    """Let all threads begin."""
    sim, starts = built
    for one in starts:
        start(sim, *one)
    return sim


def finish(sim: Simulation, units: int) -> Simulation:
    """Run so many units, which must be possible."""
    assert advance(sim, units) == FINISHED
    return sim


def mark(script: Script, who: int) -> None:
    """Let ``trace`` see when a thread comes here, and which."""
    script.add(Op.NOTHING)
    script.add(Op.DONE, arg=who)


def trace(sim: Simulation, marks: int) -> list[tuple[float, int]]:
    """Return time in ns and thread of the next marks."""
    seen = []
    for _ in range(marks):
        before = int(sim.totals[q.PAGES])
        finish(sim, int(sim.totals[q.UNITS]) + 1)
        seen.append((int(sim.totals[q.NOW]) / 1000, int(sim.totals[q.PAGES]) - before))
    return seen


@dataclass
class Pair:
    """The engine and its twin at the same point."""

    sim: Simulation
    twin: Twin

    @classmethod
    def of(cls, built: tuple[Simulation, list[Start]]) -> "Pair":
        sim, starts = built
        twin = Twin(sim)
        started(built)
        for one in starts:
            twin.start(*one)
        return cls(sim, twin)

    def run(self, units: int) -> bool:
        """Run both; return whether they did so many units. They must agree on everything."""
        done = advance(self.sim, units) == FINISHED
        assert self.twin.run(units) == done
        assert list(differences(self.sim, self.twin)) == []
        return done


def differences(sim: Simulation, twin: Twin) -> Iterator[str]:
    """Yield each field in which the two are not the same."""
    pairs: list[tuple[str, object, object]] = [
        ("totals", sim.totals.tolist(), [twin.now, twin.units, twin.pages, twin.polls, twin.worked]),
        ("calls", sim.calls.tolist(), [twin.calls[n] for n in range(len(sim.calls))]),
        ("latency", sim.latency.tolist(), [twin.latency[n] for n in range(q.LATENCY_BINS)]),
        ("tally", sim.tally.tolist(),
         [[twin.visits[r, c] for c in range(q.TALLY_FIELDS)] for r in range(len(sim.tally))]),
    ]  # fmt: skip
    for n, (row, td) in enumerate(zip(sim.tds.tolist(), twin.tds, strict=True)):
        ours = [td.epoch, *td.references, td.no_entry, td.next_unit, td.pending, td.kicker]
        pairs.append((f"TD {n}", row[: len(ours)], ours))
    for n, resource in twin.resources.items():
        pairs.append((f"resource {n}", _row_of(sim, sim.resources[n].tolist()), _fields_of(resource)))
    untouched = np.delete(sim.resources, list(twin.resources), axis=0)
    untouched[untouched[:, q.STATE] == q.PRESENT, q.STATE] = q.ABSENT  # tables that were there from the start
    pairs.append(("what no thread met", {tuple(row) for row in np.unique(untouched, axis=0).tolist()}, _UNTOUCHED))
    leaves = sim.events.size // 2
    for n, (row, t) in enumerate(zip(sim.threads.tolist(), twin.threads, strict=True)):
        due = int(sim.events[leaves + n]) >> q.THREAD_BITS
        away = None if t.broken_off is None else (t.broken_off[0], -1 if t.broken_off[1] is None else t.broken_off[1])
        theirs = [
            row[q.PC], None if due >= q.FOREVER else due, row[q.RANDOM], row[q.CHOSEN], row[q.INSIDE], row[q.EPOCH],
            (row[q.SAVED_PC], row[q.REMAINING]) if row[q.AWAY] else None, bool(row[q.GRANTED]),
            bool(row[q.KICK_PENDING]), row[q.TAKEN], row[q.STREAMS] >= 0, row[q.REGISTERS :],
        ]  # fmt: skip
        ours = [
            t.pc, t.due, t.random, t.chosen, t.where, t.epoch, away, t.granted, t.kick_pending, t.taken,
            t.stream is not None, t.registers,
        ]  # fmt: skip
        pairs.append((f"thread {n}", theirs, ours))
    yield from (f"{name}: the kernels have {a}, the twin {b}" for name, a, b in pairs if a != b)


_UNTOUCHED = {(0, -1, 0, 0, -1, -1, 0, 0)}


def _fields_of(r: Resource) -> list[object]:
    return [r.free_at, r.owner, r.state, r.host_priority, [n for n, _ in r.waiting], r.occupied, r.load + r.held_since]


def _row_of(sim: Simulation, row: list[int]) -> list[object]:
    waiting, thread = [], row[q.HEAD]
    while thread >= 0:
        waiting.append(thread)
        thread = int(sim.threads[thread, q.NEXT])
    owner = row[q.OWNER] if row[q.OWNER] >= 0 else None
    return [row[q.FREE_AT], owner, row[q.STATE], bool(row[q.HOST_PRIORITY]), waiting, row[q.OCCUPIED], row[q.LOAD]]
