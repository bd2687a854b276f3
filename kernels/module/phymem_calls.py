"""TDH.PHYMEM.PAGE.RDMD, RECLAIM and WBINVD. Source: Intel TDX module, tag TDX_1.5.01, these files."""

import numpy as np

from kernels.jit import njit
from kernels.keyhole import READ_ONLY, STATIC, STATIC_TDR, UNUSED, WRITABLE, make_key
from kernels.module.locate import add_children
from kernels.module.pamt_walk import (
    ANY_SIZE,
    free_page_type,
    give_back,
    hpa_is_valid,
    in_tdmr,
    lock_page_operand,
    pamt_word,
    take,
    type_of,
    unwalk_pamt,
    walk_pamt,
)
from kernels.module.prologue import find_td
from kernels.module.state import (
    CHLDCNT,
    EXCLUSIVE,
    HKID_START_BIT,
    LIFECYCLE,
    SHARED,
    TEARDOWN,
)
from kernels.module.trace import GLOBAL_KEY, LP, free_key, free_pamt, map_key, map_pamt, page_flushed, pamt_read
from kernels.pamt_entry import PT_EPT, PT_NDA, PT_REG, PT_RSVD, PT_TDR, owner_pfn, page_type
from kernels.replay_record import EV_IV, EV_KS, EV_LF, R8, R9, RCX, RDX
from kernels.status import (
    LIFECYCLE_STATE_INCORRECT,
    OPERAND_ADDR_RANGE_ERROR,
    OPERAND_BUSY,
    OPERAND_INVALID,
    OPERAND_RCX,
    OPERAND_TDR,
    PAGE_METADATA_INCORRECT,
    SUCCESS,
    TD_ASSOCIATED_PAGES_EXIST,
)
from kernels.transitions import pages_of

_PAGE_SHIFT = np.uint64(12)


@njit
def _lock_any(module, hpa, exclusive):
    """Lock whatever PAMT entry is in use for the page in RCX; return status, PFN and level."""
    none = np.int64(-1)
    if not hpa_is_valid(module, hpa, 0):
        return OPERAND_INVALID + OPERAND_RCX, none, none
    pfn = np.int64(hpa >> _PAGE_SHIFT)
    if not in_tdmr(module, pfn):
        return OPERAND_ADDR_RANGE_ERROR + OPERAND_RCX, pfn, none
    level = walk_pamt(module, pfn, exclusive, ANY_SIZE)
    return SUCCESS if level >= 0 else OPERAND_BUSY + OPERAND_RCX, pfn, level


@njit
def _tell_page(module, pfn, level, out):
    """Set RCX to the page's type, RDX to its owner's TDR, R8 to its size."""
    word = pamt_word(module, pfn, level, 0)
    kind = page_type(word)
    out[RCX] = np.uint64(kind)
    out[RDX] = np.uint64(owner_pfn(word)) << _PAGE_SHIFT
    out[R8] = np.uint64(level)
    return kind


@njit
def page_rdmd(module, regs, out):
    """TDH.PHYMEM.PAGE.RDMD: RCX page; out RCX type, RDX owner, R8 size, R9 bepoch."""
    status, pfn, level = _lock_any(module, regs[RCX], SHARED)
    if status != SUCCESS:
        return status
    pamt_read(module.trace, pfn, level)
    kind = _tell_page(module, pfn, level, out)
    if kind == PT_REG or kind == PT_EPT:
        out[R9] = pamt_word(module, pfn, level, 1)
    unwalk_pamt(module, pfn, level, SHARED)
    return status


@njit
def page_reclaim(module, regs, out):
    """TDH.PHYMEM.PAGE.RECLAIM: RCX page; out RCX type, RDX owner, R8 size."""
    status, pfn, level = _lock_any(module, regs[RCX], EXCLUSIVE)
    if status != SUCCESS:
        return status
    kind = type_of(module, pfn, level)
    if kind == PT_NDA or kind == PT_RSVD:
        status = PAGE_METADATA_INCORRECT + OPERAND_RCX
    else:
        _tell_page(module, pfn, level, out)
        if pfn & ((1 << (9 * level)) - 1):
            status = OPERAND_INVALID + OPERAND_RCX
        elif kind == PT_TDR:
            status = _reclaim_tdr(module, pfn)
        else:
            status = _reclaim_owned(module, pfn, level)
        if status == SUCCESS:
            free_page_type(module, pfn, level)
    unwalk_pamt(module, pfn, level, EXCLUSIVE)
    return status


@njit
def _reclaim_owned(module, pfn, level):
    """Take a page away from its TD, which must be in TEARDOWN."""
    tdr = owner_pfn(pamt_word(module, pfn, level, 0))
    map_pamt(module.trace, tdr, 0, WRITABLE)
    pamt_read(module.trace, tdr, 0)
    if not take(module, tdr, 0, SHARED):
        free_pamt(module.trace, tdr, 0, WRITABLE)
        return OPERAND_BUSY + OPERAND_TDR
    _map_tdr_static(module, tdr)
    td = find_td(module, tdr)
    status = SUCCESS
    if module.tds[td, LIFECYCLE] != TEARDOWN:
        status = LIFECYCLE_STATE_INCORRECT
    else:
        add_children(module, td, -pages_of(level))
    give_back(module, tdr, 0, SHARED)
    free_pamt(module.trace, tdr, 0, WRITABLE)
    return status


@njit
def _map_tdr_static(module, tdr):
    """Map the owner's TDR in its static slot."""
    trace = module.trace
    trace.counts[0, EV_LF] += 1
    key = make_key(tdr + trace.context[GLOBAL_KEY], WRITABLE)
    before = trace.keyholes[trace.context[LP], STATIC + STATIC_TDR]
    if before != key:
        trace.keyholes[trace.context[LP], STATIC + STATIC_TDR] = key
        trace.counts[0, EV_KS] += 1
        trace.counts[0, EV_IV] += before != UNUSED


@njit
def _reclaim_tdr(module, pfn):
    """Take a TDR away: the last page of a TD in TEARDOWN."""
    map_key(module.trace, pfn + module.trace.context[GLOBAL_KEY], WRITABLE)
    td = find_td(module, pfn)
    status = SUCCESS
    if module.tds[td, LIFECYCLE] != TEARDOWN:
        status = LIFECYCLE_STATE_INCORRECT
    elif module.tds[td, CHLDCNT] != 0:
        status = TD_ASSOCIATED_PAGES_EXIST
    free_key(module.trace, pfn + module.trace.context[GLOBAL_KEY], WRITABLE)
    return status


@njit
def page_wbinvd(module, regs, out):
    """TDH.PHYMEM.PAGE.WBINVD: RCX page and HKID."""
    start = np.uint64(module.platform[HKID_START_BIT])
    hkid_bits = (np.uint64(1) << np.uint64(52)) - (np.uint64(1) << start)
    status, pfn = lock_page_operand(module, regs[RCX] & ~hkid_bits, OPERAND_RCX, 0, SHARED, PT_NDA)
    if status != SUCCESS:
        return status
    keyed = np.int64(regs[RCX] >> _PAGE_SHIFT)
    map_key(module.trace, keyed, READ_ONLY)
    page_flushed(module.trace)
    unwalk_pamt(module, pfn, 0, SHARED)
    free_key(module.trace, keyed, READ_ONLY)
    return status
