"""Do the calls of populating touch the lines that the module's source says, at the addresses of the layout?"""

import numpy as np
import pytest

from kernels import cache_calls as calls
from kernels.cache import DROP, LINE_SHIFT, LOAD, MODIFY, OP_BITS, PASS, STORE
from perfmodel import Scenario
from perfmodel.memory import GuestMemory
from perfmodel.memory_model import cache_geometry, make_lp
from perfmodel.walk_hardware import load_walk_hardware

GFN, PFN = (3 << 18) + 777, (9 << 18) + 4242
HARDWARE = load_walk_hardware("spr-8480p")


@pytest.fixture(scope="module", params=[4, 5])
def lp(request):
    memory = GuestMemory.build(Scenario(memory="16GiB", levels=request.param, vcpus=4, order="striped"))
    lp = make_lp(memory, cache_geometry(HARDWARE, 4), 2)
    calls.find_path(lp.stream, GFN, 5)
    return lp


def accesses(lp, put, *args):
    """Return what a call appends: tuples of kind, line and op."""
    put(lp.stream, *args)
    used = int(lp.stream.at[calls.USED])
    lp.stream.at[calls.USED] = 0
    return [(a >> OP_BITS & 31, a >> LINE_SHIFT, a & (1 << OP_BITS) - 1) for a in lp.stream.accesses[:used].tolist()]


class Layout:
    """Where things lie, from the fields that the LP was given."""

    def __init__(self, lp):
        at = lp.stream.at.tolist()
        self.levels, self.tdr, self.tdvpr = at[calls.LEVELS], at[calls.TDR], at[calls.TDVPR]
        self.pamt_first = at[calls.PAMT_FIRST : calls.PAMT_FIRST + 3]
        self.path = at[calls.PATH : calls.PATH + self.levels]

    def pamt(self, pfn, *levels):
        return {(calls.PAMT, self.pamt_first[n] + (pfn >> 9 * n) * 16 // 64) for n in levels}

    def entry(self, level):
        return (calls.SEPT, (self.path[level] * 4096 + (GFN >> 9 * level) % 512 * 8) // 64)

    def walk(self, lowest):
        return {self.entry(level) for level in range(lowest, self.levels)}

    def tdr_lines(self, *lines):
        return {(calls.CONTROL, self.tdr * 64 + line) for line in lines}

    def tdcs(self, *lines):
        return {(calls.CONTROL, (self.tdr + 1) * 64 + line) for line in lines}


def lines(found, *ops, without=(calls.KEYHOLE, calls.HOST)):
    return {(kind, line) for kind, line, op in found if kind not in without and (not ops or op in ops)}


def test_pages_lie_apart(lp):
    """TDR, TDCX, each vCPU's pages, tables by level, then PAMT arrays that hold an entry of each page before them."""
    at, place = lp.stream.at, Layout(lp)
    assert place.path[-1] == place.tdr + 4  # the root is TDCS page 3
    assert place.tdvpr == place.tdr + 7 + 2 * 6
    tables = sorted(place.path[:-1])
    assert place.tdvpr < tables[0]
    assert len(set(tables)) == place.levels - 1
    top = max(tables) + 1
    ends = [first + -(-16 * (top >> 9 * n) // 64) for n, first in enumerate(place.pamt_first)]
    assert top * 64 <= place.pamt_first[0]
    assert ends[0] <= place.pamt_first[1]
    assert ends[1] <= place.pamt_first[2]
    assert ends[2] <= at[calls.KEYHOLES]
    assert place.tdr + at[calls.MIRROR] > at[calls.KEYHOLES] >> 6


def test_aug_4k(lp):
    """The data-side lines of a warm 4K AUG, and which of them it writes."""
    place, found = Layout(lp), accesses(lp, calls.put_page_aug, GFN, PFN, 0)
    tdr = place.pamt(place.tdr, 0, 1, 2)
    read_only = place.walk(1) | place.tdr_lines(4)
    written = tdr | place.pamt(PFN, 0, 1, 2) | place.tdr_lines(0) | place.tdcs(0, 2) | {place.entry(0)}
    assert lines(found) == read_only | written
    assert lines(found, STORE, MODIFY) == written
    order = [pair for *pair, _ in found if tuple(pair) in tdr]
    assert sorted(order[:3]) == sorted(order[-3:])  # locked first, released last
    assert sum(op == MODIFY for kind, _, op in found if kind == calls.PAMT) == 12


def test_aug_2m(lp):
    place, found = Layout(lp), accesses(lp, calls.put_page_aug, GFN & ~511, PFN & ~511, 1)
    scan = place.pamt_first[0] + (PFN & ~511) // 4
    assert lines(found) - {(calls.SCAN, scan + i) for i in range(128)} == (
        place.walk(1)
        | place.pamt(place.tdr, 0, 1, 2)
        | place.pamt(PFN, 1, 2)
        | place.tdr_lines(0, 4)
        | place.tdcs(0, 2)
    )
    assert [line for kind, line, op in found if kind == calls.SCAN] == [scan + i for i in range(128)]


@pytest.mark.parametrize("parent", [1, 2])
def test_sept_add(lp, parent):
    place, found = Layout(lp), accesses(lp, calls.put_sept_add, GFN, parent)
    table = place.path[parent - 1]
    assert lines(found, DROP) == {(calls.SEPT, table * 64 + i) for i in range(64)}
    assert lines(found, LOAD, STORE, MODIFY) == (
        place.walk(parent) | place.pamt(place.tdr, 0, 1, 2) | place.pamt(table, 0, 1, 2)
        | place.tdr_lines(0, 4) | place.tdcs(0, 2)
    )  # fmt: skip


def test_exit_and_entry(lp):
    place = Layout(lp)
    epoch, tdr_4k, tdvpr = place.tdcs(8), place.pamt(place.tdr, 0), place.pamt(place.tdvpr, 0, 1, 2)
    out = accesses(lp, calls.put_td_exit)
    assert lines(out) == lines(out, MODIFY) == epoch | tdr_4k | tdvpr
    back = accesses(lp, calls.put_vp_enter)
    written = epoch | tdr_4k | tdvpr | place.tdcs(0) | {(calls.CONTROL, place.tdvpr * 64)}
    assert lines(back, MODIFY) == written
    assert lines(back) == written | place.tdr_lines(0, 4)


@pytest.mark.parametrize("level", [0, 1])
def test_accept(lp, level):
    """Neither PAMT nor TDR; zeroing leaves nothing in caches, so the page is not in the stream."""
    place, found = Layout(lp), accesses(lp, calls.put_page_accept, GFN, level)
    assert lines(found) == place.walk(level)
    assert lines(found, MODIFY) == {place.entry(level)}
    assert accesses(lp, calls.put_failed_accept, GFN, level)[-1] == (*place.entry(level), MODIFY)


def test_the_host_clears_flushes_and_walks_its_mirror(lp):
    place, mirror = Layout(lp), int(lp.stream.at[calls.MIRROR])
    for level, logarithm in ((0, 6), (1, 15)):
        found = accesses(lp, calls.put_page_fault, GFN, PFN, level, True)
        assert found[0] == (logarithm, PFN * 64, PASS)
        walked = [
            (place.path[n] + mirror) * 64 + (GFN >> 9 * n) % 512 // 8 for n in range(place.levels - 1, level - 1, -1)
        ]
        assert [line for _, line, _ in found[1:]] == walked
        assert [op for *_, op in found[1:]] == [LOAD] * (len(walked) - 1) + [MODIFY]
    kept = accesses(lp, calls.put_page_fault, GFN, PFN, 1, False)
    assert [line for _, line, op in kept if op == STORE] == list(range(PFN * 64, PFN * 64 + 32768))
    assert [line for _, line, op in kept if op == DROP] == list(range(PFN * 64, PFN * 64 + 64))


@pytest.mark.parametrize(("maps", "touched"), [(1, 5), (5, 17), (18, 56), (19, 56)])
def test_keyhole_state_is_no_larger_than_it_is(lp, maps, touched):
    first = int(lp.stream.at[calls.KEYHOLES])
    found = accesses(lp, calls.put_keyholes, maps)
    assert found == [(calls.KEYHOLE, first + i, MODIFY) for i in range(touched)]


def test_no_call_is_longer_than_the_buffer(lp):
    longest = max(
        len(accesses(lp, calls.put_page_fault, GFN, PFN, 1, False)), len(accesses(lp, calls.put_page_accept, GFN, 1)),
        len(accesses(lp, calls.put_page_aug, GFN, PFN, 1)), len(accesses(lp, calls.put_demote, GFN, PFN)),
    )  # fmt: skip
    assert longest < lp.stream.accesses.size == calls.LONGEST_CALL


def test_two_vcpus_share_all_but_their_own_pages():
    memory = GuestMemory.build(Scenario(memory="1GiB", vcpus=2))
    first, second = (make_lp(memory, cache_geometry(HARDWARE, 2), v).stream.at for v in range(2))
    assert np.flatnonzero(first != second).tolist() == [calls.TDVPR, calls.KEYHOLES]
