"""TDH.MEM.PAGE.PROMOTE and DEMOTE. Source: Intel TDX module, tag TDX_1.5.01, the files of these names."""

import numpy as np

from kernels.jit import njit
from kernels.keyhole import WRITABLE
from kernels.locks import lock_entry
from kernels.module.locate import (
    add_children,
    check_removable,
    leave,
    locate,
    set_entry,
    tell,
    unlock,
)
from kernels.module.page_calls import CHANGES
from kernels.module.pamt_walk import (
    free_page_type,
    get_pamt,
    lock_page_operand,
    pamt_index,
    pamt_word,
    put_pamt,
    set_pamt_type,
    unwalk_pamt,
)
from kernels.module.prologue import begin, end
from kernels.module.state import EXCLUSIVE, SHARED, TDR_PFN
from kernels.module.table_calls import RDX_FLAG, RDX_RESERVED, give_no_l2_pages
from kernels.module.trace import (
    free_key,
    free_own,
    free_pamt,
    locked,
    map_key,
    map_own,
    map_pamt,
    page_stored,
    pamt_children,
    pamt_page,
    pamt_read,
    sept_children_locked,
    sept_children_read,
)
from kernels.pamt_entry import PT_EPT, PT_NDA
from kernels.pamt_entry import make_entry as make_pamt_entry
from kernels.replay_record import EV_LKS, EV_RM, EV_SW, EV_VR, R8, R9, R11, RCX, RDX
from kernels.sept_entry import ACCEPT_COUNTER, LOCK, TDP, entry_pfn, hpa_of, make_entry
from kernels.status import (
    EPT_INVALID_PROMOTE_CONDITIONS,
    INTERRUPTED_RESTARTABLE,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RAX,
    OPERAND_RCX,
    OPERAND_RDX,
    SUCCESS,
)
from kernels.transitions import (
    DEMOTABLE,
    LINKED,
    PROMOTABLE,
    merge_pamt,
    merges,
    pages_of,
    split_leaf,
    split_pamt,
)

_NONE = np.uint64(0)


@njit
def interrupted(module, pending):
    """Look for a pending interrupt, as an interruptible host call does once."""
    module.trace.counts[0, EV_RM] += 1
    module.trace.counts[0, EV_VR] += 1
    return pending


@njit
def page_promote(module, regs, version, pending, out):
    """TDH.MEM.PAGE.PROMOTE: RCX gpa and level 1 or 2 of the new leaf, RDX TDR; out RCX the freed table page.

    ``pending`` says whether an interrupt is pending when the call looks.
    """
    give_no_l2_pages(out)
    if version > 1:
        return OPERAND_INVALID + OPERAND_RAX
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, WRITABLE, CHANGES)
    if status == SUCCESS:
        status = _promote(module, td, regs, pending, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _promote(module, td, regs, pending, out):
    status, level, row, index = locate(module, td, regs[RCX], 1, 2, SHARED, PROMOTABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    table = entry_pfn(entry)
    mapped = False
    granted = get_pamt(module, table, 0)
    if not granted:
        status = OPERAND_BUSY + OPERAND_RCX
    else:
        status = check_removable(module, td, entry, level, pamt_word(module, table, 0, 1), out)
    if status == SUCCESS:
        mapped = True
        map_own(module.trace, table, WRITABLE)
        status = _merge(module, td, row, index, level, regs, pending, out)
    if mapped:
        free_own(module.trace, table, WRITABLE)
    put_pamt(module, table, 0, granted)
    unlock(module, row, index)
    leave(module, td, row, SHARED)
    return status


@njit
def _lock_children(module, row, level):
    """Lock the entries of table ``row`` in order until one is held or does not fit; return how many, and why not."""
    first = _NONE
    tried = held = np.int64(0)
    status = SUCCESS
    for i in range(512):
        tried += 1
        if not lock_entry(module.sept, row, i):
            status = OPERAND_BUSY + OPERAND_RCX
            break
        held += 1
        child = module.sept[row, i] & ~LOCK
        if level == 2 and child & TDP:
            child &= ~ACCEPT_COUNTER
        if i == 0:
            first = child
        if not merges(child, first, i, level - 1):
            status = EPT_INVALID_PROMOTE_CONDITIONS + OPERAND_RCX
            break
    sept_children_read(module.trace, row, held)
    sept_children_locked(module.trace, row, tried)
    locked(module.trace, 2 * tried)
    module.trace.counts[0, EV_LKS] += 2 * tried
    return held, status


@njit
def _unlock_children(module, row, held):
    for i in range(held):
        module.sept[row, i] &= ~LOCK
    locked(module.trace, held)
    module.trace.counts[0, EV_LKS] += held


@njit
def _merge(module, td, row, index, level, regs, pending, out):
    """Turn 512 children into one leaf; the table's PAMT entry is locked, the table mapped."""
    entry = module.sept[row, index]
    table = entry_pfn(entry)
    below = table - module.sept_pfn
    held, status = _lock_children(module, below, level)
    first = module.sept[below, 0] | LOCK
    if status != SUCCESS:
        tell(entry, level, out)
    elif interrupted(module, pending):
        out[RCX], out[RDX] = regs[RCX], regs[RDX]
        status = INTERRUPTED_RESTARTABLE
    else:
        pfn = hpa_of(first, level)
        granted = get_pamt(module, pfn, level)
        if granted:
            _promote_pamt(module, pfn, level)
        else:
            status = OPERAND_BUSY + OPERAND_RCX
        put_pamt(module, pfn, level, granted)
    if status != SUCCESS:
        _unlock_children(module, below, held)
        return status
    set_entry(module, row, index, first, False)
    add_children(module, td, -pages_of(0))
    free_page_type(module, table, 0)
    out[RCX] = np.uint64(table) << np.uint64(12)
    return status


@njit
def _each_half(module, pfn, level, read):
    """Map, touch and free the two pages of PAMT entries at ``level`` of the 512 children from ``pfn`` on."""
    for half in (0, 1):
        page = pamt_page(module.trace, pfn, level, half)
        map_key(module.trace, page, WRITABLE)
        free_key(module.trace, page, WRITABLE)
    pamt_children(module.trace, pfn, level, read, True, 512)


@njit
def _promote_pamt(module, pfn, level):
    """Move type and owner of 512 children up to the entry of the merged page, whose bepoch stays as it was."""
    children = module.pamt_4k if level == 1 else module.pamt_2m
    first = pamt_index(module, pfn, level - 1)
    _each_half(module, pfn, level - 1, True)
    set_pamt_type(module, pfn, level, merge_pamt(children, first))


@njit
def _demote_pamt(module, pfn, level):
    """Give 512 children the type and owner of the split page's entry, whose own type becomes NDA."""
    children = module.pamt_4k if level == 1 else module.pamt_2m
    first = pamt_index(module, pfn, level - 1)
    _each_half(module, pfn, level - 1, False)
    split_pamt(children, first, pamt_word(module, pfn, level, 0))
    free_page_type(module, pfn, level)


@njit
def page_demote(module, regs, pending, out):
    """TDH.MEM.PAGE.DEMOTE: RCX gpa and level 1 or 2 of the leaf, RDX TDR, R8 new table page; R9 to R11 as given."""
    for r in range(R9, R11 + 1):
        out[r] = regs[r]
    if regs[RDX] & RDX_RESERVED:
        return OPERAND_INVALID + OPERAND_RDX
    status, td = begin(module, regs[RDX] & ~RDX_FLAG, OPERAND_RDX, SHARED, WRITABLE, CHANGES)
    if status == SUCCESS:
        status = _demote(module, td, regs, pending, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _demote(module, td, regs, pending, out):
    status, level, row, index = locate(module, td, regs[RCX], 1, 2, SHARED, DEMOTABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    pfn = hpa_of(entry, level)
    map_pamt(module.trace, pfn, level, WRITABLE)
    pamt_read(module.trace, pfn, level)
    status = check_removable(module, td, entry, level, pamt_word(module, pfn, level, 1), out)
    table = np.int64(-1)
    if status == SUCCESS:
        status, table = lock_page_operand(module, regs[R8], OPERAND_R8, 0, EXCLUSIVE, PT_NDA)
        if status == SUCCESS:
            status = _split(module, td, row, index, level, table, regs, pending, out)
            unwalk_pamt(module, table, 0, EXCLUSIVE)
    unlock(module, row, index)
    leave(module, td, row, SHARED)
    free_pamt(module.trace, pfn, level, WRITABLE)
    return status


@njit
def _split(module, td, row, index, level, table, regs, pending, out):
    """Fill ``table``, whose PAMT entry is locked, with 512 leaves and put it below the entry."""
    entry = module.sept[row, index]
    pfn = hpa_of(entry, level)
    map_own(module.trace, table, WRITABLE)
    split_leaf(module.sept, table - module.sept_pfn, entry, level)
    page_stored(module.trace)
    free_own(module.trace, table, WRITABLE)
    if interrupted(module, pending):
        out[RCX], out[RDX] = regs[RCX], regs[RDX]
        return INTERRUPTED_RESTARTABLE
    granted = get_pamt(module, pfn, level)
    if granted:
        _demote_pamt(module, pfn, level)
    put_pamt(module, pfn, level, granted)
    if not granted:
        return OPERAND_BUSY + OPERAND_RCX
    module.trace.counts[0, EV_SW] += 512
    set_entry(module, row, index, make_entry(LINKED, table), True)
    set_pamt_type(module, table, 0, make_pamt_entry(PT_EPT, module.tds[td, TDR_PFN]))
    add_children(module, td, pages_of(0))
    return SUCCESS
