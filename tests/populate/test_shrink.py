"""Do BLOCK, DEMOTE and REMOVE in bulk equal one call after the other?

Programs of batches run in bulk, and call by call on three copies of the same tables: by the single-call kernels, by
the exact calls and by the twin, which both are held against the recorded calls of a real module elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import bridge
import numpy as np
import pytest
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config
from three import Three

from kernels.counters import (
    ALL_COUNTERS,
    ALREADY_BLOCKED,
    BLOCK_2M,
    BLOCK_4K,
    COUNTERS,
    DEMOTE,
    PAMT_LINES,
    REMOVE_2M,
    REMOVE_4K,
    SEPT_LINES,
    WALK_READS_HOST,
    ChangeCounter,
    Counter,
    LifeCounter,
)
from kernels.demote import demote_region
from kernels.fault import LINES, fault
from kernels.pamt_entry import (
    ENTRIES_2M_PER_BLOCK,
    ENTRIES_4K_PER_BLOCK,
    LOCK_EXCLUSIVE,
    PT_EPT,
    PT_NDA,
    PT_REG,
    page_type,
)
from kernels.populate import USE_ASKED, populate_region
from kernels.seamcall import tdg_mem_page_accept
from kernels.sept_entry import ACCEPT_COUNTER, FREE, HOST_PRIORITY, LEAF, LOCK, RWX, STATE_MASK, entry_pfn
from kernels.shrink import (
    LEAF_TOO_LARGE,
    block_region,
    remove_region,
    tdh_mem_range_block,
)
from kernels.status import SEPT_POOL_EMPTY, SUCCESS, as_unsigned
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_NEXT_SEPT, Tables
from kernels.walk import walk
from perfmodel.td_tables import TdTables

REGION = 1 << 18
BLOCKS = 2
FIRST = bridge.FIRST_BLOCK << 18
ALL = np.zeros(0, np.uint8)
ALREADY = 0x0000_0B07_0000_0001


def leaves(tables: Tables, region: int) -> Iterator[tuple[int, int]]:
    """Yield (GFN, level) of the region's leaves, in GFN order."""
    reached, top, _, _ = walk(tables, region * REGION, 1)
    if reached != 1:
        return
    for r in np.flatnonzero(tables.sept[top] != FREE).tolist():
        gfn, entry = region * REGION + r * 512, tables.sept[top, r]
        if entry & LEAF:
            yield gfn, 1
        elif entry & RWX:
            below = tables.sept[entry_pfn(entry) - tables.sept_pfn]
            yield from ((gfn + i, 0) for i in np.flatnonzero(below & LEAF).tolist())


def assert_conserved(tables: Tables, regions: list[int]) -> None:
    """TDR.CHLDCNT is what the PAMT says the TD has, and each leaf has a PAMT entry of its own size."""
    small = (tables.pamt_4k[:, 0] >> np.uint64(16)) & np.uint64(0xFF)
    large = (tables.pamt_2m[:, 0] >> np.uint64(16)) & np.uint64(0xFF)
    found = [level for region in regions for _, level in leaves(tables, region)]
    assert (small == PT_REG).sum() == found.count(0)
    assert (large == PT_REG).sum() == found.count(1)
    tables_of_td = int((small == PT_EPT).sum())
    assert tables_of_td == tables.td[TD_NEXT_SEPT] - bridge.FIRST_ROW
    assert tables.td[TD_CHLDCNT] == tables_of_td + found.count(0) + 512 * found.count(1)


# --- programs of batches


@dataclass
class Step:
    """A batch over a region."""

    name: str
    region: int
    chosen: np.ndarray
    epoch: int
    busy: bool


@dataclass
class Case:
    levels: int
    pages: dict[int, tuple[int, int, int]]  # GFN -> PFN, level, and 4K pages accepted: 512 is a 2M page whole
    disturb: tuple[str, int] | None  # what is in the way, at which leaf
    steps: list[Step]
    regions: list[int] = field(default_factory=list)

    def build(self) -> TdTables:
        """Return tables with the leaves mapped and accepted."""
        held = bridge.make_tables(self.levels, BLOCKS, len(self.regions))
        tables = held.tables
        lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
        for gfn, (pfn, level, accepted) in self.pages.items():
            assert fault(tables, gfn, pfn, level, lines, counts) == SUCCESS
            if accepted == 1 << (9 * level):
                assert tdg_mem_page_accept(tables, gfn << 12, level) == SUCCESS
            elif level == 1:
                _, row, index, _ = walk(tables, gfn, 1)
                tables.sept[row, index] |= np.uint64(accepted << 12)
        if self.disturb:
            what, nth = self.disturb
            gfn = sorted(self.pages)[nth % len(self.pages)]
            poke(tables, gfn, self.pages[gfn], what)
        return held


def poke(tables: Tables, gfn: int, page: tuple[int, int, int], what: str) -> None:
    """Put something in a call's way: a lock, a leftover of one, or a bepoch."""
    pfn, level, _ = page
    _, row, index, _ = walk(tables, gfn, level)
    slot = int(tables.slot[pfn >> 18])
    pamt = tables.pamt_2m if level else tables.pamt_4k
    at = slot * (512, 262144)[1 - level] + ((pfn >> 9) & 511 if level else pfn & 0x3FFFF)
    if what == "entry":
        tables.sept[row, index] |= LOCK
    elif what == "priority":
        tables.sept[row, index] |= HOST_PRIORITY
        pamt[at, 0] |= np.uint64(2)
    else:
        pamt[at, 0] |= LOCK_EXCLUSIVE


def bulk(held: TdTables, step: Step, counts: np.ndarray) -> int:
    lines = np.zeros(LINES, np.int64)
    gfn, tables = step.region * REGION, held.tables
    if step.name == "block":
        return as_unsigned(block_region(tables, gfn, step.chosen, step.epoch, lines, counts))
    if step.name == "remove":
        return as_unsigned(remove_region(tables, gfn, step.chosen, step.epoch, step.busy, lines, counts))
    return as_unsigned(demote_region(tables, gfn, step.chosen, step.epoch, step.busy, counts))


def single(both: Three, step: Step, counts: np.ndarray) -> int:
    both.set_epoch(step.epoch, step.busy)
    tables, last = both.held.tables, (None, None)
    for gfn, level in list(leaves(tables, step.region)):
        pages = slice(gfn % REGION, gfn % REGION + (1 << (9 * level)))
        picked = step.chosen.size == 0 or step.chosen[pages].any()
        if not picked or (step.name == "demote" and level == 0):
            continue
        if step.name == "remove" and step.chosen.size and not step.chosen[pages].all():
            return int(LEAF_TOO_LARGE)
        _, row, index, entry = walk(tables, gfn, level)
        pfn = int(entry_pfn(entry)) >> (9 * level) << (9 * level)
        status = getattr(both, step.name)(gfn << 12, level)
        if status not in (SUCCESS, ALREADY):
            return status
        counts[WALK_READS_HOST] += tables.td[TD_LEVELS] - level
        if status == ALREADY:
            counts[ALREADY_BLOCKED] += 1
            continue
        counter = {"block": (BLOCK_4K, BLOCK_2M), "remove": (REMOVE_4K, REMOVE_2M), "demote": (DEMOTE, DEMOTE)}
        counts[counter[step.name][level]] += 1
        if step.name != "demote":
            here = ((row, index // 8), (level, (pfn >> (9 * level)) // 4))
            counts[SEPT_LINES] += here[0] != last[0]
            counts[PAMT_LINES] += here[1] != last[1]
            last = here
    return SUCCESS


def check(case: Case) -> list[int]:
    """Run the case three times, compare, and return the status of each step."""
    many, both = case.build(), Three(case.build())
    statuses = []
    for step in case.steps:
        counts, expected = np.zeros((2, ALL_COUNTERS), np.int64)
        statuses.append(bulk(many, step, counts))
        assert statuses[-1] == single(both, step, expected)
        names = [c.name for c in (*Counter, *ChangeCounter, *LifeCounter)]
        assert dict(zip(names, counts.tolist(), strict=True)) == dict(zip(names, expected.tolist(), strict=True))
    bridge.assert_equal_tables(many, both.held)
    both.assert_equal()
    assert_conserved(many.tables, case.regions)
    return statuses


@st.composite
def chosen_pages(draw: st.DrawFn, ranges: list[int]) -> np.ndarray:
    """Return what of a region is chosen: everything, or of each of its ranges all, some or nothing."""
    if draw(st.booleans()):
        return ALL
    chosen = np.zeros(REGION, np.uint8)
    for r in ranges:
        kind = draw(st.sampled_from(["all", "all", "some", "none"]))
        first = r * 512 + (draw(st.integers(0, 511)) if kind == "some" else 0)
        chosen[first : 0 if kind == "none" else (r + 1) * 512] = 1
    return chosen


@st.composite
def cases(draw: st.DrawFn) -> Case:
    levels = draw(st.sampled_from([4, 5]))
    places = [0, 3, 511, 512, (1 << 17) - 1] + ([(1 << 21) - 1] if levels == 5 else [])
    regions = draw(st.lists(st.sampled_from(places), min_size=1, max_size=2, unique=True))
    frames = iter(np.random.default_rng(draw(st.integers(0, 99))).permutation(BLOCKS * 512).tolist())
    pages: dict[int, tuple[int, int, int]] = {}
    ranges = draw(st.lists(st.sampled_from([0, 1, 200, 511]), min_size=1, max_size=3, unique=True))
    for region in regions:
        for r in ranges:
            gfn, frame = region * REGION + r * 512, FIRST + next(frames) * 512
            if draw(st.booleans()):
                pages[gfn] = (frame, 1, draw(st.sampled_from([0, 77, 511, 512, 512])))
                continue
            for i in draw(st.lists(st.integers(0, 511), min_size=1, max_size=9, unique=True)):
                pages[gfn + i] = (frame + i * 5 % 512, 0, draw(st.integers(0, 1)))
    steps, epoch = [], 1
    plan = ["block", "demote", "block", "remove", "remove"]
    for name in draw(st.sampled_from([plan, plan, plan, ["block", "remove", "remove"], ["remove"], ["demote"]])):
        if name != "block":
            epoch += draw(st.sampled_from([2, 2, 1, 0]))
        busy = draw(st.sampled_from([False, False, True]))
        region = draw(st.sampled_from([*regions, regions[0], 5]))
        steps.append(Step(name, region, draw(chosen_pages(ranges)), epoch, busy))
    what = draw(st.sampled_from([None, None, None, "entry", "pamt", "priority"]))
    disturb = (what, draw(st.integers(0, 20))) if what else None
    return Case(levels, pages, disturb, steps, sorted(regions))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(case=cases())
def test_random_programs(case: Case) -> None:
    check(case)


# --- there and back


def mixed_case(*names: str) -> Case:
    """Return 2M and 4K leaves, accepted or not, and the batches ``names``, each a TRACK after the one before."""
    large = {0: 512, 1: 0, 4: 99, 511: 512}
    pages = {r * 512: (FIRST + (9 - r) % 600 * 512, 1, accepted) for r, accepted in large.items()}
    pages |= {2 * 512 + i: (FIRST + 700 * 512 + i, 0, i & 1) for i in range(0, 512, 60)}
    return Case(4, pages, None, [Step(n, 0, ALL, 1 + 2 * i, False) for i, n in enumerate(names)], [0])


def assert_nothing_mapped(tables: Tables) -> None:
    """Only FREE entries but for the links to tables, only free pages but for tables, and they alone are counted."""
    for row in bridge.rows(tables):
        linked = tables.sept[row] != FREE
        assert not (tables.sept[row, linked] & LEAF).any()
        assert (tables.sept[row, linked] & RWX == RWX).all()
    slots = [int(tables.slot[b]) for b in range(bridge.FIRST_BLOCK, bridge.FIRST_BLOCK + BLOCKS)]
    for slot in slots:
        for pamt, entries in ((tables.pamt_2m, ENTRIES_2M_PER_BLOCK), (tables.pamt_4k, ENTRIES_4K_PER_BLOCK)):
            types = (pamt[slot * entries : (slot + 1) * entries, 0] >> np.uint64(16)) & np.uint64(0xFF)
            assert (types == PT_NDA).all()
    assert tables.td[TD_CHLDCNT] == tables.td[TD_NEXT_SEPT] - bridge.FIRST_ROW


@pytest.mark.parametrize("plan", [["block", "remove"], ["block", "demote", "block", "remove"]], ids="-".join)
def test_everything_goes(plan: list[str]) -> None:
    case = mixed_case(*plan)
    assert check(case) == [SUCCESS] * len(plan)
    held = case.build()
    counts = np.zeros(ALL_COUNTERS, np.int64)
    for step in case.steps:
        assert bulk(held, step, counts) == SUCCESS
    assert_nothing_mapped(held.tables)
    small, large = ([page[1] for page in case.pages.values()].count(level) for level in (0, 1))
    demoted = "demote" in plan
    got = {c.name: int(counts[c]) for c in ChangeCounter}
    assert got == {
        "PAGE_ADD": 0, "BLOCK_4K": small + 512 * large * demoted, "BLOCK_2M": large, "ALREADY_BLOCKED": small * demoted,
        "REMOVE_4K": small + 512 * large * demoted, "REMOVE_2M": large * (not demoted), "DEMOTE": large * demoted,
    }  # fmt: skip


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="a whole region is for compiled kernels")
@pytest.mark.parametrize("plan", [["block", "remove"], ["block", "demote", "block", "remove"]], ids="-".join)
@pytest.mark.parametrize("map_2m", [False, True])
def test_a_whole_region_goes(plan: list[str], map_2m: bool) -> None:
    held = bridge.make_tables(4, BLOCKS)
    status = populate_region(
        held.tables, 0, FIRST + np.arange(REGION), np.full(REGION, USE_ASKED, np.uint8), np.full(512, 512),
        np.full(512, map_2m), np.arange(256), False, False, np.empty(LINES, np.int64), np.empty(512, np.int64),
        np.zeros(COUNTERS, np.int64),
    )  # fmt: skip
    assert status == SUCCESS
    counts = np.zeros(ALL_COUNTERS, np.int64)
    for i, name in enumerate(plan):
        assert bulk(held, Step(name, 0, ALL, 1 + 2 * i, False), counts) == SUCCESS
    assert_nothing_mapped(held.tables)
    removed = counts[REMOVE_4K] + 512 * counts[REMOVE_2M]
    assert removed == REGION
    assert counts[DEMOTE] == (512 if map_2m and "demote" in plan else 0)


def test_tables_can_be_populated_again() -> None:
    case = mixed_case("block", "remove")
    held, again = case.build(), mixed_case().build()
    for step in case.steps:
        assert bulk(held, step, np.zeros(ALL_COUNTERS, np.int64)) == SUCCESS
    lines, counts = np.zeros(LINES, np.int64), np.zeros(COUNTERS, np.int64)
    for gfn, (pfn, level, accepted) in case.pages.items():
        assert fault(held.tables, gfn, pfn, level, lines, counts) == SUCCESS
        if accepted == 1 << (9 * level):
            assert tdg_mem_page_accept(held.tables, gfn << 12, level) == SUCCESS
        elif level:
            _, row, index, _ = walk(held.tables, gfn, 1)
            held.tables.sept[row, index] |= np.uint64(accepted << 12)
    bridge.assert_equal_tables(held, again)


# --- one call: every outcome, as the exact call gives it

INVALID, WALK, STATE = 0xC000_0100_0000_0001, 0xC000_0B00_0000_0001, 0xC000_0B0D_0000_0001
NOT_BLOCKED, NOT_TRACKED = 0xC000_0B06_0000_0001, 0xC000_0B08_0000_0001
BUSY, METADATA_R8, BUSY_R8 = 0x8000_0200_0000_0001, 0xC000_0300_0000_0008, 0x8000_0200_0000_0008
LARGE, SMALL, PARTLY = 0, 2 * 512 << 12, 4 * 512 << 12  # leaves of mixed_case()


@pytest.fixture
def both() -> Iterator[Three]:
    pair = Three(mixed_case().build())
    yield pair
    pair.assert_equal()


def entry_at(both: Three, gpa: int, level: int) -> np.uint64:
    return walk(both.held.tables, gpa >> 12, level)[3]


@pytest.mark.parametrize("call", ["block", "remove", "demote"])
def test_operands(both: Three, call: str) -> None:
    low, high = {"block": (0, 3), "remove": (0, 2), "demote": (1, 2)}[call]
    for level in (low - 1, high + 1):
        if level >= 0:
            assert getattr(both, call)(0, level) == INVALID
    assert getattr(both, call)(0x20_0000 | 1 << 20, 1) == INVALID
    assert getattr(both, call)(1 << 47, 1) == INVALID
    if low == 0:
        assert getattr(both, call)(LARGE, 0) == WALK
    assert getattr(both, call)(1 << 40, 1) == WALK
    assert getattr(both, call)(7 * 512 << 12, 1) == STATE  # FREE
    if call != "block":
        assert getattr(both, call)(SMALL, 1) == STATE  # a table
        assert getattr(both, call)(0, 2) == STATE


def test_block_of_leaves_and_tables(both: Three) -> None:
    both.set_epoch(6, False)
    for gpa, level in ((LARGE, 1), (PARTLY, 1), (SMALL, 0), (SMALL, 1)):
        assert both.block(gpa, level) == SUCCESS
        assert both.block(gpa, level) == ALREADY
    assert entry_at(both, PARTLY, 1) & ACCEPT_COUNTER == (FIRST + 5 * 512 << 12) & int(ACCEPT_COUNTER) == 0
    assert both.block(SMALL, 0) == WALK
    assert both.block(0, 2) == SUCCESS
    assert both.block(LARGE, 1) == WALK


@pytest.mark.parametrize(("call", "gpa", "level"), [("remove", LARGE, 1), ("remove", SMALL, 0), ("demote", PARTLY, 1)])
def test_tracking(both: Three, call: str, gpa: int, level: int) -> None:
    run = getattr(both, call)
    both.set_epoch(5, False)
    assert run(gpa, level) == NOT_BLOCKED
    assert both.block(gpa, level) == SUCCESS
    both.set_epoch(6, True)
    assert run(gpa, level) == NOT_TRACKED
    both.set_epoch(5, False)
    assert run(gpa, level) == NOT_TRACKED
    both.set_epoch(6, False)
    assert run(gpa, level) == SUCCESS
    assert run(gpa, level) == STATE


def test_a_busy_epoch_before_the_last_does_not_matter(both: Three) -> None:
    assert both.block(LARGE, 1) == SUCCESS
    both.set_epoch(3, True)
    assert both.remove(LARGE, 1) == SUCCESS


@pytest.mark.parametrize(("call", "gpa", "level"), [("remove", LARGE, 1), ("remove", SMALL, 0), ("demote", LARGE, 1)])
def test_a_locked_pamt_entry(both: Three, call: str, gpa: int, level: int) -> None:
    assert both.block(gpa, level) == SUCCESS
    hpa = int(entry_pfn(entry_at(both, gpa, level))) << 12
    both.set_pamt(hpa, level, lock=tw.EXCLUSIVE)
    both.set_epoch(2, False)
    assert getattr(both, call)(gpa, level) == BUSY
    both.assert_equal()
    both.set_pamt(hpa, level, lock=0)
    assert getattr(both, call)(gpa, level) == SUCCESS


def test_a_migration_epoch_is_never_tracked(both: Three) -> None:
    assert both.block(LARGE, 1) == SUCCESS
    both.set_pamt(int(entry_pfn(entry_at(both, LARGE, 1))) << 12, 1, bepoch=1 << 63 | 1)
    both.set_epoch(9, False)
    assert both.remove(LARGE, 1) == NOT_TRACKED
    assert both.demote(LARGE, 1) == NOT_TRACKED


def test_the_new_table_of_a_demotion(both: Three) -> None:
    tables = both.held.tables
    assert both.block(LARGE, 1) == SUCCESS
    both.set_epoch(2, False)
    assert both.demote(LARGE, 1, (tables.sept_pfn + bridge.FIRST_ROW) << 12) == METADATA_R8
    new = both.kernels.next_table
    both.set_pamt(new, 0, lock=tw.EXCLUSIVE)
    assert both.demote(LARGE, 1) == BUSY_R8
    both.set_pamt(new, 0, lock=0, bepoch=77)
    assert both.demote(LARGE, 1) == SUCCESS
    slot = int(tables.slot[new >> 30])
    word, bepoch = tables.pamt_4k[slot * ENTRIES_4K_PER_BLOCK + (new >> 12 & 0x3FFFF)]
    assert (page_type(word), bepoch) == (PT_EPT, 77)
    assert entry_at(both, LARGE + (511 << 12), 0) & STATE_MASK == LEAF | np.uint64(1 << 6)  # MAPPED


def test_what_children_of_a_demotion_inherit(both: Three) -> None:
    assert both.block(LARGE, 1) == SUCCESS
    pfn = int(entry_pfn(entry_at(both, LARGE, 1)))
    for child, fields in ((7, {"bepoch": 77}), (511, {"bepoch": 5}), (8, {"lock": tw.READER})):  # others have left them
        both.set_pamt((pfn + child) << 12, 0, **fields)
    both.set_epoch(2, False)
    assert both.demote(LARGE, 1) == SUCCESS
    tables = both.held.tables
    first = int(tables.slot[pfn >> 18]) * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)
    children = tables.pamt_4k[first : first + 512]
    assert not children[:, 1].any()
    assert {page_type(word) for word in children[:, 0]} == {PT_REG}
    assert both.remove(LARGE + (7 << 12), 0) == NOT_BLOCKED


# --- batches that stop


def test_an_empty_pool_stops_a_demotion() -> None:
    held = mixed_case().build()
    counts = np.zeros(ALL_COUNTERS, np.int64)
    assert bulk(held, Step("block", 0, ALL, 1, False), counts) == SUCCESS
    left = int(held.tables.td[TD_NEXT_SEPT]) + 2
    held.tables = held.tables._replace(sept=held.tables.sept[:left].copy())
    assert bulk(held, Step("demote", 0, ALL, 3, False), counts) == SEPT_POOL_EMPTY
    assert counts[DEMOTE] == 2
    assert_conserved(held.tables, [0])


@pytest.mark.parametrize("name", ["block", "remove"])
def test_a_blocked_table_stops_a_batch(name: str) -> None:
    held = mixed_case().build()
    counts = np.zeros(ALL_COUNTERS, np.int64)
    assert tdh_mem_range_block(held.tables, SMALL, 1, 1) == SUCCESS
    other = np.zeros(REGION, np.uint8)
    other[511 * 512 :] = 1
    assert bulk(held, Step("block", 0, other, 1, False), counts) == SUCCESS
    assert bulk(held, Step(name, 0, other, 3, False), counts) == SUCCESS
    within = np.zeros(REGION, np.uint8)
    within[2 * 512 : 3 * 512] = 1
    assert bulk(held, Step(name, 0, within, 3, False), counts) == WALK
    assert tdh_mem_range_block(held.tables, 0, 2, 1) == SUCCESS
    assert bulk(held, Step(name, 0, other, 3, False), counts) == WALK


def test_a_2m_leaf_is_not_removed_in_part() -> None:
    held = mixed_case().build()
    part = np.zeros(REGION, np.uint8)
    part[100:900] = 1
    counts = np.zeros(ALL_COUNTERS, np.int64)
    assert bulk(held, Step("block", 0, part, 1, False), counts) == SUCCESS
    assert counts[BLOCK_2M] == 2
    assert bulk(held, Step("remove", 0, part, 3, False), counts) == LEAF_TOO_LARGE
    assert bulk(held, Step("demote", 0, part, 3, False), counts) == SUCCESS
    assert bulk(held, Step("block", 0, part, 3, False), counts) == SUCCESS
    assert bulk(held, Step("remove", 0, part, 5, False), counts) == SUCCESS
    assert (counts[DEMOTE], counts[REMOVE_4K], counts[REMOVE_2M]) == (2, 800, 0)
    assert_conserved(held.tables, [0])
