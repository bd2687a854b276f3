"""Guest memory as a real host's page allocator would hand it out."""

from typing import NamedTuple

import numpy as np

from perfmodel.backings.contract import RANGE_PAGES, RegionBacking
from perfmodel.backings.extents import ExtentMap, Pages, starts_of_runs
from perfmodel.errors import InputError
from perfmodel.host.freelists import UNUSED_ZONES, FreeLists, host_zones
from perfmodel.host.model import MAX_PFN, Host
from perfmodel.host.tdmr import MAX_TDMRS, Tdmr, build_tdmrs
from perfmodel.layout import GuestLayout
from perfmodel.memory_need import require_memory

THP_ORDER = 9
_GIB_PAGES = 1 << 18
_BLOCK_BYTES = 200
"""In memory for each free block: in its list, as it is granted, as an extent."""
_LIST_BYTES = 120


class Contiguity(NamedTuple):
    """How contiguous a guest's memory came out.

    Attributes
    ----------
    order_shares : dict of int to float
        Share of the guest's pages by the folio order that was asked for and granted.
    extents : int
        Maximal runs of consecutive GFNs backed by consecutive PFNs, whatever the folios.
    contiguous_2m_share : float
        Share of the whole 2 MiB ranges of guest memory that are contiguous with GFN and PFN aligned alike:
        what interface ``pfn`` can map at 2M.
    folio_2m_share : float
        Share of them that lie in one folio of order 9 or more.
    inferred_pages : int
        Guest pages from memory that no free list shows.
    addresses : str
        ``real`` or ``generated``.
    """

    order_shares: dict[int, float]
    extents: int
    contiguous_2m_share: float
    folio_2m_share: float
    inferred_pages: int
    addresses: str


class HostBacking:
    """Guest memory from a host's free blocks.

    GFNs are backed in ascending order, each request naturally aligned in GFN: of ``max_folio_order`` as long
    as the host has such blocks, then of the next smaller order, and so on; the edges of slots ask for smaller
    ones. The folio order recorded is the order asked for. Which zones are used, and in which order, is in
    :func:`perfmodel.host.freelists.host_zones`.

    Parameters
    ----------
    max_folio_order : int
        Order of the first request, 0 to the host's largest: 9 for 2M folios, 0 for guest_memfd as it is
        upstream.
    seed : int
        0: each free list is ascending by PFN; otherwise each is shuffled.
    scale : bool
        Repeat the host, shifted upward in HPA by its span rounded to 1 GiB, as often as the guest needs.
        Copies come after the host's own memory, like further nodes.

    Raises
    ------
    InputError
        The guest is larger than the host's free memory and ``scale`` is false; ``max_folio_order`` is out of
        range.
    """

    name = "host"
    has_struct_page = True

    def __init__(
        self,
        host: Host,
        layout: GuestLayout,
        max_folio_order: int = THP_ORDER,
        seed: int = 0,
        scale: bool = False,
    ) -> None:
        top = len(host.free_pfns) - 1
        if not 0 <= max_folio_order <= top:
            raise InputError(f"max_folio_order: {max_folio_order}: accepted is 0 to {top}, the host's largest")
        self._host = host
        self._layout = layout
        self._span_pages = _span_pages(host)
        zones = host_zones(host, seed)
        self.copies = _copies(FreeLists(zones).pages, layout.pages, scale)
        if self.copies * self._span_pages > MAX_PFN:
            raise InputError(f"host: {self.copies} copies: accepted are as many as end at HPA 2^52 or below")
        blocks = self.copies * sum(len(pfns) for zone in zones for pfns in zone)
        need_bytes = blocks * _BLOCK_BYTES + self.copies * sum(map(len, zones)) * _LIST_BYTES
        require_memory(need_bytes, f"the {blocks:,} free blocks of {self.copies:,} copies of the host", "less --memory")
        shifts = range(0, self.copies * self._span_pages, self._span_pages)
        lists = FreeLists([pfns + shift for pfns in zone] for shift in shifts for zone in zones)
        self.map = allocate(lists, layout, max_folio_order)

    def region(self, index: int) -> RegionBacking:
        """Return the pages behind region ``index``."""
        return self.map.region(index)

    def like_others(self, index: int) -> None:
        """Return None: no two regions are known to be alike."""

    def blocks_of_widest_region(self) -> int:
        """Return in how many blocks the pages of one region lie at most."""
        return self.map.blocks_of_widest_region()

    def blocks(self) -> Pages:
        """Return the sorted numbers of the 1 GiB blocks that hold the guest's pages."""
        return self.map.blocks()

    def tdmrs(self) -> tuple[Tdmr, ...]:
        """Return the TDMRs that Linux would build on the host, copies included.

        Where copies would need more than 64, all copies beyond the host itself share one without reserved
        areas.
        """
        own = build_tdmrs(self._host.system_ram)
        span_bytes = self._span_pages << 12
        if len(own) * self.copies > MAX_TDMRS:
            kept = own[: MAX_TDMRS - 1]
            base = span_bytes if len(kept) == len(own) else own[-1].base
            return (*kept, Tdmr(base, self.copies * span_bytes - base))
        ram = [
            (start + copy * span_bytes, end + copy * span_bytes)
            for copy in range(self.copies)
            for start, end in self._host.system_ram
        ]
        return build_tdmrs(ram)

    def contiguity(self) -> Contiguity:
        """Return how contiguous the guest's memory came out."""
        gfn, pfn, pages, order = self.map.gfn, self.map.pfn, self.map.pages, self.map.order
        total = int(pages.sum())
        shares = {int(k): float(pages[order == k].sum() / total) for k in np.unique(order)[::-1]}
        first = starts_of_runs(gfn, pfn, pages)
        run_gfn, run_pfn, run_pages = gfn[first], pfn[first], np.add.reduceat(pages, first)
        aligned = (run_gfn - run_pfn) % RANGE_PAGES == 0
        whole = _whole_ranges(run_gfn, run_pages)
        ranges = sum(int(_whole_ranges(np.array([slot.gfn]), np.array([slot.pages]))[0]) for slot in self._layout.slots)
        in_folio = int(pages[order >= THP_ORDER].sum()) // RANGE_PAGES
        return Contiguity(
            order_shares=shares,
            extents=len(first),
            contiguous_2m_share=int(whole[aligned].sum()) / ranges if ranges else 0.0,
            folio_2m_share=in_folio / ranges if ranges else 0.0,
            inferred_pages=self._inferred_pages(),
            addresses=self._host.addresses,
        )

    def _inferred_pages(self) -> int:
        runs = self._host.inferred_runs()
        shifts = np.arange(self.copies)[:, None] * self._span_pages
        edges = np.stack([(runs.start + shifts).ravel(), (runs.end + shifts).ravel()], axis=1).ravel()
        if not len(edges):
            return 0
        # pages of inferred memory below each edge; between edges it grows by 1 a page or not at all
        below = np.cumsum(np.diff(edges, prepend=edges[0]) * (np.arange(len(edges)) % 2))
        start, end = (np.interp(side, edges, below) for side in (self.map.pfn, self.map.pfn + self.map.pages))
        return round(float((end - start).sum()))


def allocate(lists: FreeLists, layout: GuestLayout, max_order: int) -> ExtentMap:
    """Back all of ``layout`` from ``lists``, which must hold enough pages, asking ``max_order`` first."""
    parts: list[tuple[Pages, Pages, Pages, Pages]] = []
    for slot in layout.slots:
        gfn, end = slot.gfn, slot.gfn + slot.pages
        while gfn < end:
            order = min(max_order, (end - gfn).bit_length() - 1)
            if gfn:
                order = min(order, (gfn & -gfn).bit_length() - 1)
            # an order below the largest is met only up to where a larger one is aligned
            room = end if order == max_order else min(end, gfn + (1 << order))
            grant = lists.take(order, (room - gfn) >> order)
            if not len(grant.pfn):
                max_order = order - 1  # splitting never makes larger blocks: this order is gone for good
                continue
            pages = grant.folios << order
            asked = np.full(len(pages), order, np.int64)
            parts.append((gfn + np.cumsum(pages) - pages, grant.pfn, pages, asked))
            gfn += int(pages.sum())
    gfns, pfns, counts, orders = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ExtentMap(gfns, pfns, counts, orders)


def _copies(free_pages: int, guest_pages: int, scale: bool) -> int:
    if guest_pages <= free_pages:
        return 1
    if scale and free_pages:
        return -(-guest_pages // free_pages)
    way_out = "or --scale-host, which repeats the host" if free_pages else "on a host with free memory"
    unused = ", ".join(UNUSED_ZONES)
    guest_gib, free_gib = guest_pages / _GIB_PAGES, free_pages / _GIB_PAGES
    raise InputError(
        f"memory: {guest_gib:.2f} GiB: accepted is up to {free_gib:.2f} GiB, what the host has free "
        f"(zones {unused} not counted), {way_out}"
    )


def _span_pages(host: Host) -> int:
    ends = [end >> 12 for _, end in host.system_ram] + [zone.end_pfn for zone in host.zones]
    return -(-max(ends, default=1) // _GIB_PAGES) * _GIB_PAGES


def _whole_ranges(gfn: Pages, pages: Pages) -> Pages:
    whole: Pages = np.maximum((gfn + pages) // RANGE_PAGES - -(-gfn // RANGE_PAGES), 0)
    return whole
