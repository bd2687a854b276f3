"""Does population touch by touch leave and count what one fault after the other does?"""

import bridge
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.counters import COUNTERS
from kernels.fault import LINES, fault
from kernels.status import SUCCESS
from kernels.touch import BATCH, touch_many

BASE = bridge.FIRST_BLOCK << 18


def run_one_by_one(held: bridge.TdTables, gfns: np.ndarray, pfns: np.ndarray, level: int) -> tuple[object, ...]:
    lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
    for done, (gfn, pfn) in enumerate(zip(gfns.tolist(), pfns.tolist(), strict=True)):
        status = fault(held.tables, gfn, pfn, level, lines, counts)
        if status != SUCCESS:
            return status, done, lines.tolist(), bridge.by_name(counts)
    return SUCCESS, gfns.size, lines.tolist(), bridge.by_name(counts)


def run_many(held: bridge.TdTables, gfns: np.ndarray, pfns: np.ndarray, level: int) -> tuple[object, ...]:
    lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
    status, done = touch_many(held.tables, gfns, pfns, level, np.zeros(2 * BATCH, np.int64), lines, counts)
    return status, done, lines.tolist(), bridge.by_name(counts)


def assert_same_run(levels: int, gfns: np.ndarray, pfns: np.ndarray, level: int) -> int:
    """Both ways leave equal tables, counts and lines; return the common status."""
    one, many = (bridge.make_tables(levels, blocks=2, regions=2) for _ in range(2))
    expected = run_one_by_one(one, gfns, pfns, level)
    assert run_many(many, gfns, pfns, level) == expected
    bridge.assert_equal_tables(one, many)
    return int(str(expected[0]))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_order(data: st.DataObject) -> None:
    """Also pages touched twice, frames in use, tables in the way, and frames outside every TDMR: the first refusal."""
    level = data.draw(st.integers(0, 1))
    frames = st.integers(0, (2 << 18 >> 9 * level) - 1)
    touches = st.tuples(frames, frames | st.integers(2 << 18 >> 9 * level, 3 << 18 >> 9 * level))
    drawn = np.array(data.draw(st.lists(touches, max_size=5 * BATCH // 2)), np.int64).reshape(-1, 2) << 9 * level
    assert_same_run(data.draw(st.sampled_from([4, 5])), drawn[:, 0].copy(), BASE + drawn[:, 1], level)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("touches", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 1000])
def test_whole_batches_and_parts(levels: int, level: int, touches: int) -> None:
    gfns = np.random.default_rng(1).permutation(1 << 19 >> 9 * level)[:touches].astype(np.int64) << 9 * level
    assert assert_same_run(levels, gfns, BASE + gfns, level) == SUCCESS


def test_a_table_that_the_batch_before_added() -> None:
    """It was missing when the lines were asked for."""
    gfns = np.arange(2 * BATCH, dtype=np.int64) * 3
    assert assert_same_run(4, gfns, BASE + gfns, 0) == SUCCESS


def test_an_empty_pool_is_refused() -> None:
    one, many = (bridge.make_tables(4, blocks=2, regions=1) for _ in range(2))
    gfns = np.arange(2 * BATCH, dtype=np.int64) << 18
    expected = run_one_by_one(one, gfns, BASE + gfns % (1 << 19), 0)
    assert run_many(many, gfns, BASE + gfns % (1 << 19), 0) == expected
    assert expected[0] != SUCCESS
    bridge.assert_equal_tables(one, many)
