"""Are the counts of each scenario those that follow by hand from what KVM, guest_memfd and the guest do?

The numbers stand, with their sources, in docs/scenarios.md. Counts of cache lines are left to the twin.
"""

from collections.abc import Callable

import numpy as np
import pytest
from life_pair import INTERFACES, assert_conserved, by_name, populate_life, start
from numba import config
from twin_life import ASKED, NONE, REGION, SHARED

from kernels.convert import convert_region, punch_hole
from kernels.first_pages import build_region
from kernels.life_guest import accept_pages, touch_pages
from kernels.life_state import Life
from kernels.private_fault import prefault_range
from kernels.teardown import teardown_region

HUGE = ["folio-strict", "folio-lenient", "pfn"]
ONE_LEAF_GONE = {"BLOCK_4K": 1, "REMOVE_4K": 1, "PAGE_WBINVD": 1}
LINES = {"SEPT_LINES", "PAMT_LINES"}


def fresh(interface: str, ranges: int = 4, order: int = 18, **knobs: bool) -> Life:
    """Return a life of which the first ``ranges`` ranges have memory, all of it private, and nothing is mapped."""
    use = np.full(REGION, NONE, np.uint8)
    use[: ranges * 512] = ASKED
    map_2m = np.arange(512) < (0 if interface == "page-4k" else ranges)
    return start(use, map_2m, np.full(512, order), interface, **knobs)[1]


def populated(interface: str, ranges: int = 4, order: int = 18, **knobs: bool) -> Life:
    """Return a life that a Linux guest has accepted on demand."""
    life = fresh(interface, ranges, order, **knobs)
    assert populate_life(life, life.map_2m, range(256), False, 0) == 0
    return life


def counted(life: Life, run: Callable[..., int], *args: object) -> dict[str, int]:
    """Return what ``run`` adds to the counts."""
    before = life.counts.copy()
    assert run(life, *args) == 0
    assert_conserved(life)
    return {name: n for name, n in by_name(life.counts - before).items() if name not in LINES}


def convert(life: Life, *requests: tuple[int, int, int]) -> dict[str, int]:
    return counted(life, convert_region, np.array(requests, np.int64))


def times(n: int, *names: str) -> dict[str, int]:
    return dict.fromkeys(names, n) if n else {}


# --- conversions

SPLITS = {"page-4k": 0, "folio-strict": 512, "folio-lenient": 1, "pfn": 1}
FOLIOS = {"page-4k": 1, "folio-strict": 1, "folio-lenient": 2, "pfn": 1}


@pytest.mark.parametrize("interface", INTERFACES)
def test_one_page_of_a_1g_folio(interface: str) -> None:
    life = populated(interface, 8 if interface == "page-4k" else 512)
    splits = SPLITS[interface]
    assert convert(life, (5, 1, 1)) == {
        "MAP_GPA": 1, "SET_ATTRIBUTES": 1, "WRITE_LOCK": 1, "FOLIO_SPLIT": FOLIOS[interface],
        "MEM_TRACK": splits + 1, "KICK": splits + 1, "WALK_READS_HOST": 6 * splits + 8,
        **times(splits, "BLOCK_2M", "DEMOTE"), **ONE_LEAF_GONE,
    }  # fmt: skip
    huge = interface != "page-4k"
    back = {
        "MAP_GPA": 1, "SET_ATTRIBUTES": 1, "WRITE_LOCK": 1 + huge, **times(int(huge), "GUEST_INHIBIT"),
        **times(1, "ACCEPT_EXIT", "TD_EXIT", "FAULT", "AUG_4K", "VP_ENTER", "ACCEPT_4K"),
        "WALK_READS_HOST": 4, "WALK_READS_GUEST": 8,
    }  # fmt: skip
    assert convert(life, (5, 1, 0)) == back
    again = convert(life, (5, 1, 1))
    assert (again["MEM_TRACK"], again["FOLIO_SPLIT"], "DEMOTE" in again) == (1, FOLIOS[interface], False)
    back.pop("GUEST_INHIBIT", None)
    assert convert(life, (5, 1, 0)) == back | {"WRITE_LOCK": 1}  # inhibited for good


@pytest.mark.parametrize(("interface", "order", "splits", "folios"), [
    ("folio-strict", 0, 1, 0), ("folio-strict", 9, 1, 1), ("folio-strict", 10, 2, 1),
    ("folio-lenient", 9, 1, 1), ("folio-lenient", 10, 1, 2), ("pfn", 10, 1, 1),
])  # fmt: skip
def test_folios_of_other_orders(interface: str, order: int, splits: int, folios: int) -> None:
    life = populated(interface, 4, order)  # at 2M, whatever the order: the caller says so
    counts = convert(life, (700, 1, 1))
    assert (counts["DEMOTE"], counts.get("FOLIO_SPLIT", 0)) == (splits, folios)


@pytest.mark.parametrize("interface", HUGE)
def test_a_whole_2m_goes_and_comes_back(interface: str) -> None:
    life = populated(interface)
    splits = 3 if interface == "folio-strict" else 0  # four ranges have memory here
    gone = convert(life, (512, 512, 1))
    assert gone == {
        "MAP_GPA": 1, "SET_ATTRIBUTES": 1, "WRITE_LOCK": 1, "FOLIO_SPLIT": FOLIOS[interface],
        "BLOCK_2M": splits + 1, "REMOVE_2M": 1, "PAGE_WBINVD": 512, "MEM_TRACK": splits + 1, "KICK": splits + 1,
        "WALK_READS_HOST": 6 * splits + 6, **times(splits, "DEMOTE"),
    }  # fmt: skip
    assert convert(life, (512, 512, 0)) == {
        "MAP_GPA": 1, "SET_ATTRIBUTES": 1, "WRITE_LOCK": 1,
        **times(1, "ACCEPT_EXIT", "TD_EXIT", "FAULT", "AUG_2M", "VP_ENTER", "ACCEPT_2M"),
        "WALK_READS_HOST": 3, "WALK_READS_GUEST": 6,
    }  # fmt: skip


@pytest.mark.parametrize("interface", HUGE)
def test_2m_comes_back_while_another_page_is_shared(interface: str) -> None:
    life = populated(interface)
    convert(life, (512, 512, 1), (5, 1, 1))
    back = convert(life, (512, 512, 0))
    if interface == "folio-strict":  # the folio is not merged yet
        assert (back["AUG_4K"], back["SEPT_ADD"], back["ACCEPT_SIZE_MISMATCH"]) == (512, 1, 1)
        assert (back["WRITE_LOCK"], back["GUEST_INHIBIT"]) == (2, 1)
        assert back["ACCEPT_4K"] == back["ACCEPT_EXIT"] == 512
    else:
        assert (back["AUG_2M"], back["ACCEPT_2M"]) == (1, 1)


def test_a_request_shorter_than_2m_is_accepted_at_4k() -> None:
    life = populated("pfn")
    convert(life, (0, 512, 1), (300, 212, 0))
    back = convert(life, (0, 300, 0))  # the rest of the range is private already
    assert (back["ACCEPT_4K"], back["ACCEPT_EXIT"], "ACCEPT_SIZE_MISMATCH" in back) == (300, 300, False)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_split_2m_stays_small(interface: str) -> None:
    life = populated(interface)
    convert(life, (5, 1, 1), (5, 1, 0), (0, 512, 1))
    back = convert(life, (0, 512, 0))
    assert (back["AUG_4K"], back["ACCEPT_SIZE_MISMATCH"], "SEPT_ADD" in back) == (512, 1, False)


def test_chunks_count_from_the_start_of_a_request() -> None:
    aligned, crooked = populated("pfn"), populated("pfn")
    counts = convert(aligned, (0, 1024, 1))
    assert (counts["MAP_GPA"], counts["REMOVE_2M"], counts["MEM_TRACK"]) == (2, 2, 2)
    assert not {"DEMOTE", "REMOVE_4K"} & counts.keys()
    counts = convert(crooked, (256, 1024, 1))  # no chunk holds a whole 2M
    assert (counts["MAP_GPA"], counts["DEMOTE"], counts["REMOVE_4K"], counts["MEM_TRACK"]) == (2, 3, 1024, 1027)
    assert "REMOVE_2M" not in counts
    counts = convert(crooked, (100, 1300, 1))
    assert (counts["MAP_GPA"], counts["SET_ATTRIBUTES"], counts["REMOVE_4K"]) == (3, 2, 156 + 120)


def test_what_is_as_asked_is_left_alone() -> None:
    life = populated("pfn")
    convert(life, (0, 512, 1))
    assert convert(life, (0, 512, 1)) == {"MAP_GPA": 1}


def test_the_folio_is_split_once_for_many_shared_pages() -> None:
    life = populated("folio-lenient")
    first = convert(life, (5, 1, 1), (6, 1, 1), (600, 1, 1))
    assert (first["FOLIO_SPLIT"], first["DEMOTE"]) == (3, 2)
    life = populated("folio-strict")
    first = convert(life, (5, 1, 1), (6, 1, 1), (600, 1, 1))
    assert (first["FOLIO_SPLIT"], first["DEMOTE"]) == (1, 4)


@pytest.mark.parametrize(("interface", "splits"), [("folio-strict", 4), ("pfn", 1)])
def test_one_track_for_all(interface: str, splits: int) -> None:
    counts = convert(populated(interface, batch_track=True), (0, 300, 1))
    assert (counts["DEMOTE"], counts["REMOVE_4K"], counts["MEM_TRACK"], counts["KICK"]) == (splits, 300, 2, 2)
    counts = convert(populated(interface, batch_track=True), (5000, 1, 1))  # nothing there
    assert counts == {"MAP_GPA": 1}


@pytest.mark.parametrize("reset", [False, True])
def test_reset(reset: bool) -> None:
    life = populated("pfn", reset_pages=reset)
    counts = convert(life, (0, 512, 1), (600, 3, 1))
    assert counts.get("RESET_PAGE", 0) == (515 if reset else 0)
    assert counts["PAGE_WBINVD"] == 515


def test_accepting_twice_fails_as_in_linux() -> None:
    life = populated("pfn")
    assert convert_region(life, np.array([[0, 1, 0]])) == 0x0000_0B0A_0000_0001  # PAGE_ALREADY_ACCEPTED at 2M


# --- holes


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_hole(interface: str) -> None:
    life = populated(interface)
    counts = counted(life, punch_hole, 500, 1036)  # 12 pages, a whole 2M, 12 pages
    huge = int(interface != "page-4k")
    small = 24 if huge else 536
    assert counts == {
        "PUNCH_HOLE": 1, "WRITE_LOCK": 1, "BLOCK_4K": small, "REMOVE_4K": small, "PAGE_WBINVD": 536,
        **times(2 * huge, "DEMOTE"), **times(3 * huge, "BLOCK_2M"), **times(huge, "REMOVE_2M"),
        "MEM_TRACK": small + 3 * huge, "KICK": small + 3 * huge, "WALK_READS_HOST": 8 * small + 18 * huge,
    }  # fmt: skip
    assert (life.use[500:1036] == ASKED).all()


# --- accepts below the mapping level


@pytest.mark.parametrize("interface", HUGE)
def test_accept_mismatch(interface: str) -> None:
    life = fresh(interface)
    assert counted(life, prefault_range, 0, 512) == {
        "PREFAULT": 1, "FAULT": 1, "AUG_2M": 1, "SEPT_ADD": 2, "WALK_READS_HOST": 1 + 2 + 3,
    }  # fmt: skip
    counts = counted(life, accept_pages, np.arange(512))
    assert counts == {
        **times(1, "ACCEPT_EXIT", "TD_EXIT", "VP_ENTER", "FAULT", "WRITE_LOCK", "GUEST_INHIBIT"),
        **times(1, "BLOCK_2M", "MEM_TRACK", "KICK", "DEMOTE"), "ACCEPT_4K": 512,
        "WALK_READS_HOST": 6, "WALK_READS_GUEST": 3 + 512 * 4,
    }  # fmt: skip


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_lock_is_taken_once_a_range(interface: str) -> None:
    life = fresh(interface)
    counts = counted(life, accept_pages, np.array([3, 511, 600, 4, 601]))  # nothing is mapped
    huge = int(interface != "page-4k")
    assert (counts.get("WRITE_LOCK", 0), counts.get("GUEST_INHIBIT", 0)) == (2 * huge, 2 * huge)
    assert (counts["ACCEPT_EXIT"], counts["AUG_4K"], "DEMOTE" in counts) == (5, 5, False)


@pytest.mark.parametrize(("interface", "prefault", "inhibited"), [
    ("page-4k", False, 0), ("folio-strict", False, 2), ("pfn", False, 1), ("pfn", True, 0),
])  # fmt: skip
def test_populating_inhibits_what_it_accepts_at_4k(interface: str, prefault: bool, inhibited: int) -> None:
    use = np.full(REGION, NONE, np.uint8)
    use[:1024] = ASKED
    use[700] = SHARED
    _, life = start(use, np.arange(512) < 2, np.full(512, 18), interface)
    allowed = np.arange(512) < {"page-4k": 0, "folio-strict": 0, "pfn": 1}[interface]
    assert populate_life(life, allowed, range(256), prefault, 0) == 0
    n = by_name(life.counts)
    assert (n.get("GUEST_INHIBIT", 0), n.get("WRITE_LOCK", 0)) == (inhibited, inhibited)


# --- touch first


@pytest.mark.parametrize("order", ["sequential", "random"])
def test_touch_first_at_4k(order: str) -> None:
    life = fresh("page-4k", 1)
    pages = np.arange(512) if order == "sequential" else np.random.default_rng(0).permutation(512)
    assert counted(life, touch_pages, pages) == {
        **times(512, "TD_EXIT", "VP_ENTER", "FAULT", "AUG_4K", "VIRTUALIZATION_EXCEPTION", "ACCEPT_4K"),
        "SEPT_ADD": 1 + 2, "WALK_READS_HOST": 1 + 2 + 3 + 512 * 4, "WALK_READS_GUEST": 512 * 4,
    }  # fmt: skip
    assert counted(life, touch_pages, pages) == {}  # it is all there


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("interface", HUGE)
def test_touch_first_at_2m(interface: str, order: str) -> None:
    life = fresh(interface, 1)
    pages = np.arange(512) if order == "sequential" else np.random.default_rng(0).permutation(512)
    counts = counted(life, touch_pages, pages)
    assert counts == {
        **times(2, "TD_EXIT", "VP_ENTER", "FAULT"), "ACCEPT_EXIT": 1, "AUG_2M": 1, "SEPT_ADD": 2,
        **times(1, "BLOCK_2M", "MEM_TRACK", "KICK", "DEMOTE", "WRITE_LOCK", "GUEST_INHIBIT"),
        **times(512, "VIRTUALIZATION_EXCEPTION", "ACCEPT_4K"),
        "WALK_READS_HOST": 1 + 2 + 3 + 6, "WALK_READS_GUEST": 3 + 512 * 4,
    }  # fmt: skip
    assert counts["ACCEPT_4K"] + counts["ACCEPT_EXIT"] == 513


# --- build


@pytest.mark.parametrize("measured", [False, True])
def test_an_image_of_4_mib(measured: bool) -> None:
    life = fresh("pfn", 2)
    chosen = (life.use == ASKED).astype(np.uint8)
    counts = counted(life, build_region, chosen, measured)
    extends = 16384 if measured else 0
    assert counts == {
        "PAGE_ADD": 1024, "SEPT_ADD": 4, "WALK_READS_HOST": 1 + 2 + 3 + 3 + 4 * (1024 + extends),
        **times(extends, "MR_EXTEND"),
    }  # fmt: skip


# --- teardown


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("interface", "level"), [("page-4k", 0), ("pfn", 1)])
def test_removal_while_the_td_lives(interface: str, level: int, reset: bool) -> None:
    life = populated(interface, 4, reset_pages=reset)
    leaves, size = (4, "2M") if level else (2048, "4K")
    tables = 2 if level else 6
    assert counted(life, teardown_region, False) == {
        f"BLOCK_{size}": leaves, "MEM_TRACK": leaves, "KICK": leaves, f"REMOVE_{size}": leaves,
        "PAGE_WBINVD": 2048, "WRITE_LOCK": 1, "RECLAIM_4K": tables, "WALK_READS_HOST": leaves * 2 * (4 - level),
        **times(int(reset) * (2048 + tables), "RESET_PAGE"),
    }  # fmt: skip


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
def test_reclaim_after_the_hkid_is_released(interface: str, reset: bool) -> None:
    life = populated(interface, 4, reset_pages=reset)
    huge = interface == "pfn"
    assert counted(life, teardown_region, True) == {
        "RECLAIM_4K": 2 if huge else 2048 + 6, **times(4 * huge, "RECLAIM_2M"),
        **times(int(reset) * (2048 + (2 if huge else 6)), "RESET_PAGE"),
    }  # fmt: skip


# --- Dynamic PAMT


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("interface", ["page-4k", "pfn"])
def test_references_of_a_populated_region(interface: str, fast: bool) -> None:
    life = populated(interface, 4, dynamic_pamt=True, pamt_fast_path=fast)
    n = by_name(life.counts)
    gets, adds = (2048 + 6, 4) if interface == "page-4k" else (2, 0)  # the TDR's 2 MiB holds a few tables too
    assert (n["PAMT_GET"], n.get("PAMT_ADD", 0)) == (gets, adds)
    assert n.get("PAMT_LOCK", 0) == (adds if fast else gets)
    counts = counted(life, teardown_region, True)
    assert (counts["PAMT_PUT"], counts.get("PAMT_REMOVE", 0)) == (gets, adds)
    assert counts.get("PAMT_LOCK", 0) == (adds if fast else gets)


@pytest.mark.parametrize("fast", [False, True])
def test_references_of_a_split_and_a_conversion(fast: bool) -> None:
    life = populated("pfn", 4, dynamic_pamt=True, pamt_fast_path=fast)
    counts = convert(life, (5, 1, 1))  # DEMOTE brings the pair of the data, PAMT.ADD that of a table's page if need be
    assert (counts["PAMT_GET"], counts["PAMT_PUT"]) == (1, 1)
    assert not {"PAMT_ADD", "PAMT_REMOVE"} & counts.keys()
    assert counts.get("PAMT_LOCK", 0) == (0 if fast else 2)
    assert sorted(life.references[life.references > 0].tolist()) == [7 + 3, 511]
    counts = convert(life, (0, 512, 1))
    assert (counts["PAMT_PUT"], counts["PAMT_REMOVE"]) == (511, 1)
    assert counts["PAMT_LOCK"] == (1 if fast else 511)


def test_the_pages_of_a_pair_are_reset_too() -> None:
    life = populated("page-4k", 1, dynamic_pamt=True, reset_pages=True)
    assert convert(life, (0, 512, 1))["RESET_PAGE"] == 512 + 2


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="a whole region at 4K is for compiled kernels")
def test_references_of_a_whole_region() -> None:
    life = populated("page-4k", 512, dynamic_pamt=True)
    n = by_name(life.counts)
    assert n["PAMT_GET"] == REGION + 514
    assert n["PAMT_ADD"] == n["PAMT_LOCK"] == 512 + 1  # 7 control pages and 505 tables share 2 MiB
    assert_conserved(life)
    counts = counted(life, teardown_region, False)
    assert (counts["REMOVE_4K"], counts["PAMT_PUT"], counts["PAMT_REMOVE"]) == (REGION, REGION + 514, 513)
