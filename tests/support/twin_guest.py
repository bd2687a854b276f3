"""What happens inside a TD of the plain-Python twin: ACCEPT, EPT violations, vCPUs that come and go.

Sources: ``facts/tdx-module.md`` sections 7 and 8, ``vectors/FORMAT.md`` sections 2, 4 and 7.
"""

from contextlib import ExitStack

import twin_words as tw
from twin_module import RUNNING, Answer, Place, RefusedError, Td, TwinModule

EEQ_ACCEPT, EEQ_PENDING = 1, 6


def accept(m: TwinModule, td: Td, rcx: int, interrupt_after: int | None = None) -> Answer:
    """TDG.MEM.PAGE.ACCEPT; an interrupt is found after ``interrupt_after`` tests that found none."""
    m.walk_reads = 0
    try:
        gpa, level = m.split(td, rcx, 0, 1)
    except RefusedError as refused:
        return Answer(*refused.args)
    at = m.walk(td, gpa, level)
    raw = m.raw(at)
    if at.level != level:
        if tw.state(raw) in tw.ACCESSIBLE:
            return Answer(tw.PAGE_ALREADY_ACCEPTED + at.level)
        return _exit(raw, at, gpa, level)
    status = m.lock_entry_as_guest(at)
    if status:
        return Answer(status + tw.RCX)
    answer = _accept_entry(m, at, gpa, interrupt_after)
    m.unlock_entry(at)
    return answer


def _accept_entry(m: TwinModule, at: Place, gpa: int, interrupt_after: int | None) -> Answer:
    raw = m.raw(at)
    if not tw.is_leaf(raw) and tw.state(raw) != "FREE":  # REMOVED too: the vectors show it
        return Answer(tw.PAGE_SIZE_MISMATCH + at.level)
    if tw.state(raw) in tw.ACCESSIBLE:
        return Answer(tw.PAGE_ALREADY_ACCEPTED + at.level)
    if tw.state(raw) not in tw.ACCEPTABLE:
        return _exit(raw, at, gpa, at.level)
    if at.level == 1:
        done = (raw & tw.COUNTER) >> 12
        if interrupt_after is not None and done + interrupt_after < 511:
            m.store(at, raw & ~tw.COUNTER | done + interrupt_after + 1 << 12)
            return Answer(interrupted=True)
        raw &= ~tw.COUNTER
    m.store(at, raw & ~tw.ENTRY_PENDING | 7)
    return Answer()


def _exit(raw: int, at: Place, gpa: int, level: int) -> Answer:
    """Return the registers of the TD exit: a write, and what the ACCEPT has met."""
    info = level | at.level << 3 | tw.API_STATES[tw.state(raw)] << 6 | tw.is_leaf(raw) << 14
    return Answer(tw.EXIT, 2 | (raw & 7) << 3, info << 32 | EEQ_ACCEPT, gpa, exit=True)


def ept_violation(m: TwinModule, td: Td, rcx: int, rdx: int) -> Answer:
    """An access to GPA RCX that the S-EPT does not allow, with the hardware's qualification in RDX."""
    pending = rcx >> td.gpa_bits == 0 and tw.state(m.raw(m.walk(td, rcx, 0))) in tw.ACCEPTABLE
    return Answer(tw.EXIT, rdx & ~0x1F80, EEQ_PENDING if pending else 0, rcx & ~0xFFF, exit=True)


def enter(m: TwinModule, td: Td, vcpu: int, new_assoc: bool) -> tuple[Answer, int | None, bool | None]:
    """Let a vCPU in; return the answer, and of a success the epoch and whether its translations are flushed."""
    try:
        with ExitStack() as held:
            m.check_td(td)
            m.lock_word(held, td.op_state_lock, False, tw.OPERAND_BUSY + tw.OP_STATE)
            if td.op_state not in RUNNING:
                raise RefusedError(tw.OP_STATE_INCORRECT)
        with ExitStack() as held:
            m.lock_word(held, td.epoch_lock, False, tw.OPERAND_BUSY + tw.EPOCH)
            td.refcount[td.epoch & 1] += 1
    except RefusedError as refused:
        return Answer(*refused.args), None, None
    flushed = td.entered.get(vcpu, 0) != td.epoch and not new_assoc
    td.entered[vcpu] = td.epoch
    return Answer(), td.epoch, flushed


def leave(td: Td, vcpu: int) -> None:
    """Count a vCPU out of the epoch that it entered with."""
    td.refcount[td.entered[vcpu] & 1] -= 1
