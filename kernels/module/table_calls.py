"""TDH.MEM.SEPT.ADD, SEPT.REMOVE and SEPT.RD. Source: Intel TDX module, tag TDX_1.5.01, the files of these names."""

import numpy as np

from kernels.entry_states import ANY, allows
from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.module.locate import (
    add_children,
    check_removable,
    leave,
    locate,
    set_entry,
    tell,
    unlock,
)
from kernels.module.page_calls import op_states
from kernels.module.pamt_walk import (
    free_page_type,
    get_pamt,
    give_page,
    lock_page_operand,
    pamt_word,
    put_pamt,
    unwalk_pamt,
)
from kernels.module.prologue import begin, end
from kernels.module.state import EXCLUSIVE, LEVELS, SHARED
from kernels.module.trace import (
    free_own,
    map_own,
    page_stored,
    sept_children_read,
    sept_read,
)
from kernels.pamt_entry import PT_EPT, PT_NDA
from kernels.replay_record import EV_SW, R8, R9, R11, RCX, RDX
from kernels.sept_entry import FREE, STATE_FREE, STATE_MASK, entry_pfn, make_entry
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_PAGE_NOT_FREE,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RAX,
    OPERAND_RCX,
    OPERAND_RDX,
    SUCCESS,
)
from kernels.tables import fill_free
from kernels.transitions import ADDABLE, LINKABLE, LINKED, REMOVABLE_TABLE, pages_of

_SEPT_ADD = op_states(1, 2, 3, 6, 7, 8, 9)  # what AUG takes, and the import states
_NOT_UNINITIALIZED = op_states(*range(1, 11))

RDX_RESERVED = np.uint64(0xFFF0_0000_0000_0FFE)
RDX_FLAG = np.uint64(1)
_NO_PAGE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_R8_ADDRESS = np.uint64(0x7FFF_FFFF_FFFF_FFFF)


@njit
def sept_add(module, regs, version, out):
    """TDH.MEM.SEPT.ADD: RCX gpa and level of the parent entry, RDX TDR (bit 0: allow existing), R8 new page."""
    for r in range(R8, R11 + 1):  # pages that are not used are given back
        out[r] = regs[r]
    if version > 1:
        return OPERAND_INVALID + OPERAND_RAX
    if regs[RDX] & RDX_RESERVED:
        return OPERAND_INVALID + OPERAND_RDX
    status, td = begin(module, regs[RDX] & ~RDX_FLAG, OPERAND_RDX, SHARED, WRITABLE, _SEPT_ADD)
    if status == SUCCESS:
        status = _add_table(module, td, regs, version, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _add_table(module, td, regs, version, out):
    status, level, row, index = locate(module, td, regs[RCX], 1, module.tds[td, LEVELS] - 1, SHARED, LINKABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    is_free = allows(ADDABLE, entry)
    if regs[R8] == _NO_PAGE and version == 0:
        status = OPERAND_INVALID + OPERAND_R8
    elif (is_free and regs[R8] == _NO_PAGE) or (not is_free and not regs[RDX] & RDX_FLAG):
        tell(entry, level, out)
        status = EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    pfn = np.int64(-1)
    added = status == SUCCESS and is_free
    if added:
        status, pfn = lock_page_operand(module, regs[R8] & _R8_ADDRESS, OPERAND_R8, 0, EXCLUSIVE, PT_NDA)
        added = status == SUCCESS
    if added:
        map_own(module.trace, pfn, WRITABLE)
        fill_free(module.sept, pfn - module.sept_pfn)
        page_stored(module.trace)
        module.trace.counts[0, EV_SW] += 512
        give_page(module, td, pfn, 0, PT_EPT)
        add_children(module, td, pages_of(0))
        free_own(module.trace, pfn, WRITABLE)
        set_entry(module, row, index, make_entry(LINKED, pfn), True)
        out[R8] = _NO_PAGE
    unlock(module, row, index)
    if added:
        unwalk_pamt(module, pfn, 0, EXCLUSIVE)
    leave(module, td, row, SHARED)
    return status


@njit
def give_no_l2_pages(out):
    """Set R9 to R11 to no page: version 1 gives the L2 VMs' table pages back there, and there are none."""
    for r in range(R9, R11 + 1):
        out[r] = _NO_PAGE


@njit
def sept_remove(module, regs, version, out):
    """TDH.MEM.SEPT.REMOVE: RCX gpa and level of the parent entry, RDX TDR; out RCX the table page."""
    give_no_l2_pages(out)
    if version > 1:
        return OPERAND_INVALID + OPERAND_RAX
    status, td = begin(module, regs[RDX], OPERAND_RDX, SHARED, WRITABLE, _NOT_UNINITIALIZED)
    if status == SUCCESS:
        status = _remove_table(module, td, regs, out)
        end(module, td, SHARED, WRITABLE)
    return status


@njit
def _remove_table(module, td, regs, out):
    top = module.tds[td, LEVELS] - 1
    status, level, row, index = locate(module, td, regs[RCX], 1, top, EXCLUSIVE, REMOVABLE_TABLE, out)
    if status != SUCCESS:
        return status
    entry = module.sept[row, index]
    pfn = entry_pfn(entry)
    mapped = False
    granted = get_pamt(module, pfn, 0)
    if not granted:
        status = OPERAND_BUSY + OPERAND_RCX
    else:
        status = check_removable(module, td, entry, level, pamt_word(module, pfn, 0, 1), out)
    if status == SUCCESS:
        mapped = True
        map_own(module.trace, pfn, READ_ONLY)
        if _is_empty(module, pfn - module.sept_pfn):
            set_entry(module, row, index, FREE, False)
            add_children(module, td, -pages_of(0))
            free_page_type(module, pfn, 0)
            out[RCX] = np.uint64(pfn) << np.uint64(12)
        else:
            tell(entry, level, out)
            status = EPT_PAGE_NOT_FREE + OPERAND_RCX
    if status != SUCCESS:
        unlock(module, row, index)
    leave(module, td, row, EXCLUSIVE)
    put_pamt(module, pfn, 0, granted)
    if mapped:
        free_own(module.trace, pfn, READ_ONLY)
    return status


@njit
def _is_empty(module, row):
    """Whether all entries of a table page are FREE, whatever their lock and host-priority bits."""
    for i in range(512):
        if module.sept[row, i] & STATE_MASK != STATE_FREE:
            sept_children_read(module.trace, row, i + 1)
            return False
    sept_children_read(module.trace, row, 512)
    return True


@njit
def sept_rd(module, regs, out):
    """TDH.MEM.SEPT.RD: RCX gpa and level, RDX TDR (bit 0: L2 attributes); out RCX, RDX the entry."""
    status, td = begin(module, regs[RDX] & ~RDX_FLAG, OPERAND_RDX, SHARED, READ_ONLY, _NOT_UNINITIALIZED)
    if status == SUCCESS:
        status = _read_entry(module, td, regs, out)
        end(module, td, SHARED, READ_ONLY)
    return status


@njit
def _read_entry(module, td, regs, out):
    if regs[RDX] & RDX_FLAG:
        return OPERAND_INVALID + OPERAND_RDX
    status, level, row, index = locate(module, td, regs[RCX], 0, module.tds[td, LEVELS] - 1, SHARED, ANY, out)
    if status != SUCCESS:
        return status
    sept_read(module.trace, row, index)
    tell(module.sept[row, index], level, out)
    unlock(module, row, index)
    leave(module, td, row, SHARED)
    return status
