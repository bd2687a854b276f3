"""Runs: neighbouring 4K pages whose calls do what the first one's has just done, executed many at once.

The outcome of a call on a 4K page depends on its S-EPT entry, on the PAMT entries of its 1 GiB and its 2 MiB, and on
its PAMT_4K entry. A batch executes the first page of a run by the ordinary step. The pages behind it lie in the same
2M frame, so what the step found in the upper PAMT entries holds for them too. Their own entries are compared with what
the first page's were, a chunk at a time and without a branch a page; the first page that differs ends the run and goes
through the ordinary step again. Tables, statuses and counts are therefore those of one call at a time.

PAMT entries of which one word changes are read and written as a row of words, both words of each: a store to every
other word would become one instruction a word, or a scatter, which takes several times as long.

``..._rest`` functions take the first page's place, ``row`` and ``index``; ``before``, what its entry was; and
``chosen`` (uint8), which holds what is done with it at ``first``, and is empty where that is the same for all pages.
They return how many pages behind it they have dealt with, all in its table.
"""

import numpy as np

from kernels.counters import PAMT_LINES, SEPT_LINES
from kernels.fault import PAMT_LINE, SEPT_LINE
from kernels.jit import njit, step
from kernels.pamt import find_slot, give_page
from kernels.pamt_entry import ENTRIES_4K_PER_BLOCK, LOCK_MASK, PT_REG, TYPE_MASK
from kernels.sept_entry import HPA_MASK, entry_pfn, make_entry
from kernels.tables import TD_CHLDCNT, TD_TDR_PFN
from kernels.transitions import accepted, blocked, freed, pages_of, removed

CHUNK = 128
"""Pages: 2 KiB of PAMT_4K, so that what is compared is still in the nearest cache when it is written."""

_IMPORTING = False
_IN_USE = LOCK_MASK | TYPE_MASK  # none is set in the PAMT entry of a free page: PT_NDA is 0
_NONE = np.uint64(0)
_PAGE = np.uint64(1 << 12)


@step
def pamt_4k_index(tables, pfn):
    """Return the index of the PAMT_4K entry of ``pfn``, which lies in a loaded block."""
    return find_slot(tables, pfn) * ENTRIES_4K_PER_BLOCK + (pfn & 0x3FFFF)


@step
def count_rest(row, index, pfn, pages, lines, counts):
    """Count the cache lines of a run of ``pages``, of which the first has been counted."""
    last = index + pages - 1
    counts[SEPT_LINES] += (last >> 3) - (index >> 3)
    counts[PAMT_LINES] += ((pfn + pages - 1) >> 2) - (pfn >> 2)
    lines[SEPT_LINE] = row * 64 + (last >> 3)
    lines[PAMT_LINE] = (pfn + pages - 1) >> 2


# --- What is compared; what is returned is 0 where nothing differs


@step
def _differ(words, word):
    """Compare S-EPT entries with ``word``."""
    differences = _NONE
    for i in range(words.size):
        differences |= words[i] ^ word
    return differences


@step
def _differ_in_flags(entries, entry):
    """Compare entries with ``entry`` but for the pages that they point to."""
    return _differ(entries, entry & ~HPA_MASK) & ~HPA_MASK


@step
def _differ_in_run(entries, flags, pfn):
    """Compare entries with those of ``flags`` (uint64) that point to ``pfn`` and the pages behind it."""
    differences = _NONE
    for i in range(entries.size):
        differences |= entries[i] ^ make_entry(flags, pfn + i)
    return differences


@step
def _differ_in_steps(pfns, pfn):
    """Compare PFNs with ``pfn`` and those behind it."""
    differences = np.int64(0)
    for i in range(pfns.size):
        differences |= pfns[i] ^ (pfn + i)
    return differences


@step
def _marks(pamt, mask):
    """Return the bits in ``mask`` (uint64) that any of these PAMT entries has set in word 0."""
    found = _NONE
    for i in range(pamt.shape[0]):
        found |= pamt[i, 0]
    return found & mask


@step
def _differ_or_held(words, bepoch):
    """Compare the bepochs of PAMT entries, the odd ones of ``words``, with ``bepoch``; a lock held differs too."""
    differences = _NONE
    for i in range(words.size):
        differences |= words[i] ^ bepoch if i & 1 else words[i] & LOCK_MASK
    return differences


@step
def _chosen_alike(chosen, first, start, pages):
    """Whether ``pages`` pages, ``start`` after ``first``, are chosen as that one is."""
    if chosen.size == 0:
        return True
    others, alike = chosen[first + start : first + start + pages], chosen[first]
    differences = np.uint8(0)
    for i in range(others.size):
        differences = np.uint8(differences | (others[i] ^ alike))  # as bytes: 64 of them fit a vector, not 8
    return differences == 0


# --- Runs, a chunk at a time


@njit
def _map_run(tables, row, index, before, pfn, chosen, first, bits):
    start = pfn[first]
    at = pamt_4k_index(tables, start)
    pages = 512 - max(index, start & 511)
    owner = tables.td[TD_TDR_PFN]
    done, n = np.int64(1), np.int64(CHUNK)
    while done < pages and n > 0:
        n = min(n, pages - done)
        sept = tables.sept[row, index + done : index + done + n]
        pamt = tables.pamt_4k[at + done : at + done + n]
        steps = _differ_in_steps(pfn[first + done : first + done + n], start + done)
        if steps != 0 or _differ(sept, before) | _marks(pamt, _IN_USE) or not _chosen_alike(chosen, first, done, n):
            n >>= 1
            continue
        for i in range(n):
            sept[i] = make_entry(bits, start + done + i)
        for i in range(n):
            give_page(pamt, i, PT_REG, owner)
        done += n
    tables.td[TD_CHLDCNT] += (done - 1) * pages_of(0)
    return done - 1


@njit
def _accept_run(tables, row, index, before, chosen, first):
    done, n = np.int64(1), np.int64(CHUNK)
    while done < 512 - index and n > 0:
        n = min(n, 512 - index - done)
        sept = tables.sept[row, index + done : index + done + n]
        if _differ_in_flags(sept, before) or not _chosen_alike(chosen, first, done, n):
            n >>= 1
            continue
        for i in range(n):
            sept[i] = accepted(sept[i], 0)
        done += n
    return done - 1


@njit
def _block_run(tables, row, index, before, chosen, first, epoch):
    pfn, flags = entry_pfn(before), before & ~HPA_MASK
    at = pamt_4k_index(tables, pfn)
    pages = 512 - max(index, pfn & 511)
    at_epoch = np.uint64(epoch)
    done, n = np.int64(1), np.int64(CHUNK)
    while done < pages and n > 0:
        n = min(n, pages - done)
        sept = tables.sept[row, index + done : index + done + n]
        words = tables.pamt_4k[at + done : at + done + n].reshape(2 * n)
        if _differ_in_run(sept, flags, pfn + done) or not _chosen_alike(chosen, first, done, n):
            n >>= 1
            continue
        for i in range(n):
            sept[i] = blocked(sept[i], 0)
        for i in range(2 * n):
            words[i] = at_epoch if i & 1 else words[i]
        done += n
    return done - 1


@njit
def _remove_run(tables, row, index, before, chosen, first):
    pfn, flags = entry_pfn(before), before & ~HPA_MASK
    at = pamt_4k_index(tables, pfn)
    bepoch = tables.pamt_4k[at, 1]
    pages = 512 - max(index, pfn & 511)
    done, n = np.int64(1), np.int64(CHUNK)
    while done < pages and n > 0:
        n = min(n, pages - done)
        sept = tables.sept[row, index + done : index + done + n]
        words = tables.pamt_4k[at + done : at + done + n].reshape(2 * n)
        differ = _differ_in_run(sept, flags, pfn + done) | _differ_or_held(words, bepoch)
        if differ or not _chosen_alike(chosen, first, done, n):
            n >>= 1
            continue
        for i in range(n):
            sept[i] = removed(_IMPORTING)
        for i in range(2 * n):
            words[i] = words[i] if i & 1 else freed(words[i])
        done += n
    tables.td[TD_CHLDCNT] -= (done - 1) * pages_of(0)
    return done - 1


# --- The rest of a run. Where it is empty, as for most pages of scattered memory, no kernel is called: passing the
# arrays alone takes longer than a page does.


@step
def map_rest(tables, row, index, before, pfn, chosen, first, bits):
    """Map the pages behind the first as leaves of ``bits``: AUG, ADD, or AUG and ACCEPT of each.

    They are as it was, chosen alike, and backed by the pages behind its page. ``pfn`` (int64) and ``chosen`` hold the
    first page's at ``first``.
    """
    if index == 511 or pfn[first + 1] != pfn[first] + 1:
        return np.int64(0)
    return _map_run(tables, row, index, before, pfn, chosen, first, bits)


@step
def accept_rest(tables, row, index, before, chosen, first):
    """ACCEPT the pages behind the first that are as it was; the page that an entry points to does not matter."""
    if index == 511 or (tables.sept[row, index + 1] ^ before) & ~HPA_MASK:
        return np.int64(0)
    return _accept_run(tables, row, index, before, chosen, first)


@step
def block_rest(tables, row, index, before, chosen, first, epoch):
    """BLOCK the leaves behind the first that are as it was and point to the pages behind its page."""
    if index == 511 or tables.sept[row, index + 1] != before + _PAGE:
        return np.int64(0)
    return _block_run(tables, row, index, before, chosen, first, epoch)


@step
def remove_rest(tables, row, index, before, chosen, first):
    """REMOVE the leaves behind the first that are as it was, blocked when it was, and follow its page."""
    if index == 511 or tables.sept[row, index + 1] != before + _PAGE:
        return np.int64(0)
    return _remove_run(tables, row, index, before, chosen, first)
