"""How fast 4K faults in random order over the whole guest are, beside bare stores to the same entries."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gather import flip, flip_ahead
from large_guest import LargeGuest
from ratio import record, seconds

_CHUNK = 1 << 20  # its lines are more than the caches hold, so the roofline finds none of them there


def drawn_order(pages: int, first: int, count: int) -> npt.NDArray[np.int64]:
    """Return ``count`` numbers, from the ``first`` on, of a permutation of 0 to ``pages`` - 1, a power of two.

    Each step maps the range one to one onto itself, so no array as long as the guest is needed.
    """
    order = np.arange(first, first + count)
    for multiplier in (0x2545F491, 0x19660D, 0x9E3779B1):
        order = (order * multiplier + 0x3C6EF35F) & (pages - 1)
        order ^= order >> (pages.bit_length() // 2)
    return order


@pytest.mark.benchmark(group="populate random")
def test_populate_random(benchmark: Any, gib: int) -> None:
    """Each page once. The roofline runs on the entries just written and leaves them as they were."""
    guest = LargeGuest(gib)
    pages, spent, roofline, chunks = guest.leaves(0), 0.0, 0.0, iter(range(0, guest.leaves(0), _CHUNK))
    nothing = np.zeros(0, np.int64)
    guest.touch(nothing, nothing, 0)
    words, pairs = guest.tables.sept.reshape(-1), guest.tables.pamt_4k
    for call in (flip, flip_ahead):
        call(words, nothing, pairs, nothing)
    gfns = pfns = nothing

    def compare() -> None:
        nonlocal roofline
        at, pair_at = guest.sept_places(gfns, 0), guest.pamt_places(pfns, 0)
        calls = [lambda: flip(words, at, pairs, pair_at), lambda: flip_ahead(words, at, pairs, pair_at)]
        roofline += min(map(seconds, calls))

    def ours() -> None:
        guest.touch(gfns, pfns, 0)

    def draw() -> None:
        nonlocal gfns, pfns
        if gfns.size:
            compare()
        gfns = drawn_order(pages, next(chunks), min(_CHUNK, pages))
        pfns = guest.first_pfn + gfns

    def timed() -> None:
        nonlocal spent
        spent += seconds(ours)

    benchmark.pedantic(timed, setup=draw, rounds=max(1, pages // _CHUNK))
    compare()
    record(benchmark, gfns.size, "touches", roofline / spent)
