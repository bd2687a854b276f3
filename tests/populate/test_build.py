"""Does PAGE.ADD in bulk equal one call after the other, and that the module's exact calls?"""

from collections.abc import Iterator
from types import SimpleNamespace

import bridge
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.build import add_region, tdh_mem_page_add
from kernels.counters import ALL_COUNTERS, PAGE_ADD, PAMT_LINES, SEPT_ADD, SEPT_LINES, WALK_READS_HOST
from kernels.fault import LINES
from kernels.module.page_calls import page_add
from kernels.module.state import CHLDCNT as MODULE_CHLDCNT
from kernels.module.state import INITIALIZED, Module
from kernels.module.table_calls import sept_add
from kernels.module.trace import start
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK, LOCK_EXCLUSIVE
from kernels.replay_record import R8, R9, R11, RCX, RDX
from kernels.seamcall import tdh_mem_page_aug, tdh_mem_sept_add
from kernels.sept_entry import HOST_PRIORITY, LOCK, MAPPED, make_entry
from kernels.status import SEPT_POOL_EMPTY, SUCCESS, as_unsigned
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_NEXT_SEPT, TD_TDR_PFN
from kernels.walk import walk
from perfmodel.module_state import build_module
from perfmodel.td_tables import TdTables

REGION = 1 << 18
BLOCKS = 2
FIRST = bridge.FIRST_BLOCK << 18
FIRST_ROW = 3  # rows 1 and 2 are TDCX pages
SOURCE = 1 << 30  # a page of shared memory


def exact_module(held: TdTables) -> Module:
    """Return the exact calls' state that equals ``held``, of a TD that has no table but the root yet."""
    tables = held.tables
    tdr, levels = int(tables.td[TD_TDR_PFN]) << 12, int(tables.td[TD_LEVELS])
    size = (BLOCKS + 1) << 30
    tdmr = SimpleNamespace(base=FIRST << 12, size=size, initialized=size, reserved=(), pamt_4k=1 << 40,
                           pamt_2m=2 << 40, pamt_1g=3 << 40)  # fmt: skip
    platform = SimpleNamespace(tdmr=[tdmr], hkid_start_bit=46, global_hkid=33, private_hkid_min=32,
                               seamrr=SimpleNamespace(base=0, size=0))  # fmt: skip
    td = SimpleNamespace(
        tdr=tdr, hkid=34, tdcx=[tdr + (i << 12) for i in range(1, 7)], gpaw=levels - 4, levels=levels, lifecycle=1,
        fatal=0, num_tdcx=6, op_state=INITIALIZED, td_epoch=1, refcount=(0, 0), num_vcpus=0, pending_ve_disable=0,
        chldcnt=int(tables.td[TD_CHLDCNT]),
    )  # fmt: skip
    return build_module(platform, [td], 1)


class Both:
    """The single-call kernels and the exact calls on equal tables; every call must answer alike."""

    def __init__(self, held: TdTables) -> None:
        self.held = held
        self.module = exact_module(held)

    def _registers(self, gpa: int, level: int, hpa: int) -> tuple[np.ndarray, np.ndarray]:
        regs, out = np.zeros(16, np.uint64), np.zeros(16, np.uint64)
        regs[RCX], regs[RDX], regs[R8] = gpa | level, int(self.held.tables.td[TD_TDR_PFN]) << 12, hpa
        start(self.module.trace)
        return regs, out

    def sept_add(self, gpa: int, level: int) -> int:
        tables = self.held.tables
        row = int(tables.td[TD_NEXT_SEPT])
        status = as_unsigned(tdh_mem_sept_add(tables, gpa, level, row))
        regs, out = self._registers(gpa, level, (tables.sept_pfn + row) << 12)
        regs[R9 : R11 + 1] = 0xFFFF_FFFF_FFFF_FFFF
        assert status == as_unsigned(sept_add(self.module, regs, 0, out))
        if status == SUCCESS:
            tables.td[TD_NEXT_SEPT] += 1
        return status

    def add(self, gpa: int, pfn: int) -> int:
        status = as_unsigned(tdh_mem_page_add(self.held.tables, gpa, pfn))
        regs, out = self._registers(gpa, 0, pfn << 12)
        regs[R9] = SOURCE
        assert status == as_unsigned(page_add(self.module, regs, out))
        return status

    def assert_equal(self) -> None:
        """Every S-EPT entry, every PAMT entry and TDR.CHLDCNT are equal, and no lock is held."""
        tables, module = self.held.tables, self.module
        for row in (0, *range(FIRST_ROW, int(tables.td[TD_NEXT_SEPT]))):
            np.testing.assert_array_equal(tables.sept[row], module.sept[tables.sept_pfn + row - module.sept_pfn])
        assert bridge.pamt_entries(tables) == bridge.pamt_entries(module)
        assert tables.td[TD_CHLDCNT] == module.tds[0, MODULE_CHLDCNT]
        assert not module.locks.any()

    def pamt(self, pfn: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield PAMT_4K and the index of the entry of ``pfn`` on both sides."""
        for side in (self.held.tables, self.module):
            yield side.pamt_4k, int(side.slot[pfn >> 18]) * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)


def bulk(held: TdTables, region: int, pages: dict[int, int]) -> tuple[int, np.ndarray]:
    """Add ``pages`` (index in the region to PFN) in bulk; return the status and the counts."""
    pfn, chosen = np.full(REGION, -1, np.int64), np.zeros(REGION, np.uint8)
    pfn[list(pages)] = list(pages.values())
    chosen[list(pages)] = 1
    counts = np.zeros(ALL_COUNTERS, np.int64)
    status = add_region(held.tables, region * REGION, pfn, chosen, np.zeros(LINES, np.int64), counts)
    return as_unsigned(status), counts


def single(both: Both, region: int, pages: dict[int, int]) -> tuple[int, np.ndarray]:
    """Add ``pages`` one call after the other, each call executed twice."""
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
        status = both.add(gpa, pfn)
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
    many, both = (
        bridge.make_tables(levels, BLOCKS, len(images)), Both(bridge.make_tables(levels, BLOCKS, len(images))),
    )  # fmt: skip
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
    both = Both(bridge.make_tables(4, BLOCKS))
    assert both.add(0, FIRST) == WALK
    for level in (3, 2, 1):
        assert both.sept_add(0, level) == SUCCESS
    assert both.add(1 << 47, FIRST) == INVALID
    assert both.add(0, FIRST - 1) == RANGE_R8
    assert both.add(0, 1 << 40) == INVALID_R8
    assert both.add(0, int(both.held.tables.td[TD_TDR_PFN]) + 1) == METADATA_R8  # a TDCX page
    assert both.add(0, int(both.held.tables.td[TD_TDR_PFN])) == BUSY_R8  # the call itself holds its TDR
    for pamt, at in both.pamt(FIRST):
        pamt[at, 0] |= LOCK_EXCLUSIVE
    assert both.add(0, FIRST) == BUSY_R8
    for pamt, at in both.pamt(FIRST):
        pamt[at, 0] &= ~LOCK_EXCLUSIVE
    assert both.add(0, FIRST) == SUCCESS
    assert both.add(0, FIRST + 1) == STATE
    assert both.add(4096, FIRST) == METADATA_R8
    both.assert_equal()


def test_an_entry_lock_does_not_matter() -> None:
    both = Both(bridge.make_tables(4, BLOCKS))
    for level in (3, 2, 1):
        assert both.sept_add(0, level) == SUCCESS
    _, row, index, _ = walk(both.held.tables, 7, 0)
    both.held.tables.sept[row, index] |= LOCK | HOST_PRIORITY
    both.module.sept[both.held.tables.sept_pfn + row - both.module.sept_pfn, index] |= LOCK | HOST_PRIORITY
    assert both.add(7 << 12, FIRST) == SUCCESS
    both.assert_equal()


def test_a_2m_leaf_in_the_way() -> None:
    held = bridge.make_tables(4, BLOCKS)
    assert bulk(held, 0, {512: FIRST})[0] == SUCCESS
    assert tdh_mem_page_aug(held.tables, 0, 1, FIRST + ENTRIES_2M_PER_BLOCK) == SUCCESS
    status, counts = bulk(held, 0, {3: FIRST + 1, 513: FIRST + 2})
    assert (status, counts.sum()) == (STATE, 0)


def test_an_empty_pool_stops_an_image() -> None:
    held = bridge.make_tables(4, BLOCKS)
    held.tables = held.tables._replace(sept=held.tables.sept[: FIRST_ROW + 3].copy())
    status, counts = bulk(held, 0, {0: FIRST, 1: FIRST + 1, 512: FIRST + 2})
    assert status == SEPT_POOL_EMPTY
    assert (counts[PAGE_ADD], counts[SEPT_ADD]) == (2, 3)
