"""The registers of every script: which cache line, lock or server a thread means where."""

from enum import IntEnum

from kernels.queueing import memory


class Register(IntEnum):
    """What threads meet; the first are set with the memory that a thread takes.

    The lines of a TD hold its locks too: TDR_PAMT_4K the TDR's, TDCS_TREE the S-EPT tree lock, TD_EPOCH the epoch
    lock, MMU_LOCK the rwlock.
    """

    PAGE_PAMT_1G = memory.PAGE_PAMT_1G
    PAGE_PAMT_2M = memory.PAGE_PAMT_2M
    PAGE_PAMT_4K = memory.PAGE_PAMT_4K
    SEPT_LINE = memory.SEPT_LINE
    RANGE = memory.RANGE
    TABLE_4K = memory.TABLE_4K
    TABLE_2M = memory.TABLE_2M
    FOLIO = memory.FOLIO
    FOLIO_LOCK = memory.FOLIO_LOCK
    HUGETLB_MUTEX = memory.HUGETLB_MUTEX
    DRAM = memory.DRAM
    LINK = memory.LINK
    PAMT_REFERENCES = memory.PAMT_REFERENCES
    RANGE_PAMT = memory.RANGE_PAMT_LOCK
    PAGE = memory.PAGE
    TDR_PAMT_1G = memory.MEMORY_REGISTERS
    TDR_PAMT_2M = memory.MEMORY_REGISTERS + 1
    TDR_PAMT_4K = memory.MEMORY_REGISTERS + 2
    TDR_CHLDCNT = memory.MEMORY_REGISTERS + 3
    TDCS_OP_STATE = memory.MEMORY_REGISTERS + 4
    TDCS_TREE = memory.MEMORY_REGISTERS + 5
    TD_EPOCH = memory.MEMORY_REGISTERS + 6
    TDVPR_PAMT_1G = memory.MEMORY_REGISTERS + 7
    MMU_LOCK = memory.MEMORY_REGISTERS + 8
    PAMT_LOCK = memory.MEMORY_REGISTERS + 9
    GUEST_LOCK = memory.MEMORY_REGISTERS + 10
    KICK = memory.MEMORY_REGISTERS + 11
    FIRST_COUNT = memory.MEMORY_REGISTERS + 12
    SECOND_COUNT = memory.MEMORY_REGISTERS + 13
    SAME_RIP = memory.MEMORY_REGISTERS + 14


REGISTERS = len(Register)

TITLES = {
    Register.PAGE_PAMT_1G: "line of the page's PAMT_1G entry",
    Register.PAGE_PAMT_2M: "line of the page's PAMT_2M entry",
    Register.PAGE_PAMT_4K: "line of the page's PAMT_4K entry",
    Register.SEPT_LINE: "line of the page's S-EPT entry",
    Register.TDR_PAMT_1G: "line of the TDR's PAMT_1G entry",
    Register.TDR_PAMT_2M: "line of the TDR's PAMT_2M entry",
    Register.TDR_PAMT_4K: "line of the TDR's PAMT_4K entry",
    Register.TDR_CHLDCNT: "TDR line 0 (chldcnt)",
    Register.TDCS_OP_STATE: "TDCS line 0 (op_state)",
    Register.TDCS_TREE: "TDCS line 2 (S-EPT tree lock)",
    Register.TD_EPOCH: "TDCS epoch line",
    Register.TDVPR_PAMT_1G: "line of the TDVPRs' PAMT_1G entry",
    Register.MMU_LOCK: "mmu_lock",
    Register.FOLIO_LOCK: "folio lock",
    Register.HUGETLB_MUTEX: "hugetlb_fault_mutex",
    Register.PAMT_LOCK: "pamt_lock",
    Register.PAMT_REFERENCES: "line of Dynamic PAMT's reference counts",
    Register.GUEST_LOCK: "guest's unaccepted_memory_lock",
    Register.DRAM: "memory bandwidth",
    Register.LINK: "bandwidth between nodes",
    Register.KICK: "kicked vCPUs' answers",
    Register.RANGE: "S-EPT entry",
    Register.RANGE_PAMT: "PAMT_2M entry",
    Register.TABLE_4K: "frozen mirror entry of a 4K table",
    Register.TABLE_2M: "frozen mirror entry of a 2M table",
}
"""What results and figures call them."""


def title_of(register: Register, together: bool) -> str:
    """Return what a register's line is called where TDR and TDVPRs lie in one 4 GiB, or apart."""
    if together and register in (Register.TDR_PAMT_1G, Register.TDVPR_PAMT_1G):
        return "line of the TDR's and TDVPRs' PAMT_1G entries"
    return TITLES[register]


OPERANDS = {
    Register.TDR_PAMT_4K: "RDX (TDR)",
    Register.TDCS_TREE: "0x92 (S-EPT tree)",
    Register.RANGE: "RCX (S-EPT entry)",
    Register.RANGE_PAMT: "R8 (PAMT of the page)",
    Register.TD_EPOCH: "0xA9 (TD_EPOCH)",
    Register.TABLE_4K: "frozen mirror entry (4K table)",
    Register.TABLE_2M: "frozen mirror entry (2M table)",
}
"""TDX_OPERAND_BUSY by operand, and what KVM itself meets in the mirror table."""
