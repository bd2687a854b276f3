"""Does PAGE.ADD in bulk equal one call after the other, by the single-call kernels, the exact calls and the twin?"""

import bridge
import numpy as np
import pytest
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from three import Three

from kernels.build import add_region
from kernels.counters import ALL_COUNTERS, PAGE_ADD, PAMT_LINES, SEPT_ADD, SEPT_LINES, WALK_READS_HOST
from kernels.fault import LINES
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK
from kernels.seamcall import tdh_mem_page_aug
from kernels.sept_entry import MAPPED, make_entry
from kernels.status import SEPT_POOL_EMPTY, SUCCESS, as_unsigned
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_TDR_PFN
from kernels.walk import walk
from perfmodel.td_tables import TdTables

REGION = 1 << 18
BLOCKS = 2
FIRST = bridge.FIRST_BLOCK << 18


def building(levels: int = 4, regions: int = 1) -> Three:
    """Return a TD that has no table but the root yet."""
    return Three(bridge.make_tables(levels, BLOCKS, regions), "INITIALIZED")


def bulk(held: TdTables, region: int, pages: dict[int, int]) -> tuple[int, np.ndarray]:
    """Add ``pages`` (index in the region to PFN) in bulk; return the status and the counts."""
    pfn, chosen = np.full(REGION, -1, np.int64), np.zeros(REGION, np.uint8)
    pfn[list(pages)] = list(pages.values())
    chosen[list(pages)] = 1
    counts = np.zeros(ALL_COUNTERS, np.int64)
    status = add_region(held.tables, region * REGION, pfn, chosen, np.zeros(LINES, np.int64), counts)
    return as_unsigned(status), counts


def single(both: Three, region: int, pages: dict[int, int]) -> tuple[int, np.ndarray]:
    """Add ``pages`` one call after the other, each call executed three times."""
    tables, counts, last = both.held.tables, np.zeros(ALL_COUNTERS, np.int64), (None, None)
    levels = int(tables.td[TD_LEVELS])
    for i, pfn in sorted(pages.items()):
        gpa = (region * REGION + i) << 12
        reached = int(walk(tables, gpa >> 12, 0)[0])
        while reached > 0:
            status = both.sept_add(gpa >> (12 + 9 * reached) << (12 + 9 * reached), reached)
            if status != SUCCESS:
                return status, counts
            counts[SEPT_ADD] += 1
            counts[WALK_READS_HOST] += levels - reached
            reached = int(walk(tables, gpa >> 12, 0)[0])
        status = both.page_add(gpa, pfn << 12)
        if status != SUCCESS:
            return status, counts
        counts[PAGE_ADD] += 1
        counts[WALK_READS_HOST] += levels
        _, row, index, _ = walk(tables, gpa >> 12, 0)
        here = ((row, index // 8), pfn // 4)
        counts[SEPT_LINES] += here[0] != last[0]
        counts[PAMT_LINES] += here[1] != last[1]
        last = here
    return SUCCESS, counts


def check(levels: int, images: dict[int, dict[int, int]]) -> list[int]:
    """Add the image of each region in bulk and singly, compare, and return the statuses."""
    many, both = bridge.make_tables(levels, BLOCKS, len(images)), building(levels, len(images))
    statuses = []
    for region, pages in images.items():
        status, counts = bulk(many, region, pages)
        expected_status, expected = single(both, region, pages)
        assert status == expected_status
        assert counts.tolist() == expected.tolist()
        statuses.append(status)
    bridge.assert_equal_tables(many, both.held)
    both.assert_equal()
    return statuses


@st.composite
def images_of(draw: st.DrawFn) -> tuple[int, dict[int, dict[int, int]]]:
    """Return levels and the images by region; now and then one names a page twice, or one outside every TDMR."""
    levels = draw(st.sampled_from([4, 5]))
    places = [0, 3, 511, 512, (1 << 17) - 1] + ([(1 << 21) - 1] if levels == 5 else [])
    frames = iter((FIRST + np.random.default_rng(draw(st.integers(0, 99))).permutation(BLOCKS * REGION)[:999]).tolist())
    images: dict[int, dict[int, int]] = {}
    for region in draw(st.lists(st.sampled_from(places), min_size=1, max_size=2, unique=True)):
        pages: dict[int, int] = {}
        for _ in range(draw(st.integers(1, 3))):
            first, length = draw(st.integers(0, REGION - 20)), draw(st.integers(1, 20))
            run = next(frames) // 32 * 32
            scattered = draw(st.booleans())
            pages |= {first + i: next(frames) if scattered else run + i for i in range(length)}
        if draw(st.sampled_from([False, False, False, True])):
            pages[max(pages)] = draw(st.sampled_from([pages[min(pages)], FIRST - 1, FIRST + (BLOCKS + 1) * REGION]))
        images[region] = pages
    return levels, images


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=images_of())
def test_random_images(drawn: tuple[int, dict[int, dict[int, int]]]) -> None:
    check(*drawn)


@pytest.mark.parametrize("levels", [4, 5])
def test_counts_of_an_image(levels: int) -> None:
    held = bridge.make_tables(levels, BLOCKS)
    image = {i: FIRST + i for i in range(500, 530)}  # in two 2M ranges
    status, counts = bulk(held, 0, image)
    assert status == SUCCESS
    assert (counts[PAGE_ADD], counts[SEPT_ADD]) == (30, levels)
    assert held.tables.td[TD_CHLDCNT] == 30 + levels
    above = sum(levels - reached for reached in range(1, levels)) + levels - 1
    assert counts[WALK_READS_HOST] == 30 * levels + above
    assert (counts[SEPT_LINES], counts[PAMT_LINES]) == (5, 8)
    assert walk(held.tables, 529, 0)[3] == make_entry(MAPPED, FIRST + 529)
    assert check(levels, {0: image}) == [SUCCESS]


INVALID, WALK, STATE = 0xC000_0100_0000_0001, 0xC000_0B00_0000_0001, 0xC000_0B0D_0000_0001
INVALID_R8, RANGE_R8 = 0xC000_0100_0000_0008, 0xC000_0101_0000_0008
BUSY_R8, METADATA_R8 = 0x8000_0200_0000_0008, 0xC000_0300_0000_0008


def test_every_outcome_of_a_call() -> None:
    both = building()
    assert both.page_add(0, FIRST << 12) == WALK
    for level in (3, 2, 1):
        assert both.sept_add(0, level) == SUCCESS
    assert both.page_add(1 << 47, FIRST << 12) == INVALID
    assert both.page_add(0, (FIRST - 1) << 12) == RANGE_R8
    assert both.page_add(0, (1 << 40) << 12) == INVALID_R8
    assert both.page_add(0, (int(both.held.tables.td[TD_TDR_PFN]) + 1) << 12) == METADATA_R8  # a TDCX page
    assert both.page_add(0, int(both.held.tables.td[TD_TDR_PFN]) << 12) == BUSY_R8  # the call itself holds its TDR
    both.set_pamt(FIRST << 12, 0, lock=tw.EXCLUSIVE)
    assert both.page_add(0, FIRST << 12) == BUSY_R8
    both.set_pamt(FIRST << 12, 0, lock=0)
    assert both.page_add(0, FIRST << 12) == SUCCESS
    assert both.page_add(0, (FIRST + 1) << 12) == STATE
    assert both.page_add(4096, FIRST << 12) == METADATA_R8
    both.assert_equal()


def test_an_entry_lock_does_not_matter() -> None:
    both = building()
    for level in (3, 2, 1):
        assert both.sept_add(0, level) == SUCCESS
    both.set_raw(7 << 12, 0, tw.FREE | tw.ENTRY_LOCK | tw.ENTRY_HP)
    assert both.page_add(7 << 12, FIRST << 12) == SUCCESS
    both.assert_equal()


def test_a_2m_leaf_in_the_way() -> None:
    held = bridge.make_tables(4, BLOCKS)
    assert bulk(held, 0, {512: FIRST})[0] == SUCCESS
    assert tdh_mem_page_aug(held.tables, 0, 1, FIRST + ENTRIES_2M_PER_BLOCK) == SUCCESS
    status, counts = bulk(held, 0, {3: FIRST + 1, 513: FIRST + 2})
    assert (status, counts.sum()) == (STATE, 0)


def test_an_empty_pool_stops_an_image() -> None:
    held = bridge.make_tables(4, BLOCKS)
    held.tables = held.tables._replace(sept=held.tables.sept[: bridge.FIRST_ROW + 3].copy())
    status, counts = bulk(held, 0, {0: FIRST, 1: FIRST + 1, 512: FIRST + 2})
    assert status == SEPT_POOL_EMPTY
    assert (counts[PAGE_ADD], counts[SEPT_ADD]) == (2, 3)
