"""Does one SEAMCALL or TDCALL answer, and leave the tables, as the module does?

Expected values: tdx-module.md sections 2, 6, 7 and 12, and FORMAT.md sections 3, 4 and 7.
"""

import bridge
import pytest
import twin_words as tw

from kernels.tables import TD_GPA_BITS
from perfmodel.td_tables import TdTables

BASE = bridge.FIRST_BLOCK << 30
RESERVED_HPA = BASE + bridge.Pair.RESERVED[0][0]
FRAME = BASE + (16 << 21)  # a free 2M frame
GPA_4K, GPA_2M, GPA_NONE = 0x0, 4 << 21, 3 << 30
"""A GPA with a table of 4K entries, one with a table of 2M entries only, one with no table below the root's."""


@pytest.fixture(params=[4, 5])
def pair(request: pytest.FixtureRequest) -> bridge.Pair:
    return bridge.Pair(request.param)


# --- success


def test_aug_and_accept_4k(pair: bridge.Pair) -> None:
    before = pair.twin.td.chldcnt
    assert pair.aug(0x5000, 0, FRAME + 0x3000) == tw.SUCCESS
    assert pair.raw(0x5000, 0) == tw.PENDING | FRAME + 0x3000
    assert pair.twin.td.chldcnt == before + 1
    assert pair.twin.entry(0, FRAME + 0x3000) == tw.PamtEntry(0, tw.REG, pair.twin.td.tdr >> 12, 0)
    assert pair.accept(0x5000, 0) == tw.SUCCESS
    assert pair.raw(0x5000, 0) == tw.MAPPED | FRAME + 0x3000


def test_aug_and_accept_2m(pair: bridge.Pair) -> None:
    before = pair.twin.td.chldcnt
    assert pair.aug(GPA_2M, 1, FRAME) == tw.SUCCESS
    assert pair.raw(GPA_2M, 1) == tw.PENDING | FRAME
    assert pair.twin.td.chldcnt == before + 512
    assert pair.twin.entry(1, FRAME).type == tw.REG
    assert pair.twin.entry(0, FRAME).type == tw.NDA  # the type lives at leaf level only
    assert pair.accept(GPA_2M, 1) == tw.SUCCESS
    assert pair.raw(GPA_2M, 1) == tw.MAPPED | FRAME


def test_sept_add(pair: bridge.Pair) -> None:
    new, before = pair.twin.next_table, pair.twin.td.chldcnt
    assert pair.sept_add(GPA_2M, 1) == tw.SUCCESS
    assert pair.raw(GPA_2M, 1) == tw.NL_MAPPED | new
    assert pair.twin.pages[new] == [tw.FREE] * 512
    assert pair.twin.td.chldcnt == before + 1
    assert pair.twin.entry(0, new) == tw.PamtEntry(0, tw.EPT, pair.twin.td.tdr >> 12, 0)


def test_stale_bepoch_is_cleared(pair: bridge.Pair) -> None:
    pair.preset(0, FRAME, bepoch=99, owner=77)
    assert pair.aug(0x1000, 0, FRAME) == tw.SUCCESS
    pair.preset(1, FRAME + (1 << 21), bepoch=99, owner=77)
    assert pair.aug(GPA_2M, 1, FRAME + (1 << 21)) == tw.SUCCESS
    assert pair.twin.entry(1, FRAME + (1 << 21)).bepoch == 0


# --- golden error vectors of tdx-module.md 12


@pytest.mark.parametrize(
    ("gpa", "level"),
    [(0, 2), (0, 3), (0, -1), (0x800, 0), (4096, 1), (1 << 47, 0), (1 << 48, 0), (1 << 51, 1), (1 << 52, 0),
     (-4096, 0), (-(1 << 21), 1), ((1 << 47) + 4096, 0)],
)  # fmt: skip
def test_bad_gpa_or_level(gpa: int, level: int) -> None:
    pair = bridge.Pair()
    assert pair.aug(gpa, level, FRAME) == 0xC000010000000001
    assert pair.accept(gpa, level) == 0xC000010000000001


@pytest.mark.parametrize(
    ("gpa", "level"), [(0, 0), (0, 4), (0, -1), (4096, 1), (1 << 21, 2), (1 << 30, 3), (1 << 47, 1), (1 << 51, 3)]
)
def test_bad_gpa_or_level_of_sept_add(gpa: int, level: int) -> None:
    assert bridge.Pair().sept_add(gpa, level) == 0xC000010000000001


def test_gpa_width() -> None:
    wide = bridge.Pair(5)
    assert wide.aug((1 << 51) - 4096, 0, FRAME) == 0xC0000B0000000001  # valid, no table
    assert wide.aug(1 << 51, 0, FRAME) == 0xC000010000000001
    assert wide.sept_add(0, 4) == 0xC0000B0D00000001  # level 4 exists with 5 levels
    wide.held.tables.td[TD_GPA_BITS] = wide.twin.td.gpa_bits = 47  # gpaw 0 with 5 levels
    assert wide.aug(1 << 47, 0, FRAME) == 0xC000010000000001


def test_accept_1g_is_invalid(pair: bridge.Pair) -> None:
    assert pair.accept(0, 2) == 0xC000010000000001
    assert pair.twin.walk_reads == pair.kernels.walk_reads == 0


def test_aug_4k_beneath_a_2m_leaf(pair: bridge.Pair) -> None:
    pair.aug(GPA_2M, 1, FRAME)
    for accepted in (False, True):
        assert pair.aug(GPA_2M + 0x3000, 0, FRAME + (1 << 21)) == 0xC0000B0000000001
        if not accepted:
            assert pair.accept(GPA_2M, 1) == tw.SUCCESS


def test_aug_without_a_table(pair: bridge.Pair) -> None:
    assert pair.aug(GPA_2M, 0, FRAME) == 0xC0000B0000000001
    assert pair.aug(GPA_NONE, 1, FRAME) == 0xC0000B0000000001
    assert pair.sept_add(GPA_NONE, 1) == 0xC0000B0000000001
    assert pair.accept(GPA_2M, 0) == tw.EXIT
    assert pair.accept(GPA_NONE, 1) == tw.EXIT


def test_walk_under_a_blocked_table(pair: bridge.Pair) -> None:
    pair.poke(GPA_4K, 1, lambda raw: raw & tw.HPA | tw.NL_BLOCKED)
    assert pair.aug(GPA_4K, 0, FRAME) == 0xC0000B0000000001
    assert pair.accept(GPA_4K, 0) == tw.EXIT
    assert pair.accept(GPA_4K, 1) == 0xC0000B0B00000001
    assert pair.aug(GPA_4K, 1, FRAME) == 0xC0000B0D00000001


def test_aug_twice(pair: bridge.Pair) -> None:
    pair.aug(GPA_4K, 0, FRAME)
    assert pair.aug(GPA_4K, 0, FRAME + 0x1000) == 0xC0000B0D00000001
    pair.accept(GPA_4K, 0)
    assert pair.aug(GPA_4K, 0, FRAME + 0x1000) == 0xC0000B0D00000001
    assert pair.aug(GPA_4K, 1, FRAME) == 0xC0000B0D00000001  # a table is there
    assert pair.sept_add(GPA_4K, 1) == 0xC0000B0D00000001


def test_state_is_checked_before_the_page(pair: bridge.Pair) -> None:
    pair.aug(GPA_4K, 0, FRAME)
    assert pair.aug(GPA_4K, 0, FRAME + 1) == 0xC0000B0D00000001
    assert pair.aug(GPA_4K, 0, 1 << 40) == 0xC0000B0D00000001
    assert pair.aug(GPA_2M, 0, FRAME + 0x1000) == 0xC0000B0000000001


@pytest.mark.parametrize("hpa", [0, BASE - 4096, BASE + (4 << 30), 1 << 46])
def test_page_outside_every_tdmr(pair: bridge.Pair, hpa: int) -> None:
    assert pair.aug(GPA_4K + 0x1000, 0, hpa) == 0xC000010100000008


@pytest.mark.parametrize("hpa", [1 << 52, 1 << 62])
def test_page_beyond_52_address_bits(pair: bridge.Pair, hpa: int) -> None:
    assert pair.aug(GPA_4K + 0x1000, 0, hpa) == 0xC000010000000008


def test_misaligned_2m_page(pair: bridge.Pair) -> None:
    assert pair.aug(GPA_2M, 1, FRAME + 0x1000) == 0xC000010000000008
    assert pair.aug(GPA_2M, 1, BASE - 4096) == 0xC000010000000008  # before the TDMR check
    assert pair.aug(GPA_2M, 1, BASE - (1 << 21)) == 0xC000010100000008


@pytest.mark.parametrize("page_type", [tw.RSVD, tw.REG, tw.TDCX, tw.TDVPR, tw.EPT])
def test_page_in_use(pair: bridge.Pair, page_type: int) -> None:
    pair.preset(0, FRAME + 0x7000, type=page_type, owner=3)
    assert pair.aug(GPA_4K, 0, FRAME + 0x7000) == 0xC000030000000008
    assert pair.aug(GPA_2M, 1, FRAME) == 0xC000030000000008


@pytest.mark.parametrize("index", [0, 1, 255, 511])
def test_2m_page_with_one_4k_used_below(pair: bridge.Pair, index: int) -> None:
    assert pair.aug(GPA_4K, 0, FRAME + index * 4096) == tw.SUCCESS
    assert pair.aug(GPA_2M, 1, FRAME) == 0xC000030000000008
    assert pair.aug(GPA_2M, 1, FRAME + (1 << 21)) == tw.SUCCESS


def test_reserved_page(pair: bridge.Pair) -> None:
    assert pair.aug(GPA_4K, 0, RESERVED_HPA) == 0xC000030000000008
    assert pair.aug(GPA_2M, 1, RESERVED_HPA) == 0xC000030000000008
    assert pair.aug(GPA_4K, 0, RESERVED_HPA + 4096) == tw.SUCCESS


def test_page_under_a_2m_or_1g_page(pair: bridge.Pair) -> None:
    pair.aug(GPA_2M, 1, FRAME)
    assert pair.aug(GPA_4K, 0, FRAME + 0x5000) == 0xC000030000000008
    assert pair.aug(GPA_2M + (1 << 21), 1, FRAME) == 0xC000030000000008
    pair.preset(2, BASE + (1 << 30), type=tw.REG)
    assert pair.aug(GPA_4K, 0, BASE + (1 << 30) + 0x5000) == 0xC000030000000008
    assert pair.aug(GPA_2M + (1 << 21), 1, BASE + (1 << 30)) == 0xC000030000000008


def test_sept_page_in_use(pair: bridge.Pair) -> None:
    used = pair.twin.next_table - 4096  # a table already
    assert pair.sept_add(GPA_2M, 1, used) == 0xC000030000000008
    assert pair.sept_add(GPA_2M, 1, pair.twin.td.root) == 0xC000030000000008
    assert pair.aug(GPA_4K, 0, used) == 0xC000030000000008
    assert pair.aug(GPA_4K, 0, pair.twin.td.tdr + 4096) == 0xC000030000000008


@pytest.mark.parametrize(("call", "gpa", "level"), [("page_aug", GPA_4K, 0), ("page_aug", GPA_2M, 1),
                                                    ("sept_add", GPA_2M, 1)])  # fmt: skip
def test_the_call_holds_its_own_tdr(pair: bridge.Pair, call: str, gpa: int, level: int) -> None:
    hpa = pair.twin.td.tdr & -(1 << 21) if (call, level) == ("page_aug", 1) else pair.twin.td.tdr
    for module in (pair.twin, pair.kernels):
        assert getattr(module, call)(gpa, level, hpa) == 0x8000020000000008
    assert pair.aug(0x5000, 0, FRAME) == tw.SUCCESS  # it clears the host priority that the refusal left at the TDR


# --- locks


def test_locked_entry(pair: bridge.Pair) -> None:
    pair.poke(0x3000, 0, lambda raw: raw | tw.ENTRY_LOCK)
    assert pair.aug(0x3000, 0, FRAME) == 0x8000020000000001
    assert pair.raw(0x3000, 0) == tw.FREE | tw.ENTRY_LOCK | tw.ENTRY_HP
    assert pair.accept(0x3000, 0) == 0x8000020000000001
    pair.poke(0x3000, 0, lambda raw: raw & ~tw.ENTRY_LOCK)
    assert pair.accept(0x3000, 0) == 0x8000020400000001  # module-internal
    assert pair.aug(0x3000, 0, 0) == 0xC000010100000008  # a host call clears it, successful or not
    assert pair.raw(0x3000, 0) == tw.FREE
    pair.poke(0x3000, 0, lambda raw: raw | tw.ENTRY_HP)
    assert pair.aug(0x3000, 0, FRAME) == tw.SUCCESS
    assert pair.raw(0x3000, 0) == tw.PENDING | FRAME


def test_locked_parent_entry(pair: bridge.Pair) -> None:
    pair.poke(GPA_2M, 1, lambda raw: raw | tw.ENTRY_LOCK)
    assert pair.sept_add(GPA_2M, 1) == 0x8000020000000001
    pair.poke(GPA_2M, 1, lambda raw: raw & ~tw.ENTRY_LOCK)
    assert pair.raw(GPA_2M, 1) == tw.FREE | tw.ENTRY_HP
    assert pair.sept_add(GPA_2M, 1, pair.twin.next_table + 5 * 4096) == tw.SUCCESS
    assert pair.raw(GPA_2M, 1) & tw.ENTRY_HP == 0


def test_lock_is_checked_before_the_state(pair: bridge.Pair) -> None:
    pair.aug(GPA_4K, 0, FRAME)
    pair.poke(GPA_4K, 0, lambda raw: raw | tw.ENTRY_LOCK)
    assert pair.aug(GPA_4K, 0, FRAME) == 0x8000020000000001
    assert pair.accept(GPA_4K, 0) == 0x8000020000000001
    pair.poke(GPA_4K, 0, lambda raw: raw & ~tw.ENTRY_LOCK)  # host priority stays
    assert pair.accept(GPA_4K, 0) == 0x8000020400000001
    assert pair.aug(GPA_4K, 0, FRAME) == 0xC0000B0D00000001  # clears it
    assert pair.accept(GPA_4K, 0) == tw.SUCCESS


def test_walk_ignores_a_lock_on_the_way(pair: bridge.Pair) -> None:
    pair.poke(GPA_4K, 1, lambda raw: raw | tw.ENTRY_LOCK | tw.ENTRY_HP)
    assert pair.aug(GPA_4K, 0, FRAME) == tw.SUCCESS
    assert pair.accept(GPA_4K, 0) == tw.SUCCESS
    assert pair.accept(GPA_4K, 1) == 0x8000020000000001


@pytest.mark.parametrize("at", [0, 1, 2])
def test_locked_pamt_of_the_target(pair: bridge.Pair, at: int) -> None:
    entry = pair.preset(at, FRAME, lock=tw.EXCLUSIVE)
    assert pair.aug(GPA_4K, 0, FRAME) == 0x8000020000000008
    assert entry.lock & tw.HP
    assert pair.raw(GPA_4K, 0) == tw.FREE
    pair.preset(at, FRAME, lock=tw.HP)
    assert pair.aug(GPA_4K, 0, FRAME) == tw.SUCCESS
    assert entry.lock == 0


def test_2m_and_readers(pair: bridge.Pair) -> None:
    pair.preset(0, FRAME + 0x1000, lock=tw.EXCLUSIVE)  # children are read without their locks
    assert pair.aug(GPA_2M, 1, FRAME) == tw.SUCCESS
    entry = pair.preset(1, FRAME + (1 << 21), lock=tw.READER)
    assert pair.aug(GPA_2M + (1 << 21), 1, FRAME + (1 << 21)) == 0x8000020000000008
    assert entry.lock == tw.READER | tw.HP


def test_2m_locked_exclusively(pair: bridge.Pair) -> None:
    """pamt_walk takes PAMT_2M shared first: the failed attempt leaves its reader behind."""
    entry = pair.preset(1, FRAME, lock=tw.EXCLUSIVE)
    assert pair.aug(GPA_2M, 1, FRAME) == 0x8000020000000008
    assert entry.lock == tw.EXCLUSIVE | tw.HP | tw.READER


# --- ACCEPT


def test_accept_again(pair: bridge.Pair) -> None:
    pair.aug(GPA_4K, 0, FRAME)
    pair.accept(GPA_4K, 0)
    assert pair.accept(GPA_4K, 0) == 0x00000B0A00000000
    pair.aug(GPA_2M, 1, FRAME + (1 << 21))
    pair.accept(GPA_2M, 1)
    assert pair.accept(GPA_2M, 1) == 0x00000B0A00000001
    assert pair.accept(GPA_2M + 0x7000, 0) == 0x00000B0A00000001  # the level reached


def test_accept_at_another_size(pair: bridge.Pair) -> None:
    assert pair.accept(GPA_4K, 1) == 0xC0000B0B00000001
    pair.aug(GPA_2M, 1, FRAME)
    assert pair.accept(GPA_2M + 0x5000, 0) == tw.EXIT  # a larger PENDING leaf
    pair.poke(GPA_2M, 1, lambda raw: raw & tw.HPA | tw.BLOCKED)
    assert pair.accept(GPA_2M + 0x5000, 0) == tw.EXIT


def test_accept_of_nothing(pair: bridge.Pair) -> None:
    assert pair.accept(GPA_4K, 0) == tw.EXIT
    assert pair.accept(GPA_2M, 1) == tw.EXIT
    assert pair.raw(GPA_4K, 0) == tw.FREE


@pytest.mark.parametrize("counter", [0, 1, 300, 511])
def test_accept_counter(pair: bridge.Pair, counter: int) -> None:
    pair.aug(GPA_2M, 1, FRAME)
    pair.poke(GPA_2M, 1, lambda raw: raw | counter << 12)
    assert pair.accept(GPA_2M, 1) == tw.SUCCESS
    assert pair.raw(GPA_2M, 1) == tw.MAPPED | FRAME


def test_4k_pages_have_no_accept_counter(pair: bridge.Pair) -> None:
    pair.aug(GPA_4K, 0, FRAME + 0x1FF000)
    assert pair.accept(GPA_4K, 0) == tw.SUCCESS
    assert pair.raw(GPA_4K, 0) == tw.MAPPED | FRAME + 0x1FF000


@pytest.mark.parametrize("name", sorted(tw.STATE_CODES))
@pytest.mark.parametrize(("gpa", "level"), [(GPA_4K, 0), (GPA_2M, 1)])
def test_every_state(pair: bridge.Pair, name: str, gpa: int, level: int) -> None:
    """What ACCEPT, AUG and SEPT.ADD say to an entry in each state."""
    raw = raw_of(name)
    for call in ("accept", "aug", "sept_add"):
        pair.poke(gpa, level, lambda _: raw)
        if call == "accept":
            status = pair.accept(gpa, level)
            assert tw.state(pair.raw(gpa, level)) == ACCEPTED.get(name, name)
        elif call == "aug":
            status = pair.aug(gpa, level, FRAME)
            assert (status == tw.SUCCESS) == (name in ("FREE", "REMOVED"))
        elif level == 1:
            status = pair.sept_add(gpa, level)
            assert (status == tw.SUCCESS) == (name == "FREE")


ACCEPTED = {"PENDING": "MAPPED", "PEND_EXP_DIRTY": "EXP_DIRTY"}


def raw_of(name: str) -> int:
    """Return a raw entry in a state; RWX as vectors/FORMAT.md shows it (BLOCKEDW keeps R and X)."""
    code = tw.STATE_CODES[name]
    bits = sum(1 << bit for i, bit in enumerate((9, 53, 54, 55, 56, 6, 7)) if code >> i & 1)
    rwx = {"NL_MAPPED": 7, "MAPPED": 7, "EXP_DIRTY": 7, "BLOCKEDW": 5, "EXP_BLOCKEDW": 5, "EXP_DIRTY_BLOCKEDW": 5}
    leaf = code >> 6 & 1
    hpa = FRAME + (7 << 21) if leaf or name.startswith("NL_") else 0
    return 1 << 63 | bits | rwx.get(name, 0) | (6 << 3 if leaf else 0) | hpa


def test_tables_without_locks_need_no_pool(pair: bridge.Pair) -> None:
    """The pool's position is the model's, not the module's: SEPT.ADD takes any free page."""
    held: TdTables = pair.held
    assert pair.sept_add(GPA_2M, 1, pair.twin.next_table + 100 * 4096) == tw.SUCCESS
    assert held.tables.sept.shape[0] > 100
