"""Keyholes: the module's per-LP cache of 4 KiB mappings, 94 dynamic slots with lazy unmapping and 34 static ones.

Keys, hash, chains and LRU order are the module's, so that hits, misses, INVLPGs and chain steps are too.
Source: Intel TDX module, tag TDX_1.5.01, ``keyhole_manager.c``; checked against the ``ev`` fields of the vectors.
"""

import numpy as np

from kernels.jit import njit

DYNAMIC_SLOTS = 94
STATIC_SLOTS = 34
BUCKETS = 128

STATIC_TDR, STATIC_TDCS, STATIC_TDVPS, STATIC_OTHER_TDCS = 0, 1, 10, 25
"""First static slot of each use."""

READ_ONLY, WRITABLE, UNCACHEABLE = 0, 1, 2
"""Access bits of a key."""

HIT, MISS, MISS_INVLPG, NO_SLOT = 0, 1, 3, -1
"""Outcomes of ``map_page``; bit 0 says PTE written, bit 1 INVLPG. The module shuts down instead of NO_SLOT."""

MAPS, MISSES, INVLPGS, CHAIN_STEPS = 0, 1, 2, 3
COUNTS = 4
"""Fields of ``counts`` of ``replay``."""

UNUSED = -1
_END = -1
_RING = DYNAMIC_SLOTS  # the node that closes the LRU ring: its ``newer`` is the least, its ``older`` the most recent


# Columns of a keyholes array: one array, as every array that kernels pass on costs compile time.
KEY = 0
"""What each dynamic slot maps or last mapped, as ``make_key`` packs it; UNUSED where nothing yet."""
REFERENCES = KEY + DYNAMIC_SLOTS
CHAIN = REFERENCES + DYNAMIC_SLOTS
"""Next slot of the same bucket, -1 at the end."""
BUCKET = CHAIN + DYNAMIC_SLOTS
"""First slot of each bucket: the one that was filled last."""
OLDER = BUCKET + BUCKETS
NEWER = OLDER + DYNAMIC_SLOTS + 1
"""Ring of the slots without references, by the time they lost the last one; slots never used come before all."""
STATIC = NEWER + DYNAMIC_SLOTS + 1
"""Keys of the static slots: TDR 1, TDCS 9, TDVPS 15, other TD's TDCS 9."""
COLUMNS = STATIC + STATIC_SLOTS


def make_keyholes(lps: int) -> np.ndarray:
    """Return cold keyholes for ``lps`` LPs: int64, shape (lps, COLUMNS)."""
    keyholes = np.zeros((lps, COLUMNS), np.int64)
    for lp in range(lps):
        reset(keyholes, lp)
    return keyholes


@njit
def reset(keyholes, lp):
    """Empty the keyholes of ``lp``, as at the LP's initialisation."""
    for slot in range(DYNAMIC_SLOTS):
        keyholes[lp, KEY + slot] = UNUSED
        keyholes[lp, REFERENCES + slot] = 0
        keyholes[lp, CHAIN + slot] = _END
        keyholes[lp, OLDER + slot] = slot - 1
        keyholes[lp, NEWER + slot] = slot + 1
    keyholes[lp, OLDER + 0] = _RING
    keyholes[lp, OLDER + _RING] = DYNAMIC_SLOTS - 1
    keyholes[lp, NEWER + _RING] = 0
    for i in range(BUCKETS):
        keyholes[lp, BUCKET + i] = _END
    for i in range(STATIC_SLOTS):
        keyholes[lp, STATIC + i] = UNUSED


@njit
def make_key(pfn, access):
    """Return the key of a page.

    Parameters
    ----------
    pfn : int64
        HPA >> 12 with the HKID in its upper bits: the global one for PAMT and TDR, the TD's for S-EPT and its pages.
    access : int64
        READ_ONLY or WRITABLE, plus UNCACHEABLE for memory that is not write-back. Part of the key: the same page
        mapped both ways takes two slots.
    """
    return np.int64(pfn) << 2 | access


@njit
def find_bucket(key):
    """Return the bucket of ``key``: PA[22:16] ^ PA[38:32] ^ PA[54:48], so 16 neighbouring pages share one."""
    pfn = key >> 2
    return ((pfn >> 4) ^ (pfn >> 20) ^ (pfn >> 36)) & (BUCKETS - 1)


@njit
def find_slot(keyholes, lp, key):
    """Return the dynamic slot that holds ``key`` (-1 where none does) and the chain steps that it took."""
    slot = np.int64(keyholes[lp, BUCKET + find_bucket(key)])
    steps = np.int64(0)
    while slot >= 0:
        steps += 1
        if keyholes[lp, KEY + slot] == key:
            break
        slot = np.int64(keyholes[lp, CHAIN + slot])
    return slot, steps


@njit
def _leave_ring(keyholes, lp, slot):
    """Take ``slot`` out of the LRU ring."""
    older, newer = keyholes[lp, OLDER + slot], keyholes[lp, NEWER + slot]
    keyholes[lp, NEWER + older] = newer
    keyholes[lp, OLDER + newer] = older


@njit
def _leave_chain(keyholes, lp, slot):
    """Take ``slot`` out of its bucket's chain."""
    bucket = find_bucket(keyholes[lp, KEY + slot])
    at = keyholes[lp, BUCKET + bucket]
    after = keyholes[lp, CHAIN + slot]
    if at == slot:
        keyholes[lp, BUCKET + bucket] = after
        return
    while keyholes[lp, CHAIN + at] != slot:
        at = keyholes[lp, CHAIN + at]
    keyholes[lp, CHAIN + at] = after


@njit
def _fill(keyholes, lp, key):
    """Map ``key`` in the least recently used free slot; return the outcome."""
    slot = np.int64(keyholes[lp, NEWER + _RING])
    if slot == _RING:
        return NO_SLOT
    _leave_ring(keyholes, lp, slot)
    used = keyholes[lp, KEY + slot] != UNUSED
    if used:
        _leave_chain(keyholes, lp, slot)
    bucket = find_bucket(key)
    keyholes[lp, KEY + slot] = key
    keyholes[lp, REFERENCES + slot] = 1
    keyholes[lp, CHAIN + slot] = keyholes[lp, BUCKET + bucket]
    keyholes[lp, BUCKET + bucket] = slot
    return MISS_INVLPG if used else MISS


@njit
def map_page(keyholes, lp, key):
    """Map a page on ``lp``: one LFENCE in the module whatever the outcome.

    Returns
    -------
    int64
        HIT, MISS (a slot never used before), MISS_INVLPG (another page gave way), or NO_SLOT: all 94 slots are
        referenced, nothing changed.
    """
    slot, _ = find_slot(keyholes, lp, key)
    if slot < 0:
        return _fill(keyholes, lp, key)
    if keyholes[lp, REFERENCES + slot] == 0:
        _leave_ring(keyholes, lp, slot)
    keyholes[lp, REFERENCES + slot] += 1
    return HIT


@njit
def free_page(keyholes, lp, key):
    """Drop one reference to a mapped page; with the last one it becomes the most recently used one to give way.

    The mapping stays valid. Returns whether the page was mapped; the module shuts down where it was not.
    """
    slot, _ = find_slot(keyholes, lp, key)
    if slot < 0 or keyholes[lp, REFERENCES + slot] == 0:
        return False
    keyholes[lp, REFERENCES + slot] -= 1
    if keyholes[lp, REFERENCES + slot] == 0:
        newest = keyholes[lp, OLDER + _RING]
        keyholes[lp, NEWER + newest] = slot
        keyholes[lp, OLDER + slot] = newest
        keyholes[lp, NEWER + slot] = _RING
        keyholes[lp, OLDER + _RING] = slot
    return True


@njit
def map_static(keyholes, lp, first, pfns, pages, access):
    """Map the first ``pages`` of ``pfns`` in static slots from ``first`` on; one LFENCE in the module for all.

    Parameters
    ----------
    keyholes : ndarray of int64, shape (lps, COLUMNS)
    lp, first, pages : int64
    pfns : ndarray of int64
    access : int64
        READ_ONLY or WRITABLE.

    Returns
    -------
    rewritten, invlpgs : int64
        PTEs that were different and so written, and those of them that had mapped something.
    """
    rewritten, invlpgs = np.int64(0), np.int64(0)
    for i in range(pages):
        key = make_key(pfns[i], access)
        before = keyholes[lp, STATIC + first + i]
        if before != key:
            keyholes[lp, STATIC + first + i] = key
            rewritten += 1
            invlpgs += before != UNUSED
    return rewritten, invlpgs


@njit
def replay(keyholes, lp, steps, counts):
    """Execute a sequence of maps and frees.

    Parameters
    ----------
    keyholes : ndarray of int64, shape (lps, COLUMNS)
    lp : int64
    steps : ndarray of int64, shape (n,)
        A key to map it, its bitwise complement to free it.
    counts : ndarray of int64, shape (COUNTS,)
        Added to; indexed by ``MAPS``, ``MISSES``, ``INVLPGS``, ``CHAIN_STEPS`` (steps of the maps' look-ups).

    Returns
    -------
    int64
        Steps executed: fewer than n where a map found no slot or a free no mapping.
    """
    for i in range(steps.size):
        key = steps[i]
        if key < 0:
            if not free_page(keyholes, lp, ~key):
                return i
            continue
        _, walked = find_slot(keyholes, lp, key)
        outcome = map_page(keyholes, lp, key)
        if outcome == NO_SLOT:
            return i
        counts[MAPS] += 1
        counts[MISSES] += outcome & 1
        counts[INVLPGS] += outcome >> 1
        counts[CHAIN_STEPS] += walked
    return np.int64(steps.size)
