"""How fast the model itself blocks, demotes and removes one region of 4K or 2M leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.counters import ALL_COUNTERS
from kernels.demote import demote_region
from kernels.fault import LINES, fault
from kernels.shrink import block_region, remove_region
from kernels.status import SUCCESS
from kernels.tables import Tables
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform
from perfmodel.td_tables import TdTables

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_PAGES = 1 << 18
_BLOCK = 4
_ALL = np.zeros(0, np.uint8)
_LEVELS = {"4k": 0, "2m": 1}
_EPOCH = 3


@pytest.fixture
def record(benchmark: Any) -> Callable[..., None]:
    """Return a function that stores what a round processes, and the THP setting."""

    def store(items: int, unit: str) -> None:
        thp = _THP.read_text().strip() if _THP.exists() else "unknown"
        benchmark.extra_info.update(items=items, unit=unit, thp=thp)

    return store


class Region:
    """One region with every page mapped, and a copy of its tables to start each round from."""

    def __init__(self, level: int) -> None:
        held = TdTables(Platform((Tdmr(_BLOCK << 30, 1 << 30, ()),), _BLOCK + 1))
        held.load([_BLOCK])
        self.tables = held.tables
        self._lines, self._counts = np.empty(LINES, np.int64), np.zeros(ALL_COUNTERS, np.int64)
        for gfn in range(0, _PAGES, 1 << (9 * level)):
            assert fault(self.tables, gfn, (_BLOCK << 18) + gfn, level, self._lines, self._counts) == SUCCESS
        self._start: list[np.ndarray] = []
        self.save()

    def arrays(self) -> list[np.ndarray]:
        tables: Tables = self.tables
        return [tables.sept, tables.pamt_2m, tables.pamt_4k, tables.td]

    def save(self) -> None:
        """Start each round from the tables as they are now."""
        self._start = [array.copy() for array in self.arrays()]

    def restore(self) -> None:
        for array, start in zip(self.arrays(), self._start, strict=True):
            array[:] = start

    def block(self) -> None:
        assert block_region(self.tables, 0, _ALL, 1, self._lines, self._counts) == SUCCESS

    def remove(self) -> None:
        assert remove_region(self.tables, 0, _ALL, _EPOCH, False, self._lines, self._counts) == SUCCESS

    def demote(self) -> None:
        assert demote_region(self.tables, 0, _ALL, _EPOCH, False, self._counts) == SUCCESS


def measure(benchmark: Any, region: Region, call: Callable[[], None]) -> None:
    """Time ``call`` from the saved tables, compiled and with its pages touched."""
    call()
    benchmark.pedantic(call, setup=region.restore, rounds=20)


@pytest.mark.parametrize("leaf", _LEVELS)
def test_block_region(benchmark: Any, record: Callable[..., None], leaf: str) -> None:
    region = Region(_LEVELS[leaf])
    record(_PAGES >> (9 * _LEVELS[leaf]), f"{leaf} leaves")
    measure(benchmark, region, region.block)


@pytest.mark.parametrize("leaf", _LEVELS)
def test_remove_region(benchmark: Any, record: Callable[..., None], leaf: str) -> None:
    region = Region(_LEVELS[leaf])
    region.block()
    region.save()
    record(_PAGES >> (9 * _LEVELS[leaf]), f"{leaf} leaves")
    measure(benchmark, region, region.remove)


def test_demote_region(benchmark: Any, record: Callable[..., None]) -> None:
    region = Region(1)
    region.block()
    region.save()
    record(_PAGES >> 9, "2m leaves")
    measure(benchmark, region, region.demote)
