"""The guest of a TD that lives: it accepts memory at 2M and 4K, at 4K only, or touches it first.

Sources: Linux, ``arch/x86/coco/tdx/tdx-shared.c`` (``try_accept_one``); Intel TDX module, tag TDX_1.5.01,
``tdg_mem_page_accept.c``; LKML, November 2025, https://lkml.iu.edu/hypermail/linux/kernel/2511.2/02568.html, for
guests that touch first.
"""

from kernels.counters import (
    ACCEPT_1G_INVALID,
    ACCEPT_2M,
    ACCEPT_4K,
    ACCEPT_EXIT,
    ACCEPT_SIZE_MISMATCH,
    TD_EXIT,
    VIRTUALIZATION_EXCEPTION,
    VP_ENTER,
    WALK_READS_GUEST,
)
from kernels.jit import njit
from kernels.life_state import GFN
from kernels.populate import USE_ASKED
from kernels.private_fault import inhibit, private_fault
from kernels.seamcall import accept_at
from kernels.sept_entry import LEAF, RWX
from kernels.status import EPT_VIOLATION_EXIT, PAGE_SIZE_MISMATCH, SUCCESS
from kernels.tables import TD_LEVELS
from kernels.walk import walk


@njit
def _execute_accept(life, page, level):
    tables = life.tables
    reached, row, index, _ = walk(tables, life.state[GFN] + page, level)
    life.counts[WALK_READS_GUEST] += tables.td[TD_LEVELS] - reached
    return accept_at(tables, reached, row, index, level)


@njit
def _accept(life, page, level):
    """Execute ACCEPT, again after a TD exit that KVM resolves; return the status of the last."""
    status = _execute_accept(life, page, level)
    if status == EPT_VIOLATION_EXIT:
        counts = life.counts
        counts[ACCEPT_EXIT] += 1
        counts[TD_EXIT] += 1
        if level == 0:
            status = inhibit(life, page >> 9)
            if status != SUCCESS:
                return status
        status = private_fault(life, page, level)
        if status != SUCCESS:
            return status
        counts[VP_ENTER] += 1
        status = _execute_accept(life, page, level)
    if status == SUCCESS:
        life.counts[ACCEPT_2M if level else ACCEPT_4K] += 1
    return status


@njit
def _all_asked(life, first, end):
    """Whether the guest has all pages of ``[first, end)`` to accept."""
    asked = 0
    for page in range(first, end):
        asked += life.use[page] == USE_ASKED
    return asked == end - first


@njit
def accept_range(life, first, end):
    """Accept the private pages of ``[first, end)`` as a Linux guest does: 1G, 2M, 4K where aligned and that long.

    Returns
    -------
    int64
        SUCCESS, or the status of the first call that failed: PAGE_ALREADY_ACCEPTED for one, which Linux takes for
        a failure too.
    """
    if first == 0 and end == life.use.size and _all_asked(life, first, end):
        life.counts[ACCEPT_1G_INVALID] += 1
    page = first
    while page < end:
        if (page & 511) == 0 and end - page >= 512 and _all_asked(life, page, page + 512):
            status = _accept(life, page, 1)
            if status == SUCCESS:
                page += 512
                continue
            if status != PAGE_SIZE_MISMATCH + 1:
                return status
            life.counts[ACCEPT_SIZE_MISMATCH] += 1
        stop = min(end, (page | 511) + 1)
        while page < stop:
            if life.use[page] == USE_ASKED:
                status = _accept(life, page, 0)
                if status != SUCCESS:
                    return status
            page += 1
    return SUCCESS


@njit
def accept_pages(life, pages):
    """Accept ``pages`` (int64, offsets in the region) at 4K, in their order, whatever KVM has mapped them with.

    Returns
    -------
    int64
        As for :func:`accept_range`.
    """
    for page in pages:
        status = _accept(life, page, 0)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def touch_pages(life, pages):
    """Touch ``pages`` (int64, offsets in the region) in their order, and accept each at 4K when it raises #VE.

    SEPT_VE_DISABLE is 0. A page that is accepted is used without an exit. The exits of touches are those in
    TD_EXIT that ACCEPT_EXIT does not hold.

    Returns
    -------
    int64
        As for :func:`accept_range`.
    """
    counts = life.counts
    for page in pages:
        entry = walk(life.tables, life.state[GFN] + page, 0)[3]
        if (entry & LEAF) == 0:  # the exit carries no level: KVM maps as large as it may
            counts[TD_EXIT] += 1
            status = private_fault(life, page, 1)
            if status != SUCCESS:
                return status
            counts[VP_ENTER] += 1
        elif entry & RWX:
            continue
        counts[VIRTUALIZATION_EXCEPTION] += 1
        status = _accept(life, page, 0)
        if status != SUCCESS:
            return status
    return SUCCESS
