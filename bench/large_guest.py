"""Whole guests in memory: all tables of one TD, touched and populated before anything is timed."""

import numpy as np
import numpy.typing as npt

from kernels.counters import COUNTERS
from kernels.fault import LINES
from kernels.jit import njit
from kernels.status import SUCCESS
from kernels.tables import Tables
from kernels.touch import BATCH, touch_many
from kernels.walk import walk
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform
from perfmodel.td_tables import TdTables

_FIRST_BLOCK = 4
_SEPT_BLOCKS = 2  # a 512 GiB guest of 4K pages has a little more than 1 GiB of S-EPT pages
_REGION_PAGES = 1 << 18


class LargeGuest:
    """One TD's tables for ``gib`` GiB of guest memory, empty at first; GFN ``g`` gets PFN ``first_pfn + g``."""

    first_pfn = _FIRST_BLOCK * _REGION_PAGES

    def __init__(self, gib: int, levels: int = 4) -> None:
        control = _FIRST_BLOCK + gib + _SEPT_BLOCKS
        tdmr = Tdmr(_FIRST_BLOCK << 30, (gib + _SEPT_BLOCKS) << 30, ())
        held = TdTables(Platform((tdmr,), control), levels, gib)
        held.tables.sept[1:, ::512] = 0  # one store in each page is its first touch
        held.load(range(_FIRST_BLOCK, control))
        for pamt in (held.tables.pamt_4k, held.tables.pamt_2m):
            pamt[::256] |= np.uint64(0)  # numpy would skip assigning a part of an array to itself
        rows = held.tables.sept.shape[0]
        # The S-EPT pages lie right below the control block, which alone could not hold a large guest's.
        self.tables: Tables = held.tables._replace(sept_pfn=control * _REGION_PAGES - rows)
        self._gib = gib
        self._rows, self._slots = np.full(gib * 512, -1, np.int32), np.empty(self.tables.slot.size, np.int32)
        self._places, self._lines = np.empty((2, BATCH), np.uint64), np.zeros(LINES, np.int64)
        self._counts = np.zeros(COUNTERS, np.int64)

    def leaves(self, level: int) -> int:
        """Return how many leaves at ``level`` the guest has."""
        return self._gib * _REGION_PAGES >> 9 * level

    def touch(self, gfns: npt.NDArray[np.int64], pfns: npt.NDArray[np.int64], level: int) -> None:
        """Fault on ``gfns`` in turn."""
        scratch = (self._rows, self._slots, self._places)
        status, done = touch_many(self.tables, gfns, pfns, level, *scratch, self._lines, self._counts)
        assert (status, done) == (SUCCESS, gfns.size), f"{status:#x} after {done}"

    def populate(self, level: int) -> None:
        """Map every page with a leaf at ``level``, in GFN order."""
        for first in range(0, self._gib * _REGION_PAGES, _REGION_PAGES):
            gfns = np.arange(first, first + _REGION_PAGES, 1 << 9 * level)
            self.touch(gfns, self.first_pfn + gfns, level)

    def sept_places(self, gfns: npt.NDArray[np.int64], level: int) -> npt.NDArray[np.int64]:
        """Return where the entries of ``gfns`` lie in the flat S-EPT array."""
        places = np.empty(gfns.size, np.int64)
        _sept_places(self.tables, gfns, level, places)
        return places

    def pamt_places(self, pfns: npt.NDArray[np.int64], level: int) -> npt.NDArray[np.int64]:
        """Return where the entries of ``pfns`` lie in the PAMT of ``level``."""
        shift = 18 - 9 * level
        slots = self.tables.slot[pfns >> 18].astype(np.int64)
        return slots << shift | pfns >> 9 * level & (1 << shift) - 1


@njit
def _sept_places(tables, gfns, level, places):  # type: ignore[no-untyped-def]
    for i in range(gfns.size):
        _, row, index, _ = walk(tables, gfns[i], level)
        places[i] = row * 512 + index


def pattern(name: str, leaves: int, items: int) -> npt.NDArray[np.int64]:
    """Return ``items`` leaf numbers below ``leaves``, a power of two: in order, drawn, or one table apart."""
    order = np.arange(items) % leaves
    if name == "random":
        return np.random.default_rng(0).integers(0, leaves, items)
    if name == "strided":
        return order * 512 % leaves + order * 512 // leaves
    return order


PATTERNS = ["sequential", "random", "strided"]
