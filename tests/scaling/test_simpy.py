"""The vCPUs of :mod:`kernels.queueing` against the same in SimPy: throughput, waits, BUSY and calls.

With random numbers of their own, both sides run the same stretch of the same workload several times, and the means of
every quantity are compared by :func:`simpy_oracle.compare`. With the same random numbers, every unit ends at the same
time on both sides.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest
import simpy_changes
from simpy_lines import Line, QueuedLock, Steps
from simpy_oracle import Compared, KernelBeginnings, begin, compare_runs, totals, totals_of
from simpy_vcpus import Vcpu

from kernels.queueing.engine import FINISHED, advance
from kernels.queueing.layout import NOW
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.scaling.faults import PathOptions
from perfmodel.scaling.network import Description
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.situation import Mix, describe
from perfmodel.scenario import Scenario

_4K = Mix(0, 8 << 18, folio_per_gib=True, folio_per_gib_2m=True)
_2M, _MIXED = replace(_4K, ranges_2m=4096, pages_4k=0), replace(_4K, ranges_2m=2048, pages_4k=4 << 18)
_NO_FOLIO = replace(_4K, folio_per_gib=False)


@cache
def parameters() -> ParameterSet:
    return load_parameters()


def case(
    mix: Mix = _4K, workload: str = "populate", path: PathOptions | None = None, **scenario: object
) -> Description:
    """Describe a guest of 8 GiB."""
    given = Scenario(memory="8GiB", **scenario)  # type: ignore[arg-type]
    return describe(given, mix, parameters(), workload=workload, options=path)  # type: ignore[arg-type]


def costly(d: Description, **factors: float) -> Description:
    """Return ``d`` with some costs of meeting others multiplied."""
    costs = replace(d.costs, **{name: getattr(d.costs, name) * factor for name, factor in factors.items()})
    return replace(d, costs=costs, extras=replace(d.extras, dram_line=costs.dram_line))


def _quickly_cleared(d: Description) -> Description:
    """Return ``d`` with folios that are cleared in 0.1 ms, so that a short run sees several."""
    (kind,) = d.kinds
    return replace(d, kinds=(replace(kind, services=replace(kind.services, clear=100_000 / kind.services.faults)),))


@dataclass(frozen=True)
class Stretch:
    """Units before anything is measured, units measured, runs in SimPy and in Numba, and the widest interval."""

    warm_up: int
    units: int
    simpy_runs: int = 6
    numba_runs: int = 48
    widest: float = 0.05

    def compare(self, theirs: Description, ours: Description) -> dict[str, Compared]:
        """Run both sides."""
        return compare_runs(theirs, ours, self.warm_up, self.units, self.simpy_runs, self.numba_runs)


_SAME_RIP = PathOptions(same_rip=True)
_GLOBAL_LOCK, _FAST_PATH = PathOptions(dynamic_pamt="global-lock"), PathOptions(dynamic_pamt="fast-path")
_FOLIO = PathOptions(clear="folio")
_TICKS = {"tick_period": 0.025}  # 0.1 ms, so that a short run sees many
_SHORT, _LONG, _CHUNKS = Stretch(16, 500), Stretch(16, 1000), Stretch(16, 512)

CASES: dict[str, tuple[Callable[[], Description], Stretch]] = {
    "4K, 1 vCPU": (lambda: case(), _SHORT),
    "4K, 2 vCPUs": (lambda: case(vcpus=2), _SHORT),
    "4K, 8 vCPUs": (lambda: case(vcpus=8), _LONG),
    "4K, 32 vCPUs": (lambda: case(vcpus=32), Stretch(64, 800)),
    "4K, 64 vCPUs": (lambda: case(vcpus=64), Stretch(128, 600, widest=0.07)),
    "4K, 32 vCPUs, no folio per GiB": (lambda: case(_NO_FOLIO, vcpus=32), Stretch(64, 800)),
    "4K, folio cleared when allocated": (
        lambda: _quickly_cleared(case(vcpus=8, order="random", path=_FOLIO)), Stretch(16, 500, widest=0.1)),
    "4K, units in random order": (lambda: case(vcpus=8, order="random"), _LONG),
    "4K, striped": (lambda: case(vcpus=8, order="striped"), _SHORT),
    "4K, nodes interleaved": (lambda: case(vcpus=8, nodes=2, placement="interleave"), _LONG),
    "4K, first node": (lambda: case(vcpus=32, nodes=2, placement="first"), Stretch(64, 800)),
    "4K, two TDs": (lambda: case(vcpus=4, tds=2), _SHORT),
    "4K, TDVPRs on another PAMT_1G line": (lambda: replace(case(vcpus=32), together=False), Stretch(64, 500)),
    "4K, work without scatter": (lambda: replace(case(vcpus=32), spread="none"), Stretch(64, 500)),
    "4K, guest lock held": (lambda: case(vcpus=4, path=PathOptions(guest_lock="held")), Stretch(1024, 1024, 4)),
    "4K, Dynamic PAMT, fast path": (lambda: case(vcpus=32, path=_FAST_PATH), Stretch(64, 800)),
    "4K, Dynamic PAMT, global lock": (lambda: case(vcpus=8, path=_GLOBAL_LOCK), _LONG),
    "4K, Dynamic PAMT, two TDs": (lambda: case(vcpus=8, tds=2, path=_GLOBAL_LOCK), Stretch(32, 800, widest=0.1)),
    "4K, prefault": (lambda: case(vcpus=8, guest="prefault"), _LONG),
    "4K, touches": (lambda: case(vcpus=8, guest="touch-first"), _LONG),
    "4K, touches, Dynamic PAMT": (lambda: case(vcpus=8, guest="touch-first", path=_GLOBAL_LOCK), _LONG),
    # more vCPUs keep coming to the tree lock at the same ps, straight from the epoch's line: who is first is left open
    "4K, touches at one RIP": (lambda: case(vcpus=2, guest="touch-first", path=_SAME_RIP), Stretch(1, 300, 12)),
    "4K, touches at one RIP, 1 vCPU": (
        lambda: replace(case(guest="touch-first", path=_SAME_RIP), spread="none"), Stretch(1, 12)),
    "4K, memory saturated": (lambda: costly(case(vcpus=8), dram_line=60), _LONG),
    "2M, 1 vCPU": (lambda: case(_2M), _SHORT),
    "2M, 8 vCPUs": (lambda: case(_2M, vcpus=8), _CHUNKS),
    "2M, 64 vCPUs": (lambda: case(_2M, vcpus=64), Stretch(128, 256)),
    "2M, memory saturated": (lambda: costly(case(_2M, vcpus=8), dram_line=30), _CHUNKS),
    "2M, link saturated": (lambda: costly(case(_2M, vcpus=8, nodes=2, placement="first"), link_line=30), _SHORT),
    "2M, touches": (lambda: case(_2M, vcpus=8, guest="touch-first"), Stretch(16, 160)),
    "mixed": (lambda: case(_MIXED, vcpus=32), Stretch(64, 500, 12, widest=0.2)),
    "mixed, memory saturated": (lambda: costly(case(_MIXED, vcpus=32), dram_line=8), Stretch(32, 300, 10, widest=0.4)),
    "convert 4K, 8 inside": (lambda: case(workload="convert", vcpus=8, vcpu_state="inside"), Stretch(8, 150)),
    "convert 4K, 32 inside": (lambda: case(workload="convert", vcpus=32, vcpu_state="inside"), Stretch(8, 60)),
    "convert 4K, 8 halted": (lambda: case(workload="convert", vcpus=8, vcpu_state="halted"), _SHORT),
    "convert 4K, 8 ticking": (
        lambda: costly(case(workload="convert", vcpus=8, vcpu_state="ticking"), **_TICKS), Stretch(50, 400)),
    "convert 4K, 32 ticking": (
        lambda: costly(case(workload="convert", vcpus=32, vcpu_state="ticking"), **_TICKS), Stretch(50, 200)),
    "convert 4K, 8 populating": (lambda: case(workload="convert", vcpus=8), Stretch(50, 1000, widest=0.1)),
    "convert 2M, 8 populating": (lambda: case(_2M, workload="convert", vcpus=8), Stretch(2, 12)),
    "convert 2M, 32 inside": (lambda: case(_2M, workload="convert", vcpus=32, vcpu_state="inside"), Stretch(2, 10)),
    "split, 8 inside": (lambda: case(_2M, workload="split", vcpus=8, vcpu_state="inside"), Stretch(8, 300, widest=0.1)),
    "split, 8 populating": (lambda: case(_2M, workload="split", vcpus=8), Stretch(8, 150)),
    "tear down, 8 halted": (lambda: case(workload="teardown", vcpus=8, vcpu_state="halted"), _SHORT),
}  # fmt: skip


def shown(compared: dict[str, Compared]) -> str:
    """Return what differs."""
    return "\n".join(
        f"{name}: SimPy {one.simpy:.6g}, Numba {one.numba:.6g}, t = {(one.simpy - one.numba) / (one.error or 1):.2f}"
        for name, one in compared.items()
        if not one.agree
    )


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_simpy(name: str) -> None:
    described, stretch = CASES[name]
    d = described()
    compared = stretch.compare(d, d)
    throughput = compared["units_per_s"]
    assert all(one.agree for one in compared.values()), shown(compared)
    assert throughput.allowed < stretch.widest * throughput.numba, throughput


@pytest.mark.parametrize(
    ("name", "factors", "found"),
    [
        ("4K, 8 vCPUs", {"line_transfer": 1.05}, "transfer TDR_PAMT_4K"),
        ("4K, 32 vCPUs", {"line_transfer": 1.1}, "queue TDR_PAMT_4K"),
        ("4K, 32 vCPUs", {"sleeper_wakeup": 1.5}, "blocked FOLIO_LOCK"),
        ("2M, memory saturated", {"dram_line": 1.05}, "units_per_s"),
        ("2M, link saturated", {"link_line": 1.2}, "units_per_s"),
        ("convert 4K, 8 inside", {"ipi_delivery": 1.5}, "blocked KICK"),
        ("convert 4K, 32 ticking", {"tick_period": 0.8}, "calls TD_EXIT"),
    ],
)
def test_other_costs_are_noticed(name: str, factors: dict[str, float], found: str) -> None:
    described, stretch = CASES[name]
    compared = stretch.compare(costly(described(), **factors), described())
    assert not compared[found].agree, compared[found]


_OTHERWISE = {
    "4K, units in random order": "another order",
    "4K, folio cleared when allocated": "another order",
    "4K, striped": "two vCPUs come to a line at the same ps",
    "4K, work without scatter": "vCPUs keep coming to lines at the same time",
    "4K, memory saturated": "shares of the bandwidth are rounded",
    "2M, memory saturated": "shares of the bandwidth are rounded",
    "2M, link saturated": "shares of the bandwidth are rounded",
}
"""Cases in which the same random numbers do not mean the same path for long, and why."""


_UNDER_WAY = 3
"""What kernels count when an instruction begins and SimPy when it ends, while the last unit ends."""


def first_difference(d: Description, units: int) -> str:
    """Run ``d`` on both sides with the same random numbers; return where they differ first, empty for nowhere."""
    beginnings = KernelBeginnings(d)
    sim, host = beginnings.sim, begin(d, 0, beginnings)
    for unit in range(1, units + 1):
        assert advance(sim, unit) == FINISHED
        host.run(unit)
        late = host.env.now - int(sim.totals[NOW]) / 1e3
        if abs(late) > d.costs.line_transfer_remote + 1e-6 * host.env.now:  # kernels may note a unit's end beforehand
            return f"unit {unit} ends {late:.1f} ns later in SimPy"
    ours, theirs = totals_of(sim), totals(host)
    for name in (name for name in ours | theirs if name.startswith(("calls", "busy"))):
        if abs(ours[name] - theirs.get(name, 0.0)) > _UNDER_WAY:
            return f"{name} is {ours[name]}, in SimPy {theirs.get(name, 0.0)}"
    return ""


@pytest.mark.parametrize("name", [name for name in CASES if name not in _OTHERWISE])
def test_same_random_numbers_are_the_same_path(name: str) -> None:
    described, stretch = CASES[name]
    assert first_difference(described(), min(stretch.units, 120)) == ""


def test_a_missing_atomic_instruction_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the child count's line, which every AUG writes once."""
    complete = Vcpu.atomic

    def without_child_count(vcpu: Vcpu, line: Line, name: Reg, ns: float = 0.0) -> Steps:
        return vcpu.spend(ns) if name is Reg.TDR_CHLDCNT else complete(vcpu, line, name, ns)

    monkeypatch.setattr(Vcpu, "atomic", without_child_count)
    described, stretch = CASES["4K, 8 vCPUs"]
    assert "later" in first_difference(described(), 120)
    compared = stretch.compare(described(), described())
    assert not compared["visits TDR_CHLDCNT"].agree
    assert not compared["transfer TDR_CHLDCNT"].agree


def test_an_unfair_lock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that pass writers who wait for mmu_lock."""
    monkeypatch.setattr(QueuedLock, "passes", lambda lock, reads: reads)
    assert first_difference(CASES["2M, touches"][0](), 120)


def test_a_kick_that_misses_vcpus_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kick that does not wait for vCPUs on their way in."""
    monkeypatch.setattr(simpy_changes, "_on_its_way", lambda vcpu: False)
    assert first_difference(CASES["convert 4K, 32 ticking"][0](), 100)
