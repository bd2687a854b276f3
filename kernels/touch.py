"""Population touch by touch, in any order: what one fault after the other leaves, near the memory's rate.

A fault at a random place waits for two lines from memory, one with the S-EPT entry and one with the PAMT entry. A batch
therefore finds all places first, in tables that lie in the caches, and then executes its touches in a loop so short
that the processor keeps dozens of their misses under way. That loop takes what every check of PAGE.AUG lets through
and nothing in it touches: a FREE entry without lock or host priority, a PAMT_4K entry of zeros, and only zeros in the
block's PAMT_1G and PAMT_2M entries. Whatever else it meets is left to :func:`kernels.fault.fault`, in its turn.
"""

import numpy as np

from kernels.bulk import BLOCK
from kernels.counters import AUG_4K, FAULT, PAMT_LINES, SEPT_LINES, WALK_READS_HOST
from kernels.fault import PAMT_LINE, SEPT_LINE, fault
from kernels.jit import njit
from kernels.pamt import give_page
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, PT_REG
from kernels.sept_entry import FREE, make_entry
from kernels.status import SUCCESS
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_ROOT, TD_TDR_PFN
from kernels.transitions import AUGMENTED, pages_of
from kernels.walk import walk

BATCH = BLOCK
"""Touches whose places are found together: many for one wait at the end, few enough that their places stay in L2."""

_NOT_CLEAN, _NOT_SEEN = np.int32(-1), np.int32(-2)
_TABLE_BITS, _IN_TABLE = np.uint64(9), np.uint64(511)
_BLOCK_BITS, _IN_BLOCK = np.uint64(18), np.uint64((1 << 18) - 1)
_NONE = np.uint64(0)


@njit
def _clean_slot(tables, block):
    """Return the slot of ``block`` if its PAMT_1G and PAMT_2M entries are all zeros, as below 4K pages alone."""
    slot = tables.slot[block]
    if slot < 0:
        return _NOT_CLEAN
    used = tables.pamt_1g[block, 0]
    for i in range(ENTRIES_2M_PER_BLOCK):
        used |= tables.pamt_2m[slot * ENTRIES_2M_PER_BLOCK + i, 0]
    return slot if used == _NONE else _NOT_CLEAN


@njit
def _locate(tables, gfns, pfns, rows, slots, sept_at, pamt_at):
    """Find where each touch writes: its places in the flat S-EPT and in PAMT_4K.

    A touch gets a place in the root, where no 4K entry lies, if its table is not known or its block not clean.
    """
    tables_known, blocks = np.uint64(rows.size), np.uint64(slots.size)
    root = np.int32(tables.td[TD_ROOT])
    for i in range(gfns.size):
        gfn, pfn = np.uint64(gfns[i]), np.uint64(pfns[i])
        table, block = gfn >> _TABLE_BITS, pfn >> _BLOCK_BITS
        row, slot = root, np.int32(0)
        if table < tables_known and block < blocks:
            slot, row = slots[block], rows[table]
            if slot == _NOT_SEEN:
                slot = slots[block] = _clean_slot(tables, block)
            if slot < 0 or row < 0:
                row, slot = root, np.int32(0)
        sept_at[i] = (np.uint64(row) << _TABLE_BITS) | (gfn & _IN_TABLE)
        pamt_at[i] = (np.uint64(slot) << _BLOCK_BITS) | (pfn & _IN_BLOCK)


@njit
def _map(sept, pamt_4k, pfns, sept_at, pamt_at, root, owner):
    """Execute PAGE.AUG at each place up to the first that is not clean; return how many those are."""
    for i in range(pfns.size):
        at, frame_at = sept_at[i], pamt_at[i]
        if at >> _TABLE_BITS == root or (sept[at] ^ FREE) | pamt_4k[frame_at, 0] != _NONE:
            return i
        sept[at] = make_entry(AUGMENTED, pfns[i])
        give_page(pamt_4k, frame_at, PT_REG, owner)
    return pfns.size


@njit
def _changes(numbers, shift):
    """Return how many of ``numbers`` differ from the one before in their bits from ``shift`` on."""
    changes = 0
    for i in range(1, numbers.size):
        changes += (numbers[i] ^ numbers[i - 1]) >> shift != 0
    return changes


@njit
def _count(tables, pfns, sept_at, lines, counts):
    """Count what :func:`_map` executed, as :func:`kernels.fault.fault` does one by one."""
    done = pfns.size
    if done == 0:
        return
    first, last = np.int64(sept_at[0]) >> 3, np.int64(sept_at[done - 1]) >> 3
    counts[SEPT_LINES] += (first != lines[SEPT_LINE]) + _changes(sept_at, np.uint64(3))
    counts[PAMT_LINES] += (pfns[0] >> 2 != lines[PAMT_LINE]) + _changes(pfns, 2)
    lines[SEPT_LINE], lines[PAMT_LINE] = last, pfns[done - 1] >> 2
    tables.td[TD_CHLDCNT] += done * pages_of(0)
    counts[WALK_READS_HOST] += done * tables.td[TD_LEVELS]
    counts[AUG_4K] += done
    counts[FAULT] += done


@njit
def _fault(tables, gfn, pfn, rows, lines, counts):
    """Execute one fault at 4K; return its status, and whether ``rows`` has learnt the fault's table."""
    status = fault(tables, gfn, pfn, 0, lines, counts)
    table = gfn >> 9
    if status != SUCCESS or table < 0 or table >= rows.size or rows[table] >= 0:
        return status, False
    found = walk(tables, gfn, 0)
    rows[table] = found[1]
    return status, True


@njit
def _touch_batch(tables, gfns, pfns, rows, slots, sept_at, pamt_at, lines, counts):
    """Execute touches at 4K; return the status of the one that failed, or SUCCESS, and how many succeeded."""
    sept, root, owner = tables.sept.reshape(-1), np.uint64(tables.td[TD_ROOT]), tables.td[TD_TDR_PFN]
    _locate(tables, gfns, pfns, rows, slots, sept_at, pamt_at)
    done = 0
    while True:
        end = done + _map(sept, tables.pamt_4k, pfns[done:], sept_at[done:], pamt_at[done:], root, owner)
        _count(tables, pfns[done:end], sept_at[done:end], lines, counts)
        done = end
        if done == gfns.size:
            return SUCCESS, done
        status, learnt = _fault(tables, gfns[done], pfns[done], rows, lines, counts)
        if status != SUCCESS:
            return status, done
        done += 1
        if learnt and done < gfns.size and gfns[done] >> 9 == gfns[done - 1] >> 9:  # touches in sequence
            _locate(tables, gfns[done:], pfns[done:], rows, slots, sept_at[done:], pamt_at[done:])


@njit
def touch_many(tables, gfns, pfns, level, rows, slots, places, lines, counts):
    """Fault on each of ``gfns`` in turn, as :func:`kernels.fault.fault` does one.

    Parameters
    ----------
    tables : Tables
    gfns, pfns : ndarray of int64, shape (n,)
        First guest and host frame of each leaf, in the order of the touches.
    level : int64
        0 or 1. At 2M each fault reads 512 PAMT_4K entries and runs alone.
    rows : ndarray of int32, shape (m,)
        Where the tables of 4K entries lie, by GFN >> 9; -1, as at first, where that is not known. Updated. It serves
        the next call too, as long as no table has been removed and no entry above the leaves blocked. GFNs from
        ``512 * m`` on are faulted on one by one.
    slots : ndarray of int32, shape (blocks,)
        Scratch.
    places : ndarray of uint64, shape (2, BATCH)
        Scratch.
    lines : ndarray of int64, shape (LINES,)
        The lines that the last AUG wrote; updated.
    counts : ndarray of int64, shape (COUNTERS,)
        Updated.

    Returns
    -------
    status : int64
        SUCCESS, or the status of the first touch that failed.
    done : int64
        Touches that succeeded.
    """
    if level > 0:
        for i in range(gfns.size):
            status = fault(tables, gfns[i], pfns[i], level, lines, counts)
            if status != SUCCESS:
                return status, i
        return SUCCESS, gfns.size
    slots[:] = _NOT_SEEN
    for start in range(0, gfns.size, BATCH):
        some = slice(start, min(start + BATCH, gfns.size))
        status, done = _touch_batch(tables, gfns[some], pfns[some], rows, slots, places[0], places[1], lines, counts)
        if status != SUCCESS:
            return status, start + done
    return SUCCESS, gfns.size
