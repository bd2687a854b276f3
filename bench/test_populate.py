"""How fast the model maps and accepts memory: bulk calls beside their rooflines, regions by policy, whole guests."""

from typing import Any

import pytest
from flat_guest import FlatGuest, against_roofline
from ratio import thp

from kernels.counters import ACCEPT_4K, AUG_2M, AUG_4K
from perfmodel.memory import GuestMemory
from perfmodel.policies import POLICIES
from perfmodel.populate import RegionRunner, populate_guest
from perfmodel.recognition import RegionTurn
from perfmodel.scenario import Scenario

_PAGES = 1 << 18


@pytest.fixture(scope="module")
def guest(gib: int) -> FlatGuest:
    return FlatGuest(gib)


@pytest.fixture(scope="module")
def guest_2m(gib: int) -> FlatGuest:
    return FlatGuest(gib, leaf_tables=False)


@pytest.mark.benchmark(group="populate")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("call", "before", "counter"), [("aug", [], AUG_4K), ("accept", ["aug"], ACCEPT_4K)])
def test_4k_calls(benchmark: Any, guest: FlatGuest, call: str, before: list[str], counter: int, threads: int) -> None:
    """PAGE.AUG or ACCEPT of every page at 4K, with all checks and counts."""
    loop = {"aug": "roofline_map", "accept": "roofline_accept"}[call]
    workers = against_roofline(benchmark, guest, call, before, loop, threads)
    assert sum(worker.counts[counter] for worker in workers) == guest.pages


@pytest.mark.benchmark(group="populate")
@pytest.mark.parametrize("threads", [1, 2])
def test_aug_2m(benchmark: Any, guest_2m: FlatGuest, threads: int) -> None:
    """PAGE.AUG of every 2M range, which reads the PAMT_4K entries of each of its pages."""
    workers = against_roofline(benchmark, guest_2m, "aug_2m", [], "roofline_aug_2m", threads)
    assert sum(worker.counts[AUG_2M] for worker in workers) == guest_2m.pages >> 9


def run_region(benchmark: Any, interface: str, shattered: float) -> None:
    """Facts, policy, populate, census of one GiB; tables allocated and touched before."""
    memory = GuestMemory.build(Scenario(memory="1GiB", shattered=shattered))
    runner = RegionRunner(memory, [POLICIES[interface]])
    turn = RegionTurn(0, None)
    runner.run(turn)
    benchmark.extra_info.update(items=_PAGES, unit="4K pages", thp=thp())
    benchmark(runner.run, turn)
    assert runner.tallies[0].mapped % (_PAGES - (shattered > 0)) == 0


@pytest.mark.benchmark(group="4K against 2M")
@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
def test_4k_against_2m(benchmark: Any, interface: str) -> None:
    run_region(benchmark, interface, 0.0)


@pytest.mark.benchmark(group="folio against PFN")
@pytest.mark.parametrize("interface", ["folio-strict", "folio-lenient", "pfn"])
def test_folio_against_pfn(benchmark: Any, interface: str) -> None:
    """One shared page shatters the folio."""
    run_region(benchmark, interface, 1.0)


@pytest.mark.benchmark(group="scaling with guest memory")
@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
def test_scaling(benchmark: Any, gib: int, interface: str) -> None:
    """A whole guest, every region of it, on one thread a core."""
    memory = GuestMemory.build(Scenario(memory=f"{gib}GiB"))
    policies = [POLICIES[interface]]
    populate_guest(GuestMemory.build(Scenario(memory="1GiB")), policies)
    benchmark.extra_info.update(items=gib * _PAGES, unit="4K pages", thp=thp())
    (tally,) = benchmark.pedantic(
        populate_guest, (memory, policies), {"every_region": True}, rounds=1 if gib > 16 else 3
    )
    assert tally.mapped == gib * _PAGES
