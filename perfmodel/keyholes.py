"""Keyhole maps and misses of a populated region: which LP made which calls, replayed on that LP's keyholes."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernels.keyhole import make_keyholes
from kernels.keyhole_calls import KEYHOLE_COUNTERS, PAGES
from kernels.keyhole_populate import ACCEPT, COLD, COUNTS, DEMAND, GOES_ON, KEYS, PREFAULT, WARM, Turn, replay_region
from kernels.populate import PAGES_PER_RANGE, RANGES_PER_CHUNK, RANGES_PER_REGION
from kernels.ranges import RangeFacts
from kernels.tables import Tables
from perfmodel.backings.contract import REGION_PAGES, RegionBacking
from perfmodel.guests import Guest
from perfmodel.orders import by_vcpu
from perfmodel.scenario import Scenario

_BEYOND_TDR = 1024
"""Pages from the first region's table pages to those of a later one: no longer in one PAMT_4K page with the TDR."""


class KeyholeReplay:
    """Replays regions; one per thread.

    Each vCPU stays on an LP of its own. KVM_PRE_FAULT_MEMORY runs on the first one's. TDR, TDVPR and S-EPT pages
    share a 1 GiB block, so TD exits and entries, whose maps all hit, are left out.

    Parameters
    ----------
    scenario : Scenario
        ``keyholes`` decides whether every range is replayed, or one of each kind.
    guest : Guest
    """

    def __init__(self, scenario: Scenario, guest: Guest) -> None:
        self._scenario = scenario
        self._passes = (PREFAULT, ACCEPT) if guest.prefault else (DEMAND,)
        self._exact = scenario.keyholes == "exact"
        self._keyholes = make_keyholes(1)
        self._memo = np.full((KEYS, KEYHOLE_COUNTERS), -1, np.int64)
        self._pages = np.empty(PAGES, np.int64)
        self._counts = np.zeros((3, COUNTS), np.int64)

    def replay(
        self,
        tables: Tables,
        region: int,
        ordinal: int,
        held: int,
        behind: RegionBacking,
        use: npt.NDArray[np.uint8],
        facts: RangeFacts,
        levels: npt.NDArray[np.int64],
        chunks: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Return maps, misses and estimated pages of a region that has just been populated in ``tables``.

        Parameters
        ----------
        ordinal : int
            How many regions went before.
        held : int
            Level of the lowest entry above the region that the regions before it left.
        levels : ndarray of int64, shape (512,)
            Level that KVM maps each 2M range at.
        chunks : ndarray of int64, shape (256,)
            Order of the 4 MiB chunks, all vCPUs together.

        Returns
        -------
        ndarray of int64, shape (COUNTS,)
            Indexed by ``HOST_MAPS`` to ``GUEST_MISSES`` and ``ESTIMATED``.
        """
        self._counts[0] = 0
        run = facts.contiguous & facts.aligned & (facts.asked == PAGES_PER_RANGE)
        for mode in self._passes:
            missing = walked = 1 if mode == ACCEPT else held
            begin = GOES_ON if mode == ACCEPT else WARM if ordinal else COLD
            shift = _BEYOND_TDR if ordinal else 0
            for ranges in self._orders(mode, chunks):
                replay_region(
                    self._keyholes, tables, region * REGION_PAGES, behind.pfn, use, facts.asked, run, levels, ranges,
                    missing, walked, Turn(mode, begin, shift, self._exact), self._memo, self._pages,
                    self._counts,
                )  # fmt: skip
                if facts.asked[ranges].any():
                    missing, walked, begin = 1, held, WARM
        return np.array(self._counts[0])

    def _orders(self, mode: int, chunks: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the ranges that each LP takes, in its order."""
        if mode == PREFAULT:
            yield np.arange(RANGES_PER_REGION, dtype=np.int64)
            return
        for own in by_vcpu(self._scenario.order, chunks, self._scenario.vcpus):
            yield (own[:, None] * RANGES_PER_CHUNK + np.arange(RANGES_PER_CHUNK)).ravel()
