"""Does the kernel count what a plain twin counts, and what closed forms say?"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import two_dimensional_walk as kernel
from kernels.lru import EMPTY
from perfmodel.steady import page_table_layout, uncached_references

NOTHING = [(1, 0)] * kernel.STRUCTURES
WAYS_2M = 2


def run(lines, sizes, leaf, guest_leaf=0, guest_levels=4, sept_levels=4, pages=None, ways_2m=WAYS_2M, warm=0):
    """Return the kernel's counts of ``lines`` behind the first ``warm`` of them."""
    places = np.zeros((kernel.STRUCTURES, 4), np.int64)
    start = 0
    for row, (sets, ways) in zip(places, sizes, strict=True):
        row[:] = start, sets - 1, ways, ways_2m
        start += sets * ways
    tags = np.full(start, EMPTY, np.int64)
    layout, _ = page_table_layout(pages or (leaf.size << 9))
    lines = np.asarray(lines, np.int64)
    for part in (lines[:warm], lines[warm:]):
        counts = np.zeros(kernel.COUNTS, np.int64)
        kernel.access_lines(part, tags, places, layout, leaf, guest_leaf, guest_levels, sept_levels, counts)
    return counts


def loads(counts):
    return counts[kernel.GUEST_LOADS : kernel.SEPT_LOADS], counts[kernel.SEPT_LOADS : kernel.DATA_LOADS]


class Lru:
    """Sets of recently used keys, the last used at the end."""

    def __init__(self, sets, ways):
        self.sets, self.ways = [[] for _ in range(sets)], ways

    def touch(self, index, key, room=None):
        held = self.sets[index % len(self.sets)]
        if key in held:
            held.remove(key)
            held.append(key)
            return True
        same = [k for k in held if k[0] == key[0]]
        if room is not None and len(same) >= room:
            held.remove(same[0])
        elif len(held) >= self.ways:
            held[:] = held[1:]
        if self.ways:
            held.append(key)
        return False


class Twin:
    """The same processor, told as the manual tells it: look for the deepest table known, then read downwards."""

    def __init__(self, sizes, leaf, guest_leaf, guest_levels, sept_levels, pages):
        self.caches = [Lru(*size) for size in sizes]
        self.leaf, self.guest_leaf = leaf, guest_leaf
        self.levels = {"guest": guest_levels, "sept": sept_levels}
        self.layout, _ = page_table_layout(pages)
        self.counts = np.zeros(kernel.COUNTS, np.int64)

    def read(self, line, kind):
        for depth in range(3):
            if self.caches[kernel.L1D + depth].touch(line, (0, line)):
                self.counts[kind + depth] += 1
                return
        self.counts[kind + 3] += 1

    def tables_to_read(self, first_cache, frame, last, levels):
        """Return the levels to read from the top down, and whether their first table's address was cached."""
        todo = [last]
        for level in range(last + 1, levels):
            prefix = frame >> (9 * level)
            if self.caches[first_cache + level - 1].touch(prefix, (0, prefix)):
                return todo[::-1], True
            todo.append(level)
        return todo[::-1], False

    def translate(self, gfn):
        last = int(self.leaf[gfn >> 9])
        if self.caches[kernel.SEPT_LEAVES].touch(gfn >> 9 * last, (last, gfn >> 9 * last)):
            return
        todo, _ = self.tables_to_read(kernel.SEPT_PSC, gfn, last, self.levels["sept"])
        for level in todo:
            entry_address = int(self.layout[kernel.SEPT_LINES, level]) * 64 + (gfn >> 9 * level) * 8
            self.read(entry_address // 64, kernel.SEPT_LOADS)

    def access(self, line):
        page = line // 64
        size = min(self.guest_leaf, int(self.leaf[page >> 9]))
        frame = page >> 9 * size
        self.counts[kernel.ACCESSES] += 1
        if not self.caches[kernel.DTLB_2M if size else kernel.DTLB_4K].touch(frame, (size, frame)):
            self.counts[kernel.DTLB_MISSES] += 1
            if not self.caches[kernel.STLB].touch(frame, (size, frame), WAYS_2M if size else None):
                self.walk(page)
        self.read(line, kernel.DATA_LOADS)

    def walk(self, page):
        self.counts[kernel.WALKS] += 1
        todo, known = self.tables_to_read(kernel.GUEST_PSC, page, self.guest_leaf, self.levels["guest"])
        for level in todo:
            table = int(self.layout[kernel.GUEST_TABLES, level]) + (page >> 9 * (level + 1))
            if not known:
                self.translate(table)
            known = False
            entry_address = table * 4096 + (page >> 9 * level) % 512 * 8
            self.read(entry_address // 64, kernel.GUEST_LOADS)
        self.translate(page)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_kernel_equals_twin(data):
    ranges = data.draw(st.integers(1, 2000))
    pages = ranges << 9
    sets = st.sampled_from([1, 2, 4])
    sizes = data.draw(st.lists(st.tuples(sets, st.integers(0, 4)), min_size=15, max_size=15))
    sizes[kernel.STLB] = (data.draw(sets), data.draw(st.integers(WAYS_2M, 5)))
    guest_leaf, *levels = (data.draw(st.sampled_from(pair)) for pair in ((0, 1), (4, 5), (4, 5)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    leaf = (rng.random(page_table_layout(pages)[1] // 512 + 1) < data.draw(st.sampled_from([0, 0.5, 1]))).astype(
        np.uint8
    )
    hot = rng.integers(0, pages * 64, 12)  # some lines come back, and their neighbours with them
    near = np.minimum(
        rng.choice(hot, 300) + rng.integers(0, data.draw(st.sampled_from([1, 200, 90000])), 300), pages * 64 - 1
    )
    lines = np.where(rng.random(300) < 0.7, near, rng.integers(0, pages * 64, 300))
    twin = Twin(sizes, leaf, guest_leaf, *levels, pages)
    for line in lines.tolist():
        twin.access(line)
    assert run(lines, sizes, leaf, guest_leaf, *levels, pages=pages).tolist() == twin.counts.tolist()


@pytest.mark.parametrize(("n", "m", "g", "s"), list(product((4, 5), (4, 5), (0, 1), (0, 1))))
def test_nothing_cached_reads_every_entry_of_both_dimensions(n, m, g, s):
    leaf = np.full(1030, s, np.uint8)
    guest, sept = loads(run([0, 5 << 20, 77], NOTHING, leaf, g, n, m, pages=1024 << 9))
    assert guest.tolist() == [0, 0, 0, 3 * (n - g)]
    assert sept.tolist() == [0, 0, 0, 3 * (n - g + 1) * (m - s)]
    assert (guest + sept).sum() == 3 * uncached_references(g, s, n, m)


def test_two_by_four_levels_make_24_references():
    assert [uncached_references(*leaves) for leaves in ((0, 0), (0, 1), (1, 0), (1, 1))] == [24, 19, 19, 15]
    assert uncached_references(0, 0, 5, 5) == 35


def test_all_structures_but_tlbs_leave_the_entries_that_only_they_hold():
    """With every table known, a walk reads the guest's entry of the page and the S-EPT's entry of the page."""
    sizes = [(1, 0)] * 4 + [(1, 64)] * 8 + [(1, 0)] * 3
    leaf = np.zeros(80, np.uint8)
    guest, sept = loads(run([*range(0, 64 * 512 * 4, 64)] * 2, sizes, leaf, pages=64 << 9, warm=2048))
    assert (guest.sum(), sept.sum()) == (2048, 2048)


@pytest.mark.parametrize(("guest_leaf", "entries", "page_lines"), [(0, 2048, 64), (1, 1024, 64 << 9)])
def test_a_working_set_within_reach_never_misses_again_and_one_page_more_does(guest_leaf, entries, page_lines):
    sizes = [(16, 6), (8, 4), (128, 16), *[(1, 0)] * 12]
    leaf = np.ones(3000, np.uint8)
    for pages, misses in ((entries, 0), (entries + 1, 9 if guest_leaf else 17)):  # the set with one too many thrashes
        once = np.arange(pages) * page_lines
        lines = np.concatenate([once, once])
        counts = run(lines, sizes, leaf, guest_leaf, pages=2100 << 9, ways_2m=8, warm=pages)
        assert counts[kernel.WALKS] == misses
        assert sum(part.sum() for part in loads(counts)) == misses * uncached_references(guest_leaf, 1)


@pytest.mark.parametrize("over_reach", [2, 8, 64])
def test_random_accesses_miss_one_less_reach_over_working_set(over_reach):
    sizes = [(1, 0), (1, 0), (128, 16), *[(1, 0)] * 12]
    pages, n = 2048 * over_reach, 200_000
    lines = np.random.default_rng(7).integers(0, pages * 64, 2 * n)
    leaf = np.zeros((pages >> 9) + 80, np.uint8)
    walks = run(lines, sizes, leaf, pages=pages, warm=n)[kernel.WALKS]
    expected = 1 - 1 / over_reach
    # the set index is random, so a set's share varies; five standard deviations of the accesses' own noise
    assert walks / n == pytest.approx(expected, abs=5 * (expected * (1 - expected) / n) ** 0.5 + 0.002)


def test_2m_translations_take_half_of_a_set_and_4k_ones_all_of_it():
    sizes = [(1, 0), (1, 0), (1, 4), *[(1, 0)] * 12]
    leaf = np.array([1, 1, 1, 0, 0, *[1] * 80], np.uint8)
    large, small = [0, 512 * 64, 1024 * 64], [page * 64 for page in (1536, 1537, 1538, 1539)]
    kept = run(large[:2] + large[:2], sizes, leaf, 1, pages=5 << 9, warm=2)
    lost = run(large + large, sizes, leaf, 1, pages=5 << 9, warm=3)
    filled = run(small + small, sizes, leaf, 1, pages=5 << 9, warm=4)
    assert [int(c[kernel.WALKS]) for c in (kept, lost, filled)] == [0, 3, 0]
    # two 4K translations stay while 2M ones come and go in their own half
    mixed = run(small[:2] + large * 2 + small[:2], sizes, leaf, 1, pages=5 << 9, warm=8)
    assert mixed[kernel.WALKS] == 0


def test_caches_above_memory_serve_what_was_read_last():
    sizes = [(1, 0)] * 12 + [(1, 2), (1, 4), (1, 400)]
    counts = run([0, 64, 128] * 2, sizes, np.zeros(2, np.uint8), pages=4)
    assert counts[kernel.GUEST_LOADS + 3] + counts[kernel.SEPT_LOADS + 3] == 4 + 4 + 0  # one line a table at first
    assert counts[kernel.DATA_LOADS :].tolist() == [0, 0, 3, 3]


def test_a_4k_and_a_2m_translation_of_the_same_number_are_two():
    sizes = [(1, 0)] * kernel.STRUCTURES
    sizes[kernel.SEPT_LEAVES] = (1, 16)
    leaf = np.array([0, 1, 1, 1, 1, *[0] * 5], np.uint8)
    lines = [3 * 64, 3 * 512 * 64]  # guest page 3, and guest page 1536 in the 2M frame 3
    only_first, both = (loads(run(lines[:n], sizes, leaf, pages=5 << 9))[1].sum() for n in (1, 2))
    assert only_first == 5 * 4  # four tables and the page, nothing known
    assert both - only_first == 4 + 3  # another lowest guest table, and the page by its leaf at level 1
