"""Do the simulated caches do what a plain twin does, and what pycachesim does on the same addresses?"""

import cachesim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_caches import TwinCaches, contents

from kernels import cache, lru
from kernels.cache import DROP, LINE_SHIFT, LOAD, MODIFY, OP_BITS, PASS, STORE

TINY = [(2, 2), (4, 3), (4, 5)]
GEOMETRIES = {
    "tiny": TINY,
    "direct": [(4, 1), (8, 1), (16, 1)],
    "one set": [(1, 3), (1, 7), (1, 12)],
    "large above small": [(16, 4), (4, 3), (8, 2)],
    "processor": [(64, 12), (2048, 16), (16384, 15)],
}


class Caches:
    """The kernel with arrays of its own."""

    def __init__(self, geometry):
        self.places = np.zeros((cache.LEVELS, 3), np.int64)
        start = 0
        for row, (sets, ways) in zip(self.places, geometry, strict=True):
            row[:] = start, sets - 1, ways
            start += sets * ways
        self.tags = np.full(start, lru.EMPTY, np.int64)
        self.counts = np.zeros((cache.LEVELS, cache.COUNTS), np.int64)
        self.tally = np.zeros((32, cache.LEVELS + 1), np.int64)

    def run(self, accesses):
        found = np.empty(accesses.size, np.int8)
        cache.run_accesses(accesses, accesses.size, self.tags, self.places, self.counts, self.tally, found)
        return found

    def contents(self):
        levels = []
        for start, mask, ways in self.places.tolist():
            sets = self.tags[start : start + (mask + 1) * ways].reshape(mask + 1, ways)
            for one in sets:
                used = one != lru.EMPTY
                assert not used[np.argmin(used) :].any() or used.all()  # what is empty stands last
            levels.append([[(tag >> 1, bool(tag & 1)) for tag in one if tag != lru.EMPTY] for one in sets.tolist()])
        return levels


def encoded(op, line, kind=0):
    return np.asarray(line, np.int64) << LINE_SHIFT | kind << OP_BITS | np.asarray(op, np.int64)


ACCESS = st.tuples(st.sampled_from([LOAD, STORE, MODIFY, DROP]), st.integers(0, 40))
PAGE = st.tuples(st.just(PASS), st.integers(16, 24), st.integers(0, 5))


@pytest.mark.parametrize("geometry", ["tiny", "direct", "one set", "large above small"])
@given(steps=st.lists(ACCESS | PAGE, max_size=120))
@settings(deadline=None, max_examples=60)
def test_kernel_is_the_twin(geometry, steps):
    """Pages that pass bring new lines: 1000 and up."""
    ours, twin = Caches(GEOMETRIES[geometry]), TwinCaches(GEOMETRIES[geometry])
    found = []
    for op, line, *logarithm in steps:
        if op == PASS:
            found += ours.run(encoded(PASS, [1000 + line], logarithm[0])).tolist()
            assert twin.access(op, 1000 + line, 1 << logarithm[0]) == found[-1]
        else:
            found += ours.run(encoded(op, [line])).tolist()
            assert twin.access(op, line) == found[-1], (op, line)
        assert ours.contents() == contents(twin)
    assert ours.counts.tolist() == [list(level.values()) for level in twin.counts]


@given(steps=st.lists(ACCESS, max_size=200), kinds=st.lists(st.integers(0, 31), min_size=200, max_size=200))
@settings(deadline=None, max_examples=60)
def test_a_stream_is_its_accesses_one_by_one(steps, kinds):
    accesses = np.array([encoded(op, line, kind) for (op, line), kind in zip(steps, kinds, strict=False)], np.int64)
    whole, single = Caches(TINY), Caches(TINY)
    found = whole.run(accesses).tolist()
    assert found == [single.run(accesses[i : i + 1])[0] for i in range(accesses.size)]
    tally = np.zeros_like(whole.tally)
    for (op, _), kind, level in zip(steps, kinds, found, strict=False):
        tally[kind, level] += op != DROP
    assert whole.tally.tolist() == tally.tolist() == single.tally.tolist()
    assert whole.counts.tolist() == single.counts.tolist()


@pytest.mark.parametrize("geometry", ["tiny", "direct", "processor"])
@given(loaded=st.lists(st.integers(0, 40), max_size=80), logarithm=st.integers(0, 7))
@settings(deadline=None, max_examples=40)
def test_a_page_that_passes_leaves_what_stores_and_flushes_leave(geometry, loaded, logarithm):
    """Where no line is dirty, the order in which levels give way does not matter."""
    passed, told = Caches(GEOMETRIES[geometry]), Caches(GEOMETRIES[geometry])
    page = 4096 + np.arange(1 << logarithm)
    for caches in (passed, told):
        caches.run(encoded(LOAD, loaded))
    passed.run(encoded(PASS, page[:1], logarithm))
    told.run(encoded(STORE, page))
    told.run(encoded(DROP, page))
    assert passed.contents() == told.contents()


def pycachesim(geometry):
    """Return its simulator and levels; addresses are bytes."""
    memory = cachesim.MainMemory()
    levels = []
    for name, (sets, ways) in reversed(list(zip(("L1", "L2", "L3"), geometry, strict=True))):
        below = levels[-1] if levels else None
        levels.append(cachesim.Cache(name, sets, ways, 64, "LRU", store_to=below, load_from=below))
    memory.load_to(levels[0])
    memory.store_from(levels[0])
    return cachesim.CacheSimulator(levels[-1], memory), levels[::-1]


def run_pycachesim(simulator, ops, lines):
    """A locked instruction is its load, then its store. In bulk, as single calls leave half of an address undefined."""
    simulator.loadstore(
        [
            ((address,) if op != STORE else None, (address,) if op != LOAD else None)
            for op, address in zip(ops.tolist(), (lines * 64).tolist(), strict=True)
        ]
    )


def streams(lines_in_caches):
    draw = np.random.default_rng(5)
    n = 6 * lines_in_caches
    walk = np.arange(n)
    table = np.where(walk % 2, walk // 16, draw.integers(0, lines_in_caches, n))
    return {
        "random": draw.integers(0, 2 * lines_in_caches, n),
        "sequence": walk,
        "loop that just does not fit": walk % (lines_in_caches + 7),
        "stride of a page": walk * 64 % (97 * lines_in_caches),
        "walk and data": table,
        "hot and cold": np.where(draw.random(n) < 0.8, draw.integers(0, 20, n), draw.integers(0, 1 << 25, n)),
    }


@pytest.mark.parametrize("stream", streams(8))
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("share_of_stores", [0.0, 0.3])
def test_kernel_is_pycachesim(geometry, stream, share_of_stores):
    """Hits, misses and dirty write-backs of each level, and what it holds at the end."""
    sizes = GEOMETRIES[geometry]
    lines = streams(min(sum(sets * ways for sets, ways in sizes), 20000))[stream]
    assert lines.max() < 1 << 26  # below 4 GiB, as it truncates addresses
    draw = np.random.default_rng(6)
    ops = np.where(draw.random(lines.size) < share_of_stores, draw.choice([STORE, MODIFY], lines.size), LOAD)
    simulator, levels = pycachesim(sizes)
    run_pycachesim(simulator, ops, lines)
    ours = Caches(sizes)
    ours.run(encoded(ops, lines))
    for level, theirs in enumerate(levels):
        counted = ours.counts[level]
        assert counted[cache.HITS] == theirs.HIT_count
        assert counted[cache.MISSES] == theirs.MISS_count
        assert counted[cache.WRITE_BACKS] == theirs.EVICT_count
        held = {line for one in ours.contents()[level] for line, _ in one}
        assert held == {address // 64 for address in theirs.backend.cached}
