"""Dynamic PAMT: TDH.PHYMEM.PAMT.ADD and PAMT.REMOVE of newer modules, which give PAMT_4K entries to a 2M range.

Without a pair of pages from the host, a 2M range has no PAMT_4K entries: nothing in it can be given to a TD as a 4K
page. Source: ``facts/tdx-module.md`` section 10, from later public releases of the Intel TDX module (2.0 and later
1.5); nothing of it is in tag TDX_1.5.01, whose calls do as :mod:`kernels.module.pamt_walk` says only where
:func:`use_dynamic_pamt` has turned it on. No recorded call covers it.

All state lies in the PAMT. A PAMT_2M entry of type PT_PAMT holds the PFN of the page with the first 256 entries where
others hold the owner, and in word 1 the PFN of the page with the last 256 and, above it, the 4K leaves in use
(page_count). The bit that the bitmap holds for a page is the type PT_RSVD of its PAMT_4K entry: the walks of all calls
then see that the page is not free. Reserved pages have it from TDMR.INIT on.

What the facts leave open, and what was assumed:

- A set bit of the bitmap says that a page holds PAMT_4K entries, and so is not free although its own range may have no
  pair.
- New pages must lie in a usable TDMR and in no larger page; with a pair for their own range, their 4K entry must be
  NDA. Otherwise, and where the bit is set already: PAGE_METADATA_INCORRECT, with the id of the register.
- RCX holds the HPA and level 1, the pages are in RDX and R8. PAMT_2M is taken exclusively at once, below a shared
  PAMT_1G; RDX is locked and marked before R8. A page in the range that it is for meets the call's own lock: BUSY.
- PAMT.ADD, PAMT.REMOVE: the statuses carry the id of RCX. REMOVE without a pair, of whatever type the range is:
  NO_PAMT_PAGE_PAIR. REMOVE clears both bits (LOCK BTR).
- A page of a range without a pair gets MISSING_PAMT_PAGE_PAIR with the id of its register, where the PAMT walk is
  checked, from every call that wants a free 4K page. The leaf is counted where the call writes its PAMT entry.
- Neither call is interrupted (INTERRUPTED_PAMT, 80000307, is not modelled). Both pages of entries lie in the arrays of
  the static PAMT, so keyholes of the pair are counted at the pages' own addresses.
"""

import numpy as np

from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.module.pamt_walk import (
    LEAF_COUNT_SHIFT,
    give_back,
    hpa_is_valid,
    in_tdmr,
    is_leaf,
    pamt_index,
    pamt_word,
    set_pamt_word,
    take,
    type_of,
)
from kernels.module.state import DYNAMIC_PAMT, EXCLUSIVE, SHARED, Module
from kernels.module.trace import (
    EMPTIED,
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
from kernels.pamt_entry import (
    LOCK_MASK,
    PT_NDA,
    PT_PAMT,
    PT_REG,
    PT_RSVD,
    TYPE_MASK,
    make_entry,
    owner_pfn,
    page_type,
)
from kernels.replay_record import R8, RCX, RDX
from kernels.status import (
    HPA_RANGE_NOT_FREE,
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

NO_RANGE = -1
REMOVABLE_HINT = 1 << 62
"""Set in RAX of a call that took the last 4K leaf of a range away: its pair may be removed."""

_RSVD = np.uint64(PT_RSVD << 16)
_PFN_MASK = (np.uint64(1) << LEAF_COUNT_SHIFT) - np.uint64(1)


def use_dynamic_pamt(module: Module) -> None:
    """Put a module in the state after a SYS.CONFIG that asks for Dynamic PAMT and TDMR.INIT: no range has a pair."""
    module.platform[DYNAMIC_PAMT] = 1
    module.trace.context[EMPTIED] = NO_RANGE


def removable_hint(module: Module) -> int:
    """Return the hint that RAX of a successful call carries, else 0; to be called once, after the call."""
    at = module.trace.context[EMPTIED]
    if at == NO_RANGE:
        return 0
    module.trace.context[EMPTIED] = NO_RANGE
    return REMOVABLE_HINT if module.pamt_2m[at, 1] >> LEAF_COUNT_SHIFT == 0 else 0  # RELOCATE may have filled it again


@njit
def _is_marked(module, pfn):
    """Whether the page at ``pfn`` holds PAMT_4K entries, or is reserved: its bit of the bitmap."""
    return page_type(pamt_word(module, pfn, 0, 0)) == PT_RSVD


@njit
def _mark(module, pfn):
    """Set a page's bit (LOCK BTS); return whether it was clear."""
    locked(module.trace, 1)
    if _is_marked(module, pfn):
        return False
    set_pamt_word(module, pfn, 0, 0, pamt_word(module, pfn, 0, 0) | _RSVD)
    return True


@njit
def _unmark(module, pfn):
    """Clear a page's bit (LOCK BTR)."""
    locked(module.trace, 1)
    set_pamt_word(module, pfn, 0, 0, pamt_word(module, pfn, 0, 0) & ~TYPE_MASK)


@njit
def _page_of_pair(module, pfn, half):
    """Return the PFN of the page with the first or the last 256 PAMT_4K entries of the range of ``pfn``."""
    if half == 0:
        return owner_pfn(pamt_word(module, pfn, 1, 0))
    return np.int64(pamt_word(module, pfn, 1, 1) & _PFN_MASK)


@njit
def _share_page(module, pfn):
    """Lock a new page shared, from 1G down as far as it has entries; return the level of the last, -1 if refused."""
    for level in (2, 1, 0):
        map_pamt(module.trace, pfn, level, WRITABLE)
        granted = take(module, pfn, level, SHARED)
        free_pamt(module.trace, pfn, level, WRITABLE)
        if not granted:
            _unshare_page(module, pfn, level + 1)
            return np.int64(-1)
        if level == 0 or is_leaf(module, pfn, level):
            return np.int64(level)
    return np.int64(-1)


@njit
def _unshare_page(module, pfn, lowest):
    """Release the entries of a page from ``lowest`` up."""
    for level in range(lowest, 3):
        give_back(module, pfn, level, SHARED)


@njit
def _take_page(module, hpa, operand):
    """Check a new page and mark it as one that holds PAMT_4K entries; return status and PFN."""
    if not hpa_is_valid(module, hpa, 0):
        return OPERAND_INVALID + operand, np.int64(-1)
    pfn = np.int64(hpa >> np.uint64(12))
    if not in_tdmr(module, pfn):
        return OPERAND_ADDR_RANGE_ERROR + operand, pfn
    level = _share_page(module, pfn)
    if level < 0:
        return OPERAND_BUSY + operand, pfn
    kind = type_of(module, pfn, level)
    status = SUCCESS
    if kind != PT_NDA or not _mark(module, pfn):
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
def pamt_add(module, regs):
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
        status = _add_pair(module, pfn, regs)
    _unlock_range(module, pfn)
    return status


@njit
def _add_pair(module, pfn, regs):
    """Give two pages to the range at ``pfn``, whose PAMT_2M entry is locked, and zero them."""
    status, first = _take_page(module, regs[RDX], OPERAND_RDX)
    if status != SUCCESS:
        return status
    status, last = _take_page(module, regs[R8], OPERAND_R8)
    if status != SUCCESS:
        _unmark(module, first)
        return status
    entry = pamt_index(module, pfn, 0)
    for half in (0, 1):
        page = (last if half else first) + module.trace.context[GLOBAL_KEY]
        map_key(module.trace, page, WRITABLE)
        for i in range(entry + 256 * half, entry + 256 * half + 256):
            if page_type(module.pamt_4k[i, 0]) != PT_RSVD:  # the bitmap is not in these pages
                module.pamt_4k[i, 0] = module.pamt_4k[i, 1] = np.uint64(0)
        page_stored(module.trace)
        free_key(module.trace, page, WRITABLE)
    lock = pamt_word(module, pfn, 1, 0) & LOCK_MASK
    set_pamt_word(module, pfn, 1, 0, make_entry(PT_PAMT, first) | lock)
    set_pamt_word(module, pfn, 1, 1, np.uint64(last))
    pamt_written(module.trace, pfn, 1)
    return SUCCESS


@njit
def pamt_remove(module, regs, out):
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
    elif not _entries_are_free(module, pfn):
        status = PAMT_PAGE_NOT_EMPTY + OPERAND_RCX
    else:
        for half in (0, 1):
            page = _page_of_pair(module, pfn, half)
            _unmark(module, page)
            out[R8 if half else RDX] = np.uint64(page) << np.uint64(12)
        set_pamt_word(module, pfn, 1, 0, pamt_word(module, pfn, 1, 0) & LOCK_MASK)
        set_pamt_word(module, pfn, 1, 1, np.uint64(0))
        pamt_written(module.trace, pfn, 1)
    _unlock_range(module, pfn)
    return status


@njit
def _entries_are_free(module, pfn):
    """Whether no page of a range is in use: 512 PAMT_4K entries read, 8 KiB, whatever page_count says."""
    entry = pamt_index(module, pfn, 0)
    read, free = np.int64(0), True
    for half in (0, 1):
        page = _page_of_pair(module, pfn, half) + module.trace.context[GLOBAL_KEY]
        map_key(module.trace, page, READ_ONLY)
        for i in range(entry + 256 * half, entry + 256 * half + 256):
            read += 1
            kind = page_type(module.pamt_4k[i, 0])
            free = kind == PT_NDA or kind == PT_RSVD  # marked ones are NDA but for the bitmap
            if not free:
                break
        free_key(module.trace, page, READ_ONLY)
        if not free:
            break
    pamt_children(module.trace, pfn, 0, True, False, read)
    return free
