"""S-EPT walks, one and many, from the root to a level or to where they stop.

Source: Intel TDX module, tag TDX_1.5.01, ``sept_manager.c`` (``secure_ept_walk``).
"""

import numpy as np

from kernels.bulk import BLOCK, INDEXED_PER_FRAME, TABLE, run_length, span, window_of
from kernels.jit import njit
from kernels.sept_entry import LEAF, RWX, entry_pfn, state_code
from kernels.tables import TD_LEVELS, TD_ROOT

_INDEX = np.uint64(TABLE - 1)
_NO_ROW = (1 << 31) - 1


@njit
def walk(tables, gfn, level):
    """Walk from the root to ``level``, as the module does: one entry read a level, no shortcut.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        Guest frame number.
    level : int64
        0 = 4K, 1 = 2M, 2 = 1G, ...

    Returns
    -------
    reached : int64
        Level of the entry where the walk ended: above ``level`` if it met a leaf or a non-present entry.
    row, index : int64
        The entry's place in ``tables.sept``.
    entry : uint64
        Its raw value.
    """
    row = tables.td[TD_ROOT]
    reached = tables.td[TD_LEVELS] - 1
    while True:
        index = (gfn >> (9 * reached)) & 511
        entry = tables.sept[row, index]
        if reached <= level or (entry & RWX) == 0 or (entry & LEAF) != 0:
            return reached, row, index, entry
        row = entry_pfn(entry) - tables.sept_pfn
        reached -= 1


@njit
def _walk_each(tables, gfns, level, reached, entries, states):
    for i in range(gfns.size):
        reached[i], _, _, entries[i] = walk(tables, gfns[i], level)
        states[i] = state_code(entries[i])


@njit
def _index_tables(tables, first, level, rows):
    """Look up ``rows.size`` neighbouring tables with entries at ``level``, from number ``first`` on.

    A table's number is its first GFN shifted right by the bits that its entries resolve. Each of ``rows`` gets the
    table's row, or the root's, which no such table has, where there is none.
    """
    reached, parent = np.int64(-1), np.int64(-1)
    for k in range(rows.size):
        number = first + k
        if k == 0 or number & (TABLE - 1) == 0:
            above = walk(tables, number << (9 * (level + 1)), level + 1)
            reached, parent = above[0], above[1]
        rows[k] = tables.td[TD_ROOT]
        if reached == level + 1:
            entry = tables.sept[parent, number & (TABLE - 1)]
            if (entry & RWX) != 0 and (entry & LEAF) == 0:
                rows[k] = entry_pfn(entry) - tables.sept_pfn


@njit
def _copy(table, entries):
    for i in range(entries.size):
        entries[i] = table[i]


@njit
def _read_scattered(sept, gfns, level, first, rows, entries):
    """Read each entry from the table that ``rows`` names; return the lowest row."""
    at, table_at, origin = np.uint64(9 * level), np.uint64(9 * (level + 1)), np.uint64(first)
    lowest = np.int32(_NO_ROW)
    for i in range(gfns.size):
        gfn = np.uint64(gfns[i])
        row = rows[(gfn >> table_at) - origin]
        lowest = min(lowest, row)
        entries[i] = sept[np.uint32(row), (gfn >> at) & _INDEX]
    return lowest


@njit
def _describe(entries, level, reached, states):
    for i in range(entries.size):
        reached[i] = level
        states[i] = state_code(entries[i])


@njit
def _walk_missing(tables, gfns, level, first, rows, reached, entries, states):
    """Walk to each of ``gfns`` whose table is missing."""
    for i in range(gfns.size):
        if rows[(gfns[i] >> (9 * (level + 1))) - first] == tables.td[TD_ROOT]:
            reached[i], _, _, entries[i] = walk(tables, gfns[i], level)
            states[i] = state_code(entries[i])


@njit
def _read_block(tables, gfns, run, level, first, rows, reached, entries, states):
    """Read what the walks of one block or run reach, all of whose tables ``rows`` holds."""
    lowest = rows[(gfns[0] >> (9 * (level + 1))) - first]
    if run > 0:
        _copy(tables.sept[lowest, (gfns[0] >> (9 * level)) & (TABLE - 1) :], entries)
    else:
        lowest = _read_scattered(tables.sept, gfns, level, first, rows, entries)
    _describe(entries, level, reached, states)
    if lowest == tables.td[TD_ROOT]:
        _walk_missing(tables, gfns, level, first, rows, reached, entries, states)


@njit
def walk_many(tables, gfns, level, reached, entries, states, rows):
    """Walk to ``level`` for each of ``gfns``.

    Parameters
    ----------
    tables : Tables
    gfns : ndarray of int64, shape (n,)
    level : int64
    reached : ndarray of int8, shape (n,)
        Out: level where each walk ended.
    entries : ndarray of uint64, shape (n,)
        Out: raw entry there.
    states : ndarray of uint8, shape (n,)
        Out: the module's state code of that entry.
    rows : ndarray of int32, shape (m,)
        Scratch for an index of the tables with entries at ``level``. Walks to 4K or 2M that spread over at most
        ``m`` such tables, counted in whole tables above, find them there; others go down from the root one by one.
        512 a GiB of guest memory hold all tables of 4K entries, 1 a GiB all of 2M entries.
    """
    held, first, allowed, start = rows[:0], np.int64(0), INDEXED_PER_FRAME * gfns.size, 0
    while start < gfns.size:
        run = run_length(gfns[start:], level)
        some = slice(start, start + (run if run > 0 else min(BLOCK, gfns.size - start)))
        block = gfns[some]
        lowest, highest = span(block[:1] if run > 0 else block, 9 * (level + 1))
        indexed = lowest >= first and highest < first + held.size
        if not indexed and level < 2:
            room = min(rows.size, allowed)
            begin, count = window_of(lowest, highest, held.size, room)
            indexed = count <= room
            if indexed:
                held, first, allowed = rows[:count], begin, allowed - count
                _index_tables(tables, first, level, held)
        if indexed:
            _read_block(tables, block, run, level, first, held, reached[some], entries[some], states[some])
        else:
            _walk_each(tables, block, level, reached[some], entries[some], states[some])
        start += block.size
