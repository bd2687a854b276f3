"""64 vCPUs that populate at 4K: the queueing kernels beside SimPy, every atomic instruction an event in both."""

from dataclasses import replace
from typing import Any

import pytest
from ratio import measure_ratio, thp

from kernels.queueing import layout as q
from kernels.queueing.engine import FINISHED, advance
from kernels.queueing.layout import Simulation
from perfmodel.parameters import load_parameters
from perfmodel.scaling.network import build
from perfmodel.scaling.situation import Mix, describe
from perfmodel.scenario import Scenario

_VCPUS = 64
_FAULTS, _PEER_FAULTS = 200_000, 1000
_WARM_UP = 20 * _VCPUS


def _go_on(sim: Simulation) -> None:
    assert advance(sim, sim.totals[q.UNITS] + _FAULTS) == FINISHED


@pytest.mark.benchmark(group="peer SimPy")
def test_faults_of_64_vcpus(benchmark: Any) -> None:
    oracle = pytest.importorskip("simpy_oracle", reason="the same in SimPy is part of the tests")
    scenario = Scenario(vcpus=_VCPUS)
    pages = scenario.memory_bytes >> 12
    d = describe(scenario, Mix(0, pages, folio_per_gib=True, folio_per_gib_2m=True), load_parameters())
    compared = oracle.compare_runs(d, d, _WARM_UP, _PEER_FAULTS)
    assert all(one.agree for one in compared.values()), compared

    sim, host = build(replace(d, seed=1)), oracle.begin(d, 1)
    host.run(_WARM_UP)
    peer = [lambda: host.run(host.units + _PEER_FAULTS)]
    calls = measure_ratio(lambda: _go_on(sim), peer)
    benchmark.pedantic(_go_on, args=(sim,), rounds=5)
    benchmark.extra_info.update(
        items=_FAULTS, unit="faults", peer="SimPy", peer_ratio=round(calls * _FAULTS / _PEER_FAULTS, 1), thp=thp()
    )
