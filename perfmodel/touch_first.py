"""A guest that touches memory first and accepts it at 4K when that raises #VE (SEPT_VE_DISABLE is 0)."""

import numpy as np
import numpy.typing as npt

from kernels.counters import ACCEPT_4K, DEMOTE, SEPT_ADD
from kernels.keyhole_calls import GUEST_MISSES, HOST_MISSES
from kernels.keyhole_populate import COUNTS, ESTIMATED
from kernels.life_guest import touch_pages
from kernels.life_state import Knobs, start_life
from kernels.populate import USE_ASKED
from kernels.ranges import RangeFacts
from kernels.tables import Tables
from perfmodel.backings.contract import REGION_PAGES, RegionBacking
from perfmodel.names import INTERFACES
from perfmodel.policies.contract import Policy

_STREAM = 0x70C4
_MISSES_OF_DEMOTE = 4  # observed a call in a sequence of like calls, as in data/work_life.toml


def touch_order(name: str, region: int, seed: int, chunks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of a region's pages: by chunk, or each page by itself for ``random``."""
    if name == "random":
        return np.random.default_rng([_STREAM, seed, region]).permutation(np.arange(REGION_PAGES, dtype=np.int64))
    per_chunk = REGION_PAGES // chunks.size
    return (chunks[:, None] * per_chunk + np.arange(per_chunk)).ravel()


def touch_region(
    tables: Tables,
    gfn: int,
    behind: RegionBacking,
    use: npt.NDArray[np.uint8],
    facts: RangeFacts,
    map_2m: npt.NDArray[np.bool_],
    policy: Policy,
    pages: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> int:
    """Touch the asked pages of one region.

    Parameters
    ----------
    pages : ndarray of int64, shape (262144,)
        Offsets of all pages in the order of :func:`touch_order`.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to.

    Returns
    -------
    int
        SUCCESS, or the status of the first call that failed.
    """
    knobs = Knobs(INTERFACES.index(policy.name))
    life = start_life(tables, gfn, behind.pfn, use, map_2m, facts.folio_order, knobs, counts)
    return int(touch_pages(life, pages[use[pages] == USE_ASKED]))


def keyhole_misses(counts: npt.NDArray[np.int64], mapped: int) -> npt.NDArray[np.int64]:
    """Return an estimate: each accepted page misses, as does each new table; 4K AUGs hit, as those of runs do."""
    estimate = np.zeros(COUNTS, np.int64)
    estimate[HOST_MISSES] = counts[SEPT_ADD] + _MISSES_OF_DEMOTE * counts[DEMOTE]
    estimate[GUEST_MISSES] = counts[ACCEPT_4K]
    estimate[ESTIMATED] = mapped
    return estimate
