"""Population touch by touch, in any order: one fault after the other, with the next ones' lines on their way.

A fault at a random place waits for two lines from memory, one with the S-EPT entry and one with the PAMT entry.
The addresses of the faults to come are known, so their lines are asked for ahead; each fault still runs alone and
in its turn, and leaves what :func:`kernels.fault.fault` leaves.
"""

from kernels.counters import AUG_2M, AUG_4K, FAULT, WALK_READS_HOST
from kernels.fault import add_missing_tables, count_lines
from kernels.jit import njit, step
from kernels.pamt import find_slot
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK
from kernels.prefetch import prefetch_to_write
from kernels.seamcall import aug_at
from kernels.sept_entry import LEAF, RWX, entry_pfn
from kernels.status import SUCCESS
from kernels.tables import TD_LEVELS, TD_ROOT

BATCH = 32
"""Touches whose lines are asked for together, while the batch before is executed."""


@step
def _find_table(tables, gfn, level):
    """Return the row of the table with the entry of ``gfn`` at ``level``, or -1 where it is missing."""
    row = tables.td[TD_ROOT]
    for above in range(tables.td[TD_LEVELS] - 1, level, -1):
        entry = tables.sept[row, (gfn >> (9 * above)) & 511]
        if (entry & RWX) == 0 or (entry & LEAF) != 0:
            return -1
        row = entry_pfn(entry) - tables.sept_pfn
    return row


@njit
def _locate(tables, gfns, pfns, level, rows):
    """Find the table of each touch and ask for the two lines that it will write."""
    for i in range(gfns.size):
        row = _find_table(tables, gfns[i], level)
        rows[i] = row
        if row >= 0:
            prefetch_to_write(tables.sept, row, (gfns[i] >> (9 * level)) & 511)
        slot = find_slot(tables, pfns[i])
        if slot >= 0:
            if level == 0:
                prefetch_to_write(tables.pamt_4k, slot * ENTRIES_4K_PER_BLOCK + (pfns[i] & 0x3FFFF), 0)
            else:
                prefetch_to_write(tables.pamt_2m, slot * ENTRIES_2M_PER_BLOCK + ((pfns[i] >> 9) & 511), 0)


@njit
def _touch_batch(tables, gfns, pfns, level, rows, lines, counts):
    """Execute the located touches, whose tables may have come since.

    Returns the status of the one that failed, or SUCCESS, and how many succeeded.
    """
    status, done, walks = SUCCESS, 0, 0
    while done < gfns.size:
        row = rows[done]
        if row < 0:
            status = add_missing_tables(tables, gfns[done], level, counts)
            if status != SUCCESS:
                break
            row = _find_table(tables, gfns[done], level)
        index = (gfns[done] >> (9 * level)) & 511
        walks += 1
        status = aug_at(tables, row, index, level, pfns[done])
        if status != SUCCESS:
            break
        count_lines(row, index, level, pfns[done], lines, counts)
        done += 1
    counts[WALK_READS_HOST] += walks * (tables.td[TD_LEVELS] - level)
    counts[AUG_2M if level else AUG_4K] += done
    counts[FAULT] += done
    return status, done


@njit
def touch_many(tables, gfns, pfns, level, rows, lines, counts):
    """Fault on each of ``gfns`` in turn, as :func:`kernels.fault.fault` does one.

    Parameters
    ----------
    tables : Tables
    gfns, pfns : ndarray of int64, shape (n,)
        First guest and host frame of each leaf, in the order of the touches.
    level : int64
        0 or 1.
    rows : ndarray of int64, shape (2 * BATCH,)
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
    _locate(tables, gfns[:BATCH], pfns[:BATCH], level, rows[:BATCH])
    for start in range(0, gfns.size, BATCH):
        end = min(start + BATCH, gfns.size)
        here = start % (2 * BATCH)  # the two halves of rows take turns
        ahead = BATCH - here
        _locate(tables, gfns[end : end + BATCH], pfns[end : end + BATCH], level, rows[ahead : ahead + BATCH])
        status, done = _touch_batch(
            tables, gfns[start:end], pfns[start:end], level, rows[here : here + BATCH], lines, counts
        )
        if status != SUCCESS:
            return status, start + done
    return SUCCESS, gfns.size
