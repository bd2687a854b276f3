"""Try-once locks: PAMT entries and the op-state lock (host priority), the tree and epoch locks, S-EPT entries.

A lock word stands in ``words[i, 0]``. Nothing ever waits: a refused attempt returns False and leaves what the
module leaves. Source: Intel TDX module, tag TDX_1.5.01, ``tdx_locks.h``.
"""

import numpy as np

from kernels.jit import njit, step
from kernels.pamt_entry import LOCK_EXCLUSIVE, LOCK_HOST_PRIORITY, LOCK_MASK, LOCK_READER
from kernels.sept_entry import HOST_PRIORITY, LOCK

_SHAREX_READER = np.uint64(2)
_NONE = np.uint64(0)


@njit
def share_hp(words, i):
    """Take the lock with host priority shared, from the host's side."""
    word = words[i, 0]
    words[i, 0] = word + LOCK_READER
    if word & LOCK_EXCLUSIVE:
        words[i, 0] |= LOCK_HOST_PRIORITY  # the reader just added stays until the writer's release
        return False
    words[i, 0] &= ~LOCK_HOST_PRIORITY
    return True


@njit
def own_hp(words, i):
    """Take the lock with host priority exclusively, from the host's side."""
    word = words[i, 0]
    if word & LOCK_MASK & ~LOCK_HOST_PRIORITY:
        words[i, 0] = word | LOCK_HOST_PRIORITY
        return False
    words[i, 0] = (word & ~LOCK_HOST_PRIORITY) | LOCK_EXCLUSIVE
    return True


@njit
def promote_hp(words, i):
    """Turn a shared lock with host priority into an exclusive one."""
    word = words[i, 0]
    if word & LOCK_MASK & ~LOCK_HOST_PRIORITY != LOCK_READER:
        words[i, 0] = word | LOCK_HOST_PRIORITY
        return False
    words[i, 0] = (word & ~LOCK_MASK) | LOCK_EXCLUSIVE
    return True


@njit
def unshare_hp(words, i):
    """Release a shared lock with host priority."""
    words[i, 0] -= LOCK_READER


@njit
def disown_hp(words, i):
    """Release an exclusive lock with host priority; readers that were refused meanwhile are wiped."""
    words[i, 0] &= ~(LOCK_MASK & ~LOCK_HOST_PRIORITY)


@njit
def share(words, i):
    """Take a plain lock shared; a refused attempt leaves its reader."""
    words[i, 0] += _SHAREX_READER
    return (words[i, 0] & LOCK_EXCLUSIVE) == _NONE


@njit
def own(words, i):
    """Take a plain lock exclusively."""
    if words[i, 0] != _NONE:
        return False
    words[i, 0] = LOCK_EXCLUSIVE
    return True


@njit
def unshare(words, i):
    """Release a plain shared lock."""
    words[i, 0] -= _SHAREX_READER


@njit
def disown(words, i):
    """Release a plain exclusive lock."""
    words[i, 0] = _NONE


@njit
def lock_entry(sept, row, index):
    """Take an S-EPT entry's lock from the host's side: a refusal plants host priority, success clears it."""
    entry = sept[row, index]
    if entry & LOCK:
        sept[row, index] = entry | HOST_PRIORITY
        return False
    sept[row, index] = (entry & ~HOST_PRIORITY) | LOCK
    return True


@njit
def unlock_entry(sept, row, index):
    """Release an S-EPT entry's lock."""
    sept[row, index] &= ~LOCK


@step
def pass_shared(words, i):
    """Take the lock with host priority shared and release it at once; return whether it was granted."""
    word = words[i, 0]
    if word & LOCK_EXCLUSIVE:
        words[i, 0] = (word + LOCK_READER) | LOCK_HOST_PRIORITY
        return False
    if word & LOCK_HOST_PRIORITY:
        words[i, 0] = word & ~LOCK_HOST_PRIORITY
    return True


@step
def pass_exclusive(words, i):
    """Take the lock with host priority exclusively and release it at once; return whether it was granted."""
    word = words[i, 0]
    if word & LOCK_MASK & ~LOCK_HOST_PRIORITY:
        words[i, 0] = word | LOCK_HOST_PRIORITY
        return False
    if word & LOCK_HOST_PRIORITY:
        words[i, 0] = word & ~LOCK_HOST_PRIORITY
    return True


@step
def pass_promoted(words, i):
    """Take the lock with host priority shared, promote it, release it; return whether both were granted."""
    if not pass_shared(words, i):
        return False
    word = words[i, 0]
    if word & LOCK_MASK:  # other readers
        words[i, 0] = word | LOCK_HOST_PRIORITY
        return False
    return True


@step
def pass_entry(sept, row, index):
    """Take an S-EPT entry's lock from the host's side and release it at once; return whether it was granted."""
    entry = sept[row, index]
    if entry & LOCK:
        sept[row, index] = entry | HOST_PRIORITY
        return False
    if entry & HOST_PRIORITY:
        sept[row, index] = entry & ~HOST_PRIORITY
    return True
