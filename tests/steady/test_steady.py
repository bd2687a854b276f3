"""Does the scenario add up, and does every knob do what it says?"""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from kernels import two_dimensional_walk as kernel
from perfmodel import InputError
from perfmodel.parameters import load_parameters, preset_names
from perfmodel.steady import (
    SteadyScenario,
    access_stream,
    page_table_layout,
    run_steady,
    simulate,
    zipf_ranks,
)
from perfmodel.walk_hardware import SIZES, load_walk_hardware

MIB, GIB = 1 << 20, 1 << 30
N = 60_000


def steady(*hardware, **given):
    given = {"memory": "4GiB", "working_set": "4GiB", "accesses": N} | given
    return run_steady(SteadyScenario(**given), hardware=load_walk_hardware("spr-8480p", hardware))


def by_leaf(result):
    return {row.leaf: row for row in result.rows}


def test_every_access_is_counted_once_and_every_walk_reads_the_last_entries():
    result = steady(share_2m=0.5, guest_pages="2m")
    for row in result.rows:
        assert row.data_loads.total == N >= row.dtlb_misses >= row.walks > 0
        assert row.walks <= row.guest_loads.total
        assert row.loads_per_walk <= row.uncached_references
        assert row.memory_total == row.memory.total


def test_effective_size_is_the_smaller_one():
    """Guest 4K over S-EPT 2M reaches no further than over 4K, but walks less; both at 2M reach 1,024 times 2M."""
    small, large = by_leaf(steady(guest_pages="4k")), by_leaf(steady(guest_pages="2m"))
    assert small["4K"].reach_bytes == small["2M"].reach_bytes == large["4K"].reach_bytes == 8 * MIB
    assert large["2M"].reach_bytes == 2 * GIB
    assert small["2M"].walks == small["4K"].walks == large["4K"].walks
    assert small["2M"].sept_loads.total < small["4K"].sept_loads.total
    assert large["2M"].walks / N == pytest.approx(0.5, abs=0.02)  # 1 - reach / working set


def test_a_mix_lies_between():
    rows = by_leaf(steady(share_2m=0.5, guest_pages="2m"))
    assert rows["2M"].walks < rows["mixed"].walks < rows["4K"].walks
    assert rows["2M"].walk_ns.value < rows["mixed"].walk_ns.value < rows["4K"].walk_ns.value


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_mix_of_one_kind_is_that_kind(share):
    rows = by_leaf(steady(share_2m=share))
    kind = "2M" if share else "4K"
    assert msgspec.structs.replace(rows["mixed"], leaf=kind) == rows[kind]


def test_times_are_counts_times_latencies():
    hardware = load_walk_hardware("spr-8480p")
    parameters = load_parameters("spr-8480p")
    result = steady(rate=2e8)
    l1, l2, l3, stlb = (p.value / (parameters.core_ghz if p.unit == "cycles" else 1.0) for p in hardware.latencies)
    memory = parameters["dram_read"].value + parameters["memory_encryption_read"].value
    for row in result.rows:
        walk = sum(
            loads.l1d * l1 + loads.l2 * l2 + loads.l3 * l3 + loads.memory * memory
            for loads in (row.guest_loads, row.sept_loads)
        )
        data = row.data_loads
        access = walk + data.l1d * l1 + data.l2 * l2 + data.l3 * l3 + data.memory * memory + row.dtlb_misses * stlb
        assert row.walk_ns.value == pytest.approx(walk / N)
        assert row.access_ns.value == pytest.approx(access / N)
        assert row.busy_walkers.value == pytest.approx(walk / N * 0.2)
        assert row.access_cycles.high == pytest.approx(row.access_ns.high * parameters.core_ghz)
        for one in (row.walk_ns, row.access_ns):
            assert 0 < one.low < one.value < one.high
    slow, fast = result.rows
    (speedup,) = result.speedups
    assert speedup.times.value == pytest.approx(slow.access_ns.value / fast.access_ns.value)
    assert speedup.saved_ns.value == pytest.approx(slow.access_ns.value - fast.access_ns.value)


def test_known_hardware_and_prices_leave_no_interval():
    exact = [f"{s.name}={s.entries}" for s in load_walk_hardware("spr-8480p").structures]
    exact += [f"{p.name}={p.value}" for p in load_walk_hardware("spr-8480p").latencies]
    parameters = load_parameters("spr-8480p", None, ["dram_read=109", "memory_encryption_read=10"])
    scenario = SteadyScenario(memory="1GiB", accesses=2000)
    result = run_steady(scenario, parameters, load_walk_hardware("spr-8480p", exact))
    for row in result.rows:
        assert row.access_ns.low == pytest.approx(row.access_ns.value) == row.access_ns.high


def test_same_seed_same_result_another_seed_another():
    first, again, other = steady(accesses=5000), steady(accesses=5000), steady(accesses=5000, seed=1)
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert first.rows[0].sept_loads != other.rows[0].sept_loads


def test_chunks_do_not_matter(monkeypatch):
    whole = steady(accesses=9000, access="sequential").rows
    monkeypatch.setattr("perfmodel.steady._CHUNK", 1000)
    assert steady(accesses=9000, access="sequential").rows == whole


def test_within_reach_nothing_is_walked():
    for leaf, guest_pages, working_set in (("4K", "4k", "8MiB"), ("2M", "2m", "2GiB")):
        row = by_leaf(steady(working_set=working_set, guest_pages=guest_pages, access="zipf", accesses=400_000))[leaf]
        assert row.walks < 4  # a page whose first access came late


@pytest.mark.parametrize("size", SIZES)
def test_larger_structures_load_less_from_memory(size):
    scenario = SteadyScenario(memory="1GiB", working_set="256MiB", accesses=N)
    hardware = load_walk_hardware("spr-8480p")
    low, this, high = (simulate(scenario, hardware, 0.0, one) for one in ("low", size, "high"))
    walk = [int(c[kernel.GUEST_LOADS : kernel.DATA_LOADS].sum()) for c in (low, this, high)]
    assert walk[0] >= walk[1] >= walk[2]
    assert walk[0] > walk[2]


def test_no_structures_by_option():
    off = [f"{s.name}=0" for s in load_walk_hardware("spr-8480p").structures]
    rows = by_leaf(steady(*off, accesses=1000, levels=5, guest_levels=5))
    for row, references in ((rows["4K"], 35), (rows["2M"], 29)):
        assert row.walks == 1000
        assert row.guest_loads.memory + row.sept_loads.memory == 1000 * references == 1000 * row.uncached_references


def test_sequential_walks_once_a_page():
    rows = by_leaf(steady(access="sequential", working_set="512MiB", accesses=64 * 500))
    assert rows["4K"].walks == rows["2M"].walks == 500


def test_streams_stay_inside_and_zipf_is_skewed():
    for access in ("uniform", "zipf", "sequential"):
        scenario = SteadyScenario(memory="1GiB", working_set="40KiB", access=access)
        lines = access_stream(scenario)(10_000)
        assert lines.min() >= 0
        assert lines.max() < 640
        assert np.unique(lines >> 6).size == 10
    ranks = zipf_ranks(np.random.default_rng(0).random(100_000), 1000, 0.99)
    shares = np.bincount(ranks, minlength=1000) / ranks.size
    for rank in (0, 9, 99):  # against the integral of x ** -0.99
        exact = ((rank + 2) ** 0.01 - (rank + 1) ** 0.01) / (1001**0.01 - 1)
        assert shares[rank] == pytest.approx(exact, rel=0.1)
    assert zipf_ranks(np.array([0.0, 0.5, 1.0]), 1 << 20, 1.0).tolist() == [0, 1023, (1 << 20) - 1]


def test_zipf_reaches_every_page():
    lines = access_stream(SteadyScenario(memory="1GiB", working_set="4MiB", access="zipf"))(200_000)
    assert np.unique(lines >> 6).size == 1024


@pytest.mark.parametrize("pages", [1, 512, 513, 1 << 18, (1 << 27) + 1])
def test_page_tables_lie_apart_and_suffice(pages):
    layout, end = page_table_layout(pages)
    tables = [-(-pages // 512 ** (level + 1)) for level in range(5)]
    starts = [*layout[kernel.GUEST_TABLES].tolist(), end]
    assert [b - a for a, b in pairwise(starts)] == tables
    lines = layout[kernel.SEPT_LINES].tolist()
    assert lines[0] == end * 64
    assert [(b - a) // 64 for a, b in pairwise(lines)] == [-(-end // 512 ** (i + 1)) for i in range(4)]


def test_progress_reaches_its_end():
    seen = []
    run_steady(SteadyScenario(memory="1GiB", accesses=3000), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (36_000, 36_000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_memory_follows_the_leaves():
    rows = by_leaf(steady(share_2m=0.25, host_memory="8GiB", hvo=True, dynamic_pamt=True))
    assert [rows[leaf].memory.sept >> 12 for leaf in ("4K", "2M", "mixed")] == [2048 + 5, 5, 1536 + 5]
    for row in rows.values():
        assert row.memory.mirror == row.memory.sept
        assert row.memory.vmemmap == 8 * GIB // 64 - 4 * 4095 * 4096


@pytest.mark.parametrize("preset", preset_names())
def test_each_preset_has_hardware_with_an_order(preset):
    hardware = load_walk_hardware(preset)
    for structure in hardware.structures:
        assert structure.low <= structure.entries <= structure.high
        assert len(structure.source) > 10
        for size in SIZES:
            sets, ways, ways_2m = structure.geometry(size)
            assert sets * ways == (structure.entries if size == "value" else getattr(structure, size))
            assert 0 <= ways_2m <= ways
    assert (hardware.geometry()["l3"] == load_walk_hardware("spr-8480p").geometry()["l3"]) == (preset == "spr-8480p")


def test_hash_follows_sizes_and_latencies():
    base = load_walk_hardware("spr-8480p").sha256
    hashes = {load_walk_hardware("spr-8480p", [one]).sha256 for one in ("stlb=1024", "l2_load=5", "stlb=2048")}
    assert len(hashes | {base}) == 4


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"working_set": "8GiB"}, "working-set 8589934592"),
        ({"access": "random"}, "access 'random'.*zipf"),
        ({"guest_pages": "1g"}, "guest-pages '1g'"),
        ({"levels": 3}, "levels 3"),
        ({"guest_levels": 6}, "guest-levels 6"),
        ({"rate": float("nan")}, "rate nan"),
        ({"share_2m": 1.1}, "share-2m 1.1"),
        ({"accesses": 0}, "accesses 0"),
        ({"host_memory": "1GiB"}, "host-memory"),
        ({"zipf_exponent": 0.0}, "zipf-exponent"),
        ({"memory": "129T", "working_set": None}, "memory"),
        ({"folio_order": 19}, "folio-order 19"),
    ],
)
def test_bad_scenarios(given, named):
    with pytest.raises(InputError, match=named):
        SteadyScenario(**{"memory": "4GiB", **given})


@pytest.mark.parametrize(
    "text",
    ["stlb", "stlb=x", "stlb=-16", "stlb=100", "stlb=99999999999", "tlb=1", "l2_load=0", "l2_load=nan", "l2_load=inf"],
)
def test_bad_hardware(text):
    with pytest.raises(InputError, match="accepted"):
        load_walk_hardware("spr-8480p", [text])


def test_hardware_is_named_once():
    with pytest.raises(InputError, match="once"):
        load_walk_hardware("spr-8480p", ["l3=0", "l3=0"])
