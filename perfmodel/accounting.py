"""Host memory that a TD costs beyond its own, at any moment of its life: a function of plain numbers."""

from collections.abc import Sequence

import msgspec

from perfmodel.errors import InputError
from perfmodel.platform import static_pamt_bytes

_PAGE_BYTES, _HUGE_BYTES, _BLOCK_BYTES = 1 << 12, 1 << 21, 1 << 30

STRUCT_PAGE_BYTES = 64
"""``struct page`` of 64-bit Linux."""

KVM_MMU_PAGE_BYTES = 184
"""Object size of the slab ``kvm_mmu_page_header`` on recent kernels; ``/proc/slabinfo`` listings show 160 to 184."""

_HUGETLB_ORDER = 9

REFCOUNT_BYTES = 4
"""``atomic_t``: one a 2 MiB of physical address space."""


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes of host memory by purpose; the guest's own pages are not in it.

    Attributes
    ----------
    sept : int
        S-EPT pages, the root left out: it belongs to the TD's control pages.
    mirror : int
        KVM's mirror page for each of them.
    mirror_headers : int
        ``kvm_mmu_page`` of each.
    pamt_static : int
        What the host gives the module for good when it starts: all of PAMT, or with Dynamic PAMT its 1G and 2M levels
        and the bitmap.
    pamt_dynamic : int
        Dynamic PAMT: the pairs of PAMT_4K pages in use.
    pamt_refcounts : int
        Dynamic PAMT: the kernel's array of reference counts.
    vmemmap : int
        ``struct page`` of the host's memory, as it is with and without HVO.
    vmemmap_saved : int
        What HVO has given back; not part of the total.
    """

    sept: int
    mirror: int
    mirror_headers: int
    pamt_static: int
    pamt_dynamic: int
    pamt_refcounts: int
    vmemmap: int
    vmemmap_saved: int

    @property
    def total(self) -> int:
        """Sum of all that is in use."""
        return (
            self.sept + self.mirror + self.mirror_headers
            + self.pamt_static + self.pamt_dynamic + self.pamt_refcounts
            + self.vmemmap
        )  # fmt: skip


def memory_use(
    *,
    guest_bytes: int,
    tdmr_bytes: Sequence[int],
    sept_pages: int,
    frames_4k: int = 0,
    table_frames: int | None = None,
    folio_order: int | None = 0,
    split_folios: int = 0,
    dynamic_pamt: bool = False,
    hvo: bool = False,
) -> MemoryUse:
    """Account for one moment.

    Parameters
    ----------
    guest_bytes : int
        Private memory that backs the guest now.
    tdmr_bytes : sequence of int
        Size of each TDMR of the host; rounded up to 1 GiB. Together they are the host's memory.
    sept_pages : int
        S-EPT pages now, without the root. :func:`sept_pages_of` counts those of a flat guest.
    frames_4k : int
        2 MiB frames of host memory in which at least one page is mapped at 4K. 2M mappings need no Dynamic PAMT.
    table_frames : int, optional
        2 MiB frames in which S-EPT pages lie; without it as few as possible.
    folio_order : int or None
        Order of the folios behind the guest: 9 or 18 for hugetlb; None for memory without ``struct page``.
    split_folios : int
        How many of them are split now; HVO is undone for these.
    dynamic_pamt, hvo : bool
        Whether the host uses Dynamic PAMT and the HugeTLB vmemmap optimisation.

    Returns
    -------
    MemoryUse

    Raises
    ------
    InputError
        A negative number, more folios split or frames mapped than the guest has, or a guest larger than the host.

    Notes
    -----
    - S-EPT: an S-EPT page costs KVM two 4K pages (``spt`` and ``external_spt``) and a header: "KVM: x86/tdp_mmu:
      Propagate building mirror page tables", v4 14/18, 2024-07-18,
      https://lore.kernel.org/all/20240718211230.1492011-15-rick.p.edgecombe@intel.com.
    - Static PAMT: :func:`perfmodel.platform.static_pamt_bytes`.
    - Dynamic PAMT: the 4K level becomes 1 bit a page; 2 pages a 2 MiB frame that holds a control page, an S-EPT page or
      a page mapped at 4K; one ``atomic_t`` a frame of the physical address space, here up to the sum of the TDMRs:
      Dynamic PAMT v6, 2026-05-25,
      https://lore.kernel.org/all/20260526023515.288829-10-rick.p.edgecombe@intel.com.
    - vmemmap: 64 bytes a page, 1.6 %. HVO keeps one vmemmap page of each hugetlb folio:
      https://docs.kernel.org/mm/vmemmap_dedup.html.
    """
    _check(guest_bytes, tdmr_bytes, sept_pages, frames_4k, table_frames, folio_order, split_folios)
    tdmrs = [-(-size // _BLOCK_BYTES) * _BLOCK_BYTES for size in tdmr_bytes]
    if table_frames is None:
        table_frames = -(-sept_pages * _PAGE_BYTES // _HUGE_BYTES)
    has_struct_page = sum(tdmrs) - (guest_bytes if folio_order is None else 0)
    saved = hvo_saved_bytes(guest_bytes, folio_order, split_folios) if hvo else 0
    return MemoryUse(
        sept=sept_pages * _PAGE_BYTES,
        mirror=sept_pages * _PAGE_BYTES,
        mirror_headers=sept_pages * KVM_MMU_PAGE_BYTES,
        pamt_static=sum(map(dynamic_pamt_floor_bytes if dynamic_pamt else static_pamt_bytes, tdmrs)),
        pamt_dynamic=2 * _PAGE_BYTES * (frames_4k + table_frames) if dynamic_pamt else 0,
        pamt_refcounts=refcount_bytes(sum(tdmrs)) if dynamic_pamt else 0,
        vmemmap=has_struct_page // _PAGE_BYTES * STRUCT_PAGE_BYTES - saved,
        vmemmap_saved=saved,
    )


def sept_pages_of(guest_bytes: int, frames_4k: int, levels: int = 4) -> int:
    """Return the S-EPT pages, without the root, of a guest whose memory lies in one piece from GPA 0.

    One page a 2 MiB range that is mapped at 4K, one a GiB, one a 512 GiB, and with 5 levels one a 256 TiB.
    """
    upper = (_BLOCK_BYTES << 9 * i for i in range(levels - 2))
    return frames_4k + sum(-(-guest_bytes // covered) for covered in upper)


def dynamic_pamt_floor_bytes(tdmr_bytes: int) -> int:
    """Return what Dynamic PAMT takes of a TDMR with nothing in use: static PAMT with 1 bit for each 4K page."""
    pages = tdmr_bytes // _PAGE_BYTES
    return static_pamt_bytes(tdmr_bytes) - _whole_pages(16 * pages) + _whole_pages(pages // 8)


def refcount_bytes(physical_bytes: int) -> int:
    """Return the kernel's array of Dynamic PAMT reference counts over ``physical_bytes``: 2 MiB a TiB."""
    return -(-physical_bytes // _HUGE_BYTES) * REFCOUNT_BYTES


def hvo_saved_bytes(guest_bytes: int, folio_order: int | None, split_folios: int = 0) -> int:
    """Return the vmemmap that HVO frees: all pages but one of each whole hugetlb folio; nothing below 2M."""
    if folio_order is None or folio_order < _HUGETLB_ORDER:
        return 0
    vmemmap_pages = (STRUCT_PAGE_BYTES << folio_order) // _PAGE_BYTES
    folios = guest_bytes // (_PAGE_BYTES << folio_order)
    return (vmemmap_pages - 1) * _PAGE_BYTES * (folios - split_folios)


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // _PAGE_BYTES) * _PAGE_BYTES


def _check(
    guest_bytes: int,
    tdmr_bytes: Sequence[int],
    sept_pages: int,
    frames_4k: int,
    table_frames: int | None,
    folio_order: int | None,
    split_folios: int,
) -> None:
    folios = guest_bytes // (_PAGE_BYTES << (folio_order or 0))
    for name, value, most in (
        ("guest_bytes", guest_bytes, sum(tdmr_bytes)),
        ("sept_pages", sept_pages, sum(tdmr_bytes) // _PAGE_BYTES),
        ("frames_4k", frames_4k, guest_bytes // _PAGE_BYTES),  # scattered pages may each have a frame of their own
        ("table_frames", table_frames or 0, sept_pages),
        ("folio_order", folio_order or 0, 18),
        ("split_folios", split_folios, folios),
    ):
        if not 0 <= value <= most:
            raise InputError(f"{name} {value}: accepted is 0 to {most}")
