"""Do the single-call kernels of the bulk path, the exact calls and the twin answer random sequences alike?

Sequences are those that the bulk path can express: one TD that runs or is being built, without locks on the TD.
"""

import bridge
import pytest
import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from three import Three

from kernels.tables import TD_TDR_PFN

K, M, G = 1 << 12, 1 << 21, 1 << 30
BASE = bridge.FIRST_BLOCK << 30
GPAS = (0, K, 511 * K, M, 2 * M, 2 * M + K, G, 1 << 39)
PAGES = (*(BASE + i * K for i in range(6)), BASE + 3 * K, BASE + M, BASE + 2 * M, BASE + 2 * M, BASE + G)
BAD_PAGES = (BASE + (3 << 30), BASE - K, BASE + M + K, (1 << 46) + K, 0)
CALLS = ("sept_add", "page_aug", "page_aug", "accept", "accept", "block", "block", "remove", "demote", "track", "track")

MOVE = st.tuples(
    st.sampled_from([*CALLS, "inside", "lock", "pamt", "map", "map"]),
    st.sampled_from(GPAS),
    st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3, 4]),
    st.sampled_from([*PAGES, *PAGES, *BAD_PAGES]),
)


class Sequence:
    """Three implementations, TD_EPOCH, and whether a vCPU stays inside across the next TRACK."""

    def __init__(self, levels: int, op_state: str) -> None:
        self.three = Three(bridge.make_tables(levels, blocks=2, regions=2), op_state)
        self.levels = levels
        self.epoch, self.inside = 1, False
        self.tdr = int(self.three.held.tables.td[TD_TDR_PFN]) << 12

    def move(self, name: str, gpa: int, level: int, page: int) -> None:
        """Make one call, or what comes before calls."""
        three = self.three
        if name == "map":
            level = min(level, 1)
            for parent in range(self.levels - 1, level, -1):
                three.sept_add(gpa - gpa % tw.page_bytes(parent), parent)
            three.page_aug(gpa - gpa % tw.page_bytes(level), level, page)
        elif name == "inside":
            self.inside = not self.inside
        elif name == "track":
            self.epoch += 1
            three.set_epoch(self.epoch, self.inside)
        elif name == "lock":
            at = three.twin.at(gpa, level)
            three.set_raw(gpa, level, three.twin.raw(at) ^ (tw.ENTRY_LOCK if page % M else tw.ENTRY_HP))
        elif name == "pamt":
            if page >> 30 in (bridge.FIRST_BLOCK, bridge.FIRST_BLOCK + 1):
                small = min(level, 1)
                lock = three.twin.entry(small, page).lock
                three.set_pamt(page, small, lock=0 if lock else (tw.EXCLUSIVE, tw.HP, tw.READER)[gpa // K % 3])
        elif name in ("sept_add", "demote"):
            pool = page % M // K
            getattr(three, name)(gpa, level, None if pool < 4 else self.tdr + pool * K)
        elif name == "page_aug":
            three.page_aug(gpa, level, page)
        else:
            getattr(three, name)(gpa, level)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(levels=st.sampled_from([4, 5]), moves=st.lists(MOVE, min_size=3, max_size=40))
def test_a_td_that_runs(levels: int, moves: list[tuple[str, int, int, int]]) -> None:
    sequence = Sequence(levels, "RUNNABLE")
    for move in moves:
        sequence.move(*move)
        sequence.three.assert_equal()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    levels=st.sampled_from([4, 5]),
    moves=st.lists(
        st.tuples(st.sampled_from(GPAS), st.sampled_from([0, 0, 0, 1, 2, 3]), st.sampled_from([*PAGES, *BAD_PAGES])),
        min_size=3, max_size=30,
    ),
)  # fmt: skip
def test_a_td_that_is_built(levels: int, moves: list[tuple[int, int, int]]) -> None:
    three = Three(bridge.make_tables(levels, blocks=2, regions=2), "INITIALIZED")
    for gpa, level, page in moves:
        if level:
            for parent in range(levels - 1, level - 1, -1):
                three.sept_add(gpa - gpa % tw.page_bytes(parent), parent)
        else:
            three.page_add(gpa, page)
        three.assert_equal()


@pytest.mark.parametrize("levels", [4, 5])
def test_a_life_in_which_every_call_succeeds(levels: int) -> None:
    sequence = Sequence(levels, "RUNNABLE")
    three = sequence.three
    for parent in range(levels - 1, 0, -1):
        assert three.sept_add(0, parent) == tw.SUCCESS
    assert three.page_aug(0, 0, BASE) == three.page_aug(M, 1, BASE + M) == tw.SUCCESS
    assert three.accept(0, 0) == three.accept(M, 1) == tw.SUCCESS
    assert three.block(0, 0) == three.block(M, 1) == tw.SUCCESS
    sequence.move("track", 0, 0, 0)
    assert three.remove(0, 0) == three.demote(M, 1) == tw.SUCCESS
    assert three.block(M + 7 * K, 0) == tw.SUCCESS
    sequence.inside = True
    sequence.move("track", 0, 0, 0)
    assert three.remove(M + 7 * K, 0) == tw.TLB_TRACKING_NOT_DONE + tw.RCX
    sequence.inside = False
    sequence.move("track", 0, 0, 0)
    assert three.remove(M + 7 * K, 0) == tw.SUCCESS
    three.assert_equal()
