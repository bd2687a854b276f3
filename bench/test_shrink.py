"""How fast the model adds, blocks, demotes and removes memory, beside the rooflines."""

from typing import Any

import pytest
from flat_guest import FlatGuest, against_roofline

from kernels.counters import BLOCK_4K, DEMOTE, PAGE_ADD, REMOVE_4K


@pytest.fixture(scope="module")
def guest(gib: int) -> FlatGuest:
    return FlatGuest(gib)


@pytest.fixture(scope="module")
def guest_2m(gib: int) -> FlatGuest:
    return FlatGuest(gib, leaf_tables=False)


@pytest.mark.benchmark(group="shrink")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("call", "before", "loop", "counter"),
    [
        ("add", [], "roofline_map", PAGE_ADD), ("block", ["aug", "accept"], "roofline_block", BLOCK_4K),
        ("remove", ["aug", "accept", "block"], "roofline_remove", REMOVE_4K),
    ],
)  # fmt: skip
def test_4k_calls(
    benchmark: Any, guest: FlatGuest, call: str, before: list[str], loop: str, counter: int, threads: int
) -> None:
    """PAGE.ADD, RANGE.BLOCK or PAGE.REMOVE of every page at 4K."""
    workers = against_roofline(benchmark, guest, call, before, loop, threads)
    assert sum(worker.counts[counter] for worker in workers) == guest.pages


@pytest.mark.benchmark(group="shrink")
def test_demote(benchmark: Any, guest_2m: FlatGuest) -> None:
    """PAGE.DEMOTE of every 2M leaf; the new tables come from one pool, so one thread executes it."""
    (worker,) = against_roofline(benchmark, guest_2m, "demote", ["aug_2m", "block"], "roofline_demote", 1)
    assert worker.counts[DEMOTE] == guest_2m.pages >> 9
