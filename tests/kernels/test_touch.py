"""Does population touch by touch leave and count what one fault after the other does?"""

from collections.abc import Callable

import bridge
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.counters import COUNTERS
from kernels.fault import LINES, add_missing_tables, fault
from kernels.status import SUCCESS
from kernels.tables import Tables
from kernels.touch import BATCH, touch_many
from kernels.walk import walk

BASE = bridge.FIRST_BLOCK << 18
TABLES = 700  # that ``rows`` has room for: less than two regions have


def run_one_by_one(held: bridge.TdTables, gfns: np.ndarray, pfns: np.ndarray, level: int) -> tuple[object, ...]:
    lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
    for done, (gfn, pfn) in enumerate(zip(gfns.tolist(), pfns.tolist(), strict=True)):
        status = fault(held.tables, gfn, pfn, level, lines, counts)
        if status != SUCCESS:
            return status, done, lines.tolist(), bridge.by_name(counts)
    return SUCCESS, gfns.size, lines.tolist(), bridge.by_name(counts)


def run_many(
    held: bridge.TdTables, gfns: np.ndarray, pfns: np.ndarray, level: int, first: int = 0
) -> tuple[object, ...]:
    lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
    rows, slots = np.full(TABLES, -1, np.int32), np.empty(held.tables.slot.size, np.int32)
    places, at = np.empty((2, BATCH), np.uint64), 0
    for part in (gfns[:first], gfns[first:]):  # the second call knows what the first one has learnt
        frames = pfns[at : at + part.size]
        status, done = touch_many(held.tables, part, frames, level, rows, slots, places, lines, counts)
        at += done
        if status != SUCCESS:
            break
    return status, at, lines.tolist(), bridge.by_name(counts)


def assert_same_run(
    levels: int,
    gfns: np.ndarray,
    pfns: np.ndarray,
    level: int,
    first: int = 0,
    preset: Callable[[Tables], None] = lambda tables: None,
) -> int:
    """Both ways leave equal tables, counts and lines; return the common status."""
    one, many = (bridge.make_tables(levels, blocks=2, regions=2) for _ in range(2))
    preset(one.tables)
    preset(many.tables)
    expected = run_one_by_one(one, gfns, pfns, level)
    assert run_many(many, gfns, pfns, level, first) == expected
    bridge.assert_equal_tables(one, many)
    return int(str(expected[0]))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_order(data: st.DataObject) -> None:
    """Also pages touched twice, frames in use, tables in the way, and frames outside every TDMR: the first refusal."""
    level = data.draw(st.integers(0, 1))
    frames = st.integers(0, (2 << 18 >> 9 * level) - 1)
    touches = st.tuples(frames, frames | st.integers(2 << 18 >> 9 * level, 3 << 18 >> 9 * level))
    drawn = np.array(data.draw(st.lists(touches, max_size=80)), np.int64).reshape(-1, 2) << 9 * level
    first = data.draw(st.integers(0, 80))
    assert_same_run(data.draw(st.sampled_from([4, 5])), drawn[:, 0].copy(), BASE + drawn[:, 1], level, first)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("touches", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 3000])
def test_whole_batches_and_parts(levels: int, level: int, touches: int) -> None:
    """Known tables, unknown ones, and those that ``rows`` has no room for; frames in another order than pages."""
    pages = 1 << 19 >> 9 * level
    gfns = np.random.default_rng(1).permutation(pages)[:touches].astype(np.int64) << 9 * level
    pfns = np.random.default_rng(2).permutation(pages)[:touches].astype(np.int64) << 9 * level
    assert assert_same_run(levels, gfns, BASE + pfns, level, touches // 3) == SUCCESS


def test_tables_that_the_same_batch_added() -> None:
    """In sequence, and two sequences in turn."""
    gfns = np.arange(2 * BATCH, dtype=np.int64) * 3
    assert assert_same_run(4, gfns, BASE + gfns, 0) == SUCCESS
    gfns[1::2] += 1 << 18
    assert assert_same_run(4, gfns, BASE + gfns, 0) == SUCCESS


@pytest.mark.parametrize("first", [0, BATCH])
@pytest.mark.parametrize("apart", [1, 2, 100, BATCH, BATCH + 1])
@pytest.mark.parametrize("what", ["page", "frame"])
def test_a_page_or_frame_a_second_time(what: str, apart: int, first: int) -> None:
    """It is refused, and nothing after it is touched; ``apart`` touches lie between, or one batch."""
    gfns = np.arange(BATCH + 300, dtype=np.int64)
    pfns = BASE + np.random.default_rng(0).permutation(gfns)
    again = BATCH + 200
    twice = gfns if what == "page" else pfns
    twice[again] = twice[again - apart]
    assert assert_same_run(4, gfns, pfns, 0, first) != SUCCESS


def entry_locks(tables: Tables, word: int) -> None:
    """Set lock, host priority or both at the S-EPT entry of GFN 700, whose table is there."""
    assert add_missing_tables(tables, 700, 0, np.zeros(COUNTERS, np.int64)) == SUCCESS
    _, row, index, _ = walk(tables, 700, 0)
    tables.sept[row, index] |= np.uint64([1 << 11, 1 << 52, 1 << 11 | 1 << 52][word % 3])


def pamt_word(level: int) -> Callable[[Tables, int], None]:
    """Return what ORs a word into the PAMT entry at ``level`` above the frame of touch 700."""

    def preset(tables: Tables, word: int) -> None:
        slot = int(tables.slot[bridge.FIRST_BLOCK])
        array = (tables.pamt_4k, tables.pamt_2m, tables.pamt_1g)[level]
        array[(slot * (1 << 18) + 700, slot * 512 + 1, bridge.FIRST_BLOCK)[level], 0] |= np.uint64(word)

    return preset


PRESETS = {"S-EPT": entry_locks, "PAMT_4K": pamt_word(0), "PAMT_2M": pamt_word(1), "PAMT_1G": pamt_word(2)}


@pytest.mark.parametrize("word", [1, 2, 4, 5, 6, 1 << 16, 3 << 16, 3 << 16 | 2, 5 << 24])
@pytest.mark.parametrize("where", PRESETS)
@pytest.mark.parametrize("first", [0, 600])
def test_words_that_are_not_clean(where: str, word: int, first: int) -> None:
    """Locks, host priorities, types and owners: side effects and refusals are those of one fault."""
    gfns = np.arange(1000, dtype=np.int64)
    assert_same_run(4, gfns, BASE + gfns, 0, first, lambda tables: PRESETS[where](tables, word))


def test_frames_that_sept_add_took() -> None:
    """The page of a table added in the same batch is in use; its block is clean above 4K."""
    gfns = np.arange(2 * BATCH, dtype=np.int64) * 5
    held = bridge.make_tables(4, blocks=2, regions=2)
    pfns = BASE + gfns
    pfns[BATCH - 2] = held.tables.sept_pfn + bridge.FIRST_ROW + 2
    assert assert_same_run(4, gfns, pfns, 0) != SUCCESS


def test_an_empty_pool_is_refused() -> None:
    one, many = (bridge.make_tables(4, blocks=2, regions=1) for _ in range(2))
    gfns = np.arange(2 * BATCH, dtype=np.int64) << 18
    expected = run_one_by_one(one, gfns, BASE + gfns % (1 << 19), 0)
    assert run_many(many, gfns, BASE + gfns % (1 << 19), 0) == expected
    assert expected[0] != SUCCESS
    bridge.assert_equal_tables(one, many)
