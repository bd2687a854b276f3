"""Do random lives of a region leave the same tables and counts in the kernels as in the plain-Python twin?"""

from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from life_pair import BLOCKS, FIRST, INTERFACES, LifePair
from twin_life import ADDED, ASKED, NONE, REGION, SHARED

RANGES = (0, 1, 2, 511)
LENGTHS = (1, 1, 1, 3, 200, 512, 512, 600, 1100)


@dataclass
class Case:
    """A region of a few ranges with memory, how it starts, and what happens then."""

    pair: LifePair
    start: str
    chunks: list[int]
    steps: list[tuple[str, int, int]]
    end: bool | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    use, pfn = np.full(REGION, NONE, np.uint8), np.full(REGION, -1, np.int64)
    map_2m, order = np.zeros(512, np.bool_), np.zeros(512, np.int64)
    order[:] = draw(st.sampled_from([18, 18, 9, 10, 18, 9, 0]))
    frames = rng.permutation(BLOCKS * 512)
    for i, r in enumerate(RANGES):
        pages = slice(r * 512, r * 512 + 512)
        kind = draw(st.sampled_from(["large", "large", "large", "large", "small", "some", "mixed"]))
        order_in_frame = np.arange(512) if kind in ("large", "mixed") else rng.permutation(512)
        pfn[pages] = FIRST + frames[i] * 512 + order_in_frame
        use[pages] = ASKED
        map_2m[r] = kind in ("large", "mixed") and order[r] >= 9
        if kind == "some":
            use[pages][rng.random(512) < 0.9] = NONE
        if kind == "mixed":
            use[pages][rng.integers(0, 512, 3)] = SHARED
    flags = {
        name: draw(st.booleans())
        for name in ("batch_track", "reset_pages", "dynamic_pamt", "pamt_fast_path", "promote")
    }
    pair = LifePair(
        use, map_2m, order, draw(st.sampled_from([*INTERFACES, *list(INTERFACES)[1:]])), draw(st.sampled_from([4, 5])),
        draw(st.sampled_from([0, 3, 512])), pfn, **flags,
    )  # fmt: skip
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["share", "share", "unshare", "punch", "prefault", "accept", "touch"]),
                st.integers(0, 1 << 30), st.sampled_from(LENGTHS),
            ), max_size=7,
        )
    )  # fmt: skip
    start = draw(st.sampled_from(["populate", "populate", "prefault", "pending", "touch", "build"]))
    return Case(pair, start, rng.permutation(256).tolist(), steps, draw(st.sampled_from([None, True, False])))


def begin(case: Case) -> None:
    """Bring the region up."""
    pair = case.pair
    pages = np.flatnonzero(pair.life.use == ASKED)
    if case.start == "build":
        assert pair.build(pages[::97].tolist(), measured=True) == 0
    if case.start in ("populate", "prefault", "build"):
        assert pair.populate(case.chunks, case.start == "prefault") == 0
    if case.start == "pending":
        assert pair.prefault(0, REGION) == 0
    if case.start == "touch":
        assert pair.touch(np.random.default_rng(1).permutation(pages)[:5].tolist()) == 0


def pick(pages: list[int], seed: int, length: int) -> tuple[int, int] | None:
    """Return a run of at most ``length`` of ``pages`` from a place that ``seed`` says; sometimes from its 2M start."""
    if not pages:
        return None
    first = pages[seed % len(pages)]
    if seed & 1 << 20 and first - first % 512 in pages:
        first -= first % 512
    wanted, end = set(pages), first
    while end < first + length and end in wanted:
        end += 1
    return first, end


def step(pair: LifePair, name: str, seed: int, length: int) -> int:
    """Do one thing where it makes sense; return the status."""
    twin = pair.twin
    private = [p for p, use in enumerate(twin.use) if use in (ASKED, ADDED)]
    if name == "unshare":
        found = pick([p for p, use in enumerate(twin.use) if use == SHARED], seed, length)
        return pair.convert(found[0], found[1] - found[0], False) if found else 0
    found = pick(private, seed, length)
    if found is None:
        return 0
    first, end = found
    if name == "share":
        return pair.convert(first, end - first, True)
    if name == "punch":
        return pair.punch(first, end)
    if name == "prefault":
        return pair.prefault(first, end)
    if name == "touch":
        return pair.touch(range(first, end))
    mapped = [p for p in range(first, end) if (leaf := twin.leaf(p)) and leaf[1] & 7]
    return pair.accept([p for p in range(first, end) if seed % 9 == 0 or p not in mapped])


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_random_lives(case: Case) -> None:
    begin(case)
    for name, seed, length in case.steps:
        if step(case.pair, name, seed, length):
            return  # a call failed, on both sides alike
    if case.end is not None:
        assert case.pair.teardown(case.end) == 0
