"""What a call does to keyholes, locks and lines: the event counts of one call.

Every step of the exact calls reports here. Source: Intel TDX module, tag TDX_1.5.01; the order of maps and frees,
where no recorded call tells it, was read in ``keyhole_manager.c``, ``pamt_manager.c`` and the handlers.
"""

from typing import NamedTuple

import numpy as np

from kernels.jit import njit, step
from kernels.keyhole import STATIC_TDCS, WRITABLE, free_page, make_key, map_page, map_static
from kernels.replay_record import (
    EV_CF,
    EV_FIELDS,
    EV_IV,
    EV_KM,
    EV_KS,
    EV_KX,
    EV_LF,
    EV_LK,
    EV_LKP,
    EV_LKS,
    EV_MD,
    EV_MF,
    EV_PL,
    EV_PR,
    EV_PW,
    EV_SL,
    EV_SR,
    EV_SW,
)


class Trace(NamedTuple):
    """Where calls are counted.

    Attributes
    ----------
    keyholes : ndarray of int64, shape (lps, keyhole.COLUMNS)
    counts : ndarray of int64, shape (COUNT_ROWS, COUNT_COLUMNS)
        Row 0: the events of the call under way, in the order of ``EV_FIELDS``. Rows 1 to 6: the entries that it
        has touched, for ``sr`` to ``pw``: their number, a range, single entries.
    context : ndarray of int64, shape (CONTEXT_FIELDS,)
        ``LP`` that executes the call; ``GLOBAL_KEY`` and ``TD_KEY``, HKIDs at their place in a PFN; ``EMPTIED``,
        index of the 2M range whose last 4K leaf was taken away, with Dynamic PAMT.
    pamt_hpa : ndarray of int64, shape (blocks, 3)
        HPA of a block's first PAMT_4K, PAMT_2M and PAMT_1G entry.
    """

    keyholes: np.ndarray
    counts: np.ndarray
    context: np.ndarray
    pamt_hpa: np.ndarray


COUNT_ROWS, COUNT_COLUMNS = 7, 192
LP, GLOBAL_KEY, TD_KEY, EMPTIED = 0, 1, 2, 3
CONTEXT_FIELDS = 4
_LENGTH, _LOW, _HIGH, _FIRST = 0, 1, 2, 3
_PAGE_LINES = 64
_EVENTS = len(EV_FIELDS)


@njit
def start(trace):
    """Begin the counts of a call; without it the lists of touched entries would grow from call to call."""
    for i in range(_EVENTS):
        trace.counts[0, i] = 0
    for row in range(1, COUNT_ROWS):
        trace.counts[row, _LENGTH] = 0
        trace.counts[row, _LOW] = trace.counts[row, _HIGH] = -1


@njit
def count(trace, field, times):
    """Count ``times`` events of one field."""
    trace.counts[0, field] += times


@njit
def _touch(trace, field, entry):
    """Count ``entry`` under event ``field``, unless the call has touched it so before."""
    counts, row = trace.counts, field - EV_SR + 1
    if counts[row, _LOW] <= entry < counts[row, _HIGH]:
        return
    length = counts[row, _LENGTH]
    for i in range(_FIRST, _FIRST + length):
        if counts[row, i] == entry:
            return
    counts[row, _FIRST + length] = entry
    counts[row, _LENGTH] = length + 1
    counts[0, field] += 1


@njit
def _touch_range(trace, field, low, high):
    """Count the entries ``low`` to ``high`` - 1; a call has at most one range of each kind."""
    counts, row = trace.counts, field - EV_SR + 1
    fresh = high - low
    for i in range(_FIRST, _FIRST + counts[row, _LENGTH]):
        fresh -= low <= counts[row, i] < high
    counts[row, _LOW], counts[row, _HIGH] = low, high
    counts[0, field] += fresh


@step
def _pamt_entry(pfn, level):
    """Return a number that is different for each PAMT entry."""
    return (np.int64(level) << 48) | (pfn >> (9 * level))


@step
def map_key(trace, pfn, access):
    """Map the page at ``pfn``, HKID included."""
    outcome = map_page(trace.keyholes, trace.context[LP], make_key(pfn, access))
    trace.counts[0, EV_KM] += 1
    trace.counts[0, EV_LF] += 1
    trace.counts[0, EV_KX] += outcome & 1
    trace.counts[0, EV_IV] += (outcome >> 1) & 1


@step
def free_key(trace, pfn, access):
    """Give the mapping of ``pfn``, HKID included, back."""
    free_page(trace.keyholes, trace.context[LP], make_key(pfn, access))


@njit
def map_tdcs(trace, tdcx):
    """Map a TD's TDCX pages (PFNs, HKID included) in their static slots."""
    rewritten, invlpgs = map_static(trace.keyholes, trace.context[LP], STATIC_TDCS, tdcx, tdcx.size, WRITABLE)
    trace.counts[0, EV_LF] += 1
    trace.counts[0, EV_KS] += rewritten
    trace.counts[0, EV_IV] += invlpgs


@step
def pamt_page(trace, pfn, level, half):
    """Return the PFN, global HKID included, of the page that holds the PAMT entry of ``pfn`` (+ 4096 * half)."""
    block = pfn >> 18
    within = (pfn & 0x3FFFF) >> (9 * level)
    return ((trace.pamt_hpa[block, level] + 16 * within) >> 12) + half + trace.context[GLOBAL_KEY]


@step
def map_pamt(trace, pfn, level, access):
    """Map the page of the PAMT entry of ``pfn`` at ``level``."""
    map_key(trace, pamt_page(trace, pfn, level, 0), access)


@step
def free_pamt(trace, pfn, level, access):
    """Free the page of the PAMT entry of ``pfn`` at ``level``."""
    free_key(trace, pamt_page(trace, pfn, level, 0), access)


@step
def map_own(trace, pfn, access):
    """Map a page under the TD's HKID: an S-EPT page or a private page."""
    map_key(trace, pfn + trace.context[TD_KEY], access)


@step
def free_own(trace, pfn, access):
    """Free a page mapped under the TD's HKID."""
    free_key(trace, pfn + trace.context[TD_KEY], access)


@step
def locked(trace, times):
    """Count locked instructions on neither PAMT nor S-EPT entries."""
    trace.counts[0, EV_LK] += times


@njit
def pamt_locked(trace, pfn, level, times):
    """Count locked instructions on a PAMT entry."""
    trace.counts[0, EV_LK] += times
    trace.counts[0, EV_LKP] += times
    _touch(trace, EV_PL, _pamt_entry(pfn, level))


@njit
def pamt_read(trace, pfn, level):
    """Count a load of a PAMT entry."""
    _touch(trace, EV_PR, _pamt_entry(pfn, level))


@njit
def pamt_written(trace, pfn, level):
    """Count a store to a PAMT entry."""
    _touch(trace, EV_PW, _pamt_entry(pfn, level))


@njit
def pamt_children(trace, pfn, level, read, written, entries):
    """Count loads and stores of the first ``entries`` PAMT entries at ``level`` from that of ``pfn`` on."""
    low = _pamt_entry(pfn, level)
    if read:
        _touch_range(trace, EV_PR, low, low + entries)
    if written:
        _touch_range(trace, EV_PW, low, low + entries)


@njit
def sept_locked(trace, row, index, times):
    """Count locked instructions on an S-EPT entry."""
    trace.counts[0, EV_LK] += times
    trace.counts[0, EV_LKS] += times
    _touch(trace, EV_SL, row * 512 + index)


@njit
def sept_read(trace, row, index):
    """Count a load of an S-EPT entry."""
    _touch(trace, EV_SR, row * 512 + index)


@njit
def sept_written(trace, row, index):
    """Count a store to an S-EPT entry."""
    _touch(trace, EV_SW, row * 512 + index)


@njit
def sept_children_read(trace, row, entries):
    """Count loads of the first ``entries`` entries of a table page."""
    _touch_range(trace, EV_SR, row * 512, row * 512 + entries)


@njit
def sept_children_locked(trace, row, entries):
    """Count the entries of a table page that were locked; their locked instructions are counted apart."""
    _touch_range(trace, EV_SL, row * 512, row * 512 + entries)


@njit
def page_stored(trace):
    """Count 4 KiB written by MOVDIR64B and the MFENCE that waits for it."""
    trace.counts[0, EV_MD] += _PAGE_LINES
    trace.counts[0, EV_MF] += 1


@njit
def page_flushed(trace):
    """Count 4 KiB flushed by CLFLUSHOPT and the MFENCE that waits for it."""
    trace.counts[0, EV_CF] += _PAGE_LINES
    trace.counts[0, EV_MF] += 1
