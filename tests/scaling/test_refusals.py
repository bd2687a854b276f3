"""What is refused: scripts that lead nowhere, simulations that cannot go on, topologies that contradict themselves."""

from typing import Any

import pytest
from queues import small, started

from kernels.queueing.engine import STALLED, advance
from kernels.queueing.layout import Op
from perfmodel.errors import InputError, ModelError
from perfmodel.parameters import load_parameters
from perfmodel.scaling.measure import run_until_steady
from perfmodel.scaling.script import Label, Script
from perfmodel.scaling.situation import Mix, describe
from perfmodel.scenario import Scenario

LOCK, OTHER = 15, 16


def test_a_label_that_was_never_placed() -> None:
    script = Script()
    script.add(Op.NOTHING)
    script.add(Op.JUMP, arg=Label())
    with pytest.raises(ValueError, match="step 1 goes on at a label that was never placed"):
        script.assemble()


def test_work_is_never_lost() -> None:
    """Work before a step without time, or before a label, gets a step of its own."""
    script, label = Script(), Label()
    script.work(1.5)
    script.work(1)
    script.add(Op.COUNT, arg=0)
    script.work(3)
    script.place(label)
    script.add(Op.JUMP, arg=label)
    assert script.assemble()[:, [0, 3, 4]].tolist() == [
        [Op.NOTHING, 2500, 0], [Op.COUNT, 0, 0], [Op.NOTHING, 3000, 0], [Op.JUMP, 0, 3],
    ]  # fmt: skip


def deadlock(script: Script) -> list[int]:
    """Two threads that take two locks in opposite order."""
    begins = []
    for first, second in ((LOCK, OTHER), (OTHER, LOCK)):
        begins.append(script.here)
        script.add(Op.WRITE_LOCK, first)
        script.work(10)
        script.add(Op.DONE)
        script.add(Op.WRITE_LOCK, second)
        script.add(Op.DONE)
        script.add(Op.PARK)
    return begins


def test_a_deadlock_is_told() -> None:
    sim = started(small(deadlock, resources=2, points={LOCK: 0, OTHER: 1}))
    with pytest.raises(ModelError, match="the simulated vCPUs wait for each other forever"):
        run_until_steady(sim, 1, 1)
    assert sim.totals.tolist()[:2] == [10_000, 2]
    assert advance(sim, 3) == STALLED
    assert advance(sim, 2) == 0


def test_nobody_began() -> None:
    sim, _ = small(deadlock, resources=2, points={LOCK: 0, OTHER: 1})
    with pytest.raises(ModelError):
        run_until_steady(sim, 1, 1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no vCPU": ({"vcpus": 0}, r"vcpus 0: accepted is a whole number from 1 to 1024"),
    "too many vCPUs": ({"vcpus": 1025}, r"vcpus 1025: accepted is a whole number from 1 to 1024"),
    "half a vCPU": ({"vcpus": 1.5}, r"vcpus 1.5: accepted is a whole number"),
    "no TD": ({"tds": 0}, r"tds 0: accepted is a whole number from 1 to 1024"),
    "too many together": (
        {"vcpus": 64, "tds": 17}, r"vcpus 64 in each of tds 17 are 1088: accepted are at most 1024 in all",
    ),
    "no node": ({"nodes": 0}, r"nodes 0: accepted is a whole number from 1 to 8"),
    "too many nodes": ({"nodes": 9, "vcpus": 16}, r"nodes 9: accepted is a whole number from 1 to 8"),
    "nodes without vCPUs": ({"nodes": 4, "vcpus": 3}, r"nodes 4: accepted are at most as many as vcpus, 3"),
    "unknown placement": ({"placement": "near", "vcpus": 2, "nodes": 2}, r"placement 'near': accepted are own, "),
    "placement on one node": ({"placement": "interleave", "vcpus": 2}, r"placement 'interleave': accepted with nodes"),
    "unknown state": ({"vcpu_state": "asleep", "vcpus": 2}, r"vcpu-state 'asleep': accepted are working, inside, "),
    "a state of no others": ({"vcpu_state": "halted"}, r"vcpu-state 'halted': accepted with vcpus 2 or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_topologies_that_contradict_themselves(name: str) -> None:
    fields, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as refused:
        Scenario(**fields)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [{"vcpus": 1024}, {"vcpus": 1, "tds": 1024}, {"vcpus": 128, "tds": 8}, {"vcpus": 8, "nodes": 8},
     {"vcpus": 2, "nodes": 2, "placement": "first"}, {"vcpus": 2, "vcpu_state": "ticking"}],
)  # fmt: skip
def test_topologies_at_the_limit(fields: dict[str, Any]) -> None:
    described = Scenario(memory="1GiB", **fields).describe()
    assert {key: described[key] for key in fields} == fields


def test_a_guest_without_memory() -> None:
    with pytest.raises(InputError, match="the guest maps no memory"):
        describe(Scenario(memory="1GiB", vcpus=2), Mix(0, 0, True, True), load_parameters())
