"""Does the replay of keyhole maps count what the exact calls count, when they populate the same guest?"""

from dataclasses import replace

import numpy as np
import pytest
import twin_kvm
import twin_refusals
import twin_words

from kernels.keyhole_calls import GUEST_MAPS, GUEST_MISSES, HOST_MAPS, HOST_MISSES
from kernels.keyhole_populate import ESTIMATED
from perfmodel import Scenario
from perfmodel.costs import ledger
from perfmodel.counting import priced_counters
from perfmodel.guests import GUESTS
from perfmodel.memory import GuestMemory
from perfmodel.module import ModulePlatform, ModuleTdmr, TdxModule
from perfmodel.orders import chunk_order
from perfmodel.policies import POLICIES
from perfmodel.populate import describe, populate_guest
from perfmodel.refusals import MAPPED_2M, refusal_causes

REGION = 1 << 18


class CountingModule:
    """The exact module under the names that ``twin_kvm.Flow`` calls; adds up keyhole maps and misses by side."""

    def __init__(self, memory: GuestMemory) -> None:
        self.levels = memory.scenario.levels
        control = memory.platform.control_block << 30
        self.module = TdxModule(ModulePlatform(tdmr=(ModuleTdmr(0, control + (1 << 30)),)))
        self.tdr = control
        self.module.add_td(
            tdr=control, tdcx=[control + (i << 12) for i in range(1, 7)], hkid=66, levels=self.levels,
            gpaw=self.levels - 4, op_state="RUNNABLE",
        )  # fmt: skip
        self.next_table = control + (7 << 12)
        self.walk_reads = 0
        self.counts = dict.fromkeys((HOST_MAPS, HOST_MISSES, GUEST_MAPS, GUEST_MISSES), 0)

    def _add(self, side: int, events: dict[str, int]) -> None:
        self.counts[side] += events["km"]
        self.counts[side + 1] += events["kx"]

    def sept_add(self, gpa: int, level: int, hpa: int) -> int:
        result = self.module.tdh_mem_sept_add(rcx=gpa | level, rdx=self.tdr, r8=hpa)
        self._add(HOST_MAPS, result.events)
        return result.rax

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        result = self.module.tdh_mem_page_aug(rcx=gpa | level, rdx=self.tdr, r8=hpa)
        self._add(HOST_MAPS, result.events)
        return result.rax

    def accept(self, gpa: int, level: int) -> int:
        result = self.module.tdg_mem_page_accept(0, gpa | level)
        self._add(GUEST_MAPS, result.events)
        return twin_words.EXIT if result.exit else result.rax

    def has_table(self, gpa: int, level: int) -> bool:
        entry = self.module.sept_entry(0, gpa, level)
        return entry.level == level and entry.state == "NL_MAPPED"

    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]:
        return None, None


def run_exact(memory: GuestMemory, interface: str) -> dict[int, int]:
    """Populate with one exact call at a time, one region after the other."""
    scenario = memory.scenario
    guest = GUESTS[scenario.guest]
    module = CountingModule(memory)
    for region in memory.layout.regions():
        behind, use = memory.region(region)
        causes = refusal_causes(POLICIES[interface], describe(behind, use), True)
        flow = twin_kvm.Flow(
            module,
            lambda gfn, pfn=behind.pfn: int(pfn[gfn % REGION]),
            lambda gfn, causes=causes: int(causes[gfn % REGION // 512] == MAPPED_2M),
        )
        gfns = (region * REGION + np.flatnonzero(use == twin_refusals.ASKED)).tolist()
        chunks = chunk_order(scenario.order, region, scenario.seed, 1) + region * 256
        twin_kvm.populate(flow, gfns, None if guest.one_range else chunks.tolist(), guest.prefault)
    return module.counts


CASES = {
    "4k": Scenario(memory="5MiB", interfaces=("page-4k",)),
    "4k-prefault": Scenario(memory="26MiB", interfaces=("page-4k",), guest="prefault"),
    "4k-random": Scenario(memory="12MiB", interfaces=("page-4k",), order="random", levels=5),
    "2m": Scenario(memory="512MiB", interfaces=("pfn",)),
    "2m-drawn": Scenario(memory="900MiB", interfaces=("pfn",), backing="hugetlb-2m"),
    "2m-prefault": Scenario(memory="300MiB", interfaces=("pfn",), guest="prefault", levels=5),
    "mixed": Scenario(memory="18MiB", interfaces=("pfn",), backing="thp", thp_share=0.5, guest="accept-range"),
    "scattered": Scenario(memory="11MiB", interfaces=("page-4k",), backing="order0", block_shares={0: 0.5, 3: 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_replay_of_every_range_counts_as_the_exact_calls(name: str) -> None:
    memory = GuestMemory.build(replace(CASES[name], keyholes="exact"))
    interface = memory.scenario.interfaces[0]
    tally = populate_guest(memory, [POLICIES[interface]], threads=1)[0]
    expected = run_exact(memory, interface)
    assert {side: int(tally.keyholes[side]) for side in expected} == expected
    assert tally.keyholes[ESTIMATED] == 0


def test_later_regions_may_miss_once_more() -> None:
    """Their table pages are taken to lie beyond the TDR's PAMT_4K page; here the exact module has them still in it."""
    memory = GuestMemory.build(Scenario(memory="1100MiB", interfaces=("pfn",), keyholes="exact"))
    tally = populate_guest(memory, [POLICIES["pfn"]], threads=1)[0]
    expected = run_exact(memory, "pfn")
    assert int(tally.keyholes[HOST_MISSES]) == expected.pop(HOST_MISSES) + 1
    assert {side: int(tally.keyholes[side]) for side in expected} == expected


KINDS = [(name, memory) for name in ("4k", "4k-random", "4k-prefault", "2m", "2m-drawn", "2m-prefault")
         for memory in ("12MiB", "3GiB") if (name, memory) != ("4k-prefault", "12MiB")]  # fmt: skip
"""In 12 MiB, tables of a prefault at 4K are still mapped when the guest accepts: one miss less than in every other."""


@pytest.mark.parametrize(("name", "memory"), KINDS)
def test_one_range_of_each_kind_counts_as_every_range(name: str, memory: str) -> None:
    scenario = replace(CASES[name], memory=memory)
    tallies = {}
    for mode in ("periodic", "exact"):
        memory = GuestMemory.build(replace(scenario, keyholes=mode))
        tallies[mode] = populate_guest(memory, [POLICIES[scenario.interfaces[0]]])[0]
    assert tallies["periodic"].keyholes.tolist() == tallies["exact"].keyholes.tolist()


@pytest.mark.parametrize("guest", [name for name, guest in GUESTS.items() if not guest.touch_first])  # not replayed
@pytest.mark.parametrize("interface", POLICIES)
def test_ledger_holds_the_maps_of_the_replay(guest: str, interface: str) -> None:
    """The maps of the calls in ``data/work.toml``, those of TD exits and entries left out, are those replayed."""
    memory = GuestMemory.build(Scenario(memory="2GiB", guest=guest, shattered=0.5, backing="hugetlb-1g"))
    policy = POLICIES[interface]
    tally = populate_guest(memory, [policy])[0]
    units = ledger(priced_counters(tally, policy, False))
    assert units.total("keyhole_hit", "module_keyhole") == tally.keyholes[HOST_MAPS]
    assert units.total("keyhole_hit", "guest_accept") == tally.keyholes[GUEST_MAPS]
    assert units.total("keyhole_miss", "module_keyhole") == tally.keyholes[HOST_MISSES]
    assert units.total("keyhole_miss", "guest_accept") == tally.keyholes[GUEST_MISSES]


def test_scattered_pages_miss_more_than_consecutive_ones() -> None:
    """Locality has its price: PAMT pages of scattered PFNs do not stay mapped."""
    misses = {}
    for shares in ({10: 1.0}, {0: 1.0}):
        memory = GuestMemory.build(Scenario(memory="1GiB", backing="order0", block_shares=shares, keyholes="exact"))
        tally = populate_guest(memory, [POLICIES["page-4k"]])[0]
        misses[next(iter(shares))] = int(tally.keyholes[HOST_MISSES]) / tally.mapped
    assert misses[10] < 0.02
    assert misses[0] > 0.9


def test_estimate_is_marked_and_near() -> None:
    found = {}
    for mode in ("periodic", "exact"):
        memory = GuestMemory.build(Scenario(memory="1GiB", backing="order0", keyholes=mode))
        found[mode] = populate_guest(memory, [POLICIES["page-4k"]])[0]
    assert found["exact"].keyholes[ESTIMATED] == 0
    assert found["periodic"].keyholes[ESTIMATED] > 200_000
    for side in (HOST_MAPS, HOST_MISSES, GUEST_MAPS, GUEST_MISSES):
        assert found["periodic"].keyholes[side] == pytest.approx(int(found["exact"].keyholes[side]), rel=0.15)


def test_threads_do_not_change_the_counts() -> None:
    memory = GuestMemory.build(Scenario(memory="5GiB", backing="thp", shattered=0.4, shared_pages=900))
    one, two = (populate_guest(memory, list(POLICIES.values()), threads=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.keyholes.tolist() == b.keyholes.tolist()
