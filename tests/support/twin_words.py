"""The words that the plain-Python twin works on: statuses, S-EPT entries, PAMT entries and lock words.

Nothing here comes from ``kernels``. Sources: ``facts/tdx-module.md`` sections 1 to 4, ``vectors/FORMAT.md`` section 4.
"""

from dataclasses import dataclass

# Completion statuses, RAX with L2 = 0 (tdx-module.md 1)
SUCCESS = 0
INTERRUPTED_RESTARTABLE = 0x8000000400000000
OPERAND_INVALID = 0xC000010000000000
ADDR_RANGE_ERROR = 0xC000010100000000
OPERAND_BUSY = 0x8000020000000000
PREVIOUS_TLB_EPOCH_BUSY = 0x8000020100000000
HOST_PRIORITY_BUSY = 0x8000020400000000
PAGE_METADATA_INCORRECT = 0xC000030000000000
TD_ASSOCIATED_PAGES_EXIST = 0xC000040000000000
TD_FATAL = 0xE000060400000000
TDCS_NOT_ALLOCATED = 0xC000060600000000
LIFECYCLE_STATE_INCORRECT = 0xC000060700000000
OP_STATE_INCORRECT = 0xC000060800000000
NO_VCPUS = 0xC000060900000000
TD_KEYS_NOT_CONFIGURED = 0x8000081000000000
EPT_WALK_FAILED = 0xC0000B0000000000
EPT_ENTRY_NOT_PRESENT = 0xC0000B0300000000
GPA_RANGE_NOT_BLOCKED = 0xC0000B0600000000
GPA_RANGE_ALREADY_BLOCKED = 0x00000B0700000000
TLB_TRACKING_NOT_DONE = 0xC0000B0800000000
EPT_INVALID_PROMOTE_CONDITIONS = 0xC0000B0900000000
PAGE_ALREADY_ACCEPTED = 0x00000B0A00000000
PAGE_SIZE_MISMATCH = 0xC0000B0B00000000
EPT_ENTRY_STATE_INCORRECT = 0xC0000B0D00000000
EPT_PAGE_NOT_FREE = 0xC0000B0E00000000
EXIT = 0x30  # RAX of a TD exit on an EPT violation: basic exit reason 48

# Operand ids
RAX, RCX, RDX, R8, R9 = 0, 1, 2, 8, 9
TDR_OPERAND, TREE, EPOCH, OP_STATE = 0x80, 0x92, 0xA9, 0xAC

# Raw S-EPT entries without HPA (tdx-module.md 2.1 and 2.2; REMOVED with its valid bit: FORMAT.md 7)
FREE = 0x80E0000000000000
REMOVED = 0x80C0100000000000
NL_MAPPED = 0x8000000000000007
NL_BLOCKED = 0x8080000000000000
MAPPED = 0x80000000000000F7
BLOCKED = 0x80800000000000F0
PENDING = 0x81000000000000F0
PENDING_BLOCKED = 0x81800000000000F0
HPA = 0x000FFFFFFFFFF000
ENTRY_LOCK, ENTRY_HP, ENTRY_PENDING = 1 << 11, 1 << 52, 1 << 56
COUNTER = 511 << 12  # pages accepted, in a PENDING 2M leaf

STATE_CODES = {
    "FREE": 0x0E, "REMOVED": 0x0C, "NL_MAPPED": 0x00, "NL_BLOCKED": 0x08, "MAPPED": 0x60, "BLOCKED": 0x68,
    "PENDING": 0x70, "PENDING_BLOCKED": 0x78, "BLOCKEDW": 0x64, "PENDING_BLOCKEDW": 0x74, "EXP_BLOCKEDW": 0x66,
    "PEND_EXP_BLOCKEDW": 0x76, "EXP_DIRTY": 0x63, "PEND_EXP_DIRTY": 0x73, "EXP_DIRTY_BLOCKEDW": 0x67,
    "PEND_EXP_DIRTY_BLOCKEDW": 0x77,
}  # fmt: skip
STATE_NAMES = {code: name for name, code in STATE_CODES.items()}
API_STATES = {
    "FREE": 0, "BLOCKED": 1, "PENDING": 2, "PENDING_BLOCKED": 3, "MAPPED": 4, "REMOVED": 5, "BLOCKEDW": 8,
    "EXP_BLOCKEDW": 9, "EXP_DIRTY": 11, "EXP_DIRTY_BLOCKEDW": 12, "PENDING_BLOCKEDW": 16, "PEND_EXP_BLOCKEDW": 17,
    "PEND_EXP_DIRTY": 19, "PEND_EXP_DIRTY_BLOCKEDW": 20, "NL_BLOCKED": 129, "NL_MAPPED": 132,
}  # fmt: skip
ACCESSIBLE = {"MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW"}
ACCEPTABLE = {"PENDING", "PEND_EXP_DIRTY"}
BLOCKED_STATES = {"NL_BLOCKED", "BLOCKED", "PENDING_BLOCKED"}
UNTRACKED = {"FREE", "REMOVED", "EXP_BLOCKEDW", "PEND_EXP_BLOCKEDW"}  # no translation to flush
NON_LEAF = {"NL_MAPPED", "NL_BLOCKED"}

# Page types (tdx-module.md 4.1) and lock words
NDA, RSVD, REG, TDR, TDCX, TDVPR, EPT = 0, 1, 3, 4, 5, 6, 8
EXCLUSIVE, HP, READER = 1, 2, 4

PAGES = {0: 1, 1: 512, 2: 512 * 512}
"""4K pages by level."""


def page_bytes(level: int) -> int:
    """Return the bytes that an entry at ``level`` maps."""
    return 4096 << 9 * level


def state_code(raw: int) -> int:
    """Collect D, TDEX, TDBW, TDB, TDP, IPAT, PS into bits 0 to 6."""
    return (raw >> 9 & 1) | (raw >> 52 & 0x1E) | (raw >> 1 & 0x60)


def state(raw: int) -> str:
    """Return the name of the state of a raw entry."""
    return STATE_NAMES[state_code(raw)]


def is_leaf(raw: int) -> bool:
    """Whether bit 7 is set."""
    return bool(raw >> 7 & 1)


def page_of(raw: int, level: int) -> int:
    """Return the HPA of a leaf's page, without an accept counter, or of a table."""
    hpa = raw & HPA
    return hpa - hpa % page_bytes(level) if is_leaf(raw) else hpa


def shown(raw: int) -> int:
    """Return what a host sees of an entry in RCX (FORMAT.md 4)."""
    if state(raw) == "FREE":
        return 1 << 63
    return raw & (0xFF | HPA | 1 << 63) if is_leaf(raw) else raw & 0x87


@dataclass
class PlainLock:
    """A lock word without host priority: bit 0 exclusive, readers from bit 1 on (tdx-module.md 3)."""

    lock: int = 0

    def share(self) -> bool:
        """XADD a reader; a refused one stays until the owner's release."""
        free = not self.lock & EXCLUSIVE
        self.lock += 2
        return free

    def unshare(self) -> None:
        self.lock -= 2

    def exclude(self) -> bool:
        """CMPXCHG 0 -> 1."""
        free = self.lock == 0
        self.lock = self.lock or EXCLUSIVE
        return free

    def unexclude(self) -> None:
        self.lock = 0


@dataclass
class HpLock:
    """A lock word with host priority: bit 0 exclusive, bit 1 host priority, readers from bit 2 on."""

    lock: int = 0

    def share(self) -> bool:
        """XADD a reader, as a host call does; return whether the lock was granted."""
        was_exclusive = self.lock & EXCLUSIVE
        self.lock += READER
        if was_exclusive:
            self.lock |= HP  # the reader stays until the writer's release wipes it
            return False
        self.lock &= ~HP
        return True

    def unshare(self) -> None:
        self.lock -= READER

    def exclude(self) -> bool:
        """CMPXCHG 0 -> 1, and once more if only host priority was set."""
        if self.lock in (0, HP):
            self.lock = EXCLUSIVE
            return True
        self.lock |= HP
        return False

    def promote(self) -> bool:
        """CMPXCHG from one reader to exclusive; on failure the caller still holds its reader."""
        if self.lock == READER:
            self.lock = EXCLUSIVE
            return True
        self.lock |= HP
        return False

    def unexclude(self) -> None:
        self.lock &= HP


@dataclass
class PamtEntry(HpLock):
    """A PAMT entry; ``owner`` is the HPA >> 12 of a TDR."""

    type: int = NDA
    owner: int = 0
    bepoch: int = 0

    @property
    def words(self) -> tuple[int, int]:
        """The entry's 16 bytes as two little-endian words: lock 0-1, type 2, owner 3-7, bepoch 8-15."""
        return self.lock | self.type << 16 | self.owner << 24, self.bepoch
