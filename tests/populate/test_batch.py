"""Do batches equal one call after the other, wherever a run of pages is interrupted?"""

from dataclasses import dataclass, field

import bridge
import numpy as np
import pytest
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.batch import accept_region, augment_region, augment_region_2m
from kernels.counters import (
    ACCEPT_4K,
    ALL_COUNTERS,
    AUG_2M,
    AUG_4K,
    BLOCK_4K,
    COUNTERS,
    PAMT_LINES,
    REMOVE_4K,
    SEPT_LINES,
    WALK_READS_GUEST,
    WALK_READS_HOST,
)
from kernels.fault import LINES
from kernels.pamt_entry import LOCK_EXCLUSIVE, LOCK_HOST_PRIORITY, LOCK_READER, PT_REG, make_entry
from kernels.runs import CHUNK
from kernels.seamcall import tdg_mem_page_accept, tdh_mem_page_aug
from kernels.sept_entry import BLOCKED, DIRTY, FREE, HOST_PRIORITY, HPA_MASK, LEAF, LOCK, PENDING, REMOVED, TDEX
from kernels.shrink import block_region, remove_region, tdh_mem_page_remove, tdh_mem_range_block
from kernels.status import EPT_WALK_FAILED, GPA_RANGE_ALREADY_BLOCKED, OPERAND_RCX, SUCCESS, as_unsigned
from kernels.tables import TD_LEVELS, TD_TDR_PFN
from kernels.walk import walk

REGION, RANGES, BLOCKS = 1 << 18, 3, 2
PAGES = RANGES * 512
FIRST = bridge.FIRST_BLOCK << 18
ALL = np.zeros(0, np.uint8)

ENTRIES = {
    "host priority": lambda raw: raw | HOST_PRIORITY, "locked": lambda raw: raw | LOCK, "removed": lambda _: REMOVED,
    "pending": lambda _: PENDING | np.uint64(7 << 12),
}  # fmt: skip
WORDS = {
    "host priority": LOCK_HOST_PRIORITY, "exclusive": LOCK_EXCLUSIVE, "reader": LOCK_READER,
    "in use": make_entry(PT_REG, 5), "stale owner": make_entry(0, 5),
}  # fmt: skip


@dataclass
class Case:
    """PFNs and choice of the first pages of a region, and what stands in the way before the first call."""

    pfn: np.ndarray
    chosen: np.ndarray
    entries: dict[int, str] = field(default_factory=dict)  # page -> of ENTRIES
    words: dict[tuple[int, int], str] = field(default_factory=dict)  # level and PFN -> of WORDS


def prepared(case: Case) -> bridge.TdTables:
    held = bridge.make_tables(4, BLOCKS)
    driver = bridge.KernelModule(held)
    for gpa, level in [(0, 3), (0, 2), *((r << 21, 1) for r in range(RANGES))]:
        assert driver.sept_add(gpa, level, driver.next_table) == SUCCESS
        driver.next_table += 4096
    for page, change in case.entries.items():
        _, row, index, raw = walk(held.tables, page, 0)
        held.tables.sept[row, index] = ENTRIES[change](np.uint64(raw))
    for (level, pfn), word in case.words.items():
        array, shift = ((held.tables.pamt_4k, 18), (held.tables.pamt_2m, 9), (held.tables.pamt_1g, 0))[level]
        block = pfn >> 18
        at = block if level == 2 else (int(held.tables.slot[block]) << shift) + (pfn >> 9 * level) % (1 << shift)
        array[at, 0] = WORDS[word]
        array[at, 1] = 9
    return held


def one_by_one(held: bridge.TdTables, case: Case, accept: bool) -> tuple[int, np.ndarray]:
    """Execute the calls singly; return the status and the counts."""
    tables, counts, last = held.tables, np.zeros(COUNTERS, np.int64), (-1, -1)
    for page in np.flatnonzero(case.chosen).tolist():
        pfn = int(case.pfn[page])
        status = tdg_mem_page_accept(tables, page << 12, 0) if accept else tdh_mem_page_aug(tables, page << 12, 0, pfn)
        if status != SUCCESS:
            return status, counts
        counts[ACCEPT_4K if accept else AUG_4K] += 1
        counts[WALK_READS_GUEST if accept else WALK_READS_HOST] += tables.td[TD_LEVELS]
        if not accept:
            _, row, index, _ = walk(tables, page, 0)
            here = (row * 64 + index // 8, pfn // 4)
            counts[SEPT_LINES] += here[0] != last[0]
            counts[PAMT_LINES] += here[1] != last[1]
            last = here
    return SUCCESS, counts


def check(case: Case) -> tuple[int, int]:
    """AUG, then ACCEPT, in bulk and singly; return the statuses."""
    bulk, single = prepared(case), prepared(case)
    pfn, chosen = np.zeros(REGION, np.int64), np.zeros(REGION, np.uint8)
    pfn[:PAGES], chosen[:PAGES] = case.pfn, case.chosen
    statuses = []
    for accept in (False, True):
        counts = np.zeros(COUNTERS, np.int64)
        if accept:
            status = accept_region(bulk.tables, 0, chosen, counts)
        else:
            status = augment_region(bulk.tables, 0, pfn, chosen, np.zeros(LINES, np.int64), counts)
        expected, expected_counts = one_by_one(single, case, accept)
        assert as_unsigned(status) == as_unsigned(expected)
        assert counts.tolist() == expected_counts.tolist()
        bridge.assert_equal_tables(bulk, single)
        statuses.append(as_unsigned(status))
    return statuses[0], statuses[1]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Ranges that are runs of PFNs but for a few pages, with up to three obstacles."""
    pfn = FIRST + draw(st.integers(0, 1100)) + np.arange(PAGES)
    if draw(st.booleans()):  # cut the run in two
        cut = draw(st.integers(1, PAGES - 1))
        pfn = np.concatenate([pfn[cut:], pfn[:cut]])
    for _ in range(draw(st.integers(0, 2))):
        one, other = draw(st.integers(0, PAGES - 1)), draw(st.integers(0, PAGES - 1))
        pfn[[one, other]] = pfn[[other, one]]
    chosen = np.ones(PAGES, np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, PAGES - 1))
        chosen[start : start + draw(st.sampled_from([1, 2, 7, CHUNK - 1, CHUNK, 700]))] = draw(st.sampled_from([0, 2]))
    harmless = st.sampled_from(["host priority", "removed"])
    entries = {draw(st.integers(0, PAGES - 1)): draw(harmless | st.sampled_from([*ENTRIES]))
               for _ in range(draw(st.integers(0, 2)))}  # fmt: skip
    words = {}
    for _ in range(draw(st.integers(0, 2))):
        place = (draw(st.sampled_from([0, 0, 1, 2])), int(pfn[draw(st.integers(0, PAGES - 1))]))
        words[place] = draw(st.sampled_from(["host priority", "stale owner"]) | st.sampled_from([*WORDS]))
    if draw(st.integers(0, 5)) == 0:
        twice = draw(st.integers(1, PAGES - 1))
        pfn[twice] = draw(st.sampled_from([pfn[twice - 1], FIRST - 1, FIRST + 3 * REGION, 1 << 40]))
    return Case(pfn, chosen, entries, words)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_random_obstacles(case: Case) -> None:
    check(case)


def plain() -> Case:
    return Case(FIRST + np.arange(PAGES), np.ones(PAGES, np.uint8))


PLACES = [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 510, 511, 512, PAGES - 1]


@pytest.mark.parametrize("page", PLACES)
@pytest.mark.parametrize("change", ENTRIES)
def test_an_entry_in_the_way(change: str, page: int) -> None:
    case = plain()
    case.entries[page] = change
    passes = change in ("host priority", "removed")
    assert (check(case)[0] == tw.SUCCESS) == passes


@pytest.mark.parametrize("page", PLACES)
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("word", WORDS)
def test_a_pamt_entry_in_the_way(word: str, level: int, page: int) -> None:
    case = plain()
    case.words[level, FIRST + page] = word
    passes = word in ("host priority", "stale owner") or (word == "reader" and level > 0)
    assert (check(case)[0] == tw.SUCCESS) == passes


def test_the_own_tdr_is_busy() -> None:
    case = plain()
    case.pfn[700] = prepared(case).tables.td[TD_TDR_PFN]
    assert check(case)[0] == 0x8000_0200_0000_0008


@pytest.mark.parametrize("page", PLACES)
@pytest.mark.parametrize("mark", [LOCK, HOST_PRIORITY, DIRTY | TDEX])
def test_accept_meets_a_mark(mark: np.uint64, page: int) -> None:
    case, tables = plain(), []
    for bulk in (True, False):
        held = prepared(case)
        assert one_by_one(held, case, False)[0] == SUCCESS
        _, row, index, _ = walk(held.tables, page, 0)
        held.tables.sept[row, index] |= mark
        counts, chosen = np.zeros(COUNTERS, np.int64), np.zeros(REGION, np.uint8)
        chosen[:PAGES] = 1
        result = (accept_region(held.tables, 0, chosen, counts), counts) if bulk else one_by_one(held, case, True)
        tables.append((held, as_unsigned(result[0]), result[1].tolist()))
    bridge.assert_equal_tables(tables[0][0], tables[1][0])
    assert tables[0][1:] == tables[1][1:]
    assert (tables[0][1] == tw.SUCCESS) == (mark == DIRTY | TDEX)


@pytest.mark.parametrize("chosen", [ALL, np.ones(REGION, np.uint8)])
def test_no_table_below(chosen: np.ndarray) -> None:
    """A region with three tables of 4K entries: AUG stops at the fourth, ACCEPT exits there."""
    held, counts = prepared(plain()), np.zeros(COUNTERS, np.int64)
    pfn = FIRST + np.arange(REGION)
    status = augment_region(held.tables, 0, pfn, chosen, np.zeros(LINES, np.int64), counts)
    assert status == EPT_WALK_FAILED + OPERAND_RCX
    assert counts[AUG_4K] == PAGES
    assert as_unsigned(accept_region(held.tables, 0, chosen, counts)) == tw.EXIT
    assert counts[ACCEPT_4K] == PAGES


def test_2m() -> None:
    """Every range but those with tables of 4K entries; the last one's frame is in use."""
    bulk, single = prepared(plain()), prepared(plain())
    first = FIRST + REGION + np.arange(512) * 512
    counts = np.zeros(COUNTERS, np.int64)
    for held in (bulk, single):
        _, row, _, _ = walk(held.tables, 0, 1)
        held.tables.sept[row, :RANGES] = FREE
        held.tables.pamt_4k[(int(held.tables.slot[int(first[511]) >> 18]) << 18) + 511 * 512 + 77, 0] = WORDS["in use"]
    status = augment_region_2m(bulk.tables, 0, first, np.zeros(LINES, np.int64), counts)
    expected = [tdh_mem_page_aug(single.tables, r << 21, 1, int(first[r])) for r in range(512)]
    assert as_unsigned(status) == as_unsigned(expected[511]) == 0xC000_0300_0000_0008
    assert set(expected[:511]) == {SUCCESS}
    bridge.assert_equal_tables(bulk, single)
    assert (counts[AUG_2M], counts[WALK_READS_HOST]) == (511, 511 * 3)


EPOCH = 3
ENTRY_OBSTACLES = {
    "nothing": lambda raw: raw, "host priority": lambda raw: raw | HOST_PRIORITY, "locked": lambda raw: raw | LOCK,
    "pending": lambda raw: PENDING | (raw & HPA_MASK), "blocked": lambda raw: BLOCKED | (raw & HPA_MASK),
    "free": lambda _: FREE,
}  # fmt: skip
WORD_OBSTACLES = {"nothing": (0, 0), "host priority": (LOCK_HOST_PRIORITY, 0), "exclusive": (LOCK_EXCLUSIVE, 0),
                  "reader": (LOCK_READER, 0), "blocked later": (0, 1), "migration": (0, 1 << 63)}  # fmt: skip


def mapped(order: np.ndarray) -> bridge.TdTables:
    case = plain()
    case.pfn = FIRST + order
    held = prepared(case)
    for accept in (False, True):
        assert one_by_one(held, case, accept)[0] == SUCCESS
    return held


def shrink_singly(held: bridge.TdTables, chosen: np.ndarray, remove: bool) -> tuple[int, int]:
    """BLOCK or REMOVE the chosen leaves singly; return the status and how many succeeded."""
    done = 0
    for page in np.flatnonzero(chosen[:PAGES]).tolist():
        if not walk(held.tables, page, 0)[3] & LEAF:
            continue
        if remove:
            status = tdh_mem_page_remove(held.tables, page << 12, 0, EPOCH, False)
        else:
            status = tdh_mem_range_block(held.tables, page << 12, 0, EPOCH - 2)
        if status not in (SUCCESS, GPA_RANGE_ALREADY_BLOCKED + OPERAND_RCX):
            return as_unsigned(status), done
        done += status == SUCCESS
    return SUCCESS, done


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("page", [0, 1, CHUNK + 5, 511])
@pytest.mark.parametrize(("entry", "word"), [*((e, "nothing") for e in ENTRY_OBSTACLES),
                                             *(("nothing", w) for w in WORD_OBSTACLES)])  # fmt: skip
def test_shrinking_meets_an_obstacle(entry: str, word: str, page: int, scattered: bool, remove: bool) -> None:
    order = np.random.default_rng(0).permutation(PAGES) if scattered else np.roll(np.arange(PAGES), 77)
    chosen = np.ones(REGION, np.uint8)
    chosen[[300, 301, 900]] = 0
    ends = []
    for bulk in (True, False):
        held = mapped(order)
        tables, counts, lines = held.tables, np.zeros(ALL_COUNTERS, np.int64), np.zeros(LINES, np.int64)
        if remove:
            assert shrink_singly(held, chosen, False)[0] == SUCCESS
        _, row, index, raw = walk(tables, page, 0)
        tables.sept[row, index] = ENTRY_OBSTACLES[entry](np.uint64(raw))
        pamt = tables.pamt_4k[(int(tables.slot[FIRST >> 18]) << 18) + int(order[page])]
        pamt += np.array(WORD_OBSTACLES[word], np.uint64)
        if not bulk:
            status, done = shrink_singly(held, chosen, remove)
        elif remove:
            status = as_unsigned(remove_region(tables, 0, chosen, EPOCH, False, lines, counts))
            done = int(counts[REMOVE_4K])
        else:
            status = as_unsigned(block_region(tables, 0, chosen, EPOCH - 2, lines, counts))
            done = int(counts[BLOCK_4K])
        ends.append((held, status, done))
    bridge.assert_equal_tables(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]
    assert ends[0][2] > 0 or page == 0
