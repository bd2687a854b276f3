"""Do PAMT lookups find the entry that says what a page is in use for?"""

import bridge
import numpy as np
import pytest
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_td import Twin

from kernels.pamt import find_slot, lookup, lookup_many
from kernels.pamt_entry import make_entry
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform
from perfmodel.td_tables import TdTables

BASE = bridge.FIRST_BLOCK << 30
RESERVED = ((5 << 20, 3 * 4096),)


@pytest.fixture
def pair() -> tuple[TdTables, Twin]:
    """Three blocks: a 4K page and a 2M page in the first, the second one 1G page, the third empty."""
    held = bridge.make_tables(blocks=3, reserved=RESERVED)
    twin = bridge.make_twin(held, RESERVED)
    owner = int(held.tables.td[0])
    for level, hpa in ((0, BASE + 0x3000), (1, BASE + (9 << 21)), (2, BASE + (1 << 30))):
        entry = twin.entry(level, hpa)
        entry.type, entry.owner, entry.bepoch, entry.lock = tw.REG, owner, level + 7, 4 * level
    twin.entry(0, BASE + (9 << 21)).owner = 5  # stale fields below a leaf do not count
    for (level, page), entry in twin.pamt.items():
        array = (held.tables.pamt_4k, held.tables.pamt_2m, held.tables.pamt_1g)[level]
        per_block = (262144, 512, 1)[level]
        if level == 2:
            array[page] = entry.words
        else:
            array[held.tables.slot[page // per_block] * per_block + page % per_block] = entry.words
    bridge.assert_same(held, twin)
    return held, twin


HPAS = [BASE, BASE + 0x3000, BASE + 0x4000, BASE + (9 << 21), BASE + (9 << 21) + 0x1FF000, BASE + (10 << 21),
        BASE + (1 << 30), BASE + (2 << 30) - 4096, BASE + (2 << 30), BASE + (3 << 30) - 4096, BASE + (5 << 20),
        BASE + (5 << 20) + 2 * 4096, BASE + (5 << 20) + 3 * 4096, BASE + (3 << 30), BASE + (3 << 30) + 4 * 4096,
        0, BASE - 4096, BASE + (4 << 30), 1 << 51]  # fmt: skip


def test_single_and_bulk_lookup(pair: tuple[TdTables, Twin]) -> None:
    held, twin = pair
    pfns = np.array([hpa >> 12 for hpa in HPAS], np.int64)
    levels, words = np.full(pfns.size, 9, np.int8), np.full((pfns.size, 2), 9, np.uint64)
    lookup_many(held.tables, pfns, levels, words, np.empty(0, np.int32))
    seen = set()
    for i, hpa in enumerate(HPAS):
        found = twin.lookup(hpa)
        level, entry = found if found else (-1, tw.PamtEntry())
        assert (levels[i], *words[i].tolist()) == (level, *entry.words), hex(hpa)
        assert tuple(map(int, lookup(held.tables, hpa >> 12))) == (level, *entry.words)
        seen.add((level, entry.type))
    assert seen == {(2, tw.REG), (1, tw.REG), (0, tw.REG), (0, tw.NDA), (0, tw.RSVD), (0, tw.TDR), (0, tw.TDCX),
                    (-1, tw.NDA)}  # fmt: skip


PARTS = st.lists(
    st.tuples(st.sampled_from([hpa >> 12 for hpa in HPAS]), st.integers(-600, 600), st.sampled_from([1, 3, 512]),
              st.integers(1, 1200)), min_size=1, max_size=6
)  # fmt: skip
"""Runs of frames around a place: start, offset, distance, number."""


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PARTS, scratch=st.sampled_from([0, 512, 4096]), shuffle=st.booleans(), repeat=st.sampled_from([1, 9]),
       mapped_2m=st.booleans())  # fmt: skip
def test_many_in_any_order(
    pair: tuple[TdTables, Twin],
    parts: list[tuple[int, int, int, int]],
    scratch: int,
    shuffle: bool,
    repeat: int,
    mapped_2m: bool,
) -> None:
    """Runs and scattered frames of every level, inside the index and outside, and outside every TDMR."""
    held, twin = pair
    first = int(held.tables.slot[bridge.FIRST_BLOCK + 2]) * 512  # the third block: 2M pages, or what was there
    before = held.tables.pamt_2m.copy()
    if mapped_2m:
        held.tables.pamt_2m[first + 1 : first + 512, 0] = make_entry(tw.REG, 5)
        held.tables.pamt_2m[first + 1 : first + 512, 1] = np.arange(511)
    pfns = np.concatenate([start + offset + np.arange(n) * apart for start, offset, apart, n in parts] * repeat)
    if shuffle:
        np.random.default_rng(0).shuffle(pfns)
    levels, words = np.full(pfns.size, 9, np.int8), np.full((pfns.size, 2), 9, np.uint64)
    lookup_many(held.tables, pfns, levels, words, np.full(scratch, 7, np.int32))
    in_third = (BASE >> 12) + (2 << 18)
    for pfn in np.unique(pfns).tolist():
        found = twin.lookup(pfn << 12) if pfn >= 0 else None
        level, entry = found if found else (-1, tw.PamtEntry())
        expected = (level, *entry.words)
        if mapped_2m and in_third + 512 <= pfn < in_third + (1 << 18):
            expected = (1, *entry_2m(held, first, pfn))
        where = np.flatnonzero(pfns == pfn)
        assert set(levels[where].tolist()) == {expected[0]}, hex(pfn)
        assert np.unique(words[where], axis=0).tolist() == [list(expected[1:])], hex(pfn)
    held.tables.pamt_2m[:] = before


def entry_2m(held: TdTables, first: int, pfn: int) -> list[int]:
    """Return the PAMT_2M entry above ``pfn``, in the block whose entries start at ``first``."""
    return held.tables.pamt_2m[first + (pfn >> 9) % 512].tolist()


def test_frames_below_zero_among_others(pair: tuple[TdTables, Twin]) -> None:
    """No index holds them: they once made the lookup read far outside its scratch."""
    held, _ = pair
    pfns = np.array([(BASE >> 12) + 7, -600, (BASE >> 12) + 9, -1] * 50, np.int64)
    levels, words = np.full(pfns.size, 9, np.int8), np.full((pfns.size, 2), 9, np.uint64)
    lookup_many(held.tables, pfns, levels, words, np.zeros(4096, np.int32))
    assert levels.tolist() == [0, -1, 0, -1] * 50
    assert not words[1::2].any()


def test_outside_every_tdmr(pair: tuple[TdTables, Twin]) -> None:
    held, _ = pair
    assert find_slot(held.tables, (BASE >> 12) - 1) == -1
    assert find_slot(held.tables, -1) == -1
    assert find_slot(held.tables, (BASE + (4 << 30)) >> 12) == -1
    assert find_slot(held.tables, BASE >> 12) >= 0


def test_gap_between_tdmrs() -> None:
    tdmrs = (Tdmr(4 << 30, 1 << 30, ()), Tdmr(6 << 30, 1 << 30, ()))
    held = TdTables(Platform(tdmrs, 7))
    held.load([4, 5, 6])
    inside = [find_slot(held.tables, (gib << 30) >> 12) >= 0 for gib in range(9)]
    assert inside == [gib in (4, 6, 7) for gib in range(9)]


OWN_2M = range(BASE + (2 << 30), BASE + (2 << 30) + (2 << 20))  # of bridge.Pair: it holds the TDR


@pytest.mark.parametrize("hpa", HPAS)
@pytest.mark.parametrize("level", [0, 1])
def test_taking_a_page(hpa: int, level: int) -> None:
    both = bridge.Pair()
    both.preset(0, BASE + 0x3000, type=tw.REG, owner=7)
    both.preset(1, BASE + (9 << 21), type=tw.REG, bepoch=3)
    both.preset(2, BASE + (1 << 30), type=tw.REG)
    if hpa in OWN_2M:  # the TDR itself and its 2M answer BUSY: test_seamcall.py
        hpa += 2 << 20 if level else 4096
    both.aug(2 << 20 if level else 0x5000, level, hpa)


@pytest.mark.parametrize("word", [0, 1, 2, 3, 4, 5, 6, 8, 9, 10])
@pytest.mark.parametrize(("at", "page_type"), [(2, tw.NDA), (1, tw.NDA), (0, tw.NDA), (2, tw.REG), (1, tw.REG)])
@pytest.mark.parametrize("level", [1, 0])
def test_lock_words_and_their_side_effects(level: int, at: int, page_type: int, word: int) -> None:
    """tdx-module.md 4.3: shared from 1G down, promoted at the leaf, a refusal leaves what it leaves."""
    both = bridge.Pair()
    hpa = BASE + (6 << 21)
    both.preset(at, hpa, lock=word, type=page_type)
    both.aug(2 << 20 if level else 0x5000, level, hpa)
    both.aug(2 << 20 if level else 0x5000, level, hpa)
