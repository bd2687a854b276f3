"""A guest whose tables lie in order, so that a kernel and its roofline run over the same bytes."""

import itertools
import shutil
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from peers import c_peer, rooflines
from ratio import record, seconds

from kernels.batch import accept_region, augment_region, augment_region_2m
from kernels.build import add_region
from kernels.counters import ALL_COUNTERS
from kernels.demote import demote_region
from kernels.fault import LINES, add_missing_tables
from kernels.jit import njit
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK
from kernels.sept_entry import FREE
from kernels.shrink import block_region, remove_region
from kernels.status import SUCCESS
from kernels.tables import TD_NEXT_SEPT, Tables
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform
from perfmodel.td_tables import TdTables

REGION = 1 << 18
PAIRS = 7
_FIRST_BLOCK = 4
_SEPT_BLOCKS = 2  # a 512 GiB guest of 4K pages has a little more than 1 GiB of S-EPT pages
_BLOCKED_AT, _REMOVED_AT = 1, 3  # TD_EPOCHs: blocked, tracked, removed
_ALL = np.zeros(0, np.uint8)

Call = Callable[[], Any]


@njit
def _aug(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        part = pfn[r * REGION : (r + 1) * REGION]
        status |= augment_region(tables, r * REGION, part, chosen, lines, counts)
    return status


@njit
def _aug_2m(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= augment_region_2m(tables, r * REGION, pfn[r * 512 : (r + 1) * 512], lines, counts)
    return status


@njit
def _add(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= add_region(tables, r * REGION, pfn[r * REGION : (r + 1) * REGION], chosen, lines, counts)
    return status


@njit
def _accept(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= accept_region(tables, r * REGION, chosen, counts)
    return status


@njit
def _block(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= block_region(tables, r * REGION, chosen, _BLOCKED_AT, lines, counts)
    return status


@njit
def _remove(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= remove_region(tables, r * REGION, chosen, _REMOVED_AT, False, lines, counts)
    return status


@njit
def _demote(tables, regions, pfn, chosen, lines, counts):  # type: ignore[no-untyped-def]
    status = SUCCESS
    for r in range(regions[0], regions[1]):
        status |= demote_region(tables, r * REGION, chosen, _REMOVED_AT, False, counts)
    return status


class Worker:
    """The batches on some of a guest's regions, with counts and TD fields of its own."""

    def __init__(self, tables: Tables, regions: range, pfn: npt.NDArray[np.int64]) -> None:
        self.tables = tables._replace(td=tables.td.copy())
        self._regions = np.array([regions.start, regions.stop])
        self._pfn, self._first_2m = pfn, pfn[::512].copy()
        self._every = np.ones(REGION, np.uint8)
        self._lines = np.empty(LINES, np.int64)
        self.counts = np.zeros(ALL_COUNTERS, np.int64)
        self._start = self.tables.td.copy()

    def begin(self) -> None:
        """Forget what has been executed; the guest is clear again."""
        self.tables.td[:] = self._start

    def _run(self, batch: Any, pfn: npt.NDArray[np.int64], chosen: npt.NDArray[np.uint8] = _ALL) -> None:
        status = batch(self.tables, self._regions, pfn, chosen, self._lines, self.counts)
        assert status == SUCCESS, hex(status)

    def aug(self) -> None:
        self._run(_aug, self._pfn)

    def aug_2m(self) -> None:
        self._run(_aug_2m, self._first_2m)

    def add(self) -> None:
        self._run(_add, self._pfn, self._every)

    def accept(self) -> None:
        self._run(_accept, self._pfn)

    def block(self) -> None:
        self._run(_block, self._pfn)

    def remove(self) -> None:
        self._run(_remove, self._pfn)

    def demote(self) -> None:
        self._run(_demote, self._pfn)


class FlatGuest:
    """``gib`` GiB of guest memory with every table page linked, or with those of 2M entries only.

    The S-EPT pages of the last level follow each other, and so do the PAMT entries; every page has been touched.

    Attributes
    ----------
    sept : ndarray of uint64, shape (pages,)
    pamt : ndarray of uint64, shape (pages, 2)
    pfn : ndarray of int64, shape (pages,)
        The entries of the last level, PAMT_4K and backing of the guest's pages.
    """

    def __init__(self, gib: int, leaf_tables: bool = True) -> None:
        control = _FIRST_BLOCK + gib + _SEPT_BLOCKS
        tdmr = Tdmr(_FIRST_BLOCK << 30, (gib + _SEPT_BLOCKS) << 30, ())
        held = TdTables(Platform((tdmr,), control), 4, gib)
        held.load(range(_FIRST_BLOCK, control))
        rows = held.tables.sept.shape[0]
        # The S-EPT pages lie right below the control block, which alone could not hold a large guest's.
        self.tables: Tables = held.tables._replace(sept_pfn=control * REGION - rows)
        self.gib, self.pages = gib, gib * REGION
        self.pfn = _FIRST_BLOCK * REGION + np.arange(self.pages)
        counts = np.zeros(ALL_COUNTERS, np.int64)
        for level, step in ((1, REGION), (0, 512)) if leaf_tables else ((1, REGION),):
            self._first_row = int(self.tables.td[TD_NEXT_SEPT])
            for gfn in range(0, self.pages, step):
                assert add_missing_tables(self.tables, gfn, level, counts) == SUCCESS
        self._top_rows = gib
        if not leaf_tables:
            self._first_row = int(self.tables.td[TD_NEXT_SEPT])
        slot = int(self.tables.slot[_FIRST_BLOCK])
        self.sept = self.tables.sept[self._first_row :][: gib * 512].reshape(-1)
        self.pamt = self.tables.pamt_4k[slot * ENTRIES_4K_PER_BLOCK :][: self.pages]
        self._pamt_2m = self.tables.pamt_2m[slot * ENTRIES_2M_PER_BLOCK :][: gib * 512]
        self._leaf_tables = leaf_tables
        self._start = self.tables.td.copy()
        self.clear()

    def clear(self) -> None:
        """Unmap every page; table pages stay."""
        self.sept[:] = FREE
        self.pamt[:] = 0
        self._pamt_2m[:] = 0
        if not self._leaf_tables:
            self.tables.sept[self._first_row - self._top_rows : self._first_row] = FREE
        self._take_tables_back(int(self._start[TD_NEXT_SEPT]))
        self.tables.td[:] = self._start

    def _take_tables_back(self, first_row: int) -> None:
        """Free the S-EPT pages from ``first_row`` on, which DEMOTE has used."""
        pfns = self.tables.sept_pfn + np.arange(first_row, self.tables.sept.shape[0])
        self.tables.pamt_4k[self.tables.slot[pfns >> 18].astype(np.int64) * REGION + (pfns & (REGION - 1))] = 0

    def workers(self, threads: int) -> list[Worker]:
        """Share the regions out."""
        parts = [range(self.gib * i // threads, self.gib * (i + 1) // threads) for i in range(threads)]
        return [Worker(self.tables, part, self.pfn) for part in parts]

    def rooflines(self, name: str, threads: int) -> list[list[Call]]:
        """Return the roofline loop ``name`` in Numba and in C, each as one call a thread."""
        cuts = [self.pages * i // threads for i in range(threads + 1)]
        parts = [(self.sept[a:b], self.pamt[a:b], self.pfn[a:b]) for a, b in itertools.pairwise(cuts)]
        loops = [[lambda p=p: getattr(rooflines, name)(*p) for p in parts]]
        if shutil.which("gcc"):
            loops.append([lambda p=p: c_peer.roofline(name, *p) for p in parts])
        return loops


def slowest_seconds(calls: Sequence[Call], pool: ThreadPoolExecutor) -> float:
    """Return the processor time of the slowest of ``calls``, run side by side, the first on this thread."""
    others = [pool.submit(seconds, call) for call in calls[1:]]
    return max(seconds(calls[0]), *(other.result() for other in others), 0.0)


def ratio_from(prepare: Call, ours: Sequence[Call], theirs: Sequence[Sequence[Call]], alike: bool = False) -> float:
    """Return the rate of ``ours`` over that of the fastest of ``theirs``, as the median over interleaved pairs.

    ``ratio.measure_ratio`` is for calls that leave things as they were; these do not: ``prepare`` runs before each of
    ours, and where both do the same work, ``alike``, before each of theirs. All run once before they count. Each side
    is one call a thread; its processor time counts, which waiting for memory lengthens and waiting for a core does not.
    """
    ratios: list[list[float]] = [[] for _ in theirs]
    with ThreadPoolExecutor(max(1, len(ours) - 1)) as pool:
        for _ in range(PAIRS + 1):
            prepare()
            own = slowest_seconds(ours, pool)
            for calls, found in zip(theirs, ratios, strict=True):
                if alike:
                    prepare()
                found.append(slowest_seconds(calls, pool) / own)
    return min(statistics.median(found[1:]) for found in ratios)


def against_roofline(
    benchmark: Any, guest: FlatGuest, operation: str, before: Sequence[str], loop: str, threads: int
) -> list[Worker]:
    """Measure ``operation`` from what ``before`` leaves, beside the roofline ``loop``; return who executed it."""
    workers = guest.workers(threads)

    def prepare() -> None:
        guest.clear()
        for worker in workers:
            worker.begin()
            for earlier in before:
                getattr(worker, earlier)()
            worker.counts[:] = 0

    ours = [getattr(worker, operation) for worker in workers]
    ratio = ratio_from(prepare, ours, guest.rooflines(loop, threads))
    with ThreadPoolExecutor(max(1, threads - 1)) as pool:
        benchmark.pedantic(slowest_seconds, (ours, pool), setup=prepare, rounds=3)
    level = operation in ("aug_2m", "demote")
    record(benchmark, guest.pages >> 9 * level, "2M pages" if level else "4K pages", ratio)
    return workers
