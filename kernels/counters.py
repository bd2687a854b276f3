"""What batches count: the index of each counter in their ``counts`` arrays (int64)."""

from enum import IntEnum


class Counter(IntEnum):
    """Populating: calls by outcome, and the work in them that depends on where they land."""

    TD_EXIT = 0  # EPT-violation TD exits; every one from an ACCEPT
    VP_ENTER = 1
    FAULT = 2  # completed KVM fault paths, prefault included
    PREFAULT = 3  # those that KVM_PRE_FAULT_MEMORY drove
    SEPT_ADD = 4
    AUG_4K = 5
    AUG_2M = 6
    ACCEPT_4K = 7
    ACCEPT_2M = 8
    ACCEPT_EXIT = 9  # ACCEPT executions that ended in a TD exit
    ACCEPT_SIZE_MISMATCH = 10
    ACCEPT_1G_INVALID = 11
    WALK_READS_HOST = 12  # S-EPT entries read by the walks of SEPT.ADD and AUG
    WALK_READS_GUEST = 13  # ... and of ACCEPT
    SEPT_LINES = 14  # AUGs whose S-EPT entry is not in the line of the AUG before
    PAMT_LINES = 15  # AUGs whose PAMT leaf entry is not in the line of the AUG before
    EXISTING_TABLE = 16  # 2M ranges that stayed 4K because a 4K table was there


COUNTERS = len(Counter)
"""Length of ``counts`` where only populating counts."""


class ChangeCounter(IntEnum):
    """Building, blocking, demoting and removing: behind the counters of :class:`Counter` in the same array.

    Of those these batches add to WALK_READS_HOST; ADD also to SEPT_ADD; ADD, BLOCK and REMOVE also to SEPT_LINES and
    PAMT_LINES, as an AUG does.
    """

    PAGE_ADD = COUNTERS
    BLOCK_4K = COUNTERS + 1
    BLOCK_2M = COUNTERS + 2
    ALREADY_BLOCKED = COUNTERS + 3  # BLOCKs that found the leaf blocked
    REMOVE_4K = COUNTERS + 4
    REMOVE_2M = COUNTERS + 5
    DEMOTE = COUNTERS + 6


_CHANGES = COUNTERS + len(ChangeCounter)


class LifeCounter(IntEnum):
    """The rest of a TD's life: what KVM, guest_memfd and the guest do around the calls, behind the others.

    WRITE_LOCK holds one lock for each SET_ATTRIBUTES, PUNCH_HOLE and GUEST_INHIBIT, and one for a region zapped at the
    end. A guest that touches first adds TD_EXITs that no ACCEPT caused. A fault that finds its leaf there, because KVM
    has just split it, is a FAULT without an AUG.
    """

    MR_EXTEND = _CHANGES  # TDH.MR.EXTEND, 256 bytes each
    MEM_TRACK = _CHANGES + 1
    KICK = _CHANGES + 2  # kvm_make_all_cpus_request(KVM_REQ_OUTSIDE_GUEST_MODE)
    PAGE_WBINVD = _CHANGES + 3  # TDH.PHYMEM.PAGE.WBINVD, 4K each
    RECLAIM_4K = _CHANGES + 4  # TDH.PHYMEM.PAGE.RECLAIM by size of the page
    RECLAIM_2M = _CHANGES + 5
    RESET_PAGE = _CHANGES + 6  # tdx_quirk_reset_paddr of 4K: 64 MOVDIR64B, X86_BUG_TDX_PW_MCE only
    MAP_GPA = _CHANGES + 7  # chunks of up to 2 MiB of a MapGPA: TD exit, userspace and back, entry
    SET_ATTRIBUTES = _CHANGES + 8  # attribute changes, each with its invalidation under mmu_lock for write
    WRITE_LOCK = _CHANGES + 9  # mmu_lock taken for write
    FOLIO_SPLIT = _CHANGES + 10  # folios that guest_memfd split
    GUEST_INHIBIT = _CHANGES + 11  # 2M ranges marked because the guest accepted at 4K
    VIRTUALIZATION_EXCEPTION = _CHANGES + 12  # #VE that the guest took for a PENDING page
    PUNCH_HOLE = _CHANGES + 13  # fallocate(PUNCH_HOLE) of guest_memfd
    PAMT_ADD = _CHANGES + 14  # TDH.PHYMEM.PAMT.ADD: a pair of pages for 2 MiB of host memory
    PAMT_REMOVE = _CHANGES + 15
    PAMT_GET = _CHANGES + 16  # tdx_pamt_get: a 4K leaf or an S-EPT page takes a reference
    PAMT_PUT = _CHANGES + 17
    PAMT_LOCK = _CHANGES + 18  # global pamt_lock taken
    PROMOTE = _CHANGES + 19  # TDH.MEM.PAGE.PROMOTE of 512 4K leaves to one of 2M
    BLOCK_TABLE = _CHANGES + 20  # BLOCKs of a table of 4K entries, before PROMOTE


ALL_COUNTERS = _CHANGES + len(LifeCounter)
"""Length of ``counts`` of all batches but those that only populate."""

TD_EXIT = int(Counter.TD_EXIT)
VP_ENTER = int(Counter.VP_ENTER)
FAULT = int(Counter.FAULT)
PREFAULT = int(Counter.PREFAULT)
SEPT_ADD = int(Counter.SEPT_ADD)
AUG_4K = int(Counter.AUG_4K)
AUG_2M = int(Counter.AUG_2M)
ACCEPT_4K = int(Counter.ACCEPT_4K)
ACCEPT_2M = int(Counter.ACCEPT_2M)
ACCEPT_EXIT = int(Counter.ACCEPT_EXIT)
ACCEPT_SIZE_MISMATCH = int(Counter.ACCEPT_SIZE_MISMATCH)
ACCEPT_1G_INVALID = int(Counter.ACCEPT_1G_INVALID)
WALK_READS_HOST = int(Counter.WALK_READS_HOST)
WALK_READS_GUEST = int(Counter.WALK_READS_GUEST)
SEPT_LINES = int(Counter.SEPT_LINES)
PAMT_LINES = int(Counter.PAMT_LINES)
EXISTING_TABLE = int(Counter.EXISTING_TABLE)
PAGE_ADD = int(ChangeCounter.PAGE_ADD)
BLOCK_4K = int(ChangeCounter.BLOCK_4K)
BLOCK_2M = int(ChangeCounter.BLOCK_2M)
ALREADY_BLOCKED = int(ChangeCounter.ALREADY_BLOCKED)
REMOVE_4K = int(ChangeCounter.REMOVE_4K)
REMOVE_2M = int(ChangeCounter.REMOVE_2M)
DEMOTE = int(ChangeCounter.DEMOTE)
MR_EXTEND = int(LifeCounter.MR_EXTEND)
MEM_TRACK = int(LifeCounter.MEM_TRACK)
KICK = int(LifeCounter.KICK)
PAGE_WBINVD = int(LifeCounter.PAGE_WBINVD)
RECLAIM_4K = int(LifeCounter.RECLAIM_4K)
RECLAIM_2M = int(LifeCounter.RECLAIM_2M)
RESET_PAGE = int(LifeCounter.RESET_PAGE)
MAP_GPA = int(LifeCounter.MAP_GPA)
SET_ATTRIBUTES = int(LifeCounter.SET_ATTRIBUTES)
WRITE_LOCK = int(LifeCounter.WRITE_LOCK)
FOLIO_SPLIT = int(LifeCounter.FOLIO_SPLIT)
GUEST_INHIBIT = int(LifeCounter.GUEST_INHIBIT)
VIRTUALIZATION_EXCEPTION = int(LifeCounter.VIRTUALIZATION_EXCEPTION)
PUNCH_HOLE = int(LifeCounter.PUNCH_HOLE)
PAMT_ADD = int(LifeCounter.PAMT_ADD)
PAMT_REMOVE = int(LifeCounter.PAMT_REMOVE)
PAMT_GET = int(LifeCounter.PAMT_GET)
PAMT_PUT = int(LifeCounter.PAMT_PUT)
PAMT_LOCK = int(LifeCounter.PAMT_LOCK)
PROMOTE = int(LifeCounter.PROMOTE)
BLOCK_TABLE = int(LifeCounter.BLOCK_TABLE)
