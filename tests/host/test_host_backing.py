"""Does a guest get the pages that the page allocator would give it?"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.backings.contract import NO_PFN, REGION_PAGES
from perfmodel.backings.host import HostBacking, allocate
from perfmodel.errors import InputError
from perfmodel.host import Host, Zone, build_tdmrs
from perfmodel.host.blocks import Runs, blocks_to_runs, runs_to_blocks
from perfmodel.host.freelists import FreeLists, host_zones
from perfmodel.host.model import Cpu, check_host
from perfmodel.layout import GuestLayout, Slot

TOP = 10


def naive_allocate(zones, layout, max_order):
    """Back a guest request by request with a textbook buddy allocator: page -> (PFN, order)."""
    zones = [[[int(pfn) for pfn in pfns] for pfns in zone] for zone in zones]

    def request(order):
        for zone in zones:
            for larger in range(order, len(zone)):
                if zone[larger]:
                    pfn = zone[larger].pop(0)
                    while larger > order:
                        larger -= 1
                        zone[larger].insert(0, pfn + (1 << larger))
                    return pfn
        return None

    backed = {}
    for slot in layout.slots:
        gfn, end = slot.gfn, slot.gfn + slot.pages
        while gfn < end:
            for order in range(max_order, -1, -1):
                if gfn % (1 << order) == 0 and gfn + (1 << order) <= end:
                    pfn = request(order)
                    if pfn is not None:
                        break
            for page in range(1 << order):
                backed[gfn + page] = (pfn + page, order)
            gfn += 1 << order
    return backed, zones


def expand(extents):
    return {
        gfn + page: (pfn + page, order)
        for gfn, pfn, pages, order in zip(
            *(column.tolist() for column in (extents.gfn, extents.pfn, extents.pages, extents.order)),
            strict=True,
        )
        for page in range(pages)
    }


@st.composite
def free_lists(draw):
    """Up to three zones of free runs within 8192 pages each."""
    zones = []
    for index in range(draw(st.integers(1, 3))):
        pairs, at = [], index << 14
        for gap, length in draw(st.lists(st.tuples(st.integers(1, 700), st.integers(1, 1500)), max_size=5)):
            pairs.append((at + gap, at + gap + length))
            at += gap + length
        zones.append(runs_to_blocks(Runs.of(pairs), TOP))
    return zones


@st.composite
def layouts(draw, pages):
    """Slots of ``pages`` pages in all, at any GFN."""
    slots, at = [], 0
    while pages:
        size = draw(st.integers(1, pages))
        at += draw(st.integers(0, 3000))
        slots.append(Slot(at, size))
        at, pages = at + size, pages - size
        if len(slots) == 4 and pages:
            slots[-1] = Slot(slots[-1].gfn, slots[-1].pages + pages)
            pages = 0
    return GuestLayout(tuple(slots))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_equals_page_by_page_allocator(data):
    zones = data.draw(free_lists())
    free = sum(len(pfns) << order for zone in zones for order, pfns in enumerate(zone))
    if not free:
        return
    layout = data.draw(layouts(data.draw(st.integers(1, free))))
    max_order = data.draw(st.sampled_from([0, 3, 9, 10]))
    lists = FreeLists(zones)
    extents = allocate(lists, layout, max_order)
    expected, left = naive_allocate(zones, layout, max_order)
    backed = expand(extents)
    assert backed == expected
    assert [[sorted(pfns.tolist()) for pfns in zone] for zone in lists.remaining()] == [
        [sorted(pfns) for pfns in zone] for zone in left
    ]
    # each guest page once, each host page once, none out of nowhere, folios aligned
    assert sorted(backed) == [gfn for slot in layout.slots for gfn in range(slot.gfn, slot.gfn + slot.pages)]
    handed = [pfn for pfn, _ in backed.values()]
    kept = [p for zone in lists.remaining() for a, b in blocks_to_runs(zone).pairs() for p in range(a, b)]
    owned = [p for zone in zones for a, b in blocks_to_runs(zone).pairs() for p in range(a, b)]
    assert Counter(handed) + Counter(kept) == Counter(owned)
    assert not ((extents.gfn | extents.pfn | extents.pages) & ((1 << extents.order) - 1)).any()


def make_host(free_pairs, inferred=(), zones=(("DMA32", 4096, 1 << 18), ("Normal", 1 << 20, 1 << 18))):
    rows = [
        Zone(0, name, start, pages, pages, pages, 0, 0, 0, 0, None, [0] * (TOP + 1), {}) for name, start, pages in zones
    ]
    host = Host(
        schema="perfmodel/host/1",
        kernel="6.18.0",
        mem_total_kib=1 << 21,
        mem_free_kib=0,
        system_ram=[(zone.start_pfn << 12, zone.end_pfn << 12) for zone in rows],
        zones=rows,
        free_pfns=[pfns.tolist() for pfns in runs_to_blocks(Runs.of(free_pairs), TOP)],
        inferred=list(inferred),
        addresses="real",
        histogram_difference=[0] * (TOP + 1),
        caches=[],
        cpu=Cpu(),
        missing=[],
        seed=0,
    )
    check_host(host, "host")
    return host


NORMAL = 1 << 20
HOST = make_host([(8192, 16384), (NORMAL + 5, NORMAL + 3000)], [(NORMAL + 4096, 8192)])


def test_normal_before_dma32_and_inferred_as_largest_blocks():
    backing = HostBacking(HOST, GuestLayout((Slot(0, 10240),)))
    pfn = backing.region(0).pfn[:10240]
    # Normal's two blocks of order 9, then its one of order 10, then inferred memory, and DMA32 last
    order_9 = [*range(NORMAL + 512, NORMAL + 1024), *range(NORMAL + 2048, NORMAL + 2560)]
    assert pfn[:2048].tolist() == [*order_9, *range(NORMAL + 1024, NORMAL + 2048)]
    assert pfn[2048:].tolist() == list(range(NORMAL + 4096, NORMAL + 12288))
    report = backing.contiguity()
    assert report == ({9: 1.0}, 4, 1.0, 1.0, 8192, "real")
    more = HostBacking(HOST, GuestLayout((Slot(0, 10752),))).region(0).pfn
    assert more[10240] == 8192


def test_order_0_takes_small_blocks_first():
    backing = HostBacking(HOST, GuestLayout((Slot(0, 1024),)), max_folio_order=0)
    assert backing.region(0).pfn[:4].tolist() == [NORMAL + 5, NORMAL + 6, NORMAL + 7, NORMAL + 8]
    report = backing.contiguity()
    assert report.order_shares == {0: 1.0}
    assert report.folio_2m_share == 0.0


def test_dma_is_not_used():
    host = make_host([(300, 4000)], zones=(("DMA", 1, 4095), ("Normal", NORMAL, 4096)))
    assert all(not len(pfns) for zone in host_zones(host) for pfns in zone)
    with pytest.raises(InputError, match=r"0\.00 GiB"):
        HostBacking(host, GuestLayout((Slot(0, 1),)), scale=True)


def test_too_large_names_the_way_out():
    with pytest.raises(InputError, match=r"memory: 1\.00 GiB.* 0\.07 GiB.*--scale-host") as caught:
        HostBacking(HOST, GuestLayout.build("flat", 1 << 18))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", [-1, 11])
def test_folio_order_range(order):
    with pytest.raises(InputError, match=f"max_folio_order: {order}: accepted is 0 to 10"):
        HostBacking(HOST, GuestLayout((Slot(0, 1),)), max_folio_order=order)


def test_scaled_host_repeats():
    layout = GuestLayout.build("q35", 3 << 18)
    backing = HostBacking(HOST, layout, scale=True)
    pages = np.concatenate([backing.region(index).pfn for index in layout.regions()])
    pages = pages[pages != NO_PFN]
    assert len(pages) == len(np.unique(pages)) == layout.pages
    assert backing.copies == -(-layout.pages // (8192 + 2995 + 8192))
    span_gib = 5
    assert pages.max() >> 18 < backing.copies * span_gib
    tdmrs = backing.tdmrs()
    assert tdmrs[: len(build_tdmrs(HOST.system_ram))] == build_tdmrs(HOST.system_ram)
    assert len(tdmrs) <= 64
    hpa = pages[:: 1 << 10] << 12
    assert all(any(t.base <= address < t.base + t.size for t in tdmrs) for address in hpa.tolist())
    assert 0 < backing.contiguity().inferred_pages <= backing.copies * 8192


def test_scaled_beyond_64_tdmrs():
    backing = HostBacking(HOST, GuestLayout.build("flat", 20 << 18), scale=True)
    tdmrs = backing.tdmrs()
    assert len(tdmrs) == len(build_tdmrs(HOST.system_ram)) + 1
    assert tdmrs[-1].base + tdmrs[-1].size >= (int(backing.blocks()[-1]) + 1) << 30


def test_seed_shuffles_lists_only():
    layout = GuestLayout((Slot(0, 8192),))
    plain, again, other = (HostBacking(HOST, layout, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(plain.region(0).pfn, again.region(0).pfn)
    assert not np.array_equal(plain.region(0).pfn, other.region(0).pfn)
    assert plain.contiguity().order_shares == other.contiguity().order_shares


def test_holes_of_the_guest_have_no_pfn():
    region = HostBacking(HOST, GuestLayout((Slot(100, 50),))).region(0)
    assert np.flatnonzero(region.pfn != NO_PFN).tolist() == list(range(100, 150))
    assert len(region.pfn) == REGION_PAGES
