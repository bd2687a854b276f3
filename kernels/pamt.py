"""PAMT lookups and the taking of a free page, with the module's locks and checks in its order.

Source: Intel TDX module, tag TDX_1.5.01, ``pamt_manager.c`` (``pamt_walk``, ``pamt_is_2mb_range_free``).
"""

import numpy as np

from kernels.jit import njit, step
from kernels.locks import pass_exclusive, pass_promoted, pass_shared
from kernels.pamt_entry import (
    ENTRIES_2M_PER_BLOCK,
    ENTRIES_4K_PER_BLOCK,
    PT_NDA,
    PT_REG,
    TYPE_MASK,
    make_entry,
    page_type,
)
from kernels.status import (
    OPERAND_ADDR_RANGE_ERROR,
    OPERAND_BUSY,
    OPERAND_INVALID,
    PAGE_METADATA_INCORRECT,
    SUCCESS,
)
from kernels.tables import TD_TDR_PFN

_NDA = np.uint64(PT_NDA)
_PFN_BITS = 40  # HPAs end at 2^52


@step
def find_slot(tables, pfn):
    """Return the slot of the initialised TDMR block that holds ``pfn``, or -1 where there is none."""
    block = pfn >> 18
    if block < 0 or block >= tables.slot.size:
        return np.int64(-1)
    return np.int64(tables.slot[block])


@njit
def lookup(tables, pfn):
    """Find the PAMT entry that says what ``pfn`` is in use for.

    Returns
    -------
    level : int64
        2, 1 or 0 for a 1G, 2M or 4K entry; -1 where no initialised TDMR holds the page.
    word0, word1 : uint64
        The entry.
    """
    slot = find_slot(tables, pfn)
    if slot < 0:
        return np.int64(-1), np.uint64(0), np.uint64(0)
    block = pfn >> 18
    if page_type(tables.pamt_1g[block, 0]) == PT_REG:
        return np.int64(2), tables.pamt_1g[block, 0], tables.pamt_1g[block, 1]
    i = slot * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511)
    if page_type(tables.pamt_2m[i, 0]) == PT_REG:
        return np.int64(1), tables.pamt_2m[i, 0], tables.pamt_2m[i, 1]
    i = slot * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)
    return np.int64(0), tables.pamt_4k[i, 0], tables.pamt_4k[i, 1]


@njit
def lookup_many(tables, pfns, levels, words):
    """Look ``pfns`` (int64, shape (n,)) up.

    Parameters
    ----------
    tables : Tables
    pfns : ndarray of int64, shape (n,)
    levels : ndarray of int8, shape (n,)
        Out: level of the entry, -1 outside every initialised TDMR.
    words : ndarray of uint64, shape (n, 2)
        Out: the entry.
    """
    for i in range(pfns.size):
        level, word0, word1 = lookup(tables, pfns[i])
        levels[i] = level
        words[i, 0] = word0
        words[i, 1] = word1


@njit
def _all_free(tables, first):
    """Whether the 512 PAMT_4K entries from ``first`` on are all of type NDA."""
    used = np.uint64(0)
    for i in range(first, first + 512):
        used |= tables.pamt_4k[i, 0]
    return (used & TYPE_MASK) == _NDA


@njit
def _refuse(tables, pfn, level):
    """Return why a page that is not free is refused: the call itself holds the PAMT entries of its own TDR.

    The host priority that this leaves at them is not kept: the next call clears it.
    """
    size = 9 * level
    return OPERAND_BUSY if pfn >> size == tables.td[TD_TDR_PFN] >> size else PAGE_METADATA_INCORRECT


@step
def check_free_page(tables, pfn, level, operand):
    """Check that a page is free, with its locks taken and released, as every call with a page operand does.

    Parameters
    ----------
    tables : Tables
    pfn : int64
        First 4K frame of the page.
    level : int64
        0 for a 4K, 1 for a 2M page.
    operand : int64
        Id of the operand that a failing status names.

    Returns
    -------
    status : int64
        SUCCESS, OPERAND_INVALID (alignment, 2^52), OPERAND_ADDR_RANGE_ERROR (no TDMR), OPERAND_BUSY (a PAMT lock, or
        the TD's own TDR) or PAGE_METADATA_INCORRECT (in use, or part of a larger page), with the operand id.
    index : int64
        Of the page's PAMT entry at ``level``, if ``status`` is SUCCESS.
    """
    if pfn & ((1 << (9 * level)) - 1) or pfn >> _PFN_BITS:
        return OPERAND_INVALID + operand, np.int64(-1)
    slot = find_slot(tables, pfn)
    if slot < 0:
        return OPERAND_ADDR_RANGE_ERROR + operand, np.int64(-1)
    block = pfn >> 18
    if not pass_shared(tables.pamt_1g, block):
        return OPERAND_BUSY + operand, block
    if page_type(tables.pamt_1g[block, 0]) == PT_REG:
        granted = pass_promoted(tables.pamt_1g, block)
        return (PAGE_METADATA_INCORRECT if granted else OPERAND_BUSY) + operand, block
    at_2m = slot * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511)
    at_4k = slot * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)
    if not pass_shared(tables.pamt_2m, at_2m):
        return OPERAND_BUSY + operand, at_2m
    in_use = page_type(tables.pamt_2m[at_2m, 0])
    if level == 1 or in_use == PT_REG:
        if not pass_promoted(tables.pamt_2m, at_2m):
            return OPERAND_BUSY + operand, at_2m
        if level == 0 or in_use != PT_NDA or not _all_free(tables, at_4k):
            return _refuse(tables, pfn, level) + operand, at_2m
        return SUCCESS, at_2m
    if not pass_exclusive(tables.pamt_4k, at_4k):
        return OPERAND_BUSY + operand, at_4k
    if page_type(tables.pamt_4k[at_4k, 0]) != PT_NDA:
        return _refuse(tables, pfn, level) + operand, at_4k
    return SUCCESS, at_4k


@step
def give_page(pamt, index, new_type, owner):
    """Write type, owner (PFN of the TDR) and bepoch 0 into a free and unlocked PAMT entry."""
    pamt[index, 0] = make_entry(new_type, owner)
    pamt[index, 1] = np.uint64(0)
