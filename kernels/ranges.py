"""What decides the mapping level of each 2M range of a region: its pages, their contiguity, their folios."""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit
from kernels.populate import RANGES_PER_REGION, USE_ASKED, USE_NONE, USE_REFUSED, USE_SHARED


class RangeFacts(NamedTuple):
    """Facts about the 2M ranges of one region; every array has shape (512,).

    Attributes
    ----------
    guest : ndarray of int64
        Pages that are guest memory.
    asked : ndarray of int64
        Private pages that can be mapped.
    refused : ndarray of int64
        Private pages outside every TDMR or in a reserved area.
    shared : ndarray of int64
        Shared pages.
    aligned : ndarray of bool
        Whether GFN and PFN of the first private page are equal modulo 512.
    contiguous : ndarray of bool
        Whether all guest pages of the range are one run of PFNs.
    folio_order : ndarray of int64
        Smallest order of the folios behind the range, before guest_memfd splits any.
    shared_in_folio : ndarray of bool
        Whether the folio that holds the range has a shared page anywhere.
    """

    guest: np.ndarray
    asked: np.ndarray
    refused: np.ndarray
    shared: np.ndarray
    aligned: np.ndarray
    contiguous: np.ndarray
    folio_order: np.ndarray
    shared_in_folio: np.ndarray


@njit
def _describe_range(pfn, use, folio_order, r, facts):
    first = r * 512
    guest = asked = refused = shared = 0
    start = private = np.int64(-1)  # PFN that page 0 of the range would have in the run; first private page
    contiguous = True
    order = np.int64(127)
    for i in range(first, first + 512):
        kind = use[i]
        if kind == USE_NONE:
            continue
        guest += 1
        asked += kind == USE_ASKED
        refused += kind == USE_REFUSED
        shared += kind == USE_SHARED
        run_start = pfn[i] - (i - first)
        if start < 0:
            start = run_start
        contiguous &= run_start == start
        order = min(order, np.int64(folio_order[i]))
        if private < 0 and kind != USE_SHARED:
            private = i
    facts.guest[r] = guest
    facts.asked[r] = asked
    facts.refused[r] = refused
    facts.shared[r] = shared
    facts.aligned[r] = private >= 0 and ((private - pfn[private]) & 511) == 0
    facts.contiguous[r] = contiguous
    facts.folio_order[r] = order


@njit
def describe_ranges(pfn, use, folio_order, facts):
    """Fill ``facts`` for one region.

    Parameters
    ----------
    pfn : ndarray of int64, shape (262144,)
    use : ndarray of uint8, shape (262144,)
    folio_order : ndarray of int8, shape (262144,)
    facts : RangeFacts
        Zeroed; filled.

    Notes
    -----
    A folio of order above 9 is a GPA range aligned to its size, as HugeTLB's are.
    """
    for r in range(RANGES_PER_REGION):
        _describe_range(pfn, use, folio_order, r, facts)
    for r in range(RANGES_PER_REGION):
        span = 1 << min(max(facts.folio_order[r] - 9, 0), 9)
        start = r & ~(span - 1)
        for other in range(start, start + span):
            facts.shared_in_folio[r] |= facts.shared[other] > 0


@njit
def count_by_run(pfn, use, folio_order, blocks):
    """Count the folios and name the blocks that hold a region's asked pages.

    Parameters
    ----------
    pfn, use, folio_order : ndarray
        As in :func:`describe_ranges`.
    blocks : ndarray of int64, shape (262144,)
        Out: HPA >> 30 of each run of asked pages in one block; a block may come up again.

    Returns
    -------
    folios : int64
        Runs of asked pages in one folio: folios, as a folio backs consecutive pages.
    filled : int64
        Length of ``blocks`` that was filled.
    """
    folios = filled = np.int64(0)
    last_block = last_folio = np.int64(-1)
    for i in range(pfn.size):
        if use[i] != USE_ASKED:
            continue
        folio = ((pfn[i] >> np.int64(folio_order[i])) << np.int64(5)) | np.int64(folio_order[i])
        if folio != last_folio:
            last_folio = folio
            folios += 1
        if pfn[i] >> 18 != last_block:
            last_block = pfn[i] >> 18
            blocks[filled] = last_block
            filled += 1
    return folios, filled
