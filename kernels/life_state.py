"""What a region's life needs beside the tables: uses, mixed and inhibited ranges, Dynamic PAMT references, knobs."""

from typing import NamedTuple

import numpy as np

from kernels.counters import ALL_COUNTERS
from kernels.fault import LINES
from kernels.populate import PAGES_PER_RANGE, RANGES_PER_REGION, USE_SHARED
from kernels.shrink import pamt_2m_index
from kernels.tables import TD_NEXT_SEPT, TD_TDR_PFN, Tables

USE_ADDED = 4
"""Beside the ``USE_...`` of :mod:`kernels.populate`: private, of the initial image. Nothing there is accepted."""

PAGE_4K, FOLIO_STRICT, FOLIO_LENIENT, PFN = 0, 1, 2, 3
"""Interfaces, as ``Knobs.interface``."""

GFN = 0  # first guest frame of the region
EPOCH = 1  # TD_EPOCH
FIRST_TABLE = 2  # row of the first table page that belongs to the region
FREED = 3  # tables that PROMOTE has given back and nobody uses
LIFE_FIELDS = 4


class Knobs(NamedTuple):
    """How KVM, guest_memfd and the host behave.

    Attributes
    ----------
    interface : int
        ``PAGE_4K``, ``FOLIO_STRICT``, ``FOLIO_LENIENT`` or ``PFN``: which leaves a shared page splits.
    batch_track : bool
        What if: BLOCK all leaves of a range first, then one TRACK and one kick, instead of one of each a leaf.
    reset_pages : bool
        X86_BUG_TDX_PW_MCE: the kernel writes pages that come back with MOVDIR64B.
    dynamic_pamt : bool
    pamt_fast_path : bool
        References beyond the first are taken, and those before the last dropped, without the global lock.
    promote : bool
        What if: KVM merges 512 accepted 4K leaves to one of 2M once a conversion back to private is done.
    """

    interface: int
    batch_track: bool = False
    reset_pages: bool = False
    dynamic_pamt: bool = False
    pamt_fast_path: bool = True
    promote: bool = False


class Life(NamedTuple):
    """One 1 GiB region of a TD through its life.

    Attributes
    ----------
    tables : Tables
    pfn : ndarray of int64, shape (262144,)
        Host frame behind each page, as in :func:`kernels.populate.populate_region`.
    use : ndarray of uint8, shape (262144,)
        ``USE_...`` of each page now; conversions change it.
    map_2m : ndarray of bool, shape (512,)
        Whether the interface would map the range at 2M if nothing were shared.
    folio_order : ndarray of int64, shape (512,)
        Order of the folio that holds the range while nothing in it is shared; above 9 a GPA range aligned to its
        size. 0 for the guest_memfd of mainline.
    shared : ndarray of int64, shape (512,)
        Shared pages of each range.
    inhibited : ndarray of uint8, shape (512,)
        GUEST_INHIBIT: the guest has accepted at 4K. Never cleared.
    references : ndarray of int64, shape (slots * 512,)
        With Dynamic PAMT the references on the pages of each 2 MiB of host memory, indexed as ``tables.pamt_2m``.
    freed : ndarray of int64, shape (512,)
        Rows of the tables that PROMOTE has given back: a stack of ``state[FREED]``, from which KVM takes the next.
    state : ndarray of int64, shape (LIFE_FIELDS,)
        ``GFN``, ``EPOCH``, ``FIRST_TABLE``, ``FREED``.
    lines : ndarray of int64, shape (LINES,)
        The cache lines that the last call wrote.
    counts : ndarray of int64, shape (ALL_COUNTERS,)
        Added to.
    knobs : Knobs
    """

    tables: Tables
    pfn: np.ndarray
    use: np.ndarray
    map_2m: np.ndarray
    folio_order: np.ndarray
    shared: np.ndarray
    inhibited: np.ndarray
    references: np.ndarray
    freed: np.ndarray
    state: np.ndarray
    lines: np.ndarray
    counts: np.ndarray
    knobs: Knobs


def start_life(
    tables: Tables,
    gfn: int,
    pfn: np.ndarray,
    use: np.ndarray,
    map_2m: np.ndarray,
    folio_order: np.ndarray,
    knobs: Knobs,
    counts: np.ndarray | None = None,
) -> Life:
    """Return the life of the region at ``gfn`` before anything of it is mapped.

    Parameters
    ----------
    tables : Tables
        Without pages of this region; tables above it that are there already belong to someone else.
    gfn, pfn, use, map_2m, folio_order, knobs
        As in :class:`Life`. ``use`` is copied.
    counts : ndarray of int64, shape (ALL_COUNTERS,), optional
        Default: zeros.

    Notes
    -----
    TD_EPOCH starts at 1. The TDR, the TDCX pages and the tables that are there hold their references.
    """
    references = np.zeros(tables.pamt_2m.shape[0], np.int64)
    first_table = int(tables.td[TD_NEXT_SEPT])
    tdr = int(tables.td[TD_TDR_PFN])
    for page in range(tdr, tables.sept_pfn + first_table):
        references[pamt_2m_index(tables, page)] += 1
    use = use.copy()
    shared = (use == USE_SHARED).reshape(RANGES_PER_REGION, PAGES_PER_RANGE).sum(axis=1).astype(np.int64)
    return Life(
        tables=tables,
        pfn=pfn,
        use=use,
        map_2m=np.ascontiguousarray(map_2m, np.bool_),
        folio_order=np.ascontiguousarray(folio_order, np.int64),
        shared=shared,
        inhibited=np.zeros(RANGES_PER_REGION, np.uint8),
        references=references,
        freed=np.zeros(RANGES_PER_REGION, np.int64),
        state=np.array([gfn, 1, first_table, 0], np.int64),
        lines=np.full(LINES, -1, np.int64),
        counts=np.zeros(ALL_COUNTERS, np.int64) if counts is None else counts,
        knobs=knobs,
    )
