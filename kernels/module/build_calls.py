"""TDH.MR.EXTEND and MR.FINALIZE. Source: Intel TDX module, tag TDX_1.5.01, the files of these names."""

import numpy as np

from kernels.entry_states import allows
from kernels.jit import njit
from kernels.keyhole import READ_ONLY
from kernels.module.locate import free_table, tell, walk_module
from kernels.module.page_calls import op_states
from kernels.module.prologue import begin, end
from kernels.module.state import EXCLUSIVE, GPA_BITS, INITIALIZED, NUM_VCPUS, OP_STATE, RUNNABLE
from kernels.module.trace import free_own, map_own
from kernels.replay_record import EV_SHA, RCX, RDX
from kernels.sept_entry import LEAF, RWX, entry_pfn
from kernels.status import (
    EPT_ENTRY_NOT_PRESENT,
    NO_VCPUS,
    OPERAND_INVALID,
    OPERAND_RCX,
    OPERAND_RDX,
    SUCCESS,
)
from kernels.transitions import EXTENDABLE

_BUILD = op_states(INITIALIZED)
_NONE = np.uint64(0)
_CHUNK_MASK = np.uint64(0xFF)
_HASH_BLOCKS = 3  # one of header, two of data
_NO_PAGE = np.int64(-1)


@njit
def mr_extend(module, regs, out):
    """TDH.MR.EXTEND: RCX gpa of 256 bytes, RDX TDR."""
    status, td = begin(module, regs[RDX], OPERAND_RDX, EXCLUSIVE, READ_ONLY, _BUILD)
    if status != SUCCESS:
        return status
    status, row, page = _extend(module, td, regs, out)
    end(module, td, EXCLUSIVE, READ_ONLY)
    if row >= 0:
        free_table(module, row)
    if page >= 0:
        free_own(module.trace, page, READ_ONLY)
    return status


@njit
def _extend(module, td, regs, out):
    """Return the status, the row of the table and the page that stay mapped (-1 where none does)."""
    gpa = regs[RCX]
    if gpa & _CHUNK_MASK or gpa >> np.uint64(module.tds[td, GPA_BITS]):
        return OPERAND_INVALID + OPERAND_RCX, _NO_PAGE, _NO_PAGE
    gfn = np.int64(gpa >> np.uint64(12))
    reached, row, _, entry = walk_module(module, td, gfn, 0)
    if (entry & LEAF) == _NONE or (entry & RWX) == _NONE:
        tell(entry, reached, out)
        free_table(module, row)
        return EPT_ENTRY_NOT_PRESENT + OPERAND_RCX, _NO_PAGE, _NO_PAGE
    if not allows(EXTENDABLE, entry):
        return EPT_ENTRY_NOT_PRESENT, row, _NO_PAGE
    page = entry_pfn(entry) | (gfn & ((1 << (9 * reached)) - 1))
    map_own(module.trace, page, READ_ONLY)
    module.trace.counts[0, EV_SHA] += _HASH_BLOCKS
    return SUCCESS, row, page


@njit
def mr_finalize(module, regs, out):
    """TDH.MR.FINALIZE: RCX TDR."""
    status, td = begin(module, regs[RCX], OPERAND_RCX, EXCLUSIVE, READ_ONLY, _BUILD)
    if status != SUCCESS:
        return status
    if module.tds[td, NUM_VCPUS] == 0:
        status = NO_VCPUS
    else:
        module.tds[td, OP_STATE] = RUNNABLE
    end(module, td, EXCLUSIVE, READ_ONLY)
    return status
