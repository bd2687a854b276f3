"""Three levels of set-associative caches with write-back and write-allocate, on a stream of cache lines.

A load looks in each level in turn and leaves the line in all that it missed. A line that a full set loses goes to the
next level as a store if it is dirty, and nowhere if it is not: levels neither include nor exclude each other. A store
that finds its line in the first level marks it and leaves its age; one that does not loads it first. These are the
rules of pycachesim, https://github.com/RRZE-HPC/pycachesim (``store_to`` and ``load_from`` along the levels, LRU), and
tests hold the two against each other. What it does not have: an access that reads and then writes a line, lines that
leave all levels at once, and pages that only pass through.

A tag is a line's number, and in its lowest bit whether it is dirty.
"""

import numpy as np

from kernels.jit import njit, step
from kernels.lru import EMPTY, MASK, WAYS, first_way, touch
from kernels.prefetch import prefetch_item_to_write

L1, L2, L3, MEMORY = 0, 1, 2, 3
LEVELS = 3
"""Rows of ``places``; ``MEMORY`` is where a line was found that no level had."""

LOAD, STORE, MODIFY, DROP, PASS = 0, 1, 2, 3, 4
"""What an access does: load a line; store to it; load it and store to it (a locked instruction); MOVDIR64B or
CLFLUSHOPT, which write it back if it is dirty and leave it in no level; store to every line of a page that no level
holds and then CLFLUSHOPT them."""

OP_BITS, KIND_BITS = 3, 5
"""An access is ``line << 8 | kind << 3 | op``. ``kind`` is any number below 32 for the tally; of a PASS it is the
logarithm of the number of lines."""
LINE_SHIFT = OP_BITS + KIND_BITS

HITS, MISSES, EVICTIONS, WRITE_BACKS = 0, 1, 2, 3
COUNTS = 4
"""Columns of ``counts``, which has a row a level: loads that found their line and that did not, lines that gave way to
others, and dirty lines that went to the next level, whatever drove them. A store that finds its line is no hit."""

_DIRTY = 1

_AHEAD, _TAGS_PER_LINE = 12, 8
"""After an access that missed two levels, the third level's set of the access so far ahead is asked for: measured on
lines at random in 9 MB and in 4 GB, 31 and 29 ns an access instead of 40 and 35; streams that hit do not pay for it."""


@step
def _find(tags, places, level, line):
    """Return where ``line`` lies, -1 where the level does not hold it."""
    first = first_way(places, level, line)
    for i in range(first, first + places[level, WAYS]):
        if tags[np.uint64(i)] >> 1 == line:
            return i
    return np.int64(-1)


@step
def mark(tags, places, level, line):
    """Take a store if ``level`` holds ``line``; return whether it does."""
    at = _find(tags, places, level, line)
    if at < 0:
        return False
    tags[np.uint64(at)] |= _DIRTY
    return True


@step
def _take(tags, places, level, line, dirty, counts):
    """Load ``line`` into ``level``; return whether it was there, and the dirty line that gave way or -1."""
    found, other = touch(tags, first_way(places, level, line), places[level, WAYS], line << 1 | dirty, _DIRTY)
    counts[level, MISSES - found] += 1
    out = np.int64(-1)
    if not found and other != EMPTY:
        counts[level, EVICTIONS] += 1
        if other & _DIRTY:
            counts[level, WRITE_BACKS] += 1
            out = other >> 1
    return found, out


@njit
def _store_l3(tags, places, line, counts):
    """Take a dirty line from the second level."""
    if not mark(tags, places, L3, line):
        _take(tags, places, L3, line, _DIRTY, counts)


@njit
def _store_l2(tags, places, line, counts):
    """Take a dirty line from the first level."""
    if mark(tags, places, L2, line):
        return
    _, out = _take(tags, places, L2, line, _DIRTY, counts)
    _take(tags, places, L3, line, 0, counts)
    if out >= 0:
        _store_l3(tags, places, out, counts)


@step
def _fill(tags, places, line, out, counts):
    """Look for a line that the first level missed, which ``out`` left dirty unless it is -1; return where it was."""
    level = np.int64(L2)
    found, out_2 = _take(tags, places, L2, line, 0, counts)
    if not found:
        found, _ = _take(tags, places, L3, line, 0, counts)
        level = np.int64(L3) if found else np.int64(MEMORY)
        if out_2 >= 0:
            _store_l3(tags, places, out_2, counts)
    if out >= 0:
        _store_l2(tags, places, out, counts)
    return level


@step
def load(tags, places, line, dirty, counts):
    """Load ``line``, mark it if ``dirty`` is 1, and return the level where it was."""
    found, out = _take(tags, places, L1, line, dirty, counts)
    return np.int64(L1) if found else _fill(tags, places, line, out, counts)


@njit
def drop(tags, places, line, counts):
    """Take ``line`` out of every level and return where it was; a dirty one goes to memory."""
    where, dirty = MEMORY, False
    for level in range(LEVELS):
        at = _find(tags, places, level, line)
        if at < 0:
            continue
        where = min(where, level)
        if tags[at] & _DIRTY and not dirty:
            counts[level, WRITE_BACKS] += 1
            dirty = True
        last = first_way(places, level, line) + places[level, WAYS] - 1
        for i in range(at, last):
            tags[i] = tags[i + 1]
        tags[last] = EMPTY
    return where


@njit
def _push_out(tags, places, level, first, pushed, counts):
    """Empty the last ``pushed`` ways of one set; dirty lines go to the next level."""
    ways = places[level, WAYS]
    for i in range(first + max(ways - pushed, 0), first + ways):
        held = tags[i]
        if held == EMPTY:
            continue
        tags[i] = EMPTY
        counts[level, EVICTIONS] += 1
        if held & _DIRTY:
            counts[level, WRITE_BACKS] += 1
            if level == L1:
                _store_l2(tags, places, held >> 1, counts)
            elif level == L2:
                _store_l3(tags, places, held >> 1, counts)


@njit
def pass_page(tags, places, line, lines, counts):
    """Store to ``lines`` lines from ``line`` on, which no level holds, and then CLFLUSHOPT them.

    What that leaves is what is counted: each set loses as many of its oldest lines as new ones came, and has as many
    empty ways. The page's own misses and write-backs are not counted. Levels give way in turn, so a dirty line
    that one loses finds the next as it was before.
    """
    for level in range(LEVELS):
        sets = places[level, MASK] + 1
        for s in range(min(sets, lines)):
            pushed = (lines - s + sets - 1) // sets
            _push_out(tags, places, level, first_way(places, level, line + s), pushed, counts)


@njit
def run_accesses(accesses, number, tags, places, counts, tally, found):
    """Execute the first ``number`` of ``accesses`` in turn; caches go on from where they are.

    Parameters
    ----------
    accesses : ndarray of int64, shape (n,)
        As ``OP_BITS`` says.
    number : int64
    tags : ndarray of int64, shape (t,)
        Contents of the levels, ``EMPTY`` at first; changed.
    places : ndarray of int64, shape (LEVELS, 3)
        Where each level lies in ``tags``: columns of :mod:`kernels.lru`.
    counts : ndarray of int64, shape (LEVELS, COUNTS)
        Added to.
    tally : ndarray of int64, shape (kinds, LEVELS + 1)
        Added to: accesses by kind and by the level where the line was, ``MEMORY`` for none. DROP and PASS are left out.
    found : ndarray of int8, shape (n,) or (0,)
        Out, unless it is empty: that level of each access.
    """
    level, hits = np.int64(L1), np.int64(0)
    for i in range(number):
        if level > L2 and i + _AHEAD < number:
            ahead = first_way(places, L3, accesses[i + _AHEAD] >> LINE_SHIFT)
            prefetch_item_to_write(tags, ahead)
            prefetch_item_to_write(tags, ahead + _TAGS_PER_LINE)
        access = accesses[i]
        op = access & (1 << OP_BITS) - 1
        kind = access >> OP_BITS & (1 << KIND_BITS) - 1
        line = access >> LINE_SHIFT
        if op <= MODIFY:
            front = np.uint64(first_way(places, L1, line))
            if tags[front] >> 1 == line:
                tags[front] |= np.int64(op > LOAD)
                hits += op != STORE
                level = np.int64(L1)
            elif op == STORE and mark(tags, places, L1, line):
                level = np.int64(L1)
            else:
                level = load(tags, places, line, np.int64(op > LOAD), counts)
            tally[kind, level] += 1
        elif op == DROP:
            level = drop(tags, places, line, counts)
        else:
            pass_page(tags, places, line, np.int64(1) << kind, counts)
            level = np.int64(MEMORY)
        if found.size:
            found[i] = level
    counts[L1, HITS] += hits
