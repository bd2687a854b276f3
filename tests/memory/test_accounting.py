"""Memory that a TD costs its host, against published figures and by the laws that it follows."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel import InputError, Scenario, compare
from perfmodel.accounting import (
    KVM_MMU_PAGE_BYTES,
    dynamic_pamt_floor_bytes,
    hvo_saved_bytes,
    memory_use,
    refcount_bytes,
    sept_pages_of,
)
from perfmodel.platform import static_pamt_bytes

KIB, MIB, GIB, TIB = (1 << 10 * i for i in range(1, 5))


@pytest.mark.parametrize(("gib", "static_gb", "dynamic_gb"), [(256, 1.02, 0.01), (2048, 8.19, 0.08)])
def test_published_pamt_with_no_td(gib: int, static_gb: float, dynamic_gb: float) -> None:
    """The cover letter of Dynamic PAMT v6; its figures are 0.4 % and 0.004 % of the memory, rounded."""
    static = memory_use(guest_bytes=0, tdmr_bytes=[gib * GIB], sept_pages=0)
    dynamic = memory_use(guest_bytes=0, tdmr_bytes=[gib * GIB], sept_pages=0, dynamic_pamt=True)
    assert static.pamt_static / GIB == pytest.approx(static_gb, rel=0.025)
    assert static.pamt_dynamic == static.pamt_refcounts == dynamic.pamt_dynamic == 0
    assert round((dynamic.pamt_static + dynamic.pamt_refcounts) / GIB, 2) == dynamic_gb


@pytest.mark.parametrize(("gib", "published_gb"), [(256, 8.01), (2048, 8.08)])
def test_published_refcounts_over_the_whole_architecture(gib: int, published_gb: float) -> None:
    assert round((dynamic_pamt_floor_bytes(gib * GIB) + refcount_bytes(1 << 52)) / GIB, 2) == published_gb
    assert refcount_bytes(TIB) == 2 * MIB


def test_published_share_of_struct_pages() -> None:
    host = memory_use(guest_bytes=0, tdmr_bytes=[TIB], sept_pages=0)
    assert round(100 * host.vmemmap / TIB, 1) == 1.6


def test_hvo_keeps_one_page_a_folio() -> None:
    """The kernel's documentation: 7 of 8 vmemmap pages of a 2M folio, 4095 of 4096 of a 1G folio."""
    assert hvo_saved_bytes(GIB, 18) == 4095 * 4096
    assert hvo_saved_bytes(GIB, 9) == 512 * 7 * 4096
    assert hvo_saved_bytes(GIB, 0) == hvo_saved_bytes(GIB, 8) == hvo_saved_bytes(GIB, None) == 0
    assert hvo_saved_bytes(4 * GIB, 18, split_folios=3) == hvo_saved_bytes(GIB, 18)


def test_one_moment_by_hand() -> None:
    use = memory_use(
        guest_bytes=2 * GIB,
        tdmr_bytes=[3 * GIB, GIB // 2],
        sept_pages=600,
        frames_4k=100,
        folio_order=18,
        split_folios=1,
        dynamic_pamt=True,
        hvo=True,
    )
    assert use.sept == use.mirror == 600 * 4096
    assert use.mirror_headers == 600 * KVM_MMU_PAGE_BYTES
    assert use.pamt_static == (3 + 1) * (8 * KIB + 32 * KIB) + 2 * 4096  # 2M entries, bitmap; a page of 1G entries each
    assert use.pamt_dynamic == (100 + 2) * 8192  # 600 pages fit in two frames
    assert use.pamt_refcounts == 4 * 512 * 4
    assert use.vmemmap + use.vmemmap_saved == 4 * GIB // 64
    assert use.vmemmap_saved == 4095 * 4096
    assert use.total == sum(msgspec.structs.asdict(use).values()) - use.vmemmap_saved


def test_memory_without_struct_pages() -> None:
    with_pages = memory_use(guest_bytes=GIB, tdmr_bytes=[4 * GIB], sept_pages=3, hvo=True)
    without = memory_use(guest_bytes=GIB, tdmr_bytes=[4 * GIB], sept_pages=3, folio_order=None, hvo=True)
    assert with_pages.vmemmap - without.vmemmap == GIB // 64


@pytest.mark.parametrize(("memory", "levels"), [("1GiB", 4), ("513GiB", 4), ("513GiB", 5), ("6MiB", 4)])
def test_sept_pages_are_those_of_a_run(memory: str, levels: int) -> None:
    scenario = Scenario(memory=memory, levels=levels, interfaces=("page-4k", "pfn"))
    assert isinstance(scenario.memory, int)
    for row in compare(scenario).rows:
        frames_4k = scenario.memory >> 21 if row.leaves.size_4k else 0
        assert sept_pages_of(scenario.memory, frames_4k, levels) == row.sept_pages


@given(gib=st.integers(1, 4096), frames=st.integers(0, 512), levels=st.sampled_from([4, 5]))
def test_dynamic_pamt_never_costs_more_than_the_level_it_replaces(gib: int, frames: int, levels: int) -> None:
    guest = gib * GIB
    pages = sept_pages_of(guest, frames * gib, levels)
    static, dynamic = (
        memory_use(guest_bytes=guest, tdmr_bytes=[2 * guest], sept_pages=pages, frames_4k=frames * gib, dynamic_pamt=on)
        for on in (False, True)
    )
    assert dynamic.pamt_static < static.pamt_static == static_pamt_bytes(2 * guest)
    in_use = (frames * gib + -(-pages // 512)) / (2 * 512 * gib)  # of the host's 2M frames
    assert dynamic.pamt_dynamic == pytest.approx(in_use * 2 * gib * 4 * MIB)
    assert msgspec.structs.replace(dynamic, pamt_static=0, pamt_dynamic=0, pamt_refcounts=0) == msgspec.structs.replace(
        static, pamt_static=0
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sept_pages": -1}, "sept_pages -1"),
        ({"guest_bytes": 3 * GIB}, "guest_bytes"),
        ({"frames_4k": (1 << 18) + 1}, "frames_4k"),
        ({"table_frames": 9}, "table_frames 9"),
        ({"folio_order": 19}, "folio_order 19"),
        ({"folio_order": 18, "split_folios": 2}, "split_folios 2"),
    ],
)
def test_impossible_moments_are_refused(change: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        memory_use(**{"guest_bytes": GIB, "tdmr_bytes": [2 * GIB], "sept_pages": 8} | change)  # type: ignore[arg-type]
