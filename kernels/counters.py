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


ALL_COUNTERS = COUNTERS + len(ChangeCounter)
"""Length of ``counts`` of the batches that change what is mapped."""

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
