"""How walks and PAMT lookups take up many frames: in runs of neighbours, or in blocks with an index of tables.

A block of scattered frames is read in two passes: its span first, so that the index covers it, then one short loop
whose loads do not depend on each other, so that dozens of cache misses are under way at the same time.
"""

from kernels.jit import njit

BLOCK = 4096
"""Frames in a block: large enough that waiting for its last misses does not count, small enough for the L2 cache."""
INDEXED_PER_FRAME = 8
"""Index entries that a bulk call may make per frame: it bounds what frames strewn over all memory can cost."""
TABLE = 512


@njit
def run_length(frames, level):
    """Return how many of ``frames``, from the first, are the consecutive leaves up to their table's end.

    0 if the frames up to there are not all consecutive leaves at ``level``.
    """
    first, shift = frames[0], 9 * level
    length = min(TABLE - ((first >> shift) & (TABLE - 1)), frames.size)
    if frames[length - 1] != first + ((length - 1) << shift):
        return 0
    differ = 0
    for i in range(length):
        differ |= frames[i] ^ (first + (i << shift))
    return length if differ == 0 else 0


@njit
def span(frames, shift):
    """Return the lowest and the highest of ``frames >> shift``."""
    lowest = highest = frames[0]
    for i in range(frames.size):
        lowest = min(lowest, frames[i])
        highest = max(highest, frames[i])
    return lowest >> shift, highest >> shift


@njit
def window_of(lowest, highest, held, room):
    """Return the first number and the size of the index for tables ``lowest`` to ``highest``.

    Whole tables above, so that scattered blocks of one region share a window, and if ``room`` allows, twice the
    ``held`` ones, so that blocks that move through memory do not each make one. More than ``room`` if it is too small,
    or if there are numbers below 0, which no index holds.
    """
    if lowest < 0:
        return lowest, room + 1
    first = lowest & ~(TABLE - 1)
    count = (highest | (TABLE - 1)) + 1 - first
    return first, max(count, min(2 * held, room))
