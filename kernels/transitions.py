"""The rules of the module's memory calls: the entry states that each takes, and the entries that it leaves.

Plain values in, plain values out; only a split and a merge write arrays. The exact calls of ``kernels.module`` and
the batches follow the same rules: the former add every check, lock and event, the latter what can fail in a batch.
Source: Intel TDX module, tag TDX_1.5.01, ``sept_state_lookup.c``, ``sept_manager.c`` (``is_tlb_tracked``),
``pamt_manager.c`` (``pamt_promote``, ``pamt_demote``) and the file named after each leaf.
"""

import numpy as np

from kernels import entry_states as es
from kernels.entry_states import allows, states
from kernels.jit import njit, step
from kernels.pamt_entry import LOCK_MASK, TYPE_MASK
from kernels.sept_entry import (
    ACCEPT_COUNTER,
    BLOCKED,
    DIRTY,
    FREE,
    HOST_PRIORITY,
    HPA_MASK,
    LEAF,
    LOCK,
    MAPPED,
    NL_BLOCKED,
    NL_MAPPED,
    PENDING,
    REMOVED,
    TDB,
    TDEX,
    TDP,
    entry_pfn,
    hpa_of,
    make_entry,
    without_counter,
)
from kernels.status import (
    EPT_VIOLATION_EXIT,
    GPA_RANGE_ALREADY_BLOCKED,
    GPA_RANGE_NOT_BLOCKED,
    OPERAND_BUSY,
    OPERAND_BUSY_HOST_PRIORITY,
    OPERAND_RCX,
    PAGE_ALREADY_ACCEPTED,
    PAGE_SIZE_MISMATCH,
    SUCCESS,
    TLB_TRACKING_NOT_DONE,
)

ADDABLE = states(es.FREE)
"""States that PAGE.ADD takes, and SEPT.ADD for a new table."""
LINKABLE = states(es.FREE, es.NL_MAPPED)
"""States that SEPT.ADD takes: NL_MAPPED only where its caller allows an existing table."""
AUGMENTABLE = states(es.FREE, es.REMOVED)
ACCEPTABLE = states(es.PENDING, es.PEND_EXP_DIRTY)
ACCESSIBLE = states(es.MAPPED, es.BLOCKEDW, es.EXP_BLOCKEDW, es.EXP_DIRTY, es.EXP_DIRTY_BLOCKEDW)
"""Leaves that the guest can read: ACCEPT answers that they are accepted."""
EXTENDABLE = states(es.MAPPED)
BLOCKABLE = states(
    es.NL_MAPPED, es.MAPPED, es.PENDING, es.BLOCKEDW, es.PENDING_BLOCKEDW, es.NL_BLOCKED, es.BLOCKED,
    es.PENDING_BLOCKED,
)  # fmt: skip
"""States that RANGE.BLOCK takes; those already blocked it answers with a status of their own."""
UNBLOCKABLE = states(es.NL_BLOCKED, es.BLOCKED, es.PENDING_BLOCKED)
REMOVABLE = states(es.MAPPED, es.PENDING, es.BLOCKED, es.PENDING_BLOCKED, es.BLOCKEDW, es.PENDING_BLOCKEDW)
REMOVABLE_TABLE = states(es.NL_MAPPED, es.NL_BLOCKED)
RELOCATABLE = states(
    es.MAPPED, es.BLOCKED, es.BLOCKEDW, es.EXP_BLOCKEDW, es.EXP_DIRTY, es.EXP_DIRTY_BLOCKEDW, es.PENDING,
    es.PENDING_BLOCKED, es.PENDING_BLOCKEDW, es.PEND_EXP_BLOCKEDW, es.PEND_EXP_DIRTY, es.PEND_EXP_DIRTY_BLOCKEDW,
)  # fmt: skip
PROMOTABLE = states(es.NL_MAPPED, es.NL_BLOCKED)
MERGEABLE = states(es.MAPPED, es.PENDING)
"""States of the children that PROMOTE merges."""
DEMOTABLE = states(es.MAPPED, es.PENDING, es.BLOCKED, es.PENDING_BLOCKED)

ADDED = MAPPED
"""Bits of the leaf that PAGE.ADD leaves."""
AUGMENTED = PENDING
"""Bits of the leaf that PAGE.AUG leaves."""
LINKED = NL_MAPPED
"""Bits of the entry that leads to a table: after SEPT.ADD, after DEMOTE."""

_EXPORT_BLOCKED = states(es.EXP_BLOCKEDW, es.PEND_EXP_BLOCKEDW)  # states that need no tracking
_REMOVED_VALID = np.uint64(1 << 44)  # migration epoch 0, valid
_PAGE_SHIFT = np.uint64(12)
_MIGRATION_EPOCH = np.uint64(63)
_NONE = np.uint64(0)


@step
def pages_of(level):
    """Return the 4K pages (int64) of a page at ``level``: TDR.CHLDCNT moves by them."""
    return np.int64(1) << (9 * level)


# --- S-EPT entries


@step
def accepted(entry, level):
    """Return the leaf that ACCEPT leaves: MAPPED, with the marks of a live export kept."""
    return MAPPED | (without_counter(entry, level) & (HPA_MASK | DIRTY | TDEX))


@step
def accepted_up_to(entry, pages):
    """Return the 2M leaf that an interrupted ACCEPT leaves after its first ``pages`` 4K pages."""
    return (entry & ~ACCEPT_COUNTER) | (np.uint64(pages) << _PAGE_SHIFT)


@step
def blocked(entry, level):
    """Return what RANGE.BLOCK makes of a leaf or of an entry that leads to a table."""
    if (entry & LEAF) == _NONE:
        return NL_BLOCKED | (entry & HPA_MASK)
    return BLOCKED | (without_counter(entry, level) & (HPA_MASK | TDP))


@step
def unblocked(entry):
    """Return what RANGE.UNBLOCK makes of a blocked entry; an accept counter that PROMOTE copied stays."""
    if (entry & LEAF) == _NONE:
        return NL_MAPPED | (entry & HPA_MASK)
    return _open_leaf(entry) | (entry & HPA_MASK)


@step
def _open_leaf(entry):
    """Return the bits of a leaf that is not blocked, PENDING as ``entry`` is."""
    return PENDING if entry & TDP else MAPPED


@step
def relocated(entry, pfn):
    """Return the leaf that RELOCATE leaves: not blocked, with the page at ``pfn``."""
    return make_entry(_open_leaf(entry) if entry & TDB else entry & ~HPA_MASK, pfn)


@step
def removed(importing):
    """Return the entry that PAGE.REMOVE leaves; during an import it stays for the migration."""
    return REMOVED | _REMOVED_VALID if importing else FREE


@njit
def split_leaf(sept, row, entry, level):
    """Fill table ``row`` of ``sept`` with the 512 leaves that DEMOTE makes of ``entry``, a leaf at ``level``."""
    bits, pfn, page = _open_leaf(entry), hpa_of(entry, level), pages_of(level - 1)
    for i in range(512):
        sept[row, i] = make_entry(bits, pfn + i * page)


@step
def merges(child, first, i, level):
    """Whether PROMOTE takes ``child`` as the ``i``-th of 512 at ``level``, of which the first is ``first``.

    All are accepted or all PENDING, they follow each other, and the first is aligned to the page that they make.
    """
    page = pages_of(level)
    aligned = (entry_pfn(first) & ((page << 9) - 1)) == 0
    return allows(MERGEABLE, child) and aligned and child == first + (np.uint64(i * page) << _PAGE_SHIFT)


# --- PAMT entries


@step
def page_below(entry, level):
    """Return PFN and PAMT level of what ``entry`` points to: a page of its level, or a table page."""
    if entry & LEAF:
        return hpa_of(entry, level), level
    return entry_pfn(entry), np.int64(0)


@step
def inherited(word, source):
    """Return PAMT ``word`` with type and owner of ``source``; its lock stays."""
    return (word & LOCK_MASK) | (source & ~LOCK_MASK)


@step
def freed(word):
    """Return the ``word`` of a page taken back: its type is NDA, its owner stale; its lock stays."""
    return word & ~TYPE_MASK


@njit
def split_pamt(children, first, source):
    """Give 512 entries of ``children`` from ``first`` on type and owner of ``source``, the word of a split page."""
    for i in range(first, first + 512):
        children[i, 0] = inherited(children[i, 0], source)
        children[i, 1] = _NONE


@njit
def merge_pamt(children, first):
    """Set 512 entries of ``children`` from ``first`` on to NDA, as PROMOTE does; return the word of the first."""
    taken = children[first, 0]
    for i in range(first, first + 512):
        children[i, 0] = freed(children[i, 0])
    return taken


# --- Conditions


@step
def block_status(entry):
    """Return what RANGE.BLOCK answers to an entry in a state that it takes."""
    return GPA_RANGE_ALREADY_BLOCKED + OPERAND_RCX if entry & TDB else SUCCESS


@step
def holds_migration_epoch(bepoch):
    """Whether ``bepoch`` (uint64) is a migration epoch, which never counts as tracked."""
    return (bepoch >> _MIGRATION_EPOCH) != _NONE


@step
def tracked(bepoch, epoch, previous_busy):
    """Whether no vCPU can hold a translation from before the entry was blocked.

    Parameters
    ----------
    bepoch : uint64
        TD_EPOCH when the entry was blocked.
    epoch : int64
        TD_EPOCH now.
    previous_busy : bool
        Whether a vCPU of the epoch before is still inside the TD.
    """
    if holds_migration_epoch(bepoch):
        return False
    at = np.int64(bepoch)
    return at < epoch - 1 or (at == epoch - 1 and not previous_busy)


@step
def removal_status(demanded, entry, bepoch, epoch, previous_busy):
    """Say whether the mapping of ``entry`` may be taken away: blocked and tracked, where that is demanded.

    Parameters
    ----------
    demanded : bool
        Whether the TD's op-state demands it.
    entry : uint64
    bepoch : uint64
        Of the PAMT entry of what ``entry`` points to.
    epoch : int64
    previous_busy : bool
        As for :func:`tracked`.

    Returns
    -------
    int64
        SUCCESS, GPA_RANGE_NOT_BLOCKED or TLB_TRACKING_NOT_DONE with the id of RCX.
    """
    if not demanded:
        return SUCCESS
    if (entry & TDB) == _NONE:
        return SUCCESS if allows(_EXPORT_BLOCKED, entry) else GPA_RANGE_NOT_BLOCKED + OPERAND_RCX
    return SUCCESS if tracked(bepoch, epoch, previous_busy) else TLB_TRACKING_NOT_DONE + OPERAND_RCX


@step
def accept_status(entry, reached, level):
    """Say what ACCEPT at ``level`` does with ``entry``, where its walk ended at level ``reached``.

    Returns
    -------
    int64
        SUCCESS where the page is to be zeroed and the entry to become :func:`accepted`; PAGE_ALREADY_ACCEPTED or
        PAGE_SIZE_MISMATCH with a level; OPERAND_BUSY or OPERAND_BUSY_HOST_PRIORITY with the id of RCX;
        EPT_VIOLATION_EXIT for a TD exit.
    """
    if reached != level:
        return PAGE_ALREADY_ACCEPTED + reached if allows(ACCESSIBLE, entry) else EPT_VIOLATION_EXIT
    if entry & LOCK:
        return OPERAND_BUSY + OPERAND_RCX
    if entry & HOST_PRIORITY:
        return OPERAND_BUSY_HOST_PRIORITY + OPERAND_RCX
    if (entry & LEAF) == _NONE:
        return EPT_VIOLATION_EXIT if allows(ADDABLE, entry) else PAGE_SIZE_MISMATCH + level
    if allows(ACCEPTABLE, entry):
        return SUCCESS
    return PAGE_ALREADY_ACCEPTED + level if allows(ACCESSIBLE, entry) else EPT_VIOLATION_EXIT
