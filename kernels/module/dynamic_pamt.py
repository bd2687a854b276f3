"""Dynamic PAMT: TDH.PHYMEM.PAMT.ADD and PAMT.REMOVE of newer modules, and the count of 4K leaves of a 2M range.

Without a pair of pages from the host, a 2M range has no PAMT_4K entries: nothing in it can be given to a TD as a 4K
page. Source: ``facts/tdx-module.md`` section 10, from later public releases of the Intel TDX module (2.0 and later
1.5); nothing of it is in tag TDX_1.5.01, whose calls neither read nor write what is kept here, except that a PAMT_2M
entry with a pair has type PT_PAMT. No recorded call covers it.

What the facts leave open, and what was assumed:

- A set bit of the bitmap says that a page holds PAMT_4K entries, and so is not free although its own range may have no
  pair. Reserved pages have the bit set too: it is what is left of TDMR.INIT's PAMT_4K entries.
- New pages must lie in a usable TDMR and in no larger page; with a pair for their own range, their 4K entry must be
  NDA. Otherwise, and where the bit is set already: PAGE_METADATA_INCORRECT, with the id of the register.
- RCX holds the HPA and level 1, the pages are in RDX and R8. PAMT_2M is taken exclusively at once, below a shared
  PAMT_1G; RDX is locked and marked before R8. A page in the range that it is for meets the call's own lock: BUSY.
- PAMT.ADD, PAMT.REMOVE: the statuses carry the id of RCX. REMOVE without a pair, of whatever type the range is:
  NO_PAMT_PAGE_PAIR. REMOVE clears both bits (LOCK BTR).
- Neither call is interrupted (INTERRUPTED_PAMT, 80000307, is not modelled). Both pages of entries lie in the arrays of
  the static PAMT, so keyholes of the pair are counted at the pages' own addresses.
"""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.module.pamt_walk import (
    free_page_type,
    give_back,
    hpa_is_valid,
    in_tdmr,
    pamt_index,
    pamt_word,
    set_pamt_word,
    take,
    type_of,
)
from kernels.module.state import EXCLUSIVE, SHARED
from kernels.module.trace import (
    GLOBAL_KEY,
    free_key,
    free_pamt,
    locked,
    map_key,
    map_pamt,
    page_stored,
    pamt_children,
    pamt_written,
)
from kernels.pamt_entry import PT_NDA, PT_PAMT, PT_REG, PT_RSVD, TYPE_MASK, page_type
from kernels.replay_record import R8, RCX, RDX
from kernels.status import (
    HPA_RANGE_NOT_FREE,
    MISSING_PAMT_PAGE_PAIR,
    NO_PAMT_PAGE_PAIR,
    OPERAND_ADDR_RANGE_ERROR,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_R8,
    OPERAND_RCX,
    OPERAND_RDX,
    PAGE_METADATA_INCORRECT,
    PAMT_PAGE_NOT_EMPTY,
    SUCCESS,
)

PAGES = 512
NO_PAGE = -1
REMOVABLE_HINT = np.int64(1 << 62)
"""Set in RAX of a call that took the last 4K leaf of a range away: its pair may be removed."""


class DynamicPamt(NamedTuple):
    """What a module with dynamic PAMT keeps of each 2M range, by the range's index in ``pamt_2m``.

    Attributes
    ----------
    pair : ndarray of int64, shape (slots * 512, 2)
        PFNs of the pages with the range's first and last 256 PAMT_4K entries; NO_PAGE without a pair.
    page_count : ndarray of int64, shape (slots * 512,)
        4K leaves in use.
    bitmap : ndarray of uint64, shape (slots * 512, 8)
        A bit for each 4K page.
    """

    pair: np.ndarray
    page_count: np.ndarray
    bitmap: np.ndarray


def make_dynamic_pamt(module) -> DynamicPamt:
    """Return the state after TDMR.INIT: no pairs, reserved pages marked."""
    ranges = module.pamt_2m.shape[0]
    kept = DynamicPamt(
        np.full((ranges, 2), NO_PAGE, np.int64), np.zeros(ranges, np.int64), np.zeros((ranges, 8), np.uint64)
    )
    types = (module.pamt_4k[:, 0] & TYPE_MASK) >> np.uint64(16)
    for page in np.flatnonzero(types == PT_RSVD).tolist():
        kept.bitmap[page >> 9, page >> 6 & 7] |= np.uint64(1 << (page & 63))
    return kept


@njit
def is_marked(module, dynamic, pfn):
    """Whether the page at ``pfn`` holds PAMT_4K entries, or is reserved."""
    word = dynamic.bitmap[pamt_index(module, pfn, 1), (pfn >> 6) & 7]
    return ((word >> np.uint64(pfn & 63)) & np.uint64(1)) != np.uint64(0)


@njit
def _mark(module, dynamic, pfn):
    """Set a page's bit (LOCK BTS); return whether it was clear."""
    locked(module.trace, 1)
    if is_marked(module, dynamic, pfn):
        return False
    dynamic.bitmap[pamt_index(module, pfn, 1), (pfn >> 6) & 7] |= np.uint64(1) << np.uint64(pfn & 63)
    return True


@njit
def _unmark(module, dynamic, pfn):
    """Clear a page's bit (LOCK BTR)."""
    locked(module.trace, 1)
    dynamic.bitmap[pamt_index(module, pfn, 1), (pfn >> 6) & 7] &= ~(np.uint64(1) << np.uint64(pfn & 63))


@njit
def bitmap_is_free(module, dynamic, pfn):
    """Whether no page of the 2M range of ``pfn`` is marked: 64 bytes, which AUG 2M reads in place of 8 KiB."""
    at = pamt_index(module, pfn, 1)
    marked = np.uint64(0)
    for word in range(8):
        marked |= dynamic.bitmap[at, word]
    return marked == np.uint64(0)


@njit
def has_pair(module, dynamic, pfn):
    """Whether the 2M range of ``pfn`` has PAMT_4K entries."""
    return dynamic.pair[pamt_index(module, pfn, 1), 0] != NO_PAGE


@njit
def get_leaf(module, dynamic, pfn):
    """Count a 4K page that is being given away: what each call with a 4K page operand does once it is locked.

    Returns
    -------
    int64
        SUCCESS; MISSING_PAMT_PAGE_PAIR, to which the facts add no operand id; PAGE_METADATA_INCORRECT (assumed, to
        be completed with the operand id) for a page that is marked.
    """
    if not has_pair(module, dynamic, pfn):
        return MISSING_PAMT_PAGE_PAIR
    if is_marked(module, dynamic, pfn):
        return PAGE_METADATA_INCORRECT
    locked(module.trace, 1)
    dynamic.page_count[pamt_index(module, pfn, 1)] += 1
    return SUCCESS


@njit
def put_leaf(module, dynamic, pfn):
    """Count a 4K page that has been taken back; return SUCCESS, with the hint if it was the last of its range."""
    locked(module.trace, 1)
    at = pamt_index(module, pfn, 1)
    dynamic.page_count[at] -= 1
    return SUCCESS | REMOVABLE_HINT if dynamic.page_count[at] == 0 else SUCCESS


@njit
def _share_page(module, dynamic, pfn):
    """Lock a new page shared, from 1G down as far as it has entries; return the level of the last, -1 if refused."""
    for level in (2, 1, 0):
        map_pamt(module.trace, pfn, level, WRITABLE)
        granted = take(module, pfn, level, SHARED)
        free_pamt(module.trace, pfn, level, WRITABLE)
        if not granted:
            _unshare_page(module, pfn, level + 1)
            return np.int64(-1)
        if level == 0 or type_of(module, pfn, level) == PT_REG or (level == 1 and not has_pair(module, dynamic, pfn)):
            return np.int64(level)
    return np.int64(-1)


@njit
def _unshare_page(module, pfn, lowest):
    """Release the entries of a page from ``lowest`` up."""
    for level in range(lowest, 3):
        give_back(module, pfn, level, SHARED)


@njit
def _take_page(module, dynamic, hpa, operand):
    """Check a new page and mark it as one that holds PAMT_4K entries; return status and PFN."""
    if not hpa_is_valid(module, hpa, 0):
        return OPERAND_INVALID + operand, np.int64(-1)
    pfn = np.int64(hpa >> np.uint64(12))
    if not in_tdmr(module, pfn):
        return OPERAND_ADDR_RANGE_ERROR + operand, pfn
    level = _share_page(module, dynamic, pfn)
    if level < 0:
        return OPERAND_BUSY + operand, pfn
    kind = type_of(module, pfn, level)
    status = SUCCESS
    if kind != PT_NDA or not _mark(module, dynamic, pfn):
        status = PAGE_METADATA_INCORRECT + operand
    _unshare_page(module, pfn, level)
    return status, pfn


@njit
def _lock_range(module, rcx):
    """Check RCX and take its PAMT_2M entry exclusively; return status and PFN. PAMT_1G is shared."""
    hpa = rcx & ~np.uint64(7)
    if (rcx & np.uint64(7)) != np.uint64(1) or not hpa_is_valid(module, hpa, 1):
        return OPERAND_INVALID + OPERAND_RCX, np.int64(-1)
    pfn = np.int64(hpa >> np.uint64(12))
    if not in_tdmr(module, pfn):
        return OPERAND_ADDR_RANGE_ERROR + OPERAND_RCX, pfn
    map_pamt(module.trace, pfn, 2, WRITABLE)
    granted = take(module, pfn, 2, SHARED)
    if granted:
        map_pamt(module.trace, pfn, 1, WRITABLE)
        if not take(module, pfn, 1, EXCLUSIVE):
            give_back(module, pfn, 2, SHARED)
            free_pamt(module.trace, pfn, 1, WRITABLE)
            granted = False
    if not granted:
        free_pamt(module.trace, pfn, 2, WRITABLE)
        return OPERAND_BUSY + OPERAND_RCX, pfn
    return SUCCESS, pfn


@njit
def _unlock_range(module, pfn):
    give_back(module, pfn, 1, EXCLUSIVE)
    give_back(module, pfn, 2, SHARED)
    free_pamt(module.trace, pfn, 1, WRITABLE)
    free_pamt(module.trace, pfn, 2, WRITABLE)


@njit
def pamt_add(module, dynamic, regs):
    """TDH.PHYMEM.PAMT.ADD: RCX 2M range and level 1, RDX and R8 two pages for its PAMT_4K entries.

    Returns
    -------
    int64
        SUCCESS; with the id of RCX HPA_RANGE_NOT_FREE (a 1G page, or PAMT_2M not NDA); with any id OPERAND_INVALID,
        OPERAND_ADDR_RANGE_ERROR or OPERAND_BUSY; with that of a page PAGE_METADATA_INCORRECT.
    """
    status, pfn = _lock_range(module, regs[RCX])
    if status != SUCCESS:
        return status
    if type_of(module, pfn, 2) == PT_REG or type_of(module, pfn, 1) != PT_NDA:
        status = HPA_RANGE_NOT_FREE + OPERAND_RCX
    else:
        status = _add_pair(module, dynamic, pfn, regs)
    _unlock_range(module, pfn)
    return status


@njit
def _add_pair(module, dynamic, pfn, regs):
    """Give two pages to the range at ``pfn``, whose PAMT_2M entry is locked, and zero them."""
    status, first = _take_page(module, dynamic, regs[RDX], OPERAND_RDX)
    if status != SUCCESS:
        return status
    status, last = _take_page(module, dynamic, regs[R8], OPERAND_R8)
    if status != SUCCESS:
        _unmark(module, dynamic, first)
        return status
    at, entry = pamt_index(module, pfn, 1), pamt_index(module, pfn, 0)
    for half in (0, 1):
        page = (last if half else first) + module.trace.context[GLOBAL_KEY]
        map_key(module.trace, page, WRITABLE)
        for i in range(entry + 256 * half, entry + 256 * half + 256):
            module.pamt_4k[i, 0] = module.pamt_4k[i, 1] = np.uint64(0)
        page_stored(module.trace)
        free_key(module.trace, page, WRITABLE)
    dynamic.pair[at, 0], dynamic.pair[at, 1] = first, last
    dynamic.page_count[at] = 0
    word = pamt_word(module, pfn, 1, 0) & ~TYPE_MASK
    set_pamt_word(module, pfn, 1, 0, word | (np.uint64(PT_PAMT) << np.uint64(16)))
    pamt_written(module.trace, pfn, 1)
    return SUCCESS


@njit
def pamt_remove(module, dynamic, regs, out):
    """TDH.PHYMEM.PAMT.REMOVE: RCX 2M range and level 1; out RDX and R8 its two pages.

    Returns
    -------
    int64
        SUCCESS, or with the id of RCX OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY, NO_PAMT_PAGE_PAIR or
        PAMT_PAGE_NOT_EMPTY.
    """
    status, pfn = _lock_range(module, regs[RCX])
    if status != SUCCESS:
        return status
    if type_of(module, pfn, 2) == PT_REG or type_of(module, pfn, 1) != PT_PAMT:
        status = NO_PAMT_PAGE_PAIR + OPERAND_RCX
    elif not _entries_are_free(module, dynamic, pfn):
        status = PAMT_PAGE_NOT_EMPTY + OPERAND_RCX
    else:
        at = pamt_index(module, pfn, 1)
        for half in (0, 1):
            page = dynamic.pair[at, half]
            _unmark(module, dynamic, page)
            out[R8 if half else RDX] = np.uint64(page) << np.uint64(12)
            dynamic.pair[at, half] = NO_PAGE
        free_page_type(module, pfn, 1)
    _unlock_range(module, pfn)
    return status


@njit
def _entries_are_free(module, dynamic, pfn):
    """Whether the 512 PAMT_4K entries of a range are all NDA: 8 KiB read, whatever page_count says."""
    at, entry = pamt_index(module, pfn, 1), pamt_index(module, pfn, 0)
    read, free = np.int64(0), True
    for half in (0, 1):
        page = dynamic.pair[at, half] + module.trace.context[GLOBAL_KEY]
        map_key(module.trace, page, READ_ONLY)
        for i in range(entry + 256 * half, entry + 256 * half + 256):
            read += 1
            free = page_type(module.pamt_4k[i, 0]) == PT_NDA
            if not free:
                break
        free_key(module.trace, page, READ_ONLY)
        if not free:
            break
    pamt_children(module.trace, pfn, 0, True, False, read)
    return free
