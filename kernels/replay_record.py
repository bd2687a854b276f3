"""Codes of a conformance record: what the replay's arrays hold instead of the names in a vector file.

Source: ``vectors/FORMAT.md`` sections 1, 2 and 5.
"""

OPS = (
    "TDH.MEM.SEPT.ADD",
    "TDH.MEM.SEPT.REMOVE",
    "TDH.MEM.SEPT.RD",
    "TDH.MEM.PAGE.ADD",
    "TDH.MEM.PAGE.AUG",
    "TDH.MEM.PAGE.REMOVE",
    "TDH.MEM.PAGE.RELOCATE",
    "TDH.MEM.PAGE.PROMOTE",
    "TDH.MEM.PAGE.DEMOTE",
    "TDH.MEM.RANGE.BLOCK",
    "TDH.MEM.RANGE.UNBLOCK",
    "TDH.MEM.TRACK",
    "TDH.MR.EXTEND",
    "TDH.MR.FINALIZE",
    "TDH.PHYMEM.PAGE.WBINVD",
    "TDH.PHYMEM.PAGE.RDMD",
    "TDH.PHYMEM.PAGE.RECLAIM",
    "TDG.MEM.PAGE.ACCEPT",
    "TD.EPT_VIOLATION",
    "VCPU_ENTER",
    "VCPU_EXIT",
    "LOCK",
    "UNLOCK",
    "SET",
    "POKE",
)
OP_SEPT_ADD = OPS.index("TDH.MEM.SEPT.ADD")
OP_SEPT_REMOVE = OPS.index("TDH.MEM.SEPT.REMOVE")
OP_SEPT_RD = OPS.index("TDH.MEM.SEPT.RD")
OP_PAGE_ADD = OPS.index("TDH.MEM.PAGE.ADD")
OP_PAGE_AUG = OPS.index("TDH.MEM.PAGE.AUG")
OP_PAGE_REMOVE = OPS.index("TDH.MEM.PAGE.REMOVE")
OP_PAGE_RELOCATE = OPS.index("TDH.MEM.PAGE.RELOCATE")
OP_PAGE_PROMOTE = OPS.index("TDH.MEM.PAGE.PROMOTE")
OP_PAGE_DEMOTE = OPS.index("TDH.MEM.PAGE.DEMOTE")
OP_RANGE_BLOCK = OPS.index("TDH.MEM.RANGE.BLOCK")
OP_RANGE_UNBLOCK = OPS.index("TDH.MEM.RANGE.UNBLOCK")
OP_TRACK = OPS.index("TDH.MEM.TRACK")
OP_MR_EXTEND = OPS.index("TDH.MR.EXTEND")
OP_MR_FINALIZE = OPS.index("TDH.MR.FINALIZE")
OP_PAGE_WBINVD = OPS.index("TDH.PHYMEM.PAGE.WBINVD")
OP_PAGE_RDMD = OPS.index("TDH.PHYMEM.PAGE.RDMD")
OP_PAGE_RECLAIM = OPS.index("TDH.PHYMEM.PAGE.RECLAIM")
OP_PAGE_ACCEPT = OPS.index("TDG.MEM.PAGE.ACCEPT")
OP_EPT_VIOLATION = OPS.index("TD.EPT_VIOLATION")
OP_VCPU_ENTER = OPS.index("VCPU_ENTER")
OP_VCPU_EXIT = OPS.index("VCPU_EXIT")
OP_LOCK = OPS.index("LOCK")
OP_UNLOCK = OPS.index("UNLOCK")
OP_SET = OPS.index("SET")
OP_POKE = OPS.index("POKE")

REGISTERS = 16  # columns of register arrays
RAX, RCX, RDX, R8, R9, R10, R11, R12, R13, R14, R15 = 0, 1, 2, 8, 9, 10, 11, 12, 13, 14, 15

EV_FIELDS = (
    "km", "kx", "ks", "lk", "md", "cf", "lf", "mf", "sr", "sl", "sw", "pr", "pl", "pw", "iv", "rm", "vr", "lkp", "lks",
    "sha", "ivept",
)  # fmt: skip
EV_KM, EV_KX, EV_KS, EV_LK, EV_MD, EV_CF, EV_LF, EV_MF = 0, 1, 2, 3, 4, 5, 6, 7
EV_SR, EV_SL, EV_SW, EV_PR, EV_PL, EV_PW = 8, 9, 10, 11, 12, 13
EV_IV, EV_RM, EV_VR, EV_LKP, EV_LKS, EV_SHA, EV_IVEPT = 14, 15, 16, 17, 18, 19, 20

NONE = -1
"""In every signed column: the record does not say."""

LOCK_KINDS = ("pamt", "tree", "opstate", "epoch", "septe")
LOCK_PAMT, LOCK_TREE, LOCK_OPSTATE, LOCK_EPOCH, LOCK_SEPTE = 0, 1, 2, 3, 4
LOCK_MODES = ("sh", "ex")
LOCK_SHARED, LOCK_EXCLUSIVE = 0, 1
LOCK_SIDES = ("host", "guest")
LOCK_HOST, LOCK_GUEST = 0, 1

SET_FIELDS = ("fatal", "lifecycle", "num_tdcx", "op_state", "num_vcpus")
SET_FATAL, SET_LIFECYCLE, SET_NUM_TDCX, SET_OP_STATE, SET_NUM_VCPUS = 0, 1, 2, 3, 4
