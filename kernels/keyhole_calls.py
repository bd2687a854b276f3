"""The keyhole maps of the calls that populate a guest, in the module's order, and nothing else of them.

The exact calls of ``kernels/module`` map and free the same pages in the same order; ``tests/kernels`` holds the two
against each other. Source: Intel TDX module, tag TDX_1.5.01, ``keyhole_manager.c``, ``tdh_mem_page_aug.c``,
``tdh_mem_sept_add.c``, ``tdg_mem_page_accept.c``.

A call reads ``pages``: ndarray of int64, shape (PAGES,). ``pages[level]`` is the PFN of the table page on the path
whose entries are of that level, ``pages[TDR]`` the TDR's PFN, ``pages[LEVELS]`` the S-EPT levels. Maps and misses are
added to ``counts``: ndarray of int64, shape (KEYHOLE_COUNTERS,).

Only which pages are the same matters for hits and misses, not their addresses, so PAMT arrays lie where no page does:
one TDMR from HPA 0 on, as its PAMT arrays would be.
"""

import numpy as np

from kernels.jit import njit, step
from kernels.keyhole import DYNAMIC_SLOTS, READ_ONLY, WRITABLE, free_page, make_key, map_page, reset

TDR, LEVELS = 5, 6
PAGES = 7

HOST_MAPS, HOST_MISSES, GUEST_MAPS, GUEST_MISSES = 0, 1, 2, 3
KEYHOLE_COUNTERS = 4

_HOST, _GUEST = HOST_MAPS, GUEST_MAPS
_PAMT_PAGE_SHIFT = 8  # 256 entries of 16 bytes a page
_PAMT_AREA = 44  # above the PFN bits: the PAMT array of each level lies in an area of its own
_FOREIGN = np.int64(1) << 43


@step
def _map(keyholes, key, side, counts):
    outcome = map_page(keyholes, 0, key)
    counts[side] += 1
    counts[side + 1] += outcome & 1


@step
def _pamt_key(pfn, level, access):
    """Return the key of the page that holds the PAMT entry of ``pfn`` at ``level``."""
    return make_key((np.int64(level + 1) << _PAMT_AREA) | (pfn >> (9 * level + _PAMT_PAGE_SHIFT)), access)


@step
def _pass_pamt(keyholes, pfn, counts):
    """Map the PAMT pages of the three levels, then free them: a PAMT walk, or the way back."""
    for level in (2, 1, 0):
        _map(keyholes, _pamt_key(pfn, level, WRITABLE), _HOST, counts)
    for level in (2, 1, 0):
        free_page(keyholes, 0, _pamt_key(pfn, level, WRITABLE))


@step
def _begin(keyholes, pages, counts):
    """Walk the TDR's PAMT, keep its PAMT_4K entry and the TDR mapped."""
    _pass_pamt(keyholes, pages[TDR], counts)
    _map(keyholes, _pamt_key(pages[TDR], 0, READ_ONLY), _HOST, counts)
    _map(keyholes, make_key(pages[TDR], WRITABLE), _HOST, counts)


@step
def _end(keyholes, pages, counts):
    _pass_pamt(keyholes, pages[TDR], counts)
    free_page(keyholes, 0, _pamt_key(pages[TDR], 0, READ_ONLY))
    free_page(keyholes, 0, make_key(pages[TDR], WRITABLE))


@step
def _walk(keyholes, pages, level, side, counts):
    """Map the tables from the root to the one whose entries are of ``level``, which stays mapped."""
    for at in range(pages[LEVELS] - 1, level - 1, -1):
        _map(keyholes, make_key(pages[at], WRITABLE), side, counts)
        if at > level:
            free_page(keyholes, 0, make_key(pages[at], WRITABLE))


@step
def _pass_page(keyholes, pfn, side, counts):
    _map(keyholes, make_key(pfn, WRITABLE), side, counts)
    free_page(keyholes, 0, make_key(pfn, WRITABLE))


@njit
def map_sept_add(keyholes, pages, parent, counts):
    """TDH.MEM.SEPT.ADD of the table page ``pages[parent - 1]`` below an entry at level ``parent``."""
    _begin(keyholes, pages, counts)
    _walk(keyholes, pages, parent, _HOST, counts)
    pfn = pages[parent - 1]
    _pass_pamt(keyholes, pfn, counts)
    _map(keyholes, _pamt_key(pfn, 0, WRITABLE), _HOST, counts)
    _pass_page(keyholes, pfn, _HOST, counts)
    _pass_pamt(keyholes, pfn, counts)
    free_page(keyholes, 0, _pamt_key(pfn, 0, WRITABLE))
    free_page(keyholes, 0, make_key(pages[parent], WRITABLE))
    _end(keyholes, pages, counts)


@njit
def map_page_aug(keyholes, pages, pfn, level, counts):
    """TDH.MEM.PAGE.AUG of ``pfn`` at ``level`` 0 or 1."""
    _begin(keyholes, pages, counts)
    _walk(keyholes, pages, level, _HOST, counts)
    _pass_pamt(keyholes, pfn, counts)
    _map(keyholes, _pamt_key(pfn, level, WRITABLE), _HOST, counts)
    if level == 1:  # the types of 512 PAMT_4K entries, two pages of them
        for half in (0, 256):
            _map(keyholes, _pamt_key(pfn + half, 0, READ_ONLY), _HOST, counts)
            free_page(keyholes, 0, _pamt_key(pfn + half, 0, READ_ONLY))
    _pass_pamt(keyholes, pfn, counts)
    free_page(keyholes, 0, _pamt_key(pfn, level, WRITABLE))
    free_page(keyholes, 0, make_key(pages[level], WRITABLE))
    _end(keyholes, pages, counts)


@njit
def map_failed_accept(keyholes, pages, reached, counts):
    """TDG.MEM.PAGE.ACCEPT whose walk ended at level ``reached`` without a page to accept."""
    _walk(keyholes, pages, reached, _GUEST, counts)
    free_page(keyholes, 0, make_key(pages[reached], WRITABLE))


@njit
def map_page_accept(keyholes, pages, pfn, level, counts):
    """TDG.MEM.PAGE.ACCEPT of ``pfn`` at ``level`` 0 or 1, without interruption."""
    _walk(keyholes, pages, level, _GUEST, counts)
    for i in range(1 << (9 * level)):
        _pass_page(keyholes, pfn + i, _GUEST, counts)
    free_page(keyholes, 0, make_key(pages[level], WRITABLE))


@njit
def begin_warm(keyholes, pages, lowest, previous_pfn, previous_level, previous_table, counts):
    """Set the keyholes to those of an LP that works for this TD: of its last pages those that calls share.

    Parameters
    ----------
    keyholes : ndarray of int64, shape (1, COLUMNS)
    pages : ndarray of int64, shape (PAGES,)
    lowest : int64
        Level of the entries in the lowest table on the path that the LP has walked to.
    previous_pfn, previous_level : int64
        Page that the LP mapped or accepted last. After a 2M ACCEPT all that is left is the
        table of 2M entries.
    previous_table : int64
        Page that the LP gave as a table last; -1 where that was long ago.
    counts : ndarray of int64, shape (KEYHOLE_COUNTERS,)
        Scratch.
    """
    reset(keyholes, 0)
    for i in range(DYNAMIC_SLOTS):
        _pass_page(keyholes, _FOREIGN + i, _HOST, counts)
    if previous_level == 1:
        if lowest == 1:
            _pass_page(keyholes, pages[1], _HOST, counts)
        return
    _begin(keyholes, pages, counts)
    _walk(keyholes, pages, lowest, _HOST, counts)
    if previous_table >= 0:
        _pass_pamt(keyholes, previous_table, counts)
    for level in (2, 1):
        _map(keyholes, _pamt_key(previous_pfn, level, WRITABLE), _HOST, counts)
        free_page(keyholes, 0, _pamt_key(previous_pfn, level, WRITABLE))
    free_page(keyholes, 0, make_key(pages[lowest], WRITABLE))
    _end(keyholes, pages, counts)
