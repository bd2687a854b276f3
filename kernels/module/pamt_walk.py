"""PAMT walks with real locks, from 1G down to the entry that says what a page is in use for.

Source: Intel TDX module, tag TDX_1.5.01, ``pamt_manager.c`` (``pamt_walk``, ``pamt_unwalk``, ``pamt_implicit_get``).
What follows DYNAMIC_PAMT is of newer modules: :mod:`kernels.module.dynamic_pamt`.
"""

import numpy as np

from kernels.jit import njit
from kernels.keyhole import READ_ONLY, WRITABLE
from kernels.locks import disown_hp, own_hp, promote_hp, share_hp, unshare_hp
from kernels.module.state import DYNAMIC_PAMT, EXCLUSIVE, HKID_START_BIT, SHARED, TDR_PFN
from kernels.module.trace import (
    EMPTIED,
    free_key,
    free_pamt,
    locked,
    map_key,
    map_pamt,
    pamt_children,
    pamt_locked,
    pamt_page,
    pamt_read,
    pamt_written,
)
from kernels.pamt_entry import (
    ENTRIES_2M_PER_BLOCK,
    ENTRIES_4K_PER_BLOCK,
    LOCK_EXCLUSIVE,
    LOCK_HOST_PRIORITY,
    LOCK_MASK,
    LOCK_READER,
    PT_NDA,
    PT_PAMT,
    PT_REG,
    make_entry,
    page_type,
)
from kernels.status import (
    MISSING_PAMT_PAGE_PAIR,
    OPERAND_ADDR_RANGE_ERROR,
    OPERAND_BUSY,
    OPERAND_INVALID,
    PAGE_METADATA_INCORRECT,
    SUCCESS,
)
from kernels.transitions import freed, inherited

ANY_SIZE = -1

LEAF_COUNT_SHIFT = np.uint64(40)
"""Of word 1 of a PAMT_2M entry of type PT_PAMT: 4K leaves in use, above a PFN."""


@njit
def hpa_is_valid(module, hpa, level):
    """Whether ``hpa`` (uint64) is aligned to ``level``, has no HKID bits and lies below 2^52."""
    aligned = (hpa & np.uint64((1 << (12 + 9 * level)) - 1)) == np.uint64(0)
    return aligned and (hpa >> np.uint64(module.platform[HKID_START_BIT])) == np.uint64(0)


@njit
def in_tdmr(module, pfn):
    """Whether a usable TDMR block holds ``pfn``."""
    block = pfn >> 18
    return block < module.slot.size and module.slot[block] >= 0


@njit
def pamt_index(module, pfn, level):
    """Return the index of the PAMT entry of ``pfn`` at ``level``; ``pfn`` lies in a usable TDMR."""
    if level == 2:
        return pfn >> 18
    slot = np.int64(module.slot[pfn >> 18])
    if level == 1:
        return slot * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511)
    return slot * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)


@njit
def pamt_word(module, pfn, level, word):
    """Return a word of the PAMT entry of ``pfn`` at ``level``."""
    i = pamt_index(module, pfn, level)
    if level == 2:
        return module.pamt_1g[i, word]
    if level == 1:
        return module.pamt_2m[i, word]
    return module.pamt_4k[i, word]


@njit
def set_pamt_word(module, pfn, level, word, value):
    """Set a word of the PAMT entry of ``pfn`` at ``level``."""
    i = pamt_index(module, pfn, level)
    if level == 2:
        module.pamt_1g[i, word] = value
    elif level == 1:
        module.pamt_2m[i, word] = value
    else:
        module.pamt_4k[i, word] = value


@njit
def type_of(module, pfn, level):
    """Load the page type in the PAMT entry of ``pfn`` at ``level``."""
    pamt_read(module.trace, pfn, level)
    return page_type(pamt_word(module, pfn, level, 0))


@njit
def give_page(module, td, pfn, level, new_type):
    """Write type, owner and bepoch 0 into the PAMT entry of ``pfn``; its lock word stays as it is."""
    set_pamt_word(module, pfn, level, 1, np.uint64(0))
    set_pamt_type(module, pfn, level, make_entry(new_type, module.tds[td, TDR_PFN]))
    if level == 0 and module.platform[DYNAMIC_PAMT] != 0:
        count_leaf(module, pfn, True)


@njit
def set_pamt_type(module, pfn, level, source):
    """Write type and owner of ``source``, a first word, into the PAMT entry of ``pfn``; lock and bepoch stay."""
    set_pamt_word(module, pfn, level, 0, inherited(pamt_word(module, pfn, level, 0), source))
    pamt_written(module.trace, pfn, level)


@njit
def free_page_type(module, pfn, level):
    """Set the type of a page to NDA; owner and bepoch stay stale."""
    set_pamt_word(module, pfn, level, 0, freed(pamt_word(module, pfn, level, 0)))
    pamt_written(module.trace, pfn, level)
    if level == 0 and module.platform[DYNAMIC_PAMT] != 0:
        count_leaf(module, pfn, False)


@njit
def count_leaf(module, pfn, given):
    """Count a 4K page that was given away, or taken back, in the PAMT_2M entry of its range (LOCK XADD)."""
    locked(module.trace, 1)
    i = pamt_index(module, pfn, 1)
    one = np.uint64(1) << LEAF_COUNT_SHIFT
    if given:
        module.pamt_2m[i, 1] += one
    else:
        module.pamt_2m[i, 1] -= one
        if (module.pamt_2m[i, 1] >> LEAF_COUNT_SHIFT) == np.uint64(0):
            module.trace.context[EMPTIED] = i


@njit
def take(module, pfn, level, exclusive):
    """Take the lock of one PAMT entry from the host's side; return whether it was granted."""
    word = pamt_word(module, pfn, level, 0)
    i = pamt_index(module, pfn, level)
    if exclusive:
        pamt_locked(module.trace, pfn, level, 1 + ((word & LOCK_MASK) != 0))
        return _by_level(module, i, level, own_hp)
    refused = (word & LOCK_EXCLUSIVE) != 0
    pamt_locked(module.trace, pfn, level, 1 + (refused or (word & LOCK_HOST_PRIORITY) != 0))
    return _by_level(module, i, level, share_hp)


@njit
def _by_level(module, i, level, primitive):
    if level == 2:
        return primitive(module.pamt_1g, i)
    if level == 1:
        return primitive(module.pamt_2m, i)
    return primitive(module.pamt_4k, i)


@njit
def _promote(module, pfn, level):
    word = pamt_word(module, pfn, level, 0)
    pamt_locked(module.trace, pfn, level, 1 + ((word & LOCK_MASK) != LOCK_READER))
    return _by_level(module, pamt_index(module, pfn, level), level, promote_hp)


@njit
def give_back(module, pfn, level, exclusive):
    """Release the lock of one PAMT entry."""
    i = pamt_index(module, pfn, level)
    if exclusive:
        pamt_read(module.trace, pfn, level)
    pamt_locked(module.trace, pfn, level, 1)
    if level == 2:
        _release(module.pamt_1g, i, exclusive)
    elif level == 1:
        _release(module.pamt_2m, i, exclusive)
    else:
        _release(module.pamt_4k, i, exclusive)


@njit
def _release(words, i, exclusive):
    if exclusive:
        disown_hp(words, i)
    else:
        unshare_hp(words, i)


@njit
def is_leaf(module, pfn, level):
    """Whether no entry below says more: a page of this size, or, with Dynamic PAMT, no PAMT_4K entries at all."""
    kind = type_of(module, pfn, level)
    return kind == PT_REG or (level == 1 and module.platform[DYNAMIC_PAMT] != 0 and kind != PT_PAMT)


@njit
def get_pamt(module, pfn, level):
    """Map the PAMT entry of a page that an S-EPT entry names and take it exclusively; return whether it was granted.

    No lock is taken above it. It stays mapped either way.
    """
    map_pamt(module.trace, pfn, level, WRITABLE)
    pamt_read(module.trace, pfn, level)
    return take(module, pfn, level, EXCLUSIVE)


@njit
def put_pamt(module, pfn, level, granted):
    """Give back what :func:`get_pamt` has got."""
    if granted:
        give_back(module, pfn, level, EXCLUSIVE)
    free_pamt(module.trace, pfn, level, WRITABLE)


@njit
def _lock_to_leaf(module, pfn, exclusive, size):
    for level in (2, 1):
        granted = take(module, pfn, level, SHARED)
        if granted and (is_leaf(module, pfn, level) or size == level):
            if not exclusive or _promote(module, pfn, level):
                return np.int64(level)
            give_back(module, pfn, level, SHARED)
            granted = False
        if not granted:
            for above in range(level + 1, 3):
                give_back(module, pfn, above, SHARED)
            return np.int64(-1)
    if take(module, pfn, 0, exclusive):
        return np.int64(0)
    give_back(module, pfn, 1, SHARED)
    give_back(module, pfn, 2, SHARED)
    return np.int64(-1)


@njit
def _map_three(module, pfn):
    for level in (2, 1, 0):
        map_pamt(module.trace, pfn, level, WRITABLE)


@njit
def _free_three(module, pfn):
    for level in (2, 1, 0):
        free_pamt(module.trace, pfn, level, WRITABLE)


@njit
def walk_pamt(module, pfn, exclusive, size):
    """Lock the PAMT entries of ``pfn`` from 1G down, ancestors shared, the last as asked.

    Parameters
    ----------
    module : Module
    pfn : int64
        In a usable TDMR.
    exclusive : int64
    size : int64
        Level to stop at the latest, or ANY_SIZE.

    Returns
    -------
    int64
        Level of the entry that is locked and stays mapped; -1 where a lock was refused and nothing is held.
    """
    _map_three(module, pfn)
    level = _lock_to_leaf(module, pfn, exclusive, size)
    _free_three(module, pfn)
    if level >= 0:
        map_pamt(module.trace, pfn, level, WRITABLE if exclusive else READ_ONLY)
    return level


@njit
def unwalk_pamt(module, pfn, level, exclusive):
    """Release what :func:`walk_pamt` holds."""
    _map_three(module, pfn)
    give_back(module, pfn, level, exclusive)
    for above in range(level + 1, 3):
        give_back(module, pfn, above, SHARED)
    _free_three(module, pfn)
    free_pamt(module.trace, pfn, level, WRITABLE if exclusive else READ_ONLY)


@njit
def lock_page_operand(module, hpa, operand, size, exclusive, wanted_type):
    """Check and lock the page that a register names.

    Parameters
    ----------
    module : Module
    hpa : uint64
        Register value.
    operand : int64
        Id of the register.
    size : int64
        Level of the page.
    exclusive : int64
    wanted_type : int64
        Page type that the call demands.

    Returns
    -------
    status : int64
        SUCCESS (the page is locked), or with the operand id OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY,
        PAGE_METADATA_INCORRECT or, of a free range that has no PAMT_4K entries, MISSING_PAMT_PAGE_PAIR.
    pfn : int64
    """
    if not hpa_is_valid(module, hpa, size):
        return OPERAND_INVALID + operand, np.int64(-1)
    pfn = np.int64(hpa >> np.uint64(12))
    if not in_tdmr(module, pfn):
        return OPERAND_ADDR_RANGE_ERROR + operand, pfn
    level = walk_pamt(module, pfn, exclusive, size)
    if level < 0:
        return OPERAND_BUSY + operand, pfn
    if level != size or type_of(module, pfn, level) != wanted_type:
        status = PAGE_METADATA_INCORRECT
        if level == 1 and size == 0 and wanted_type == PT_NDA and module.platform[DYNAMIC_PAMT] != 0:
            if page_type(pamt_word(module, pfn, 1, 0)) == PT_NDA:
                status = MISSING_PAMT_PAGE_PAIR
        unwalk_pamt(module, pfn, level, exclusive)
        return status + operand, pfn
    return SUCCESS, pfn


@njit
def lock_free_range(module, hpa, operand, size):
    """Lock the free page that a register names; of a 2M page every PAMT_4K entry is looked at too."""
    status, pfn = lock_page_operand(module, hpa, operand, size, EXCLUSIVE, PT_NDA)
    if status != SUCCESS or size == 0:
        return status, pfn
    first = pamt_index(module, pfn, 0)
    read = 0
    free = True
    for half in (0, 1):
        page = pamt_page(module.trace, pfn, 0, half)
        map_key(module.trace, page, READ_ONLY)
        for i in range(256 * half, 256 * half + 256):
            read += 1
            if page_type(module.pamt_4k[first + i, 0]) != PT_NDA:
                free = False
                break
        free_key(module.trace, page, READ_ONLY)
        if not free:
            break
    pamt_children(module.trace, pfn, 0, True, False, read)
    if not free:
        unwalk_pamt(module, pfn, size, EXCLUSIVE)
        return PAGE_METADATA_INCORRECT + operand, pfn
    return SUCCESS, pfn
