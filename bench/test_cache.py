"""How fast lines run through the simulated caches, beside pycachesim's bulk load of the same addresses."""

import statistics
import time
from typing import Any

import numpy as np
import pytest
from ratio import thp

from kernels import cache, cache_calls
from kernels.cache import LINE_SHIFT, MODIFY, OP_BITS
from kernels.cache_populate import DEMAND, Lp, run_chunks
from perfmodel import Scenario
from perfmodel.memory import GuestMemory
from perfmodel.memory_model import cache_geometry, make_lp
from perfmodel.policies import POLICIES
from perfmodel.visits import ChunkOrder, load_chunks
from perfmodel.walk_hardware import load_walk_hardware

_LOADS, _BELOW_4_GIB = 1 << 19, (1 << 26) - 1
_PAIRS = 5


def _lp(memory: GuestMemory) -> Lp:
    return make_lp(memory, cache_geometry(load_walk_hardware("spr-8480p"), 1), 0)


def _calls() -> np.ndarray:
    """Return the lines of faults and ACCEPTs on 4K pages in sequence, beside pages that only pass."""
    lp = _lp(GuestMemory.build(Scenario(memory="64MiB")))
    to, pieces, used = lp.stream, [], 0
    for gfn in range(_LOADS):
        if used >= _LOADS:
            break
        pfn = (4 << 18) + gfn
        cache_calls.find_path(to, gfn, gfn >> 9)
        cache_calls.put_failed_accept(to, gfn, 0)
        cache_calls.put_td_exit(to)
        cache_calls.put_page_fault(to, gfn, pfn, 0, True)
        cache_calls.put_page_aug(to, gfn, pfn, 0)
        cache_calls.put_vp_enter(to)
        cache_calls.put_page_accept(to, gfn, 0)
        stream = to.accesses[: to.at[cache_calls.USED]]
        pieces.append(stream[stream & (1 << OP_BITS) - 1 <= MODIFY] >> LINE_SHIFT & _BELOW_4_GIB)
        used += pieces[-1].size
        to.at[cache_calls.USED] = 0
    return np.concatenate(pieces)[:_LOADS]


_STREAMS = {
    "calls at 4K": _calls,
    "sequence": lambda: np.arange(_LOADS),
    "random in L1": lambda: np.random.default_rng(0).integers(0, 700, _LOADS),
    "random in L2": lambda: np.random.default_rng(0).integers(0, 20_000, _LOADS),
    "random in L3": lambda: np.random.default_rng(0).integers(0, 150_000, _LOADS),
    "random in memory": lambda: np.random.default_rng(0).integers(0, _BELOW_4_GIB, _LOADS),
}


@pytest.mark.benchmark(group="peer pycachesim")
@pytest.mark.parametrize("stream", _STREAMS)
def test_loads_against_pycachesim(benchmark: Any, stream: str) -> None:
    """Both with the caches of a Sapphire Rapids core, warm from the same loads."""
    cachesim = pytest.importorskip("cachesim", reason="pycachesim is an extra for tests and benchmarks")
    lines = _STREAMS[stream]()
    lp = _lp(GuestMemory.build(Scenario(memory="1GiB")))
    memory, levels = cachesim.MainMemory(), []
    for name, (_, mask, ways) in reversed(list(zip(("L1", "L2", "L3"), lp.places.tolist(), strict=True))):
        below = levels[-1] if levels else None
        levels.append(cachesim.Cache(name, mask + 1, ways, 64, "LRU", store_to=below, load_from=below))
    memory.load_to(levels[0])
    memory.store_from(levels[0])
    simulator, addresses, loads = (
        cachesim.CacheSimulator(levels[-1], memory),
        (lines << 6).tolist(),
        lines << LINE_SHIFT,
    )

    def ours() -> None:
        cache.run_accesses(loads, loads.size, lp.tags, lp.places, lp.counts, lp.tally[0], lp.found)

    def theirs() -> None:
        simulator.load(addresses)

    ratios = []
    for pair in range(_PAIRS + 1):  # the first warms and compiles
        times = []
        for call in (ours, theirs):
            begun = time.thread_time()
            call()
            times.append(time.thread_time() - begun)
        ratios += [times[1] / times[0]] if pair else []
    for counted, level in zip(lp.counts, reversed(levels), strict=True):
        assert counted[cache.HITS] == level.HIT_count
        assert counted[cache.MISSES] == level.MISS_count
    benchmark.pedantic(ours, rounds=5)
    benchmark.extra_info.update(
        items=_LOADS, unit="loads", peer="pycachesim", peer_ratio=round(statistics.median(ratios), 3), thp=thp()
    )


@pytest.mark.benchmark(group="cache simulation")
@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
def test_faults(benchmark: Any, interface: str) -> None:
    """Whole faults and ACCEPTs, at 4K and at 2M, with the pages that are cleared and flushed."""
    guest = GuestMemory.build(Scenario(memory="1GiB"))
    order = ChunkOrder(guest, "sequential")
    chunks = load_chunks(guest, [POLICIES[interface]], order.regions, order.chunks(0, 64), order.begun(0))
    lp = _lp(guest)

    def run() -> None:
        run_chunks(
            lp, chunks.gfn, chunks.pfn, chunks.use, chunks.asked, chunks.levels[0], chunks.lowest, DEMAND, True,
            0, 0, chunks.gfn.size,
        )  # fmt: skip

    run()
    benchmark.pedantic(run, rounds=3)
    benchmark.extra_info.update(items=chunks.gfn.size << 10, unit="4K pages", thp=thp())
