"""The cache lines that the calls of populating touch, in the module's and KVM's order: a stream for ``kernels.cache``.

Source: Intel TDX module, tag TDX_1.5.01, ``tdh_mem_page_aug.c``, ``tdh_mem_sept_add.c``, ``tdg_mem_page_accept.c``,
``tdh_vp_enter.c``, ``td_exit.c``, ``pamt_manager.c``, ``keyhole_manager.c``; KVM's steps from Linux
``arch/x86/kvm/mmu/tdp_mmu.c`` and ``virt/kvm/guest_memfd.c``. Each call appends to a :class:`Stream`.

Addresses are those of the layout: S-EPT entries of 8 bytes in their table pages, PAMT entries of 16 bytes in one flat
array a level, the guest's own pages. MOVDIR64B of an ACCEPT goes to lines that CLFLUSHOPT has taken out of all caches
before the AUG, so it changes nothing in them and is left out.
"""

from typing import NamedTuple

import numpy as np

from kernels.cache import DROP, LINE_SHIFT, LOAD, MODIFY, OP_BITS, PASS, STORE
from kernels.jit import njit, step

SEPT, PAMT, CONTROL, KEYHOLE, SCAN, HOST = 0, 1, 2, 3, 4, 5
KINDS = 6
"""What a line holds: S-EPT entries; PAMT entries; TDR, TDCS and TDVPS; the LP's keyhole state; the PAMT_4K entries that
an AUG at 2M reads one after the other; anything of KVM's or the guest's own."""

USED, LEVELS, TDR, TDVPR, KEYHOLES, MIRROR, TABLES_GIVEN = 0, 1, 2, 3, 4, 5, 6
PAMT_FIRST, TABLE_FIRST, PATH = 7, 10, 15
PLACES = 20
"""Fields of ``at``: accesses in the stream; S-EPT levels; PFN of TDR and TDVPR; first line of the LP's keyhole state;
pages from an S-EPT page to its mirror; tables of 4K entries given so far; first line of the PAMT array of each level;
PFN of the first table of each level of entries; PFN of the tables on the path of the current GFN, by level."""

LINES_OF_PAGE, LINES_OF_2M = 6, 15
"""Logarithms, as a PASS has them."""

_TDCS_PAGE = 1  # behind the TDR
_TDR_STATE, _TDR_HKID = 0, 4  # lines: child count and life cycle; key
_OP_STATE, _EPTP, _EPOCH = 0, 2, 8  # lines of TDCS: op-state and its lock; EPTP and tree lock; TLB epoch and its lock
_SCANNED_LINES = 128
_KEYHOLE_LINES = 56  # 3.5 KiB


class Stream(NamedTuple):
    """A stream and where everything lies.

    Attributes
    ----------
    accesses : ndarray of int64, shape (n,)
        As :mod:`kernels.cache` has them; the first ``at[USED]`` hold.
    at : ndarray of int64, shape (PLACES,)
    """

    accesses: np.ndarray
    at: np.ndarray


@step
def _put(to, line, kind, op):
    to.accesses[np.uint64(to.at[USED])] = line << LINE_SHIFT | kind << OP_BITS | op
    to.at[USED] += 1


@njit
def put_keyholes(to, maps):
    """Touch what ``maps`` look-ups touch of 94 slots of 25 bytes and their hash table: at most all of it.

    Each map goes to a bucket, its own slot and two neighbours in the LRU list.
    """
    for i in range(min(3 * maps + 2, _KEYHOLE_LINES)):
        _put(to, to.at[KEYHOLES] + i, KEYHOLE, MODIFY)


@step
def _pamt_line(to, pfn, level):
    return to.at[PAMT_FIRST + level] + (pfn >> (9 * level + 2))


@njit
def _lock_pamt(to, pfn, lowest):
    """Take or release the locks of the PAMT entries of ``pfn``, from 1G down to ``lowest``."""
    for level in range(2, lowest - 1, -1):
        _put(to, _pamt_line(to, pfn, level), PAMT, MODIFY)


@step
def _control(to, page, line, op):
    _put(to, (page << 6) + line, CONTROL, op)


@step
def _tdcs(to, line, op):
    _control(to, to.at[TDR] + _TDCS_PAGE, line, op)


@step
def _table_line(table, gfn, level):
    return (table << 6) + ((gfn >> 9 * level & 511) >> 3)


@njit
def find_path(to, gfn, leaf_table):
    """Note the tables on the path of ``gfn``; ``leaf_table`` says which of those with 4K entries is its own."""
    to.at[PATH] = to.at[TABLE_FIRST] + leaf_table
    for level in range(1, to.at[LEVELS] - 1):
        to.at[PATH + level] = to.at[TABLE_FIRST + level] + (gfn >> 9 * (level + 1))
    to.at[PATH + to.at[LEVELS] - 1] = to.at[TABLE_FIRST + to.at[LEVELS] - 1]


@njit
def _walk(to, gfn, lowest, op):
    """Read the S-EPT entries of ``gfn`` down to ``lowest``, whose own is accessed by ``op``."""
    for level in range(to.at[LEVELS] - 1, lowest, -1):
        _put(to, _table_line(to.at[PATH + level], gfn, level), SEPT, LOAD)
    _put(to, _table_line(to.at[PATH + lowest], gfn, lowest), SEPT, op)


@njit
def put_walk(to, gfn, lowest):
    """Walk for a violation or #VE: no lock."""
    put_keyholes(to, to.at[LEVELS] - lowest)
    _walk(to, gfn, lowest, LOAD)


@njit
def put_failed_accept(to, gfn, lowest):
    """TDG.MEM.PAGE.ACCEPT that locks the entry at ``lowest``, finds nothing to accept and unlocks it."""
    put_keyholes(to, to.at[LEVELS] - lowest)
    _walk(to, gfn, lowest, MODIFY)


@njit
def put_page_accept(to, gfn, level):
    """TDG.MEM.PAGE.ACCEPT at ``level`` 0 or 1 that succeeds."""
    put_failed_accept(to, gfn, level)
    for _ in range(level * 511):  # one page after the other is mapped
        put_keyholes(to, 1)
    _put(to, _table_line(to.at[PATH + level], gfn, level), SEPT, MODIFY)


@njit
def put_td_exit(to):
    """End of a TD exit: epoch reference, TDR and TDVPR released."""
    put_keyholes(to, 3)
    _tdcs(to, _EPOCH, MODIFY)
    _put(to, _pamt_line(to, to.at[TDR], 0), PAMT, MODIFY)
    _lock_pamt(to, to.at[TDVPR], 0)


@njit
def put_vp_enter(to):
    """TDH.VP.ENTER up to VMRESUME."""
    put_keyholes(to, 5)
    _lock_pamt(to, to.at[TDVPR], 0)
    _put(to, _pamt_line(to, to.at[TDR], 0), PAMT, MODIFY)
    _control(to, to.at[TDR], _TDR_STATE, LOAD)
    _control(to, to.at[TDR], _TDR_HKID, LOAD)
    _tdcs(to, _OP_STATE, MODIFY)
    _control(to, to.at[TDVPR], 0, MODIFY)
    _tdcs(to, _EPOCH, MODIFY)


@njit
def _begin(to, maps):
    """Lock TDR and op-state: what every call for a TD does first."""
    put_keyholes(to, maps)
    _lock_pamt(to, to.at[TDR], 0)
    _control(to, to.at[TDR], _TDR_STATE, LOAD)
    _control(to, to.at[TDR], _TDR_HKID, LOAD)
    _tdcs(to, _OP_STATE, MODIFY)
    _tdcs(to, _EPTP, MODIFY)


@njit
def _end(to):
    _tdcs(to, _EPTP, MODIFY)
    _tdcs(to, _OP_STATE, MODIFY)
    _lock_pamt(to, to.at[TDR], 0)


@njit
def put_page_aug(to, gfn, pfn, level):
    """TDH.MEM.PAGE.AUG of ``pfn`` at ``level`` 0 or 1."""
    _begin(to, 19)
    _walk(to, gfn, level, MODIFY)
    _lock_pamt(to, pfn, level)
    if level == 1:
        for i in range(_SCANNED_LINES):
            _put(to, _pamt_line(to, pfn, 0) + i, SCAN, LOAD)
    _put(to, _table_line(to.at[PATH + level], gfn, level), SEPT, STORE)
    _control(to, to.at[TDR], _TDR_STATE, MODIFY)
    _put(to, _pamt_line(to, pfn, level), PAMT, STORE)
    _lock_pamt(to, pfn, level)
    _end(to)


@njit
def put_sept_add(to, gfn, parent):
    """TDH.MEM.SEPT.ADD of the table on the path whose entries are of the level below ``parent``."""
    table = to.at[PATH + parent - 1]
    _begin(to, 19)
    _walk(to, gfn, parent, MODIFY)
    _lock_pamt(to, table, 0)
    for i in range(64):
        _put(to, (table << 6) + i, SEPT, DROP)
    _put(to, _pamt_line(to, table, 0), PAMT, STORE)
    _control(to, to.at[TDR], _TDR_STATE, MODIFY)
    _put(to, _table_line(to.at[PATH + parent], gfn, parent), SEPT, MODIFY)
    _lock_pamt(to, table, 0)
    _end(to)


@njit
def put_block(to, gfn, pfn, level):
    """TDH.MEM.RANGE.BLOCK of a leaf."""
    _begin(to, 13)
    _walk(to, gfn, level, MODIFY)
    _put(to, _pamt_line(to, pfn, level), PAMT, STORE)
    _tdcs(to, _EPOCH, LOAD)
    _end(to)


@njit
def put_demote(to, gfn, pfn):
    """TDH.MEM.PAGE.DEMOTE of a 2M leaf to the table on the path; its PAMT_4K entries have a price of their own."""
    _begin(to, 23)
    _walk(to, gfn, 1, MODIFY)
    _tdcs(to, _EPOCH, MODIFY)
    _lock_pamt(to, to.at[PATH], 0)
    for i in range(64):
        _put(to, (to.at[PATH] << 6) + i, SEPT, DROP)
    _put(to, _pamt_line(to, pfn, 1), PAMT, MODIFY)
    for i in range(_SCANNED_LINES):
        _put(to, _pamt_line(to, pfn, 0) + i, HOST, STORE)
    _put(to, _table_line(to.at[PATH + 1], gfn, 1), SEPT, STORE)
    _lock_pamt(to, to.at[PATH], 0)
    _end(to)


@njit
def put_track(to):
    """TDH.MEM.TRACK."""
    _begin(to, 8)
    _tdcs(to, _EPOCH, MODIFY)
    _end(to)


@njit
def put_new_table(to, gfn, parent):
    """KVM's part of a new table: two cleared pages, of which one is flushed and given away, and the parent's mirror."""
    mirror = to.at[PATH + parent - 1] + to.at[MIRROR]
    for i in range(64):
        _put(to, (mirror << 6) + i, HOST, STORE)
    _put(to, to.at[PATH + parent - 1] << 6, LINES_OF_PAGE, PASS)
    _put(to, _table_line(to.at[PATH + parent] + to.at[MIRROR], gfn, parent), HOST, MODIFY)


@njit
def put_page_fault(to, gfn, pfn, level, flush_all):
    """KVM's part of a fault on ``pfn``: the page cleared with the host's key and flushed, and the mirror entry."""
    if level == 0 or flush_all:
        _put(to, pfn << 6, LINES_OF_2M if level else LINES_OF_PAGE, PASS)
    else:
        for i in range(1 << LINES_OF_2M):
            _put(to, (pfn << 6) + i, HOST, STORE)
        for i in range(1 << LINES_OF_PAGE):
            _put(to, (pfn << 6) + i, HOST, DROP)
    for at in range(to.at[LEVELS] - 1, level, -1):
        _put(to, _table_line(to.at[PATH + at] + to.at[MIRROR], gfn, at), HOST, LOAD)
    _put(to, _table_line(to.at[PATH + level] + to.at[MIRROR], gfn, level), HOST, MODIFY)


LONGEST_CALL = (1 << LINES_OF_2M) + 1024
"""Accesses of the longest of these."""
