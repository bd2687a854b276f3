"""The end of a region: its leaves are removed while the TD lives, or reclaimed once its HKID is released.

S-EPT pages are reclaimed at the end either way. Sources: Adrian Hunter and Sean Christopherson, "KVM: TDX: Add
sub-ioctl KVM_TDX_TERMINATE_VM" v5, 2025-07-18, https://lore.kernel.org/all/20250718181541.98146-1-seanjc@google.com;
Intel TDX module, tag TDX_1.5.01, ``tdh_phymem_page_reclaim.c``.
"""

from kernels.counters import RECLAIM_2M, RECLAIM_4K, RESET_PAGE, WRITE_LOCK
from kernels.jit import njit
from kernels.life_state import FIRST_TABLE, GFN
from kernels.locks import pass_exclusive, pass_shared
from kernels.pamt_entry import PT_NDA, page_type
from kernels.pamt_references import pamt_put
from kernels.runs import pamt_4k_index
from kernels.sept_entry import LEAF, RWX, entry_pfn, hpa_of
from kernels.shrink import pamt_2m_index, range_table
from kernels.status import OPERAND_BUSY, OPERAND_RCX, OPERAND_TDR, SUCCESS
from kernels.tables import TD_CHLDCNT, TD_NEXT_SEPT, TD_TDR_PFN
from kernels.transitions import freed, pages_of
from kernels.zap import zap_range


@njit
def reclaim_at(tables, pfn, level):
    """Execute PAGE.RECLAIM of a page that the TD, in TEARDOWN, has at ``level``; return the status."""
    pamt = tables.pamt_2m if level == 1 else tables.pamt_4k
    at = pamt_2m_index(tables, pfn) if level == 1 else pamt_4k_index(tables, pfn)
    if not pass_exclusive(pamt, at):
        return OPERAND_BUSY + OPERAND_RCX
    if not pass_shared(tables.pamt_4k, pamt_4k_index(tables, tables.td[TD_TDR_PFN])):
        return OPERAND_BUSY + OPERAND_TDR
    tables.td[TD_CHLDCNT] -= pages_of(level)
    pamt[at, 0] = freed(pamt[at, 0])
    return SUCCESS


@njit
def _reclaim(life, pfn, level):
    status = reclaim_at(life.tables, pfn, level)
    if status == SUCCESS:
        life.counts[RECLAIM_2M if level else RECLAIM_4K] += 1
        if life.knobs.reset_pages:
            life.counts[RESET_PAGE] += pages_of(level)
        if level == 0:
            pamt_put(life, pfn)
    return status


@njit
def _reclaim_pages(life, row):
    for i in range(512):
        entry = life.tables.sept[row, i]
        if entry & LEAF:
            status = _reclaim(life, entry_pfn(entry), 0)
            if status != SUCCESS:
                return status
    return SUCCESS


@njit
def _reclaim_leaves(life):
    """Reclaim every leaf of the region, in GFN order; return the status."""
    tables = life.tables
    status, top = range_table(tables, life.state[GFN])
    if top < 0:
        return status
    for r in range(512):
        entry = tables.sept[top, r]
        if entry & LEAF:
            status = _reclaim(life, hpa_of(entry, 1), 1)
        elif entry & RWX:
            status = _reclaim_pages(life, entry_pfn(entry) - tables.sept_pfn)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def teardown_region(life, hkid_released):
    """Take everything of the region away from the TD.

    Parameters
    ----------
    life : Life
    hkid_released : bool
        The HKID is released before guest_memfd is closed, so that each leaf takes one RECLAIM. Otherwise closing
        guest_memfd zaps every leaf, and only S-EPT pages are reclaimed.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed.

    Notes
    -----
    The S-EPT entries of reclaimed pages stay as they are: nobody walks the S-EPT of a TD without HKID. The lock that
    zapping takes is counted once a region.
    """
    tables = life.tables
    if hkid_released:
        status = _reclaim_leaves(life)
    else:
        life.counts[WRITE_LOCK] += 1
        status = zap_range(life, 0, life.use.size)
    if status != SUCCESS:
        return status
    for row in range(life.state[FIRST_TABLE], tables.td[TD_NEXT_SEPT]):
        page = tables.sept_pfn + row
        if page_type(tables.pamt_4k[pamt_4k_index(tables, page), 0]) == PT_NDA:
            continue  # PROMOTE has given it back
        status = _reclaim(life, page, 0)
        if status != SUCCESS:
            return status
    return SUCCESS
