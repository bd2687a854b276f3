"""Do walks stop where the module's stop, one at a time and many?"""

import functools

import bridge
import numpy as np
import pytest
import twin_words as tw
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_td import Twin

from kernels.walk import walk, walk_many

LEVELS = pytest.mark.parametrize("levels", [4, 5])


def build(levels: int) -> tuple[bridge.TdTables, Twin]:
    """A TD in which every kind of stop exists at every level."""
    held = bridge.make_tables(levels, blocks=2, regions=2)
    twin = bridge.make_twin(held)
    base = bridge.FIRST_BLOCK << 30

    def add(gpa: int, down_to: int) -> None:
        for level in range(levels - 1, down_to, -1):
            if not twin.has_table(gpa, level):
                assert twin.sept_add(gpa - gpa % (4096 << 9 * level), level, twin.next_table) == tw.SUCCESS
                twin.next_table += 4096

    add(0, 0)  # 4K table at 0
    assert twin.page_aug(0x5000, 0, base + 0x7000) == tw.SUCCESS
    assert twin.page_aug(0x6000, 0, base + 0x8000) == tw.SUCCESS
    assert twin.accept(0x6000, 0) == tw.SUCCESS
    add(2 << 21, 1)
    assert twin.page_aug(2 << 21, 1, base + (3 << 21)) == tw.SUCCESS
    assert twin.page_aug(3 << 21, 1, base + (4 << 21)) == tw.SUCCESS
    assert twin.accept(3 << 21, 1) == tw.SUCCESS
    add(1 << 30, 0)  # a second 1 GiB region, its 4K table then blocked
    _, table, index = twin.at(1 << 30, 1)
    twin.pages[table][index] = twin.pages[table][index] & tw.HPA | tw.NL_BLOCKED
    add(5 << 30, 1)  # blocked at 1G
    _, table, index = twin.at(5 << 30, 2)
    twin.pages[table][index] = twin.pages[table][index] & tw.HPA | tw.NL_BLOCKED
    # a REG page at 1G, which only PROMOTE could make
    _, table, index = twin.at(7 << 30, 2)
    twin.pages[table][index] = tw.PENDING | (8 << 30)
    add(1 << 39, 2)
    for hpa, page in twin.pages.items():
        held.tables.sept[(hpa >> 12) - held.tables.sept_pfn] = np.array(page, np.uint64)
    return held, twin


@functools.cache
def tree(levels: int) -> tuple[bridge.TdTables, Twin]:
    """The TD of :func:`build`, for tests that do not change it."""
    return build(levels)


PLACES = [0, 0x5000, 0x6000, 0x7000, 1 << 21, 2 << 21, (2 << 21) + 0x5000, 3 << 21, (3 << 21) + 0x1FF000, 1 << 30,
          (1 << 30) + 0x1000, (1 << 30) + (1 << 21), 2 << 30, 5 << 30, (5 << 30) + 0x3000, 7 << 30,
          (7 << 30) + (5 << 21), 1 << 39, (1 << 39) + (1 << 30), 1 << 40, (1 << 47) - 4096]  # fmt: skip


@LEVELS
def test_each_stop(levels: int) -> None:
    held, twin = build(levels)
    stops = set()
    for gpa in PLACES + ([1 << 48, (1 << 51) - 4096] if levels == 5 else []):
        for level in range(levels):
            reached, row, index, raw = walk(held.tables, gpa >> 12, level)
            expected = twin.at(gpa, level)
            assert (reached, (held.tables.sept_pfn + row) << 12, index) == expected, (hex(gpa), level)
            assert int(raw) == twin.pages[expected[1]][expected[2]]
            assert twin.walk_reads == levels - reached
            stops.add((int(reached), tw.state(int(raw))))
    assert {(0, "PENDING"), (0, "MAPPED"), (0, "FREE"), (1, "PENDING"), (1, "MAPPED"), (1, "FREE"),
            (1, "NL_BLOCKED"), (2, "NL_BLOCKED"), (2, "FREE"), (2, "PENDING"), (3, "FREE")} <= stops  # fmt: skip
    if levels == 5:
        assert (4, "FREE") in stops


@LEVELS
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_many_equals_one_at_a_time(levels: int, level: int) -> None:
    held, twin = build(levels)
    gfns = np.array([gpa >> 12 for gpa in PLACES], np.int64)
    n = gfns.size
    reached, entries, states = np.full(n, -9, np.int8), np.zeros(n, np.uint64), np.zeros(n, np.uint8)
    walk_many(held.tables, gfns, level, reached, entries, states, np.empty(0, np.int32))
    for i, gpa in enumerate(PLACES):
        at, table, index = twin.at(gpa, level)
        raw = twin.pages[table][index]
        assert (reached[i], int(entries[i]), int(states[i])) == (at, raw, tw.state_code(raw)), hex(gpa)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_walk(data: st.DataObject) -> None:
    levels = data.draw(st.sampled_from([4, 5]))
    held, twin = tree(levels)
    gpa = data.draw(st.integers(0, (1 << (47 if levels == 4 else 51)) // 4096 - 1) | st.integers(0, 3 << 18)) << 12
    level = data.draw(st.integers(0, levels - 1))
    reached, row, index, _ = walk(held.tables, gpa >> 12, level)
    assert (reached, (held.tables.sept_pfn + row) << 12, index) == twin.at(gpa, level)


REGIONS = st.sampled_from([gpa >> 12 for gpa in PLACES])
GFNS = st.lists(
    st.tuples(REGIONS, st.integers(0, 1023), st.sampled_from([1, 3, 512]), st.integers(1, 1200)), min_size=1, max_size=6
)
"""Runs of pages from a place on: start, offset, distance, number."""


@settings(deadline=None, max_examples=60)
@given(levels=st.sampled_from([4, 5]), level=st.integers(0, 3), parts=GFNS, scratch=st.sampled_from([0, 512, 4096]),
       shuffle=st.booleans(), repeat=st.sampled_from([1, 9]))  # fmt: skip
def test_many_in_any_order(
    levels: int, level: int, parts: list[tuple[int, int, int, int]], scratch: int, shuffle: bool, repeat: int
) -> None:
    """Runs and scattered pages, with tables, without, and with blocked ones, inside the index and outside."""
    held, twin = tree(levels)
    gfns = np.concatenate([first + offset + np.arange(n) * apart for first, offset, apart, n in parts] * repeat)
    gfns &= (1 << 35) - 1
    if shuffle:
        np.random.default_rng(0).shuffle(gfns)
    n = gfns.size
    reached, entries, states = np.full(n, -9, np.int8), np.zeros(n, np.uint64), np.zeros(n, np.uint8)
    walk_many(held.tables, gfns, level, reached, entries, states, np.full(scratch, 7, np.int32))
    expected = {}
    for gfn in np.unique(gfns).tolist():
        at, table, index = twin.at(gfn << 12, level)
        raw = twin.pages[table][index]
        expected[gfn] = (at, raw, tw.state_code(raw))
    found = list(zip(reached.tolist(), entries.tolist(), states.tolist(), strict=True))
    assert found == [expected[gfn] for gfn in gfns.tolist()]


@LEVELS
@pytest.mark.parametrize("level", [0, 1])
def test_index_is_used(levels: int, level: int) -> None:
    """With room for its tables, an index names them; without, every walk starts at the root."""
    held, _ = build(levels)
    gfns = np.arange(4096, dtype=np.int64) << 9 * level
    outs = [np.zeros(4096, kind) for kind in (np.int8, np.uint64, np.uint8)]
    rows = np.full(512, -1, np.int32)
    walk_many(held.tables, gfns, level, *outs, rows)
    _, row, _, _ = walk(held.tables, 0, level)
    assert rows[0] == row > 0
    assert rows.min() >= 0


def test_frames_below_zero_among_others() -> None:
    """No index holds them; each walk sees the bits that its levels read."""
    held, _ = tree(4)
    gfns = np.array([5, -600, 7, -1] * 50, np.int64)
    reached, entries = np.full(gfns.size, -9, np.int8), np.zeros(gfns.size, np.uint64)
    walk_many(held.tables, gfns, 0, reached, entries, np.zeros(gfns.size, np.uint8), np.zeros(4096, np.int32))
    for gfn, at, entry in zip(gfns[:4].tolist(), reached.tolist(), entries.tolist(), strict=False):
        found = walk(held.tables, gfn, 0)
        assert (at, entry) == (found[0], int(found[3]))
