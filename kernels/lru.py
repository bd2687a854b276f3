"""Sets of ways that forget what was used longest ago: what TLBs, paging-structure caches and caches have in common.

Every structure is sets of ways in one array ``tags``, each set in the order of its last use, so that finding a key and
making it the most recent is one pass over the set. A way without content stands behind all others.
"""

import numpy as np

from kernels.jit import step

START, MASK, WAYS = 0, 1, 2
"""Columns of ``places``: first of the structure's tags, sets less one (a power of two less one), and ways. No ways: the
structure does not exist."""

EMPTY = -2
"""A tag that no key equals; its lowest bit is clear."""


@step
def first_way(places, structure, index):
    """Return where in ``tags`` the set of ``index`` begins."""
    return places[structure, START] + (index & places[structure, MASK]) * places[structure, WAYS]


@step
def touch(tags, first, ways, key, flags):
    """Look ``key`` up in the set of ``ways`` that begins at ``first`` and put it in front; the oldest goes.

    Bits in ``flags`` say something about a key and do not tell it from others: a key that is found keeps those it has
    and takes those of ``key``.

    Returns
    -------
    found : bool
    other : int64
        The tag that was found, or the one that went, ``EMPTY`` where nothing had to.
    """
    moved = key
    for i in range(first, first + ways):
        held = tags[np.uint64(i)]
        tags[np.uint64(i)] = moved
        if held | flags == key | flags:
            if flags:
                tags[np.uint64(first)] = held | key
            return True, held
        moved = held
    return False, moved
