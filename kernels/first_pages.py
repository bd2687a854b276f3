"""What building and populating a region mean beyond the calls on the tables: MR.EXTEND, references, GUEST_INHIBIT.

Sources: Linux, ``arch/x86/kvm/vmx/tdx.c`` (``tdx_gmem_post_populate``); Sean Christopherson, "KVM: x86/mmu: TDX
post-populate cleanups" v4, 2025-10-30, https://lore.kernel.org/all/20251030200951.3402865-17-seanjc@google.com; Intel
TDX module, tag TDX_1.5.01, ``tdh_mr_extend.c``.
"""

from kernels.build import add_region
from kernels.counters import GUEST_INHIBIT, MR_EXTEND, WALK_READS_HOST, WRITE_LOCK
from kernels.entry_states import allows
from kernels.jit import njit
from kernels.life_state import FIRST_TABLE, GFN, PAGE_4K, USE_ADDED
from kernels.pamt_references import pamt_get
from kernels.populate import USE_ASKED
from kernels.sept_entry import LEAF, RWX, entry_pfn
from kernels.shrink import range_table
from kernels.status import EPT_ENTRY_NOT_PRESENT, OPERAND_RCX, SUCCESS
from kernels.tables import TD_LEVELS, TD_NEXT_SEPT
from kernels.transitions import EXTENDABLE
from kernels.walk import walk

EXTENDS_PER_PAGE = 16
"""TDH.MR.EXTEND measures 256 bytes."""


@njit
def _measure(life, page):
    """Execute MR.EXTEND over one page, a walk for each 256 bytes; return the status."""
    tables = life.tables
    entry = walk(tables, life.state[GFN] + page, 0)[3]
    if not allows(EXTENDABLE, entry):
        return EPT_ENTRY_NOT_PRESENT + OPERAND_RCX
    life.counts[MR_EXTEND] += EXTENDS_PER_PAGE
    life.counts[WALK_READS_HOST] += EXTENDS_PER_PAGE * tables.td[TD_LEVELS]
    return SUCCESS


@njit
def build_region(life, chosen, measured):
    """Add the initial image of a TD that is INITIALIZED, and measure it; KVM takes page after page.

    Parameters
    ----------
    life : Life
        Of a region with nothing mapped. The added pages become USE_ADDED.
    chosen : ndarray of uint8, shape (262144,)
        Pages of the image are not 0.
    measured : bool
        KVM_TDX_MEASURE_MEMORY_REGION.

    Returns
    -------
    int64
        SUCCESS, SEPT_POOL_EMPTY, or the status of the first call that failed.
    """
    status = add_region(life.tables, life.state[GFN], life.pfn, chosen, life.lines, life.counts)
    if status != SUCCESS:
        return status
    _reference_tables(life)
    for page in range(chosen.size):
        if chosen[page] == 0:
            continue
        life.use[page] = USE_ADDED
        pamt_get(life, life.pfn[page])
        if measured:
            status = _measure(life, page)
            if status != SUCCESS:
                return status
    return SUCCESS


@njit
def _reference_tables(life):
    tables = life.tables
    for row in range(life.state[FIRST_TABLE], tables.td[TD_NEXT_SEPT]):
        pamt_get(life, tables.sept_pfn + row)


@njit
def _note_range(life, r, row, prefaulted):
    """Take the references of the pages in the table ``row``, and note whether their ACCEPTs inhibit the range."""
    tables = life.tables
    asked = False
    for i in range(512):
        entry = tables.sept[row, i]
        if (entry & LEAF) != 0 and life.use[r * 512 + i] == USE_ASKED:
            asked = True
            pamt_get(life, entry_pfn(entry))
    if asked and not prefaulted and life.knobs.interface != PAGE_4K:
        life.inhibited[r] = 1
        life.counts[GUEST_INHIBIT] += 1
        life.counts[WRITE_LOCK] += 1


@njit
def note_populated(life, built_tables, prefaulted):
    """Count what ``populate_region`` has done to the region beside its calls, from what is mapped.

    Nothing is given back while a region is populated, so the order of the events does not matter: each 4K leaf and
    each S-EPT page holds one reference, and each 2 MiB that holds any was added once. On demand the second 4K page
    of a range, or the first of one that is not accepted whole, is an ACCEPT at 4K that exits.

    Parameters
    ----------
    life : Life
    built_tables : int
        S-EPT pages that :func:`build_region` has added; they hold their references.
    prefaulted : bool
        KVM_PRE_FAULT_MEMORY has mapped the region, so that no ACCEPT exits.

    Returns
    -------
    int64
        SUCCESS, or what is wrong with the region's table.
    """
    tables = life.tables
    for row in range(life.state[FIRST_TABLE] + built_tables, tables.td[TD_NEXT_SEPT]):
        pamt_get(life, tables.sept_pfn + row)
    status, top = range_table(tables, life.state[GFN])
    if top < 0:
        return status
    for r in range(512):
        entry = tables.sept[top, r]
        if (entry & LEAF) == 0 and (entry & RWX) != 0:
            _note_range(life, r, entry_pfn(entry) - tables.sept_pfn, prefaulted)
    return SUCCESS
