"""PAMT lookups and the taking of a free page, with the module's locks and checks in its order.

Source: Intel TDX module, tag TDX_1.5.01, ``pamt_manager.c`` (``pamt_walk``, ``pamt_is_2mb_range_free``).
"""

import numpy as np

from kernels.bulk import BLOCK, INDEXED_PER_FRAME, run_length, span, window_of
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
_FRAME, _IN_FRAME = np.uint64(9), np.uint64(511)
_BLOCK_SHIFT, _ONE, _REG = np.uint64(18), np.uint64(1), np.uint64(PT_REG << 16)


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
def _lookup_each(tables, pfns, levels, words):
    for i in range(pfns.size):
        levels[i], words[i, 0], words[i, 1] = lookup(tables, pfns[i])


@njit
def _index_frames(tables, first, frames):
    """Say for ``frames.size`` neighbouring 2M frames, from number ``first`` on, where their PAMT_4K entries begin.

    In units of 512 entries; -1 where those do not count.
    """
    for k in range(frames.size):
        pfn = (first + k) << 9
        level, _, _ = lookup(tables, pfn)
        frames[k] = find_slot(tables, pfn) * ENTRIES_2M_PER_BLOCK + ((pfn >> 9) & 511) if level == 0 else -1


@njit
def _copy_entries(entries, words):
    """Copy as many neighbouring entries as ``words`` holds, both flat; return whether all are of type REG.

    With two indices the length of a row is not known when the loop is compiled, and it moves 8 bytes at a time.
    """
    differ = np.uint64(0)
    for i in range(words.size >> 1):
        words[2 * i] = word = entries[2 * i]
        words[2 * i + 1] = entries[2 * i + 1]
        differ |= word ^ _REG
    return differ & TYPE_MASK == 0


@njit
def _is_ascending(pfns):
    signs = 0
    for i in range(1, pfns.size):
        signs |= pfns[i] - pfns[i - 1]
    return signs >= 0


@njit
def _read_4k(pamt_4k, pfns, first, frames, words):
    """Read each PAMT_4K entry as if it counted; return whether it does everywhere.

    First all places, then all entries: the second loop is so short that many of its misses overlap.
    """
    origin, signs = np.uint64(first), np.int32(0)
    for i in range(pfns.size):
        pfn = np.uint64(pfns[i])
        frame = frames[(pfn >> _FRAME) - origin]
        signs |= frame
        words[i, 0] = (np.uint64(max(frame, np.int32(0))) << _FRAME) | (pfn & _IN_FRAME)
    for i in range(pfns.size):
        at = words[i, 0]
        words[i, 0] = pamt_4k[at, 0]
        words[i, 1] = pamt_4k[at, 1]
    return signs >= 0


@njit
def _read_4k_ascending(pamt_4k, pfns, first, frames, words):
    """Do what :func:`_read_4k` does, in one pass: at even distances the processor asks for lines ahead by itself."""
    origin, signs = np.uint64(first), np.int32(0)
    for i in range(pfns.size):
        pfn = np.uint64(pfns[i])
        frame = frames[(pfn >> _FRAME) - origin]
        signs |= frame
        at = (np.uint64(max(frame, np.int32(0))) << _FRAME) | (pfn & _IN_FRAME)
        words[i, 0] = pamt_4k[at, 0]
        words[i, 1] = pamt_4k[at, 1]
    return signs >= 0


@njit
def _read_2m(tables, pfns, words):
    """Read each PAMT_2M entry into the flat ``words`` as if it counted; return whether it does everywhere."""
    lowest, highest = span(pfns, 18)
    if lowest < 0 or highest >= tables.slot.size:
        return False
    for block in range(lowest, highest + 1):
        if tables.slot[block] < 0 or page_type(tables.pamt_1g[block, 0]) == PT_REG:
            return False
    pamt_2m, differ = tables.pamt_2m.reshape(-1), np.uint64(0)
    for i in range(pfns.size):
        pfn = np.uint64(pfns[i])
        slot = np.uint64(tables.slot[pfn >> _BLOCK_SHIFT])
        at = ((slot << _FRAME) | ((pfn >> _FRAME) & _IN_FRAME)) << _ONE
        words[2 * i] = word = pamt_2m[at]
        words[2 * i + 1] = pamt_2m[at | _ONE]
        differ |= word ^ _REG
    return differ & TYPE_MASK == 0


@njit
def lookup_many(tables, pfns, levels, words, frames):
    """Look ``pfns`` (int64, shape (n,)) up.

    Parameters
    ----------
    tables : Tables
    pfns : ndarray of int64, shape (n,)
    levels : ndarray of int8, shape (n,)
        Out: level of the entry, -1 outside every initialised TDMR.
    words : ndarray of uint64, shape (n, 2)
        Out: the entry.
    frames : ndarray of int32, shape (m,)
        Scratch for an index of 2M frames. 4K pages that spread over at most ``m`` of them, counted in whole GiB, are
        looked up through it, others one by one. 512 a GiB of host memory hold all.
    """
    held, first, allowed, start = frames[:0], np.int64(0), INDEXED_PER_FRAME * pfns.size, 0
    while start < pfns.size:
        level, _, _ = lookup(tables, pfns[start])
        run = run_length(pfns[start:], level) if level == 0 or level == 1 else 0
        some = slice(start, start + (run if run > 0 else min(BLOCK, pfns.size - start)))
        block, found = pfns[some], words[some]
        alike = False
        if level == 1 and run > 0:
            at = find_slot(tables, block[0]) * ENTRIES_2M_PER_BLOCK + ((block[0] >> 9) & 511)
            alike = _copy_entries(tables.pamt_2m[at:].reshape(-1), found.reshape(-1))
        elif level == 1:
            alike = _read_2m(tables, block, found.reshape(-1))
        elif level == 0:
            lowest, highest = span(block[:1] if run > 0 else block, 9)
            indexed = lowest >= first and highest < first + held.size
            room = min(frames.size, allowed)
            begin, count = window_of(lowest, highest, held.size, room)
            if not indexed and count <= room:
                indexed, held, first, allowed = True, frames[:count], begin, allowed - count
                _index_frames(tables, first, held)
            if indexed and run > 0:
                at = held[lowest - first] * 512 + (block[0] & 511)
                _copy_entries(tables.pamt_4k[at:].reshape(-1), found.reshape(-1))
                alike = True
            elif indexed and _is_ascending(block):
                alike = _read_4k_ascending(tables.pamt_4k, block, first, held, found)
            elif indexed:
                alike = _read_4k(tables.pamt_4k, block, first, held, found)
        if alike:
            levels[some] = level
        else:
            _lookup_each(tables, block, levels[some], found)
        start += block.size


@njit
def _all_free(tables, first):
    """Whether the 512 PAMT_4K entries from ``first`` on are all of type NDA."""
    entries = tables.pamt_4k[first : first + 512]  # a view: its indices need no check for being negative
    used = np.uint64(0)
    for i in range(512):
        used |= entries[i, 0]
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
