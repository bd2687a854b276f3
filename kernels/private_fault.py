"""KVM on an EPT violation of a TD that lives: the accept level, the mapping level, the fault.

A 4K ACCEPT that exits inhibits 2M in its range for good, and splits the leaf if there is one; the fault then maps
at the level that is left. Sources: Yan Zhao, "[PATCH v3 00/24] KVM: TDX huge page support for private memory",
2026-01-06, https://lore.kernel.org/all/20260106101646.24809-1-yan.y.zhao@intel.com; Sean Christopherson, "[RFC PATCH
v5 00/45] TDX: Dynamic PAMT + S-EPT Hugepage", 2026-01-28,
https://lore.kernel.org/all/20260129011517.3545883-1-seanjc@google.com.
"""

from kernels.counters import FAULT, GUEST_INHIBIT, PREFAULT, WRITE_LOCK
from kernels.fault import fault
from kernels.jit import njit
from kernels.life_state import FOLIO_STRICT, FREED, GFN, PAGE_4K
from kernels.pamt_references import pamt_get
from kernels.populate import USE_ASKED
from kernels.sept_entry import LEAF, RWX
from kernels.status import SUCCESS
from kernels.tables import TD_NEXT_SEPT
from kernels.walk import walk
from kernels.zap import next_row, split_ranges


@njit
def folio_ranges(life, r):
    """Return how many ranges the folio that holds range ``r`` has; 1 where it is smaller."""
    return 1 << min(max(life.folio_order[r] - 9, 0), 9)


@njit
def whole_folios(life, lo, hi):
    """Return the ranges ``[lo, hi)`` with the rest of the folios that they lie in."""
    return lo & ~(folio_ranges(life, lo) - 1), (hi - 1 | (folio_ranges(life, hi - 1) - 1)) + 1


@njit
def shared_in_folio(life, r):
    """Return the shared pages in the folio that holds range ``r``."""
    span = folio_ranges(life, r)
    first = r & ~(span - 1)
    pages = 0
    for other in range(first, first + span):
        pages += life.shared[other]
    return pages


@njit
def may_be_2m(life, r):
    """Whether nothing but tables forbids that range ``r`` is mapped at 2M."""
    if not life.map_2m[r] or life.shared[r] > 0 or life.inhibited[r] or life.knobs.interface == PAGE_4K:
        return False
    return life.knobs.interface != FOLIO_STRICT or shared_in_folio(life, r) == 0


@njit
def maps_2m(life, r):
    """Whether KVM maps a page of range ``r`` at 2M if the fault says no level, or 2M."""
    if not may_be_2m(life, r):
        return False
    reached, _, _, entry = walk(life.tables, life.state[GFN] + r * 512, 1)
    return reached > 1 or (entry & LEAF) != 0 or (entry & RWX) == 0  # else a table of 4K entries is there


@njit
def inhibit(life, r):
    """Do what an ACCEPT at 4K makes KVM do before the fault: nothing if the range is inhibited; return the status."""
    if life.knobs.interface == PAGE_4K or life.inhibited[r]:
        return SUCCESS
    life.counts[WRITE_LOCK] += 1
    status = split_ranges(life, r, r + 1, 0, 0)
    if status == SUCCESS:
        life.inhibited[r] = 1
        life.counts[GUEST_INHIBIT] += 1
    return status


@njit
def private_fault(life, page, level):
    """Complete the fault of ``page``, mapped at ``level`` or below; return the status.

    A fault that finds its leaf there, as after a split, completes without a call.
    """
    tables = life.tables
    if level == 1 and not maps_2m(life, page >> 9):
        level = 0
    page &= ~((1 << (9 * level)) - 1)
    gfn = life.state[GFN] + page
    reached, _, _, entry = walk(tables, gfn, level)
    if reached == level and entry & LEAF:
        life.counts[FAULT] += 1
        return SUCCESS
    unused = tables.td[TD_NEXT_SEPT]
    first_row = next_row(life)
    tables.td[TD_NEXT_SEPT] = first_row
    status = fault(tables, gfn, life.pfn[page], level, life.lines, life.counts)
    for row in range(first_row, tables.td[TD_NEXT_SEPT]):
        pamt_get(life, tables.sept_pfn + row)
    if life.state[FREED] > 0:  # the tables above are there then, so that a fault takes one at most
        life.state[FREED] -= tables.td[TD_NEXT_SEPT] - first_row
        tables.td[TD_NEXT_SEPT] = unused
    if status == SUCCESS and level == 0:
        pamt_get(life, life.pfn[page])
    return status


@njit
def prefault_range(life, first, end):
    """Map the private pages of ``[first, end)`` by KVM_PRE_FAULT_MEMORY, one fault a leaf; return the status.

    They stay PENDING. Each call goes on behind the leaf that it has mapped.
    """
    page = first
    while page < end:
        pages = 1
        if life.use[page] == USE_ASKED:
            status = private_fault(life, page, 1)
            if status != SUCCESS:
                return status
            life.counts[PREFAULT] += 1
            level = walk(life.tables, life.state[GFN] + page, 0)[0]
            pages = (1 << (9 * level)) - (page & ((1 << (9 * level)) - 1))
        page += pages
    return SUCCESS
