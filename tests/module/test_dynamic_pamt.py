"""Do PAMT.ADD and PAMT.REMOVE keep every page, and the count of 4K leaves? Against a plain-Python twin.

No recorded call covers dynamic PAMT: these are properties, not conformance.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.keyhole import DYNAMIC_SLOTS, REFERENCES
from kernels.locks import disown_hp, own_hp
from kernels.module import dynamic_pamt as dp
from kernels.module.pamt_walk import pamt_index
from kernels.module.state import Module
from kernels.module.trace import start
from kernels.pamt_entry import LOCK_MASK, PT_NDA, PT_REG, page_type
from kernels.replay_record import EV_FIELDS, R8, RCX, RDX
from kernels.status import as_unsigned
from perfmodel.module_state import build_module, set_type

BASE = 4 << 30
RANGE = 2 << 20
RESERVED = BASE + 5 * RANGE
LARGE = BASE + 6 * RANGE  # a 2M page of a TD
OUTSIDE = BASE + (1 << 30)
HINT = 1 << 62

INVALID, ADDR_RANGE, BUSY = 0xC000_0100_0000_0000, 0xC000_0101_0000_0000, 0x8000_0200_0000_0000
METADATA, NOT_FREE, NO_PAIR, NOT_EMPTY, MISSING = (
    0xC000_0300_0000_0000, 0xC000_0304_0000_0000, 0xC000_0305_0000_0000, 0xC000_0306_0000_0000, 0x8000_0308_0000_0000,
)  # fmt: skip


@dataclass
class Pair:
    """The twin, and the kernels on arrays of their own; every call must answer alike."""

    module: Module
    dynamic: dp.DynamicPamt
    pairs: dict[int, tuple[int, int]] = field(default_factory=dict)  # by HPA of the range
    used: set[int] = field(default_factory=set)

    @property
    def marked(self) -> set[int]:
        return {page for pair in self.pairs.values() for page in pair}

    def _bad_range(self, hpa: int) -> int:
        if hpa % RANGE or hpa >> 45:
            return INVALID + 1
        return 0 if BASE <= hpa < OUTSIDE else ADDR_RANGE + 1

    def _bad_page(self, page: int, target: int, marked: set[int]) -> int:
        if page % 4096 or page >> 45:
            return INVALID
        if not BASE <= page < OUTSIDE:
            return ADDR_RANGE
        if page - page % RANGE == target:
            return BUSY
        unfit = page - page % RANGE == LARGE or page in self.used or page in marked or page == RESERVED
        return METADATA if unfit else 0

    def add(self, hpa: int, first: int, last: int, level: int = 1) -> int:
        expected = INVALID + 1 if level != 1 else self._bad_range(hpa)
        if not expected and (hpa in self.pairs or hpa == LARGE):
            expected = NOT_FREE + 1
        if not expected:
            expected = self._bad_page(first, hpa, self.marked)
            expected += 2 * (expected != 0)
        if not expected:
            expected = self._bad_page(last, hpa, self.marked | {first})
            expected += 8 * (expected != 0)
        if not expected:
            self.pairs[hpa] = first, last
        start(self.module.trace)
        status = as_unsigned(dp.pamt_add(self.module, self.dynamic, regs(hpa | level, first, last)))
        assert hex(status) == hex(expected)
        self.check()
        return status

    def remove(self, hpa: int, level: int = 1) -> int:
        expected = INVALID + 1 if level != 1 else self._bad_range(hpa)
        given_back = (0, 0)
        if not expected and hpa not in self.pairs:
            expected = NO_PAIR + 1
        if not expected and any(page - page % RANGE == hpa for page in self.used):
            expected = NOT_EMPTY + 1
        if not expected:
            given_back = self.pairs.pop(hpa)
        out = regs(0, 0, 0)
        start(self.module.trace)
        status = as_unsigned(dp.pamt_remove(self.module, self.dynamic, regs(hpa | level, 0, 0), out))
        assert hex(status) == hex(expected)
        assert (out[RDX], out[R8]) == given_back
        self.check()
        return status

    def use(self, page: int) -> int:
        """Give a 4K page away, as AUG does."""
        expected = MISSING if page - page % RANGE not in self.pairs else METADATA * (page in self.marked)
        start(self.module.trace)
        status = as_unsigned(dp.get_leaf(self.module, self.dynamic, page >> 12))
        assert hex(status) == hex(expected)
        if status == 0:
            set_type(self.module, page, 0, PT_REG, BASE)
            self.used.add(page)
        self.check()
        return status

    def release(self, page: int) -> int:
        self.used.remove(page)
        set_type(self.module, page, 0, PT_NDA, BASE)
        last = not any(other - other % RANGE == page - page % RANGE for other in self.used)
        start(self.module.trace)
        status = as_unsigned(dp.put_leaf(self.module, self.dynamic, page >> 12))
        assert status == HINT * last
        self.check()
        return status

    def check(self) -> None:
        """Conservation: each page of a pair is marked, in one pair, and in no other use; counts are the leaves."""
        pages = [page for pair in self.pairs.values() for page in pair]
        assert len(pages) == len(set(pages))
        assert not self.used & set(pages)
        at = {hpa: (hpa - BASE) // RANGE for hpa in self.pairs}
        expected = np.full((512, 2), dp.NO_PAGE)
        for hpa, pair in self.pairs.items():
            expected[at[hpa]] = np.array(pair) >> 12
            leaves = sum(page - page % RANGE == hpa for page in self.used)
            assert self.dynamic.page_count[at[hpa]] == leaves
            assert page_type(self.module.pamt_2m[at[hpa], 0]) == dp.PT_PAMT
        np.testing.assert_array_equal(self.dynamic.pair, expected)
        assert self.dynamic.page_count.sum() == len(self.used)
        bits = np.unpackbits(self.dynamic.bitmap.view(np.uint8), bitorder="little")
        assert {BASE + int(i) * 4096 for i in np.flatnonzero(bits)} == {*pages, RESERVED}
        for words in (self.module.pamt_1g, self.module.pamt_2m, self.module.pamt_4k):
            assert not (words[:, 0] & (LOCK_MASK ^ np.uint64(2))).any()
        assert not self.module.trace.keyholes[:, REFERENCES : REFERENCES + DYNAMIC_SLOTS].any()


def regs(rcx: int, rdx: int, r8: int) -> npt.NDArray[np.uint64]:
    values = np.zeros(16, np.uint64)
    values[[RCX, RDX, R8]] = rcx, rdx, r8
    return values


def make_pair() -> Pair:
    tdmr = SimpleNamespace(
        base=BASE, size=1 << 30, initialized=1 << 30, pamt_4k=7 << 36, pamt_2m=8 << 36, pamt_1g=9 << 36,
        reserved=((RESERVED - BASE, 4096),),
    )  # fmt: skip
    platform = SimpleNamespace(
        tdmr=(tdmr,), hkid_start_bit=45, global_hkid=66, private_hkid_min=64, seamrr=SimpleNamespace(base=0, size=0)
    )
    module = build_module(platform, [], 1)
    set_type(module, LARGE, 1, PT_REG, BASE)
    return Pair(module, dp.make_dynamic_pamt(module))


RANGES = st.sampled_from([BASE + i * RANGE for i in range(4)])
ODD = st.sampled_from([LARGE, OUTSIDE, BASE + 4096, BASE | 1 << 46, 0])
PAGES = st.builds(
    lambda i, p: BASE + i * RANGE + p * 4096, st.integers(0, 4), st.sampled_from([0, 1, 63, 64, 255, 511])
)
ANY_PAGE = st.one_of(PAGES, PAGES, PAGES, st.sampled_from([RESERVED, LARGE + 4096, OUTSIDE, BASE + 1, BASE | 1 << 46]))
STEPS = st.one_of(
    st.tuples(st.just("add"), st.one_of(RANGES, RANGES, RANGES, ODD), ANY_PAGE, ANY_PAGE),
    st.tuples(st.just("remove"), st.one_of(RANGES, RANGES, RANGES, ODD)),
    st.tuples(st.just("use"), PAGES),
    st.tuples(st.just("release"), st.integers(0, 99)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_sequences(steps: list[tuple[str, int]]) -> None:
    both = make_pair()
    for name, *args in steps:
        if name == "release":
            if both.used:
                both.release(sorted(both.used)[args[0] % len(both.used)])
        elif name != "use" or args[0] not in both.used:
            getattr(both, name)(*args)


@settings(max_examples=30, deadline=None)
@given(RANGES, PAGES, PAGES)
def test_add_then_remove_is_identity(hpa: int, first: int, last: int) -> None:
    both = make_pair()
    words = (both.module.pamt_1g, both.module.pamt_2m, both.module.pamt_4k, *both.dynamic)
    before = [w.copy() for w in words]
    if both.add(hpa, first, last) == 0:
        assert both.remove(hpa) == 0
        for was, now in zip(before, words, strict=True):
            np.testing.assert_array_equal(was, now)


FIRST, LAST = BASE + 4 * RANGE, BASE + 4 * RANGE + 4096


def test_every_status() -> None:
    both = make_pair()
    at = BASE + RANGE
    assert both.use(at) == MISSING
    assert both.remove(at) == NO_PAIR + 1
    assert both.add(at, FIRST, FIRST) == METADATA + 8
    assert both.add(at, at, LAST) == BUSY + 2
    assert both.add(at, FIRST, at + 4096) == BUSY + 8
    assert both.add(at, FIRST, LAST, level=0) == INVALID + 1
    assert both.add(at, FIRST, LAST) == 0
    assert both.add(at, LAST + 4096, LAST + 8192) == NOT_FREE + 1
    assert both.add(LARGE, LAST + 4096, LAST + 8192) == NOT_FREE + 1
    assert both.use(at + 511 * 4096) == 0
    assert both.use(at) == 0
    assert both.remove(at) == NOT_EMPTY + 1
    assert both.release(at) == 0
    assert both.remove(at) == NOT_EMPTY + 1
    assert both.release(at + 511 * 4096) == HINT
    assert both.remove(at, level=2) == INVALID + 1
    assert both.remove(at) == 0
    assert both.use(at) == MISSING


def test_a_page_of_entries_cannot_be_given_away_as_a_page() -> None:
    both = make_pair()
    assert both.add(BASE, FIRST, LAST) == 0
    assert both.add(FIRST, BASE + RANGE, BASE + RANGE + 4096) == 0
    assert both.use(FIRST) == METADATA
    assert both.use(LAST + 4096) == 0
    assert both.add(BASE + RANGE, LAST + 4096, LAST + 8192) == METADATA + 2
    assert not dp.bitmap_is_free(both.module, both.dynamic, FIRST >> 12)
    assert not dp.bitmap_is_free(both.module, both.dynamic, RESERVED >> 12)
    assert dp.bitmap_is_free(both.module, both.dynamic, BASE >> 12)


@pytest.mark.parametrize("level", [1, 2])
def test_a_locked_range(level: int) -> None:
    both = make_pair()
    words = both.module.pamt_2m if level == 1 else both.module.pamt_1g
    at = int(pamt_index(both.module, BASE >> 12, level))
    assert own_hp(words, at)
    assert as_unsigned(dp.pamt_add(both.module, both.dynamic, regs(BASE | 1, FIRST, LAST))) == BUSY + 1
    out = regs(0, 0, 0)
    assert as_unsigned(dp.pamt_remove(both.module, both.dynamic, regs(BASE | 1, 0, 0), out)) == BUSY + 1
    disown_hp(words, at)
    assert both.add(BASE, FIRST, LAST) == 0
    assert both.remove(BASE) == 0


def test_the_costs_of_one_pair() -> None:
    both = make_pair()
    both.module.trace.counts[:] = 0
    assert both.add(BASE, FIRST, LAST) == 0
    assert {name: int(both.module.trace.counts[0, EV_FIELDS.index(name)]) for name in ("md", "mf")} == {
        "md": 128,
        "mf": 2,
    }
