"""Do keyholes hit, miss and flush when the module's do?

Expected values: tdx-module.md sections 5 and 11.2, and the first records of the vectors' ``boot_a``.
"""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import keyhole as kh
from kernels.keyhole import CHAIN, HIT, KEY, MISS, MISS_INVLPG, NO_SLOT, READ_ONLY, REFERENCES, UNCACHEABLE, WRITABLE

Step = tuple[str, int]


class Twin:
    """One LP's keyholes as dictionaries: what is mapped, and what may give way, the oldest first."""

    def __init__(self) -> None:
        self.references: dict[int, int] = {}
        self.unreferenced: OrderedDict[int, None] = OrderedDict()
        self.static: dict[int, int] = {}

    def map(self, key: int) -> int:
        if key in self.references:
            self.unreferenced.pop(key, None)
            self.references[key] += 1
            return HIT
        outcome = MISS
        if len(self.references) == 94:
            if not self.unreferenced:
                return NO_SLOT
            victim, _ = self.unreferenced.popitem(last=False)
            del self.references[victim]
            outcome = MISS_INVLPG
        self.references[key] = 1
        return outcome

    def free(self, key: int) -> bool:
        if not self.references.get(key):
            return False
        self.references[key] -= 1
        if not self.references[key]:
            self.unreferenced[key] = None
        return True

    def map_static(self, first: int, keys: list[int]) -> tuple[int, int]:
        rewritten = invlpgs = 0
        for slot, key in enumerate(keys, first):
            if self.static.get(slot) != key:
                rewritten += 1
                invlpgs += slot in self.static
            self.static[slot] = key
        return rewritten, invlpgs


def key(pfn: int, access: int = WRITABLE) -> int:
    return int(kh.make_key(pfn, access))


def map_all(keyholes: np.ndarray, keys: list[int]) -> list[int]:
    return [kh.map_page(keyholes, 0, k) for k in keys]


# dense runs share buckets; the upper bits carry the HKID
PFNS = st.one_of(st.integers(0, 140), st.integers(0, (1 << 40) - 1))
POOL = st.lists(st.tuples(PFNS, st.integers(0, 3)), min_size=1, max_size=150, unique=True)


@settings(deadline=None)
@given(pool=POOL, seed=st.integers(0, 1 << 32), length=st.integers(0, 1500), map_share=st.floats(0.3, 0.9))
def test_twin(pool: list[tuple[int, int]], seed: int, length: int, map_share: float) -> None:
    rng = np.random.default_rng(seed)
    keyholes, twins = kh.make_keyholes(2), (Twin(), Twin())
    keys = [key(pfn, access) for pfn, access in pool]
    for _ in range(length):
        lp, k = int(rng.integers(2)), keys[rng.integers(len(keys))]
        if rng.random() < map_share:
            assert kh.map_page(keyholes, lp, k) == twins[lp].map(k)
        else:
            assert kh.free_page(keyholes, lp, k) == twins[lp].free(k)
    for lp, twin in enumerate(twins):
        held = {
            int(k): int(n)
            for k, n in zip(keyholes[lp, KEY:REFERENCES], keyholes[lp, REFERENCES:CHAIN], strict=True)
            if k >= 0
        }
        assert held == twin.references
        found = [int(kh.find_slot(keyholes, lp, k)[0]) for k in held]
        assert [int(keyholes[lp, KEY + slot]) for slot in found] == list(held)


def test_never_used_slots_first_then_the_least_recently_freed() -> None:
    keyholes = kh.make_keyholes(1)
    keys = [key(i) for i in range(94)]
    assert map_all(keyholes, keys) == [MISS] * 94
    for k in reversed(keys):
        assert kh.free_page(keyholes, 0, k)
    assert map_all(keyholes, keys) == [HIT] * 94  # frees unmap nothing
    for k in reversed(keys):
        kh.free_page(keyholes, 0, k)
    assert map_all(keyholes, [key(1000), key(1001)]) == [MISS_INVLPG] * 2
    assert map_all(keyholes, keys[:-2]) == [HIT] * 92
    assert map_all(keyholes, keys[-2:]) == [NO_SLOT] * 2  # 93 and 92 were freed first; now everything is referenced


def test_a_full_cache_that_is_referenced_refuses_and_keeps_its_content() -> None:
    keyholes = kh.make_keyholes(1)
    keys = [key(i) for i in range(94)]
    map_all(keyholes, keys)
    before = [a.copy() for a in keyholes]
    assert kh.map_page(keyholes, 0, key(94)) == NO_SLOT
    assert all(np.array_equal(a, b) for a, b in zip(before, keyholes, strict=True))
    assert kh.free_page(keyholes, 0, keys[40])
    assert kh.map_page(keyholes, 0, key(94)) == MISS_INVLPG
    assert kh.map_page(keyholes, 0, keys[40]) == NO_SLOT


def test_references_keep_a_page() -> None:
    keyholes = kh.make_keyholes(1)
    kept = key(7)
    assert map_all(keyholes, [kept, kept]) == [MISS, HIT]
    assert kh.free_page(keyholes, 0, kept)
    for i in range(1000, 1300):
        kh.map_page(keyholes, 0, key(i))
        kh.free_page(keyholes, 0, key(i))
    assert kh.map_page(keyholes, 0, kept) == HIT
    assert kh.free_page(keyholes, 0, kept)
    assert kh.free_page(keyholes, 0, kept)
    assert not kh.free_page(keyholes, 0, kept)
    assert not kh.free_page(keyholes, 0, key(5))


def test_access_and_hkid_are_part_of_the_key() -> None:
    keyholes = kh.make_keyholes(1)
    keys = [key(pfn, access) for pfn in (5, 5 | 31 << 35) for access in (READ_ONLY, WRITABLE, READ_ONLY | UNCACHEABLE)]
    assert map_all(keyholes, keys) == [MISS] * 6
    assert map_all(keyholes, keys) == [HIT] * 6


@given(pfn=PFNS)
def test_bucket(pfn: int) -> None:
    pa = pfn << 12
    folded = 0
    for shift in (0, 16, 32, 48):
        folded ^= pa >> shift & 0xFFFF
    assert kh.find_bucket(key(pfn)) == folded % 128
    assert kh.find_bucket(key(pfn & ~15)) == kh.find_bucket(key(pfn | 15, READ_ONLY))


def test_reset_is_cold_and_leaves_other_lps_alone() -> None:
    keyholes = kh.make_keyholes(2)
    cold = keyholes[0].copy()
    for lp in range(2):
        for i in range(200):
            kh.map_page(keyholes, lp, key(i))
            kh.free_page(keyholes, lp, key(i))
        kh.map_static(keyholes, lp, kh.STATIC_TDCS, np.arange(6), 6, WRITABLE)
    warm = keyholes[1].copy()
    kh.reset(keyholes, 0)
    assert np.array_equal(keyholes[0], cold)
    assert np.array_equal(keyholes[1], warm)


def test_two_tds_that_take_turns_rewrite_their_static_slots() -> None:
    keyholes = kh.make_keyholes(1)
    first, second = np.arange(100, 109), np.arange(200, 209)

    def enter(pages: np.ndarray) -> tuple[int, int]:
        return kh.map_static(keyholes, 0, kh.STATIC_TDCS, pages, 6, WRITABLE)

    assert enter(first) == (6, 0)
    assert enter(first) == (0, 0)
    assert enter(second) == (6, 6)
    assert enter(first) == (6, 6)
    assert kh.map_static(keyholes, 0, kh.STATIC_TDR, first[:1], 1, WRITABLE) == (1, 0)
    assert kh.map_static(keyholes, 0, kh.STATIC_TDR, first[:1], 1, READ_ONLY) == (1, 1)
    assert enter(first) == (0, 0)


@settings(deadline=None)
@given(calls=st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 3), max_size=4), st.booleans())))
def test_static_twin(calls: list[tuple[int, list[int], bool]]) -> None:
    keyholes, twin = kh.make_keyholes(1), Twin()
    for first, pfns, writable in calls:
        expected = twin.map_static(first, [key(p, int(writable)) for p in pfns])
        assert kh.map_static(keyholes, 0, first, np.array(pfns, np.int64), len(pfns), int(writable)) == expected


def visit(*keys: int) -> list[Step]:
    return [(do, k) for k in keys for do in ("map", "free")]


class Calls:
    """The maps and frees of calls on one TD, with the addresses of the vectors' ``boot_a``."""

    def __init__(self) -> None:
        self.tdr, self.tables = 0x122445000, [0x122590000]
        self.steps: list[Step] = []

    def _private(self, hpa: int, access: int = WRITABLE) -> int:
        return key(hpa >> 12 | 31 << 35, access)

    def _global(self, hpa: int, access: int = WRITABLE) -> int:
        return key(hpa >> 12 | 18 << 35, access)

    def _pamt(self, hpa: int, access: int = WRITABLE) -> list[int]:
        page = (hpa - (4 << 30)) >> 12
        entries = 0x7001AB5000 + (page >> 18) * 16, 0x7001AAD000 + (page >> 9) * 16, 0x7000AAD000 + page * 16
        return [self._global(e, access) for e in entries]

    def _pamt_locks(self, hpa: int) -> list[Step]:
        maps = self._pamt(hpa)
        return [("map", k) for k in maps] + [("free", k) for k in maps]

    def _call(self, level: int, target: int, body: list[Step], tdr_exclusive: bool = False) -> list[Step]:
        """TDR in, walk, target page in, body, target page out, walk's last table, TDR out."""
        tdr_entry = self._pamt(self.tdr, WRITABLE if tdr_exclusive else READ_ONLY)[2]
        tables = [self._private(t) for t in self.tables[: len(self.tables) - level]]
        entry = self._pamt(target)[2]
        steps = [*self._pamt_locks(self.tdr), ("map", tdr_entry), ("map", self._global(self.tdr))]
        steps += [*visit(*tables[:-1]), ("map", tables[-1])]
        steps += [*self._pamt_locks(target), ("map", entry), *body, *self._pamt_locks(target), ("free", entry)]
        return [*steps, ("free", tables[-1]), *self._pamt_locks(self.tdr), ("free", tdr_entry),
                ("free", self._global(self.tdr))]  # fmt: skip

    def sept_add(self, table: int) -> list[Step]:
        steps = self._call(0, table, visit(self._private(table)))
        self.tables.append(table)
        return steps

    def page_add(self, page: int, source: int) -> list[Step]:
        target, shared = self._private(page), key(source >> 12, READ_ONLY)
        body = [("map", target), ("map", shared)]
        steps = self._call(0, page, body, tdr_exclusive=True)
        table = steps.index(("free", self._private(self.tables[-1])))
        return [*steps[:table], ("free", target), steps[table], ("free", shared), *steps[table + 1 :]]

    def page_aug(self, page: int) -> list[Step]:
        return self._call(0, page, [])


def run(keyholes: np.ndarray, steps: list[Step]) -> tuple[int, int, int]:
    """Execute one call; return its maps, misses and INVLPGs, and see that it leaves nothing referenced."""
    counts = np.zeros(kh.COUNTS, np.int64)
    coded = np.array([k if do == "map" else ~k for do, k in steps], np.int64)
    assert kh.replay(keyholes, 0, coded, counts) == len(steps)
    assert not keyholes[0, REFERENCES:CHAIN].any()
    return int(counts[kh.MAPS]), int(counts[kh.MISSES]), int(counts[kh.INVLPGS])


def test_first_records_of_boot_a() -> None:
    keyholes, calls = kh.make_keyholes(1), Calls()
    assert run(keyholes, calls.sept_add(0x122464000)) == (17, 7, 0)
    assert run(keyholes, calls.sept_add(0x122491000)) == (18, 1, 0)
    assert run(keyholes, calls.sept_add(0x1224B0000)) == (19, 1, 0)
    assert run(keyholes, calls.page_add(0x1225CF000, 0x1000)) == (21, 3, 0)
    assert run(keyholes, calls.page_add(0x12243A000, 0x2000)) == (21, 2, 0)


def test_a_warm_sequential_aug_maps_19_pages_and_misses_none() -> None:
    keyholes, calls = kh.make_keyholes(1), Calls()
    for table in (0x122464000, 0x122491000, 0x1224B0000):
        calls.sept_add(table)
    run(keyholes, calls.page_aug(0x130000000))
    for i in range(1, 512):
        misses = 1 if i == 256 else 0  # a page of PAMT_4K entries covers 1 MiB
        assert run(keyholes, calls.page_aug(0x130000000 + (i << 12))) == (19, misses, 0)


def test_an_accept_of_2m_misses_512_times_and_evicts_everything() -> None:
    keyholes, calls = kh.make_keyholes(1), Calls()
    for table in (0x122464000, 0x122491000, 0x1224B0000):
        calls.sept_add(table)
    _, cold, _ = run(keyholes, calls.page_aug(0x130000000))
    pages = visit(*[key(0x140000 + i) for i in range(512)])
    assert run(keyholes, pages) == (512, 512, 512 - (94 - cold))
    assert run(keyholes, calls.page_aug(0x130000000)) == (19, cold, cold)


def test_replay_counts_and_stops_where_a_step_fails() -> None:
    keyholes, counts = kh.make_keyholes(1), np.zeros(kh.COUNTS, np.int64)
    dense = [key(i) for i in range(16)]
    assert kh.replay(keyholes, 0, np.array(dense + dense), counts) == 32
    # each new one goes through all of the bucket's; those that are there stand behind the later ones
    assert counts.tolist() == [32, 16, 0, sum(range(16)) + sum(16 - i for i in range(16))]
    assert kh.replay(keyholes, 0, np.array([key(3), ~key(99), key(4)]), counts) == 1
    rest = np.array([key(i) for i in range(100, 200)])
    assert kh.replay(keyholes, 0, rest, counts) == 94 - 16


@pytest.mark.parametrize(("first", "end"), [("TDR", 1), ("TDCS", 10), ("TDVPS", 25), ("OTHER_TDCS", 34)])
def test_static_slots_adjoin(first: str, end: int) -> None:
    assert getattr(kh, f"STATIC_{first}") < end <= kh.STATIC_SLOTS
    assert end in (kh.STATIC_TDCS, kh.STATIC_TDVPS, kh.STATIC_OTHER_TDCS, kh.STATIC_SLOTS)
