"""Execute a file of recorded calls, one after the other."""

from typing import NamedTuple

import numpy as np

from kernels import replay_record as rr
from kernels.jit import njit
from kernels.locks import disown, disown_hp, lock_entry, own, own_hp, share, share_hp, unlock_entry, unshare, unshare_hp
from kernels.module.block_calls import mem_track, range_block, range_unblock
from kernels.module.build_calls import mr_extend, mr_finalize
from kernels.module.guest_calls import (
    INTERRUPTED_ACCEPT,
    ept_violation,
    mem_page_accept,
    vcpu_enter,
    vcpu_exit,
)
from kernels.module.page_calls import page_add, page_aug, page_relocate, page_remove
from kernels.module.pamt_walk import pamt_index
from kernels.module.phymem_calls import page_rdmd, page_reclaim, page_wbinvd
from kernels.module.resize_calls import page_demote, page_promote
from kernels.module.state import (
    EPOCH,
    EPOCH_LOCK,
    FATAL,
    LEVELS,
    LIFECYCLE,
    NUM_TDCX,
    NUM_VCPUS,
    OP_STATE,
    OP_STATE_LOCK,
    ROOT_PFN,
    TREE_LOCK,
)
from kernels.module.table_calls import sept_add, sept_rd, sept_remove
from kernels.module.trace import LP, start
from kernels.sept_entry import HOST_PRIORITY, LEAF, LOCK, STATE_FREE, STATE_MASK, STATE_REMOVED, entry_pfn
from kernels.status import EPT_VIOLATION_EXIT, OPERAND_BUSY, OPERAND_BUSY_HOST_PRIORITY, SUCCESS


class Outcome(NamedTuple):
    """What records gave; arrays as :class:`perfmodel.conform.Replay` describes them."""

    regs_out: np.ndarray
    is_exit: np.ndarray
    rc: np.ndarray
    epoch: np.ndarray
    invept: np.ndarray
    intr_out: np.ndarray
    se_level: np.ndarray
    se_raw: np.ndarray
    ev: np.ndarray


_INTERRUPTS_ON = np.uint64(1 << 9)
_NMI_OR_SMI = ~np.uint64(1)
_NONE = np.uint64(0)


@njit
def find_entry(module, td, gfn, level):
    """Go down to ``level``, a leaf, FREE or REMOVED, through blocked tables too; return level, row and index."""
    pfn = module.tds[td, ROOT_PFN]
    at = module.tds[td, LEVELS] - 1
    while True:
        row = pfn - module.sept_pfn
        index = (gfn >> (9 * at)) & 511
        entry = module.sept[row, index]
        state = entry & STATE_MASK
        if at <= level or (entry & LEAF) or state == STATE_FREE or state == STATE_REMOVED:
            return at, row, index
        pfn = entry_pfn(entry)
        at -= 1


@njit
def interrupt_pending(records, i):
    """Whether a host call that looks for an interrupt once finds one."""
    if records.intr_after[i] != 0:
        return False
    msr = records.intr_msr[i]
    return (msr & _NMI_OR_SMI) != _NONE or (msr != _NONE and (records.intr_rflags[i] & _INTERRUPTS_ON) != _NONE)


@njit
def _memory_call(module, records, i, out):
    """Execute a call on a TD's S-EPT."""
    op, regs, version = records.op[i], records.regs_in[i], records.version[i]
    if op == rr.OP_SEPT_ADD:
        return sept_add(module, regs, version, out)
    if op == rr.OP_SEPT_REMOVE:
        return sept_remove(module, regs, version, out)
    if op == rr.OP_SEPT_RD:
        return sept_rd(module, regs, out)
    if op == rr.OP_PAGE_ADD:
        return page_add(module, regs, out)
    if op == rr.OP_PAGE_AUG:
        return page_aug(module, regs, out)
    if op == rr.OP_PAGE_REMOVE:
        return page_remove(module, regs, out)
    if op == rr.OP_PAGE_RELOCATE:
        return page_relocate(module, regs, out)
    if op == rr.OP_PAGE_PROMOTE:
        return page_promote(module, regs, version, interrupt_pending(records, i), out)
    if op == rr.OP_PAGE_DEMOTE:
        return page_demote(module, regs, interrupt_pending(records, i), out)
    if op == rr.OP_RANGE_BLOCK:
        return range_block(module, regs, out)
    return range_unblock(module, regs, out)


@njit
def _other_call(module, records, i, out):
    """Execute a call that is about a TD, a page or the guest."""
    op, regs = records.op[i], records.regs_in[i]
    if op == rr.OP_TRACK:
        return mem_track(module, regs, out)
    if op == rr.OP_MR_EXTEND:
        return mr_extend(module, regs, out)
    if op == rr.OP_MR_FINALIZE:
        return mr_finalize(module, regs, out)
    if op == rr.OP_PAGE_WBINVD:
        return page_wbinvd(module, regs, out)
    if op == rr.OP_PAGE_RDMD:
        return page_rdmd(module, regs, out)
    if op == rr.OP_PAGE_RECLAIM:
        return page_reclaim(module, regs, out)
    if op == rr.OP_PAGE_ACCEPT:
        return mem_page_accept(module, np.int64(records.td[i]), regs, np.int64(records.intr_after[i]), out)
    return ept_violation(module, np.int64(records.td[i]), regs, out)


@njit
def _plain_lock(words, i, exclusive, take):
    if take:
        return own(words, i) if exclusive else share(words, i)
    if exclusive:
        disown(words, i)
    else:
        unshare(words, i)
    return True


@njit
def _hp_lock(words, i, exclusive, take):
    if take:
        return own_hp(words, i) if exclusive else share_hp(words, i)
    if exclusive:
        disown_hp(words, i)
    else:
        unshare_hp(words, i)
    return True


@njit
def _entry_lock(module, records, i, take):
    td = np.int64(records.td[i])
    gfn = np.int64(records.lock_gpa[i] >> np.uint64(12))
    _, row, index = find_entry(module, td, gfn, np.int64(records.lock_level[i]))
    if not take:
        unlock_entry(module.sept, row, index)
        return SUCCESS
    if records.lock_side[i] == rr.LOCK_HOST:
        return SUCCESS if lock_entry(module.sept, row, index) else OPERAND_BUSY
    entry = module.sept[row, index]
    if entry & LOCK:
        return OPERAND_BUSY
    if entry & HOST_PRIORITY:
        return OPERAND_BUSY_HOST_PRIORITY
    module.sept[row, index] = entry | LOCK
    return SUCCESS


@njit
def _lock_record(module, records, i, take):
    """Another LP takes or releases a lock; return the outcome."""
    kind, exclusive = records.lock_kind[i], records.lock_mode[i] == rr.LOCK_EXCLUSIVE
    if kind == rr.LOCK_SEPTE:
        return _entry_lock(module, records, i, take)
    td = np.int64(records.td[i])
    if kind == rr.LOCK_TREE:
        granted = _plain_lock(module.locks[td], TREE_LOCK, exclusive, take)
    elif kind == rr.LOCK_EPOCH:
        granted = _plain_lock(module.locks[td], EPOCH_LOCK, exclusive, take)
    elif kind == rr.LOCK_OPSTATE:
        granted = _hp_lock(module.locks[td], OP_STATE_LOCK, exclusive, take)
    else:
        pfn, level = np.int64(records.lock_hpa[i] >> np.uint64(12)), np.int64(records.lock_level[i])
        at = pamt_index(module, pfn, level)
        if level == 2:
            granted = _hp_lock(module.pamt_1g, at, exclusive, take)
        elif level == 1:
            granted = _hp_lock(module.pamt_2m, at, exclusive, take)
        else:
            granted = _hp_lock(module.pamt_4k, at, exclusive, take)
    return SUCCESS if granted else OPERAND_BUSY


@njit
def _inject(module, records, i):
    """SET a field of a TD, or POKE an S-EPT entry."""
    td = np.int64(records.td[i])
    if records.op[i] == rr.OP_POKE:
        gfn = np.int64(records.poke_gpa[i] >> np.uint64(12))
        _, row, index = find_entry(module, td, gfn, np.int64(records.poke_level[i]))
        module.sept[row, index] = records.poke_value[i]
        return
    field, value = records.set_field[i], np.int64(records.set_value[i])
    if field == rr.SET_FATAL:
        module.tds[td, FATAL] = value
    elif field == rr.SET_LIFECYCLE:
        module.tds[td, LIFECYCLE] = value
    elif field == rr.SET_NUM_TDCX:
        module.tds[td, NUM_TDCX] = value
    elif field == rr.SET_OP_STATE:
        module.tds[td, OP_STATE] = value
    else:
        module.tds[td, NUM_VCPUS] = value


@njit
def _vcpu_record(module, records, i, got):
    td, vcpu = np.int64(records.td[i]), np.int64(records.vcpu[i])
    if records.op[i] == rr.OP_VCPU_EXIT:
        vcpu_exit(module, td, vcpu)
        return
    status, invept = vcpu_enter(module, td, vcpu, records.new_assoc[i] == 1)
    got.regs_out[i, rr.RAX] = np.uint64(status)
    if status == SUCCESS:
        got.epoch[i] = module.tds[td, EPOCH]
        got.invept[i] = invept


@njit
def _call_record(module, records, i, got):
    out = got.regs_out[i]
    op = records.op[i]
    if op <= rr.OP_RANGE_UNBLOCK:
        status = _memory_call(module, records, i, out)
    else:
        status = _other_call(module, records, i, out)
    got.is_exit[i] = status == EPT_VIOLATION_EXIT
    got.intr_out[i] = status == INTERRUPTED_ACCEPT
    out[rr.RAX] = _NONE if status == INTERRUPTED_ACCEPT else np.uint64(status)


@njit
def _show_entry(module, records, i, got):
    """Record the S-EPT entry at the GPA of the call, as it is now."""
    level = np.int64(records.level[i]) if records.level[i] >= 0 else np.int64(0)
    gfn = np.int64(records.regs_in[i, rr.RCX] >> np.uint64(12))
    at, row, index = find_entry(module, np.int64(records.td[i]), gfn, level)
    got.se_level[i] = at
    got.se_raw[i] = module.sept[row, index]


@njit
def replay_records(module, records, got):
    """Execute every record and note what it gives.

    Parameters
    ----------
    module : Module
        The state before record 0; left as it is after the last.
    records : Records
        Inputs, as :mod:`perfmodel.vectors.records` describes them.
    got : Outcome
        Out.
    """
    trace = module.trace
    for i in range(records.op.size):
        op = records.op[i]
        trace.context[LP] = records.lp[i]
        start(trace)
        if op == rr.OP_LOCK or op == rr.OP_UNLOCK:
            got.rc[i] = np.uint64(_lock_record(module, records, i, op == rr.OP_LOCK))
        elif op == rr.OP_SET or op == rr.OP_POKE:
            _inject(module, records, i)
        elif op == rr.OP_VCPU_ENTER or op == rr.OP_VCPU_EXIT:
            _vcpu_record(module, records, i, got)
        else:
            _call_record(module, records, i, got)
        if records.td[i] >= 0 and op <= rr.OP_EPT_VIOLATION:
            _show_entry(module, records, i, got)
        for field in range(got.ev.shape[1]):
            got.ev[i, field] = trace.counts[0, field]
