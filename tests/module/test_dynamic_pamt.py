"""Do PAMT.ADD, PAMT.REMOVE and the calls that give and take 4K pages keep every page? Against a plain-Python twin.

No recorded call covers dynamic PAMT: these are properties, not conformance.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.pamt_entry import LOCK_MASK, PT_RSVD, TYPE_MASK
from perfmodel.errors import InputError
from perfmodel.module import ModulePlatform, ModuleTdmr, Result, TdxModule

BASE = 4 << 30
RANGE = 2 << 20
RESERVED = BASE + 5 * RANGE
LARGE = BASE + 6 * RANGE  # a 2M page of the TD
OUTSIDE = BASE + (1 << 30)
TD = OUTSIDE - RANGE  # the TD's pages and tables; those of their PAMT entries lie below
TDR, TABLES = TD, TD + 16 * 4096

INVALID, ADDR_RANGE, BUSY = 0xC000_0100_0000_0000, 0xC000_0101_0000_0000, 0x8000_0200_0000_0000
METADATA, NOT_FREE, NO_PAIR, NOT_EMPTY, MISSING = (
    0xC000_0300_0000_0000, 0xC000_0304_0000_0000, 0xC000_0305_0000_0000, 0xC000_0306_0000_0000, 0x8000_0308_0000_0000,
)  # fmt: skip


@dataclass
class Pair:
    """The twin and the module; every call must answer alike. A page's GPA is its distance from ``BASE``."""

    module: TdxModule
    pairs: dict[int, tuple[int, int]] = field(default_factory=dict)  # by HPA of the range
    used: set[int] = field(default_factory=set)
    mapped: set[int] = field(default_factory=set)

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
        return self._answered(self.module.tdh_phymem_pamt_add(rcx=hpa | level, rdx=first, r8=last), expected)

    def remove(self, hpa: int, level: int = 1) -> int:
        expected = INVALID + 1 if level != 1 else self._bad_range(hpa)
        given_back = (0, 0)
        if not expected and hpa not in self.pairs:
            expected = NO_PAIR + 1
        if not expected and self._leaves(hpa):
            expected = NOT_EMPTY + 1
        if not expected:
            given_back = self.pairs.pop(hpa)
        result = self.module.tdh_phymem_pamt_remove(rcx=hpa | level)
        assert (result.rdx, result.r8) == given_back
        return self._answered(result, expected)

    def use(self, page: int) -> int:
        """Map a 4K page."""
        expected = MISSING + 8 if page - page % RANGE not in self.pairs else (METADATA + 8) * (page in self.marked)
        result = self.module.tdh_mem_page_aug(rcx=page - BASE, rdx=TDR, r8=page)
        if not expected:
            self.used.add(page)
            self.mapped.add(page)
        return self._answered(result, expected)

    def release(self, page: int) -> int:
        """Block, track, remove."""
        assert self.module.tdh_mem_range_block(rcx=page - BASE, rdx=TDR).rax == 0
        assert self.module.tdh_mem_track(rcx=TDR).rax == 0
        self.used.remove(page)
        self.mapped.remove(page)
        result = self.module.tdh_mem_page_remove(rcx=page - BASE, rdx=TDR)
        assert (result.status, result.rcx) == ("SUCCESS", page)
        return self._answered(result, 0 if self._leaves(page - page % RANGE) else 1 << 62)

    def _leaves(self, hpa: int) -> int:
        return sum(page - page % RANGE == hpa for page in self.used)

    def _answered(self, result: Result, expected: int) -> int:
        assert hex(result.rax) == hex(expected)
        assert result.pamt_removable == (expected == 1 << 62)
        self.check()
        return result.rax

    def check(self) -> None:
        """Conservation: each page of a pair is marked, in one pair, and in no other use; counts are the leaves."""
        pages = [page for pair in self.pairs.values() for page in pair]
        assert len(pages) == len(set(pages))
        assert not self.used & set(pages)
        state = self.module._state
        for hpa in range(BASE, OUTSIDE, RANGE):
            if hpa in self.pairs:
                view, (first, last) = self.module.pamt(hpa, 1), self.pairs[hpa]
                assert view[:3] == (1, "PAMT", first)
                assert view.bepoch == last >> 12 | self._leaves(hpa) << 40
        held = {BASE + int(i) * RANGE for i in np.flatnonzero(state.pamt_2m[:, 1])}
        assert held == set(self.pairs)
        kinds = (state.pamt_4k[:, 0] & TYPE_MASK) >> np.uint64(16)
        assert {BASE + int(i) * 4096 for i in np.flatnonzero(kinds == PT_RSVD)} == {*pages, RESERVED}
        assert {BASE + int(i) * 4096 for i in np.flatnonzero((kinds != 0) & (kinds != PT_RSVD))} == self.used
        for words in (state.pamt_1g, state.pamt_2m, state.pamt_4k):
            assert not (words[:, 0] & (LOCK_MASK ^ np.uint64(2))).any()


def make_pair(fresh: bool = False) -> Pair:
    """Return a running TD with tables for the first 7 ranges; of a ``fresh`` one nothing but the platform."""
    tdmr = ModuleTdmr(BASE, 1 << 30, reserved=((RESERVED - BASE, 4096),))
    both = Pair(TdxModule(ModulePlatform(tdmr=(tdmr,), dynamic_pamt=True)))
    if fresh:
        return both
    module = both.module
    assert both.add(TD, TD - 8192, TD - 4096) == 0
    tdcx = [TDR + i * 4096 for i in range(1, 7)]
    module.add_td(tdr=TDR, tdcx=tdcx, hkid=70, op_state="RUNNABLE")
    both.used |= {TDR, *tdcx}
    both.check()
    for i, rcx in enumerate((3, 2, *(r * RANGE | 1 for r in range(6)))):
        assert module.tdh_mem_sept_add(rcx=rcx, rdx=TDR, r8=TABLES + i * 4096).rax == 0
        both.used.add(TABLES + i * 4096)
        both.check()
    assert module.tdh_mem_page_aug(rcx=LARGE - BASE | 1, rdx=TDR, r8=LARGE).rax == 0
    both.check()
    return both


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
            if both.mapped:
                both.release(sorted(both.mapped)[args[0] % len(both.mapped)])
        elif name != "use" or args[0] not in both.used:
            getattr(both, name)(*args)


@settings(max_examples=30, deadline=None)
@given(RANGES, PAGES, PAGES)
def test_add_then_remove_is_identity(hpa: int, first: int, last: int) -> None:
    both = make_pair()
    words = (both.module._state.pamt_1g, both.module._state.pamt_2m, both.module._state.pamt_4k)
    before = [w.copy() for w in words]
    if both.add(hpa, first, last) == 0:
        assert both.remove(hpa) == 0
        for was, now in zip(before, words, strict=True):
            np.testing.assert_array_equal(was, now)


FIRST, LAST = BASE + 4 * RANGE, BASE + 4 * RANGE + 4096


def test_every_status() -> None:
    both = make_pair()
    at = BASE + RANGE
    assert both.use(at) == MISSING + 8
    assert both.module.tdh_mem_track(rcx=at).rax == METADATA + 1, "a TDR is wanted, not a free page"
    assert both.module.tdh_phymem_page_wbinvd(rcx=at).rax == MISSING + 1
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
    assert both.release(at + 511 * 4096) == 1 << 62
    assert both.remove(at, level=2) == INVALID + 1
    assert both.remove(at) == 0
    assert both.use(at) == MISSING + 8
    assert both.remove(TD) == NOT_EMPTY + 1


def test_a_page_of_entries_cannot_be_given_away_as_a_page() -> None:
    both = make_pair()
    assert both.add(BASE, FIRST, LAST) == 0
    assert both.add(FIRST, BASE + RANGE, BASE + RANGE + 4096) == 0
    assert both.use(FIRST) == METADATA + 8
    assert both.use(LAST + 4096) == 0
    assert both.add(BASE + RANGE, LAST + 4096, LAST + 8192) == METADATA + 2
    assert both.release(LAST + 4096) == 1 << 62
    assert both.remove(FIRST) == 0, "pages of entries for another range do not keep a pair"
    assert both.use(FIRST) == MISSING + 8


@pytest.mark.parametrize("page", [BASE + 7 * RANGE, RESERVED, BASE])
def test_a_2m_page_takes_the_place_of_a_pair(page: int) -> None:
    both = make_pair()
    hpa, module = page - page % RANGE, both.module
    gpa = 7 * RANGE | 1
    if page == BASE:
        assert both.add(BASE, FIRST, LAST) == 0
    elif page != RESERVED:
        assert both.add(BASE, page + 4096, page + 8192) == 0
    assert module.tdh_mem_page_aug(rcx=gpa, rdx=TDR, r8=hpa).rax == METADATA + 8
    if page != RESERVED:
        assert both.remove(BASE) == 0
        assert module.tdh_mem_page_aug(rcx=gpa, rdx=TDR, r8=hpa).rax == 0
        assert module.tdh_phymem_pamt_add(rcx=hpa | 1, rdx=FIRST, r8=LAST).rax == NOT_FREE + 1


@pytest.mark.parametrize("level", [1, 2])
def test_a_locked_range(level: int) -> None:
    both = make_pair()
    module = both.module
    assert module.lock("pamt", hpa=BASE, level=level) == "SUCCESS"
    assert module.tdh_phymem_pamt_add(rcx=BASE | 1, rdx=FIRST, r8=LAST).rax == BUSY + 1
    assert module.tdh_phymem_pamt_remove(rcx=BASE | 1).rax == BUSY + 1
    module.unlock("pamt", hpa=BASE, level=level)
    assert both.add(BASE, FIRST, LAST) == 0
    assert both.remove(BASE) == 0


def test_the_costs_of_one_pair() -> None:
    both = make_pair()
    events = both.module.tdh_phymem_pamt_add(rcx=BASE | 1, rdx=FIRST, r8=LAST).events
    assert (events["md"], events["mf"]) == (128, 2)
    static = TdxModule.small(op_state="RUNNABLE")
    for level in (3, 2, 1):
        assert static.tdh_mem_sept_add(rcx=level, rdx=static.td(0).tdr, r8=0x4000_0000 + 4096 * level).rax == 0
    plain = static.tdh_mem_page_aug(rcx=0, rdx=static.td(0).tdr, r8=0x4020_0000).events
    counted = both.module.tdh_mem_page_aug(rcx=0, rdx=TDR, r8=BASE).events
    assert (counted["lk"], counted["lkp"]) == (plain["lk"] + 1, plain["lkp"]), "page_count"


def test_every_call_that_gives_or_takes_a_page_counts_it() -> None:
    both = make_pair()
    module, a, b = both.module, BASE, BASE + RANGE
    assert both.add(a, FIRST, LAST) == both.add(b, FIRST + 8192, LAST + 8192) == 0
    call = {"rdx": TDR}
    assert module.tdh_mem_sept_add(rcx=8 * RANGE | 1, r8=2 * RANGE + BASE, **call).rax == MISSING + 8
    assert module.tdh_mem_sept_add(rcx=8 * RANGE | 1, r8=a, **call).rax == 0
    assert module.tdh_mem_sept_add(rcx=8 * RANGE | 1, rdx=TDR | 1, r8=b).rax == 0, "there is a table: no page taken"
    assert (module.pamt(a, 1).bepoch >> 40, module.pamt(b, 1).bepoch >> 40) == (1, 0)
    assert module.tdh_mem_range_block(rcx=8 * RANGE | 1, **call).rax == module.tdh_mem_track(rcx=TDR).rax == 0
    assert module.tdh_mem_sept_remove(rcx=8 * RANGE | 1, **call).pamt_removable
    assert both.use(a) == 0
    assert module.tdh_mem_range_block(rcx=0, **call).rax == module.tdh_mem_track(rcx=TDR).rax == 0
    assert module.tdh_mem_page_relocate(rcx=0, r8=2 * RANGE + BASE, **call).rax == MISSING + 8
    moved = module.tdh_mem_page_relocate(rcx=0, r8=a + 4096, **call)
    assert (moved.rax, moved.rcx) == (0, a), "the range is not empty"
    assert module.tdh_mem_range_block(rcx=0, **call).rax == module.tdh_mem_track(rcx=TDR).rax == 0
    assert module.tdh_mem_page_relocate(rcx=0, r8=b, **call).pamt_removable
    module.set_lifecycle(0, "TEARDOWN")
    assert module.tdh_phymem_page_reclaim(rcx=b).pamt_removable
    assert module.tdh_phymem_page_reclaim(rcx=LARGE).rax == 0
    assert module.tdh_phymem_page_rdmd(rcx=b).rcx == 0
    for page in sorted(both.used - {a}, reverse=True):
        assert module.tdh_phymem_page_reclaim(rcx=page).pamt_removable == (page == TDR)
    assert [module.tdh_phymem_pamt_remove(rcx=hpa | 1).rax for hpa in (a, b, TD)] == [0, 0, 0]


def test_a_platform_without() -> None:
    module = TdxModule.small()
    tdr = module.td(0).tdr
    assert module.tdh_phymem_pamt_add(rcx=1 << 30 | 1, rdx=tdr, r8=tdr).rax == INVALID
    assert module.tdh_phymem_pamt_remove(rcx=1 << 30 | 1).rax == INVALID
    assert not module.tdh_phymem_page_rdmd(rcx=1 << 30).rax


def test_a_td_needs_a_pair() -> None:
    both = make_pair(fresh=True)
    tdcx = [TDR + i * 4096 for i in range(1, 7)]
    with pytest.raises(InputError, match=r"^tdr .*a PAMT page pair$"):
        both.module.add_td(tdr=TDR, tdcx=tdcx, hkid=70)
    assert both.add(TD, TD - 8192, TD - 4096) == 0
    with pytest.raises(InputError, match=r"^tdr "):
        both.module.add_td(tdr=TD - 8192, tdcx=tdcx, hkid=70)
    assert both.module.add_td(tdr=TDR, tdcx=tdcx, hkid=70) == 0


@pytest.mark.parametrize("call", ["tdh_mem_page_promote", "tdh_mem_page_demote"])
def test_resizing_is_refused(call: str) -> None:
    module = TdxModule.small(dynamic_pamt=True)
    with pytest.raises(InputError, match=r"^dynamic_pamt True: accepted is False"):
        getattr(module, call)(rcx=1, rdx=module.td(0).tdr, **({"r8": 0} if "demote" in call else {}))
