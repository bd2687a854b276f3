"""What holds at any moment of any situation: locks have holders, counts their counterparts, runs can be repeated."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from held_locks import INSIDE, Held, held_at, holders
from hypothesis import given, settings
from hypothesis import strategies as st
from queues import finish, situation, started, unstarted

from kernels.queueing import layout as q
from kernels.queueing import memory
from kernels.queueing.layout import Op, Simulation
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Description, build, write_script
from perfmodel.scaling.registers import Register as Reg

NOTHING: Held = frozenset()
OPTIONS: list[dict[str, Any]] = [
    {}, {"dynamic_pamt": "global-lock"}, {"dynamic_pamt": "fast-path"}, {"guest_lock": "held"}, {"clear": "folio"},
]  # fmt: skip


@st.composite
def situations(draw: st.DrawFn) -> Description:
    """Draw what a user may ask for, of few vCPUs."""
    guest = draw(st.sampled_from(["linux-lazy", "prefault", "touch-first"]))
    options = dict(draw(st.sampled_from(OPTIONS)))
    if guest == "touch-first":
        options["same_rip"] = draw(st.booleans())
    return situation(
        draw(st.sampled_from(["4K", "2M", "both"])), guest=guest, vcpus=draw(st.integers(2, 6)),
        tds=draw(st.integers(1, 2)), options=options, seed=draw(st.integers(0, 99)),
        vcpu_state=draw(st.sampled_from(["working", "working", "inside", "halted", "ticking"])),
        workload=draw(st.sampled_from(["populate", "populate", "convert", "split", "teardown"])),
        order=draw(st.sampled_from(["sequential", "random", "striped"])), nodes=draw(st.integers(1, 2)),
    )  # fmt: skip


def what_is_held(d: Description) -> dict[int, Held]:
    """Follow all paths of a situation's script."""
    script, starts = write_script(d)
    begins = [(starts.populate, NOTHING), (starts.inside, NOTHING), (starts.tick, NOTHING)]
    if starts.within < starts.change:
        begins.append((starts.within, NOTHING))
    if d.change is not None:
        begins += [(starts.change, NOTHING), (starts.kicked, INSIDE)]
    return held_at(script.assemble().tolist(), begins)


@given(situations(), st.integers(1, 40), st.integers(1, 25))
@settings(deadline=None, max_examples=60)
def test_locks_and_epochs_have_their_holders(d: Description, stops: int, units: int) -> None:
    known = what_is_held(d)
    sim = started(unstarted(d))
    for stop in range(1, 1 + min(stops, 200 // units)):
        finish(sim, stop * units)
        found = holders(sim, known)
        for td, fields in enumerate(sim.tds.tolist()):
            assert sum(fields[q.REFERENCES : q.REFERENCES + 2]) == found.in_epoch[td]
        for row, state in enumerate(sim.resources[:, q.STATE].tolist()):
            if row < 2 * d.nodes:  # clocks of streams
                continue
            if found.exclusive[row]:
                assert (state, found.exclusive[row], found.shared[row]) == (q.EXCLUSIVE, 1, 0)
            elif found.frozen[row]:
                assert (state, found.frozen[row]) == (q.FROZEN, 1)
            elif found.shared[row]:
                assert state == found.shared[row]
            else:
                assert state in (0, q.PRESENT)
        assert sim.calls[Call.VP_ENTER] - sim.calls[Call.TD_EXIT] == found.counted_in
        assert sim.totals[q.UNITS] == sim.latency.sum()


@pytest.mark.parametrize(
    ("mix", "options"),
    [("4K", {"guest": "linux-lazy"}), ("4K", {"guest": "touch-first"}), ("2M", {}), ("both", {"guest": "linux-eager"})],
)  # fmt: skip
def test_a_sept_add_for_each_table(mix: str, options: dict[str, Any]) -> None:
    d = situation(mix, vcpus=6, **options)
    sim = started(unstarted(d))
    given_away = 6 if mix == "4K" and "touch-first" not in options.values() else 0
    for units in (100, 700, 1500):
        finish(sim, units)
        adding = sum(is_adding(sim, thread) for thread in sim.threads.tolist())
        assert int(sim.calls[Call.SEPT_ADD]) == tables_present(sim) - given_away + adding


def tables_present(sim: Simulation) -> int:
    """Count the tables of the one TD."""
    gibs, ranges = int(sim.tds[0, q.BASE_GIB]), int(sim.tds[0, q.BASE_RANGE])
    states = sim.resources[:, q.STATE]
    tables_2m = states[gibs : int(sim.tds[0, q.BASE_1G]) : memory.GIB_RESOURCES]
    tables_4k = states[ranges + memory.RANGE_TABLE : int(sim.tds[0, q.BASE_LINE]) : memory.RANGE_RESOURCES]
    return int((tables_2m == q.PRESENT).sum() + (tables_4k == q.PRESENT).sum())


def is_adding(sim: Simulation, thread: list[int]) -> bool:
    """Whether a thread has added a table and writes its mirror entry next."""
    op, _, lock, _, state, _ = sim.script[thread[q.PC]].tolist()
    return op == Op.SET_STATE and lock in (Reg.TABLE_4K, Reg.TABLE_2M) and state == q.PRESENT


def everything(sim: Simulation) -> bytes:
    return b"".join(field.tobytes() for field in sim)


@given(situations(), st.integers(1, 150))
@settings(deadline=None, max_examples=25)
def test_the_same_seed_gives_the_same_bytes_on_one_thread_and_on_two(d: Description, units: int) -> None:
    first = everything(finish(started(unstarted(d)), units))
    with ThreadPoolExecutor(2) as pool:
        beside = pool.map(lambda sim: everything(finish(sim, units)), [build(d), build(d)])
        assert list(beside) == [first, first]


def test_another_seed_gives_another_run() -> None:
    ends = {int(finish(started(unstarted(situation(vcpus=4, seed=seed))), 500).totals[q.NOW]) for seed in range(8)}
    assert len(ends) == 8
