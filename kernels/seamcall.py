"""SEPT.ADD, PAGE.AUG and ACCEPT: one call at a time, and the same call at an entry that is already found.

``..._at`` functions start where the walk has ended; batches use them so that a run of pages below one table
needs one walk, and a call alone goes through the same lines. The TD is RUNNABLE and its TDR free of locks:
the checks before the operands cannot fail here. Source: Intel TDX module, tag TDX_1.5.01,
``tdh_mem_sept_add.c``, ``tdh_mem_page_aug.c``, ``tdg_mem_page_accept.c``.
"""

from kernels.entry_states import allows
from kernels.jit import njit, step
from kernels.locks import pass_entry
from kernels.pamt import check_free_page, give_page
from kernels.pamt_entry import PT_EPT, PT_REG
from kernels.sept_entry import make_entry
from kernels.status import (
    EPT_ENTRY_STATE_INCORRECT,
    EPT_WALK_FAILED,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RCX,
    SUCCESS,
)
from kernels.tables import TD_CHLDCNT, TD_GPA_BITS, TD_LEVELS, TD_TDR_PFN, fill_free
from kernels.transitions import ADDABLE, AUGMENTABLE, AUGMENTED, LINKED, accept_status, accepted, pages_of
from kernels.walk import walk


@njit
def gpa_is_valid(tables, gpa, level):
    """Whether ``gpa`` is private, within the TD's width, and aligned to ``level``."""
    return (gpa >> tables.td[TD_GPA_BITS]) == 0 and (gpa & ((1 << (12 + 9 * level)) - 1)) == 0


@step
def aug_at(tables, row, index, level, pfn):
    """Execute PAGE.AUG from the entry lock on; return the status."""
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    if not allows(AUGMENTABLE, tables.sept[row, index]):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    status, at = check_free_page(tables, pfn, level, OPERAND_R8)
    if status == SUCCESS:
        if level == 1:
            give_page(tables.pamt_2m, at, PT_REG, tables.td[TD_TDR_PFN])
        else:
            give_page(tables.pamt_4k, at, PT_REG, tables.td[TD_TDR_PFN])
        tables.sept[row, index] = make_entry(AUGMENTED, pfn)
        tables.td[TD_CHLDCNT] += pages_of(level)
    return status


@njit
def sept_add_at(tables, row, index, new_row):
    """Execute SEPT.ADD from the entry lock on; ``new_row`` is the new table's row; return the status."""
    if not pass_entry(tables.sept, row, index):
        return OPERAND_BUSY + OPERAND_RCX
    if not allows(ADDABLE, tables.sept[row, index]):
        return EPT_ENTRY_STATE_INCORRECT + OPERAND_RCX
    pfn = tables.sept_pfn + new_row
    status, at = check_free_page(tables, pfn, 0, OPERAND_R8)
    if status == SUCCESS:
        give_page(tables.pamt_4k, at, PT_EPT, tables.td[TD_TDR_PFN])
        fill_free(tables.sept, new_row)
        tables.sept[row, index] = make_entry(LINKED, pfn)
        tables.td[TD_CHLDCNT] += pages_of(0)
    return status


@step
def accept_at(tables, reached, row, index, level):
    """Execute the guest's ACCEPT from the end of its walk on; return the status or EPT_VIOLATION_EXIT."""
    entry = tables.sept[row, index]
    status = accept_status(entry, reached, level)
    if status == SUCCESS:
        tables.sept[row, index] = accepted(entry, level)
    return status


@njit
def tdh_mem_page_aug(tables, gpa, level, pfn):
    """TDH.MEM.PAGE.AUG: map ``pfn`` (4K or 2M by ``level``) at ``gpa`` as PENDING; return the status."""
    if level < 0 or level > 1 or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return aug_at(tables, row, index, level, pfn)


@njit
def tdh_mem_sept_add(tables, gpa, level, new_row):
    """TDH.MEM.SEPT.ADD: put table page ``new_row`` below the entry of ``gpa`` at ``level``; return the status.

    ``level`` is that of the parent entry: 1 adds a page of 4K entries.
    """
    if level < 1 or level >= tables.td[TD_LEVELS] or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    if reached != level:
        return EPT_WALK_FAILED + OPERAND_RCX
    return sept_add_at(tables, row, index, new_row)


@njit
def tdg_mem_page_accept(tables, gpa, level):
    """TDG.MEM.PAGE.ACCEPT at ``level``; return the status, or EPT_VIOLATION_EXIT for a TD exit."""
    if level < 0 or level > 1 or not gpa_is_valid(tables, gpa, level):
        return OPERAND_INVALID + OPERAND_RCX
    reached, row, index, _ = walk(tables, gpa >> 12, level)
    return accept_at(tables, reached, row, index, level)
