"""Does the throughput reach the bound of what is used up, and never more than any bound?"""

from typing import Any

import pytest
from queues import situation, small, started, unstarted

from kernels.queueing import layout as q
from kernels.queueing.layout import Op
from perfmodel.scaling.bounds import find_bounds, find_knee
from perfmodel.scaling.measure import Measured, run_until_steady
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Description
from perfmodel.scaling.point import nominal_service_ns
from perfmodel.scaling.registers import TITLES
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script

ATOMICS_OF_THE_HOTTEST_LINE = 4
SMALL_FOLIOS: dict[str, Any] = {"mix": "4K, small folios", "backing": "order0"}


def measure(d: Description, warm_up: int = 128, batch: int = 32) -> Measured:
    """Run so many units of each vCPU: enough for queues to be as long as they get, then eight batches."""
    workers = d.vcpus * d.tds
    return run_until_steady(started(unstarted(d)), warm_up * workers, batch * workers, batches=8)


@pytest.mark.parametrize("vcpus", [256, 1024])
def test_the_hottest_line(vcpus: int) -> None:
    """Per fault 4 atomics on the TDR's PAMT_4K entry, op_state, the epoch line, and the TDR's and TDVPR's PAMT_1G."""
    d = situation(**SMALL_FOLIOS, vcpus=vcpus)
    bounds = find_bounds(d)
    hottest = 1e9 / (ATOMICS_OF_THE_HOTTEST_LINE * d.costs.line_transfer)
    names = [bound.resource for bound in bounds[:4]]
    assert names == [
        "line of the TDR's and TDVPRs' PAMT_1G entries", TITLES[Reg.TDR_PAMT_4K], TITLES[Reg.TDCS_OP_STATE],
        TITLES[Reg.TD_EPOCH],
    ]  # fmt: skip
    for bound in bounds[:4]:
        assert bound.per_unit == pytest.approx(ATOMICS_OF_THE_HOTTEST_LINE, rel=2e-3)  # one SEPT.ADD in 512
        assert bound.units_per_s == pytest.approx(hottest, rel=2e-3)
    measured = measure(d)
    throughput = measured.units / measured.seconds
    assert throughput == pytest.approx(hottest, rel=0.01)
    for bound in bounds:
        assert throughput <= bound.units_per_s * 1.001, bound
    for line in (Reg.TDR_PAMT_4K, Reg.TDCS_OP_STATE, Reg.TD_EPOCH):  # counted on arrival
        transferred = int(measured.tally[line, q.SERVED]) / 1e12
        assert transferred == pytest.approx(measured.seconds, rel=2e-3)


@pytest.mark.parametrize(
    ("register", "atomics"),
    [(Reg.TDR_PAMT_1G, 2), (Reg.TDR_PAMT_2M, 2), (Reg.TDR_PAMT_4K, 4), (Reg.TDR_CHLDCNT, 1), (Reg.TDCS_OP_STATE, 4),
     (Reg.TDCS_TREE, 2), (Reg.TD_EPOCH, 4), (Reg.TDVPR_PAMT_1G, 2), (Reg.PAGE_PAMT_1G, 2), (Reg.PAGE_PAMT_2M, 2)],
)  # fmt: skip
def test_atomics_of_a_fault(register: Reg, atomics: int) -> None:
    """AUG, VP.ENTER and exit, alone; a range's first page adds the atomics of SEPT.ADD."""
    sim, starts = unstarted(situation())
    sim.threads[:, q.REGISTERS + Reg.FIRST_COUNT] = 0
    measured = run_until_steady(started((sim, starts)), 100, 300, batches=1)
    assert measured.calls[Call.SEPT_ADD] == 0
    assert measured.tally[register, q.VISITS] == 300 * atomics


def test_one_line_is_saturated_exactly() -> None:
    """Threads that do nothing but atomics on one line: one every transfer."""
    line = 15

    def write(script: Script) -> list[int]:
        loop = Label()
        script.place(loop)
        script.work(1)  # let others come first
        script.add(Op.ATOMIC, line)
        script.add(Op.DONE, arg=1)
        script.add(Op.JUMP, arg=loop)
        return [0] * 5

    sim = started(small(write, resources=1, points={line: 0}, settings={q.LOCAL: 81_000}))
    measured = run_until_steady(sim, 100, 100, batches=10)
    assert measured.seconds * 1e12 == 1000 * 81_000


def test_bandwidth_is_saturated() -> None:
    """At 2M memory is used up first, and wholly."""
    d = situation("2M", vcpus=160)
    bounds = find_bounds(d)
    assert bounds[0].resource == TITLES[Reg.DRAM]
    measured = measure(d, 24, 8)
    assert measured.units / measured.seconds == pytest.approx(bounds[0].units_per_s, rel=0.01)


WORKLOADS: dict[str, dict[str, Any]] = {
    "4K": {}, "random": {"order": "random"}, "2M": {"mix": "2M", "vcpus": 32}, "touch": {"guest": "touch-first"},
    "touch at 2M": {"mix": "2M", "guest": "touch-first", "vcpus": 16}, "prefault": {"guest": "prefault"},
    "Dynamic PAMT": SMALL_FOLIOS | {"options": {"dynamic_pamt": "global-lock"}},
    "two nodes": SMALL_FOLIOS | {"nodes": 2}, "four TDs": SMALL_FOLIOS | {"tds": 4, "vcpus": 16},
    "2M on the first of two nodes": {"mix": "2M", "nodes": 2, "placement": "first", "vcpus": 32},
}  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_bound_is_exceeded(name: str) -> None:
    d = situation(**({"vcpus": 64} | WORKLOADS[name]))
    measured = measure(d)
    throughput = measured.units / measured.seconds
    for bound in find_bounds(d):
        assert throughput <= bound.units_per_s * 1.002, bound


def test_the_knee_is_where_unhindered_vcpus_would_reach_the_bound() -> None:
    d = situation(vcpus=8)
    bounds, service_ns = find_bounds(d), nominal_service_ns(d)
    knee = find_knee(service_ns, bounds, d.tds)
    assert knee * 1e9 / service_ns == pytest.approx(bounds[0].units_per_s)
    assert bounds == sorted(bounds, key=lambda bound: bound.units_per_s)
