"""The kernels beside C, numpy and plain Python that do the same work; first both must leave equal tables and counts."""

import statistics
import time
from typing import Any

import numpy as np
import pytest
from flat_guest import REGION, FlatGuest, ratio_from
from peers import numpy_peer
from peers.c_peer import COUNTED, CPeer
from ratio import thp

from kernels.batch import augment_region
from kernels.counters import AUG_4K, COUNTERS
from kernels.fault import LINES
from kernels.pamt import lookup_many
from kernels.status import SUCCESS
from kernels.tables import TD_CHLDCNT
from kernels.walk import walk_many

_GIB = 16
_ITEMS = 1 << 21
_NUMBERS = {"sequential": lambda pages: np.arange(_ITEMS), "random": lambda pages: _drawn(pages)}


def _drawn(pages: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, pages, _ITEMS)


@pytest.fixture(scope="module")
def guest() -> FlatGuest:
    return FlatGuest(_GIB)


def store(benchmark: Any, items: int, unit: str, peer: str, ratio: float) -> None:
    benchmark.extra_info.update(items=items, unit=unit, peer=peer, peer_ratio=round(ratio, 3), thp=thp())


@pytest.mark.benchmark(group="peer C")
@pytest.mark.parametrize("backing", ["contiguous", "scattered"])
@pytest.mark.parametrize("call", ["aug", "accept"])
def test_calls_against_c(benchmark: Any, guest: FlatGuest, call: str, backing: str) -> None:
    """AUG or ACCEPT of every page at 4K; scattered pages are in random order within each 2M frame."""
    guest.pfn.sort()
    if backing == "scattered":
        frames = np.random.default_rng(0).permuted(guest.pfn.reshape(-1, 512), axis=1)
        guest.pfn[:] = frames.reshape(-1)
    (worker,), peer = guest.workers(1), CPeer(guest.tables)

    def theirs() -> None:
        for gfn in range(0, guest.pages, REGION):
            if call == "aug":
                assert peer.augment_region(gfn, guest.pfn[gfn : gfn + REGION]) == SUCCESS
            else:
                assert peer.accept_region(gfn) == SUCCESS

    def prepare() -> None:
        guest.clear()
        worker.begin()
        worker.counts[:] = 0
        if call == "accept":
            worker.aug()

    ours = getattr(worker, call)
    prepare()
    start, children = worker.counts[list(COUNTED)], int(worker.tables.td[TD_CHLDCNT])
    ours()
    left = [guest.sept.copy(), guest.pamt.copy()]
    counted = worker.counts[list(COUNTED)] - start
    mapped = int(worker.tables.td[TD_CHLDCNT]) - children
    prepare()
    theirs()
    np.testing.assert_array_equal(guest.sept, left[0])
    np.testing.assert_array_equal(guest.pamt, left[1])
    assert peer.counts.tolist() == counted.tolist()
    assert peer.children - int(guest.tables.td[TD_CHLDCNT]) == mapped == (guest.pages if call == "aug" else 0)
    store(benchmark, guest.pages, "4K pages", "C", ratio_from(prepare, [ours], [[theirs]], alike=True))
    benchmark.pedantic(ours, setup=prepare, rounds=3)


@pytest.mark.benchmark(group="peer C")
@pytest.mark.parametrize("order", _NUMBERS)
def test_walks_against_c(benchmark: Any, guest: FlatGuest, order: str) -> None:
    guest.clear()
    guest.workers(1)[0].aug()
    gfns, peer, rows = _NUMBERS[order](guest.pages), CPeer(guest.tables), np.zeros(guest.pages >> 9, np.int32)
    ours_out, theirs_out = (
        [np.zeros(_ITEMS, kind) for kind in (np.int8, np.uint64, np.uint8)] for _ in range(2)
    )  # fmt: skip

    def ours() -> None:
        walk_many(guest.tables, gfns, 0, *ours_out, rows)

    def theirs() -> None:
        peer.walk_many(gfns, 0, *theirs_out)

    ours()
    theirs()
    for mine, other in zip(ours_out, theirs_out, strict=True):
        np.testing.assert_array_equal(mine, other)
    store(benchmark, _ITEMS, "walks", "C", ratio_from(lambda: None, [ours], [[theirs]]))
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.benchmark(group="peer C")
@pytest.mark.parametrize("order", _NUMBERS)
def test_lookups_against_c(benchmark: Any, guest: FlatGuest, order: str) -> None:
    guest.clear()
    guest.workers(1)[0].aug()
    pfns, peer = guest.pfn.min() + _NUMBERS[order](guest.pages), CPeer(guest.tables)
    ours_out, theirs_out = ([np.zeros(_ITEMS, np.int8), np.zeros((_ITEMS, 2), np.uint64)] for _ in range(2))
    frames = np.zeros(guest.pages >> 9, np.int32)

    def ours() -> None:
        lookup_many(guest.tables, pfns, *ours_out, frames)

    def theirs() -> None:
        peer.lookup_many(pfns, *theirs_out)

    ours()
    theirs()
    for mine, other in zip(ours_out, theirs_out, strict=True):
        np.testing.assert_array_equal(mine, other)
    store(benchmark, _ITEMS, "lookups", "C", ratio_from(lambda: None, [ours], [[theirs]]))
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.benchmark(group="peer numpy")
def test_aug_against_numpy(benchmark: Any) -> None:
    """AUG of one region at 4K."""
    guest = FlatGuest(1)
    (worker,) = guest.workers(1)
    counts = np.zeros(COUNTERS, np.int64)

    def prepare() -> None:
        guest.clear()
        worker.begin()
        worker.counts[:] = 0

    def theirs() -> None:
        numpy_peer.augment_region(guest.tables, 0, guest.pfn, counts)

    prepare()
    worker.aug()
    sept, pamt = guest.sept.copy(), guest.pamt.copy()
    counted = worker.counts[:COUNTERS].tolist()
    prepare()
    theirs()
    np.testing.assert_array_equal(guest.sept, sept)
    np.testing.assert_array_equal(guest.pamt, pamt)
    assert guest.tables.td[TD_CHLDCNT] == worker.tables.td[TD_CHLDCNT] + guest.pages
    assert counts.tolist() == counted
    store(benchmark, guest.pages, "4K pages", "numpy", ratio_from(prepare, [worker.aug], [[theirs]], alike=True))
    benchmark.pedantic(worker.aug, setup=prepare, rounds=3)


@pytest.mark.benchmark(group="peer Python")
def test_aug_against_python(benchmark: Any) -> None:
    """AUG of four 2M ranges at 4K, by the twin of the tests."""
    bridge = pytest.importorskip("bridge", reason="the plain-Python twin is part of the tests")
    pages, levels = 4 * 512, 4
    pfn, chosen = np.zeros(REGION, np.int64), np.zeros(REGION, np.uint8)
    pfn[:pages], chosen[:pages] = (bridge.FIRST_BLOCK << 18) + np.arange(pages), 1
    held = bridge.make_tables(levels)
    twin, driver = bridge.make_twin(held), bridge.KernelModule(held)
    for module in (twin, driver):
        for gpa, level in [(0, 3), (0, 2), *((r << 21, 1) for r in range(4))]:
            assert module.sept_add(gpa, level, module.next_table) == SUCCESS
            module.next_table += 4096
    lines, counts = np.empty(LINES, np.int64), np.zeros(COUNTERS, np.int64)
    start = [array.copy() for array in (held.tables.sept, held.tables.pamt_4k, held.tables.td)]

    def prepare() -> None:
        for array, before in zip((held.tables.sept, held.tables.pamt_4k, held.tables.td), start, strict=True):
            array[:] = before

    def ours() -> None:
        assert augment_region(held.tables, 0, pfn, chosen, lines, counts) == SUCCESS

    def theirs() -> None:
        for gfn in range(pages):
            assert twin.page_aug(gfn << 12, 0, int(pfn[gfn]) << 12) == SUCCESS

    ours()
    began = time.perf_counter()
    theirs()  # once: what it maps stays mapped
    spent = time.perf_counter() - began
    bridge.assert_same(held, twin)
    assert counts[AUG_4K] == pages
    prepare()
    benchmark.pedantic(ours, setup=prepare, rounds=9)
    if benchmark.enabled:
        store(benchmark, pages, "4K pages", "Python", spent / statistics.median(benchmark.stats.stats.data))
