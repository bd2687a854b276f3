"""How fast bulk walks find leaf entries, beside a gather of the same entries from places known beforehand."""

from typing import Any

import numpy as np
import pytest
from gather import gather_words, gather_words_ahead
from large_guest import PATTERNS, LargeGuest, pattern
from ratio import measure_ratio, record

from kernels.walk import walk_many

_ITEMS = 1 << 22
_LEVELS = {"4k": 0, "2m": 1}


@pytest.fixture(scope="module", params=[f"{leaf}-{levels}" for leaf in _LEVELS for levels in (4, 5)])
def mapped(request: pytest.FixtureRequest, gib: int) -> tuple[LargeGuest, int]:
    """A guest wholly mapped at one level, below 4 or 5 levels of S-EPT."""
    leaf, levels = request.param.split("-")
    guest = LargeGuest(gib, int(levels))
    guest.populate(_LEVELS[leaf])
    return guest, _LEVELS[leaf]


@pytest.mark.benchmark(group="walk")
@pytest.mark.parametrize("order", PATTERNS)
def test_walk(benchmark: Any, mapped: tuple[LargeGuest, int], gib: int, order: str) -> None:
    guest, level = mapped
    gfns = pattern(order, guest.leaves(level), _ITEMS) << 9 * level
    reached, entries, states = (np.zeros(_ITEMS, kind) for kind in (np.int8, np.uint64, np.uint8))
    rows = np.zeros(512 * gib, np.int32)
    words, places, out = guest.tables.sept.reshape(-1), guest.sept_places(gfns, level), np.zeros(_ITEMS, np.uint64)

    def ours() -> None:
        walk_many(guest.tables, gfns, level, reached, entries, states, rows)

    theirs = [
        lambda: gather_words(words, places, out),
        lambda: gather_words_ahead(words, places, out),
        lambda: np.take(words, places, out=out, mode="clip"),
    ]
    record(benchmark, _ITEMS, "walks", measure_ratio(ours, theirs))
    benchmark.pedantic(ours, rounds=3)
    assert (reached == level).all()
    np.testing.assert_array_equal(entries, out)
