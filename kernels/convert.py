"""Conversions between private and shared, and holes punched, in one region.

KVM cuts a MapGPA into chunks of 2 MiB, counted from its start. Each is a TD exit to userspace and one attribute
change, which splits the 2M leaves that lie across its borders and zaps what is left inside. Under ``FOLIO_STRICT`` the
first shared page of a folio splits all of its 2M leaves, since guest_memfd splits the folio to 4K.
Sources: Linux, ``arch/x86/kvm/vmx/tdx.c`` (``TDX_MAP_GPA_MAX_LEN``), ``virt/kvm/kvm_main.c``
(``kvm_vm_set_mem_attributes``), ``arch/x86/coco/tdx/tdx.c`` (``tdx_enc_status_changed``); Yan Zhao, reply to "[PATCH
v3 00/24] KVM: TDX huge page support for private memory", 2026-01-07,
https://lore.kernel.org/all/aV4hAfPZXfKKB+7i@yzhao56-desk.sh.intel.com; Ackerley Tng, "[RFC PATCH v2 00/51] 1G page
support for guest_memfd", 2025-05-14, https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com.
"""

from kernels.counters import FOLIO_SPLIT, MAP_GPA, PUNCH_HOLE, SET_ATTRIBUTES, WRITE_LOCK
from kernels.jit import njit
from kernels.life_guest import accept_range
from kernels.life_state import FOLIO_LENIENT, FOLIO_STRICT, USE_ADDED
from kernels.populate import USE_ASKED, USE_SHARED
from kernels.private_fault import shared_in_folio, whole_folios
from kernels.promote import promote_ranges
from kernels.status import SUCCESS
from kernels.zap import split_ranges, zap_range

MAP_GPA_PAGES = 512
"""4K pages in a chunk of a MapGPA: TDX_MAP_GPA_MAX_LEN is 2 MiB."""

FIRST, PAGES, TO_SHARED = 0, 1, 2
CONVERSION_FIELDS = 3
"""Columns of ``conversions``."""


@njit
def _changes(life, first, end, to_shared):
    """Whether any page of ``[first, end)`` is not yet what it shall be: else KVM does nothing."""
    for page in range(first, end):
        is_shared = life.use[page] == USE_SHARED
        is_private = life.use[page] == USE_ASKED or life.use[page] == USE_ADDED
        if is_private if to_shared else is_shared:
            return True
    return False


@njit
def _split_folio(life, r):
    """Count the folios that guest_memfd splits when the first page of range ``r`` becomes shared.

    It has merged them when their last shared page became private.
    """
    if life.folio_order[r] < 9:
        return
    life.counts[FOLIO_SPLIT] += shared_in_folio(life, r) == 0
    if life.knobs.interface == FOLIO_LENIENT and life.folio_order[r] > 9:  # to 2M, and of these one to 4K
        life.counts[FOLIO_SPLIT] += 1


@njit
def _share(life, first, end):
    """Split and zap what a private chunk ``[first, end)`` holds, and make it shared; return the status."""
    lo, hi = first >> 9, (end + 511) >> 9
    if life.knobs.interface == FOLIO_STRICT:
        lo, hi = whole_folios(life, lo, hi)
    status = split_ranges(life, lo, hi, first, end)
    if status == SUCCESS:
        status = zap_range(life, first, end)
    if status != SUCCESS:
        return status
    for page in range(first, end):
        if life.use[page] == USE_ASKED or life.use[page] == USE_ADDED:
            if life.shared[page >> 9] == 0:
                _split_folio(life, page >> 9)
            life.use[page] = USE_SHARED
            life.shared[page >> 9] += 1
    return SUCCESS


@njit
def _map_gpa(life, first, end, to_shared):
    """Run one MapGPA over the pages ``[first, end)``, chunk after chunk; return the status."""
    counts = life.counts
    for start in range(first, end, MAP_GPA_PAGES):
        stop = min(start + MAP_GPA_PAGES, end)
        counts[MAP_GPA] += 1
        if not _changes(life, start, stop, to_shared):
            continue
        counts[SET_ATTRIBUTES] += 1
        counts[WRITE_LOCK] += 1
        if to_shared:
            status = _share(life, start, stop)
            if status != SUCCESS:
                return status
            continue
        for page in range(start, stop):
            if life.use[page] == USE_SHARED:
                life.use[page] = USE_ASKED
                life.shared[page >> 9] -= 1
    return SUCCESS


@njit
def convert_region(life, conversions):
    """Convert pages of one region, one request after the other.

    Parameters
    ----------
    life : Life
    conversions : ndarray of int64, shape (n, CONVERSION_FIELDS)
        First page (offset in the region), 4K pages, and whether they become shared. Nothing may lie outside the
        region: a request that crosses its border is one in each.

    Returns
    -------
    int64
        SUCCESS; or the status of the first call that failed, the tables then being left as they stand.
        PAGE_ALREADY_ACCEPTED: a conversion to private met pages that were private, and the guest's ACCEPT of them
        fails, as it does in Linux.

    Notes
    -----
    The guest accepts the whole range again after it has become private; with ``Knobs.promote`` KVM then merges what
    it may. Pages without memory stay as they are.
    """
    for i in range(conversions.shape[0]):
        first = conversions[i, FIRST]
        end = first + conversions[i, PAGES]
        to_shared = conversions[i, TO_SHARED] != 0
        status = _map_gpa(life, first, end, to_shared)
        if status == SUCCESS and not to_shared:
            status = accept_range(life, first, end)
            if status == SUCCESS and life.knobs.promote:
                status = promote_ranges(life, first >> 9, (end + 511) >> 9)
        if status != SUCCESS:
            return status
    return SUCCESS


@njit
def punch_hole(life, first, end):
    """Give the memory of the pages ``[first, end)`` back: fallocate(PUNCH_HOLE) of guest_memfd; return the status.

    Leaves across the borders are split, those inside zapped. Attributes stay, so a guest that comes back faults
    new pages in; folios are not split, whatever the interface, as nothing becomes shared.
    """
    life.counts[PUNCH_HOLE] += 1
    life.counts[WRITE_LOCK] += 1
    status = split_ranges(life, first >> 9, (end + 511) >> 9, first, end)
    return zap_range(life, first, end) if status == SUCCESS else status
