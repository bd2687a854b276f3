"""How fast bulk PAMT lookups find entries, beside a gather of the same entries from places known beforehand."""

from typing import Any

import numpy as np
import pytest
from gather import gather_pairs, gather_pairs_ahead
from large_guest import PATTERNS, LargeGuest, pattern
from ratio import measure_ratio, record

from kernels.pamt import lookup_many

_ITEMS = 1 << 22
_LEVELS = {"4k": 0, "2m": 1}


@pytest.fixture(scope="module", params=_LEVELS)
def mapped(request: pytest.FixtureRequest, gib: int) -> tuple[LargeGuest, int]:
    """A guest wholly mapped at one level."""
    guest = LargeGuest(gib)
    guest.populate(_LEVELS[request.param])
    return guest, _LEVELS[request.param]


@pytest.mark.benchmark(group="PAMT lookup")
@pytest.mark.parametrize("order", PATTERNS)
def test_pamt_lookup(benchmark: Any, mapped: tuple[LargeGuest, int], gib: int, order: str) -> None:
    guest, level = mapped
    pfns = guest.first_pfn + (pattern(order, guest.leaves(level), _ITEMS) << 9 * level)
    levels, words, frames = np.zeros(_ITEMS, np.int8), np.zeros((_ITEMS, 2), np.uint64), np.zeros(512 * gib, np.int32)
    pamt = (guest.tables.pamt_4k, guest.tables.pamt_2m)[level]
    places, out = guest.pamt_places(pfns, level), np.zeros((_ITEMS, 2), np.uint64)

    def ours() -> None:
        lookup_many(guest.tables, pfns, levels, words, frames)

    theirs = [
        lambda: gather_pairs(pamt, places, out),
        lambda: gather_pairs_ahead(pamt, places, out),
        lambda: np.take(pamt, places, axis=0, out=out, mode="clip"),
    ]
    record(benchmark, _ITEMS, "lookups", measure_ratio(ours, theirs))
    benchmark.pedantic(ours, rounds=3)
    assert (levels == level).all()
    np.testing.assert_array_equal(words, out)
