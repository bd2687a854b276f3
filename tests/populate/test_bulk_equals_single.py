"""Do millions at a time leave the same tables, and count the same, as one call after the other?

Each example runs three times: ``populate_region``, the twin, and Python that drives the single-call kernels.
"""

from dataclasses import dataclass

import bridge
import numpy as np
import pytest
import twin_kvm as kvm
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_refusals import ASKED, NONE

from kernels.counters import COUNTERS
from kernels.fault import LINES
from kernels.populate import populate_region
from kernels.status import as_unsigned
from kernels.tables import TD_NEXT_SEPT

REGION = 1 << 18
FIRST = bridge.FIRST_BLOCK << 18
BLOCKS = 2
RESERVED_AT = 511  # this 2M frame of the first block has a reserved page
RESERVED = ((RESERVED_AT << 21 | 9 << 12, 4096),)


@dataclass
class Case:
    """One guest: regions (by index), their host pages, uses and levels."""

    levels: int
    regions: list[int]
    pfn: dict[int, np.ndarray]
    use: dict[int, np.ndarray]
    map_2m: dict[int, np.ndarray]
    tables_before: list[int]  # GFNs whose table of 4K entries is there before the run
    chunks: np.ndarray
    prefault: bool
    one_range: bool

    def asked(self, region: int) -> np.ndarray:
        return (self.use[region] == ASKED).reshape(512, 512).sum(axis=1).astype(np.int64)

    def whole(self, region: int) -> bool:
        return bool((self.use[region] == ASKED).all())


def bulk(case: Case) -> tuple[bridge.TdTables, int, dict[str, int]]:
    held = bridge.make_tables(case.levels, BLOCKS, len(case.regions) + 1, RESERVED)
    driver = bridge.KernelModule(held)
    add_tables(driver, case)
    counts = np.zeros(COUNTERS, np.int64)
    status = 0
    for region in case.regions:
        status = populate_region(
            held.tables, region * REGION, case.pfn[region], case.use[region], case.asked(region),
            case.map_2m[region], case.chunks, case.prefault, case.one_range and case.whole(region),
            np.empty(LINES, np.int64), np.empty(512, np.int64), counts,
        )  # fmt: skip
        if status:
            break
    return held, as_unsigned(status), bridge.by_name(counts)


def add_tables(module: kvm.Module, case: Case) -> None:
    """Put tables of 4K entries where a policy of before has left them."""
    for gfn in case.tables_before:
        for parent in range(case.levels - 1, 0, -1):
            gpa = gfn << 12
            if not module.has_table(gpa, parent):
                assert module.sept_add(gpa - gpa % (4096 << 9 * parent), parent, module.next_table) == tw.SUCCESS
                module.next_table += 4096


def single(case: Case, module: kvm.Module) -> tuple[int, dict[str, int]]:
    add_tables(module, case)
    flow = kvm.Flow(
        module,
        lambda gfn: int(case.pfn[gfn // REGION][gfn % REGION]),
        lambda gfn: int(case.map_2m[gfn // REGION][gfn % REGION // 512]),
    )
    try:
        for region in case.regions:
            first = region * REGION
            for r in np.flatnonzero(case.map_2m[region]).tolist():
                flow.n["EXISTING_TABLE"] += module.has_table((first + r * 512) << 12, 1)
            flow.last = (None, None)  # lines are counted afresh in each region
            gfns = (first + np.flatnonzero(case.use[region] == ASKED)).tolist()
            chunks = None if case.one_range else (case.chunks + region * 256).tolist()
            kvm.populate(flow, gfns, chunks, case.prefault)
    except kvm.CallError as failed:
        return failed.args[0], {}
    return tw.SUCCESS, bridge.named(flow.n)


def check(case: Case) -> int:
    held, status, counts = bulk(case)
    twin_held = bridge.make_tables(case.levels, BLOCKS, len(case.regions) + 1, RESERVED)
    twin = bridge.make_twin(twin_held, RESERVED)
    other = bridge.make_tables(case.levels, BLOCKS, len(case.regions) + 1, RESERVED)
    twin_status, twin_counts = single(case, twin)
    single_status, single_counts = single(case, bridge.KernelModule(other))
    assert status == twin_status == single_status
    bridge.assert_same(held, twin)
    bridge.assert_equal_tables(held, other)
    if status == tw.SUCCESS:
        assert counts == twin_counts
        assert counts == single_counts
        assert held.tables.sept_pfn + held.tables.td[TD_NEXT_SEPT] == twin.next_table >> 12
    return status


# --- examples

CONTIGUOUS, ROTATED, BACKWARD, SCATTERED = "contiguous", "rotated", "backward", "scattered"


def pages_of(draw: st.DrawFn, frame: int, kind: str) -> np.ndarray:
    """Return the PFNs of a range that lies in one 2M frame: one run, two runs, or none at all."""
    inside = np.arange(512)
    if kind == ROTATED:
        inside = np.roll(inside, draw(st.integers(1, 511)))
    elif kind == BACKWARD:
        inside = inside[::-1]
    elif kind == SCATTERED:
        inside = np.random.default_rng(draw(st.integers(0, 9))).permutation(512)
    return FIRST + frame * 512 + inside


@st.composite
def use_of(draw: st.DrawFn, base: int) -> np.ndarray:
    """Return the uses of a range's pages: ``base`` but for a few pieces."""
    use = np.full(512, base, np.uint8)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, 511))
        use[start : start + draw(st.integers(1, 40))] = draw(st.sampled_from([0, 1, 2, 3]))
    return use


@st.composite
def cases(draw: st.DrawFn) -> Case:
    levels = draw(st.sampled_from([4, 5]))
    places = [0, 1, 511, 512, (1 << 17) - 1] + ([1 << 17, (1 << 21) - 1] if levels == 5 else [])
    regions = sorted(draw(st.sets(st.sampled_from(places), min_size=1, max_size=2)))
    guest = draw(st.sampled_from(["linux", "prefault", "accept-range"]))
    dense = len(regions) == 1 and draw(st.sampled_from([False, False, False, True]))
    frames = iter(np.random.default_rng(draw(st.integers(0, 99))).permutation(BLOCKS * 512 - 1).tolist())
    pfn, use, map_2m, before = {}, {}, {}, []
    for region in regions:
        pfn[region] = np.full(REGION, -1, np.int64)
        use[region] = np.full(REGION, ASKED if dense else NONE, np.uint8)
        map_2m[region] = np.full(512, dense, np.bool_)
        if dense:
            taken = [next(frames) for _ in range(512)]
            taken = [f if f < RESERVED_AT else f + 1 for f in taken]
            pfn[region][:] = (FIRST + np.array(taken)[:, None] * 512 + np.arange(512)).ravel()
        special = draw(st.lists(st.integers(0, 511) | st.integers(0, 5), min_size=1, max_size=5, unique=True))
        whole_4k = 0
        for r in special:
            part = slice(r * 512, r * 512 + 512)
            kind = draw(st.sampled_from(["2m", "2m", "4k", "table", "partial", "sparse"]))
            if kind in ("4k", "table"):
                whole_4k += 1
                kind = kind if whole_4k <= 2 else "2m"
            if dense and kind in ("partial", "sparse"):
                kind = "2m"
            shape = CONTIGUOUS
            if kind in ("4k", "partial", "sparse"):
                shape = draw(st.sampled_from([CONTIGUOUS, ROTATED, BACKWARD, SCATTERED]))
            if not dense:
                frame = next(frames)
                pfn[region][part] = pages_of(draw, frame if frame < RESERVED_AT else frame + 1, shape)
            use[region][part] = ASKED
            map_2m[region][r] = kind in ("2m", "table")
            if kind == "table":
                before.append(region * REGION + r * 512 + draw(st.sampled_from([0, 77])))
            if kind in ("partial", "sparse"):
                use[region][part] = draw(use_of(ASKED if kind == "partial" and whole_4k < 2 else NONE))
                whole_4k += kind == "partial"
                map_2m[region][r] = False
        if draw(st.booleans()):  # a table where nothing is asked for
            before.append(region * REGION + draw(st.integers(0, 511)) * 512)
    order = draw(st.sampled_from(["up", "down", "random", "striped"]))
    chunks = np.arange(256)
    if order == "down":
        chunks = chunks[::-1].copy()
    elif order == "random":
        chunks = np.random.default_rng(draw(st.integers(0, 99))).permutation(256)
    elif order == "striped":
        chunks = chunks.reshape(4, 64).T.ravel()
    if guest == "accept-range":  # one loop over each private range, upward
        chunks = np.arange(256)
    return Case(levels, regions, pfn, use, map_2m, before, chunks.astype(np.int64), guest == "prefault",
                guest == "accept-range")  # fmt: skip


SLOW_IS_FINE = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW_IS_FINE
@given(case=cases())
def test_random_guests(case: Case) -> None:
    assert check(case) == tw.SUCCESS


def dense_case(guest: str, levels: int) -> Case:
    """A whole region: 16 ranges at 4K with scattered pages, the rest at 2M in random frames."""
    random = np.random.default_rng(3)
    frames = random.permutation(RESERVED_AT + 1) % RESERVED_AT  # one frame is taken from the second block
    frames[np.flatnonzero(frames == 0)[1:]] = 700
    pfn = (FIRST + frames[:, None] * 512 + np.arange(512)).astype(np.int64)
    map_2m = np.ones(512, np.bool_)
    for r in (*random.choice(512, 14, replace=False), 0, 511):
        map_2m[r] = False
        pfn[r] = random.permutation(pfn[r])
    chunks = np.arange(256) if guest == "accept-range" else random.permutation(256)
    return Case(levels, [512], {512: pfn.ravel()}, {512: np.full(REGION, ASKED, np.uint8)}, {512: map_2m}, [],
                chunks.astype(np.int64), guest == "prefault", guest == "accept-range")  # fmt: skip


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("guest", ["linux", "prefault", "accept-range"])
def test_dense_region(guest: str, levels: int) -> None:
    case = dense_case(guest, levels)
    assert case.whole(512)
    assert check(case) == tw.SUCCESS


# --- runs that fail: both stop at the same call and leave the same tables


def small_case(guest: str = "linux") -> Case:
    pfn, use = np.full(REGION, -1, np.int64), np.zeros(REGION, np.uint8)
    use[: 3 * 512] = ASKED
    pfn[: 3 * 512] = FIRST + np.arange(3 * 512)
    map_2m = np.zeros(512, np.bool_)
    map_2m[0] = True
    return Case(4, [0], {0: pfn}, {0: use}, {0: map_2m}, [], np.arange(256), guest == "prefault", False)


@pytest.mark.parametrize("guest", ["linux", "prefault"])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("misaligned", 0xC000010000000008), ("reserved", 0xC000030000000008), ("outside", 0xC000010100000008),
        ("twice", 0xC000030000000008),
    ],
)  # fmt: skip
def test_failures(guest: str, change: str, status: int) -> None:
    case = small_case(guest)
    pfn = case.pfn[0]
    if change == "misaligned":
        pfn[:512] += 1 << 17
        pfn[:512] += 1
    elif change == "reserved":
        pfn[600] = FIRST + RESERVED_AT * 512 + 9
    elif change == "outside":
        pfn[1200] = FIRST + (BLOCKS + 1) * REGION
    else:
        pfn[900] = pfn[899]
    assert check(case) == status


def test_2m_over_a_reserved_page_fails() -> None:
    case = small_case()
    case.pfn[0][:512] = FIRST + RESERVED_AT * 512 + np.arange(512)
    assert check(case) == 0xC000030000000008


def test_2m_over_a_used_page_fails() -> None:
    case = small_case()
    case.map_2m[0][:] = [False, True, *[False] * 510]
    case.pfn[0][3] = FIRST + 512 + 7
    assert check(case) == 0xC000030000000008
