"""Dynamic PAMT as the kernel counts it: one reference a 4K leaf and an S-EPT page, one counter for 2 MiB of memory.

The first reference makes TDH.PHYMEM.PAMT.ADD give two pages, the last one dropped makes PAMT.REMOVE return them.
DEMOTE takes the pair of the 2 MiB that it splits as an operand, and 512 references stand for the new leaves; PROMOTE
gives the pair and the references back. The
tables keep their static PAMT_4K: no status depends on where its pages come from.
Source: Kirill Shutemov and Rick Edgecombe, "TDX: Enable Dynamic PAMT" v6, 2026-05-25,
https://lore.kernel.org/all/20260526023515.288829-10-rick.p.edgecombe@intel.com.
"""

from kernels.counters import PAMT_ADD, PAMT_GET, PAMT_LOCK, PAMT_PUT, PAMT_REMOVE, RESET_PAGE
from kernels.jit import njit
from kernels.shrink import pamt_2m_index
from kernels.transitions import pages_of

_PAIR = 2


@njit
def pamt_get(life, pfn):
    """Take a reference for the 4K page ``pfn``: ``tdx_pamt_get()``."""
    if not life.knobs.dynamic_pamt:
        return
    at = pamt_2m_index(life.tables, pfn)
    first = life.references[at] == 0
    life.references[at] += 1
    life.counts[PAMT_GET] += 1
    life.counts[PAMT_ADD] += first
    life.counts[PAMT_LOCK] += first or not life.knobs.pamt_fast_path


@njit
def pamt_put(life, pfn):
    """Drop the reference of the 4K page ``pfn``: ``tdx_pamt_put()``, which resets the pages of a pair it frees."""
    if not life.knobs.dynamic_pamt:
        return
    at = pamt_2m_index(life.tables, pfn)
    life.references[at] -= 1
    last = life.references[at] == 0
    life.counts[PAMT_PUT] += 1
    life.counts[PAMT_REMOVE] += last
    life.counts[PAMT_LOCK] += last or not life.knobs.pamt_fast_path
    if last and life.knobs.reset_pages:
        life.counts[RESET_PAGE] += _PAIR


@njit
def pamt_demoted(life, pfn):
    """Note that DEMOTE has taken the pair for the 2 MiB at ``pfn``."""
    if life.knobs.dynamic_pamt:
        life.references[pamt_2m_index(life.tables, pfn)] += pages_of(1)


@njit
def pamt_promoted(life, pfn):
    """Note that PROMOTE has returned the pair for the 2 MiB at ``pfn``, which is reset as one that is removed."""
    if not life.knobs.dynamic_pamt:
        return
    life.references[pamt_2m_index(life.tables, pfn)] -= pages_of(1)
    if life.knobs.reset_pages:
        life.counts[RESET_PAGE] += _PAIR
