"""The calls of the plain-Python twin, by the names of ``vectors/FORMAT.md``; registers are keyword arguments.

Each says what the leaf does between the steps that all have in common. A refused call raises, and what it holds is
released on the way out. Sources: ``facts/tdx-module.md`` sections 6 to 8, ``vectors/FORMAT.md`` sections 3, 4 and 7.
"""

from collections.abc import Callable
from contextlib import ExitStack

import twin_words as tw
from twin_module import RUNNING, TEARDOWN, Answer, Place, RefusedError, Td, TwinModule

NO_PAGE = (1 << 64) - 1
RDX_RESERVED = 0xFFF0000000000FFE

# Op-states that allow a call (tdx-module.md 6)
BUILDING = {1}
GROWING = {1, 2, 3, 9}
ADDING_TABLES = {*GROWING, 6, 7, 8}
CHANGING = {1, 2, 3, 4, 5, 8, 9}
REMOVING = {*CHANGING, 10}
INITIALIZED = set(range(1, 11))
TRACKING = set(range(1, 10))
IMPORTING = {8, 9}

ALL_STATES = set(tw.STATE_CODES)
LEAVES = ALL_STATES - tw.NON_LEAF - {"FREE", "REMOVED"}
BLOCKABLE = {"NL_MAPPED", "MAPPED", "PENDING", "BLOCKEDW", "PENDING_BLOCKEDW"}
REMOVABLE = {"MAPPED", "PENDING", "BLOCKED", "PENDING_BLOCKED", "BLOCKEDW", "PENDING_BLOCKEDW"}
DEMOTABLE = {"MAPPED", "PENDING", "BLOCKED", "PENDING_BLOCKED"}


def pamt_behind(m: TwinModule, at: Place) -> tw.PamtEntry:
    """Return the PAMT entry of the page or table that an entry maps."""
    raw = m.raw(at)
    return m.entry(at.level if tw.is_leaf(raw) else 0, tw.page_of(raw, at.level))


def opened(raw: int) -> int:
    """Return a leaf as UNBLOCK leaves it, with the HPA bits as they are."""
    return (tw.PENDING if raw & tw.ENTRY_PENDING else tw.MAPPED) | raw & tw.HPA


# --- building and mapping


def sept_add(
    m: TwinModule, held: ExitStack, rcx: int, rdx: int, r8: int, r9: int = 0, r10: int = 0, r11: int = 0,
    version: int = 0,
) -> Answer:  # fmt: skip
    back = {"r8": r8, "r9": r9, "r10": r10, "r11": r11}  # pages that are not used
    try:
        if version > 1:
            raise RefusedError(tw.OPERAND_INVALID + tw.RAX)
        if rdx & RDX_RESERVED:
            raise RefusedError(tw.OPERAND_INVALID + tw.RDX)
        td = m.begin(held, rdx & ~1, tw.RDX, ADDING_TABLES)
        at = m.locate(held, td, rcx, 1, td.levels - 1, {"FREE", "NL_MAPPED"})
        free = tw.state(m.raw(at)) == "FREE"
        if r8 == NO_PAGE and version == 0:
            raise RefusedError(tw.OPERAND_INVALID + tw.R8)
        if r8 == NO_PAGE if free else not rdx & 1:
            raise m.refuse(tw.EPT_ENTRY_STATE_INCORRECT, at)
        if free:
            page = r8 & ~(1 << 63)
            m.lock_operand(held, page, 0, tw.NDA, tw.R8)
            m.give(td, page, 0, tw.EPT)
            m.pages[page] = [tw.FREE] * 512
            m.store(at, tw.NL_MAPPED | page)
            back["r8"] = NO_PAGE
    except RefusedError as refused:
        return Answer(*refused.args, **back)
    return Answer(**back)


def page_add(m: TwinModule, held: ExitStack, rcx: int, rdx: int, r8: int, r9: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, BUILDING, exclusive=True)
    gpa, _ = m.split(td, rcx, 0, 0)
    at = m.walk(td, gpa, 0)
    if at.level:
        raise m.refuse(tw.EPT_WALK_FAILED, at)
    if tw.state(m.raw(at)) != "FREE":
        raise m.refuse(tw.EPT_ENTRY_STATE_INCORRECT, at)
    hkid, source = divmod(r9, 1 << m.hkid_start_bit)
    if r9 % 4096 or r9 >> 52 or hkid >= max(m.private_hkid_min, 1) or source in m.seamrr:
        raise RefusedError(tw.OPERAND_INVALID + tw.R9)
    m.lock_operand(held, r8, 0, tw.NDA, tw.R8)
    m.give(td, r8, 0, tw.REG)
    m.store(at, tw.MAPPED | r8)
    return Answer()


def page_aug(m: TwinModule, held: ExitStack, rcx: int, rdx: int, r8: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, GROWING)
    at = m.locate(held, td, rcx, 0, 1, {"FREE", "REMOVED"})
    m.lock_operand(held, r8, at.level, tw.NDA, tw.R8)
    if at.level:  # the types of the 512 below, whatever their locks
        below = (m.pamt.get((0, (r8 >> 12) + i)) for i in range(512))
        if any(entry is not None and entry.type != tw.NDA for entry in below):
            raise RefusedError(tw.PAGE_METADATA_INCORRECT + tw.R8)
    m.give(td, r8, at.level, tw.REG)
    m.store(at, tw.PENDING | r8)
    return Answer()


def mr_extend(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, BUILDING, exclusive=True)
    if rcx % 256 or rcx >> td.gpa_bits:
        raise RefusedError(tw.OPERAND_INVALID + tw.RCX)
    at = m.walk(td, rcx, 0)
    if tw.state(m.raw(at)) == "MAPPED":
        return Answer()
    if tw.is_leaf(m.raw(at)) and m.raw(at) & 7:
        raise RefusedError(tw.EPT_ENTRY_NOT_PRESENT)
    raise m.refuse(tw.EPT_ENTRY_NOT_PRESENT, at)


def mr_finalize(m: TwinModule, held: ExitStack, rcx: int) -> Answer:
    td = m.begin(held, rcx, tw.RCX, BUILDING, exclusive=True)
    if td.num_vcpus == 0:
        raise RefusedError(tw.NO_VCPUS)
    td.op_state = 2
    return Answer()


def sept_rd(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx & ~1, tw.RDX, INITIALIZED)
    if rdx & 1:
        raise RefusedError(tw.OPERAND_INVALID + tw.RDX)
    at = m.locate(held, td, rcx, 0, td.levels - 1, ALL_STATES)
    return Answer(0, *m.refuse(0, at).args[1:])


# --- blocking and tracking


def range_block(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, CHANGING)
    at = m.locate(held, td, rcx, 0, td.levels - 1, BLOCKABLE | tw.BLOCKED_STATES, exclusive=True)
    raw = m.raw(at)
    if tw.state(raw) in tw.BLOCKED_STATES:
        raise m.refuse(tw.GPA_RANGE_ALREADY_BLOCKED, at)
    pamt_behind(m, at).bepoch = td.epoch
    hpa = raw & tw.HPA
    if not tw.is_leaf(raw):
        m.store(at, tw.NL_BLOCKED | hpa)
    else:
        counter = tw.COUNTER if at.level == 1 else 0
        m.store(at, (tw.PENDING_BLOCKED if raw & tw.ENTRY_PENDING else tw.BLOCKED) | hpa & ~counter)
    return Answer()


def range_unblock(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, CHANGING)
    at = m.locate(held, td, rcx, 0, td.levels - 1, tw.BLOCKED_STATES, exclusive=True)
    if td.op_state in RUNNING and not td.tracked(pamt_behind(m, at).bepoch):
        raise RefusedError(tw.TLB_TRACKING_NOT_DONE + tw.TREE)
    raw = m.raw(at)
    m.store(at, opened(raw) if tw.is_leaf(raw) else tw.NL_MAPPED | raw & tw.HPA)
    return Answer()


def mem_track(m: TwinModule, held: ExitStack, rcx: int) -> Answer:
    td = m.begin(held, rcx, tw.RCX, TRACKING)
    m.lock_word(held, td.epoch_lock, True, tw.OPERAND_BUSY + tw.EPOCH)
    if td.refcount[td.epoch + 1 & 1]:
        raise RefusedError(tw.PREVIOUS_TLB_EPOCH_BUSY)
    td.epoch += 1
    return Answer()


# --- unmapping, moving, resizing


def page_remove(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, REMOVING)
    at = m.locate(held, td, rcx, 0, 2, REMOVABLE)
    entry, hpa = pamt_behind(m, at), tw.page_of(m.raw(at), at.level)
    m.lock_word(held, entry, True, tw.OPERAND_BUSY + tw.RCX)
    m.check_removable(td, at, entry.bepoch)
    m.store(at, tw.REMOVED if td.op_state in IMPORTING else tw.FREE)
    m.free(td, hpa, at.level)
    return Answer(rcx=hpa)


def no_l2_pages(call: Callable[..., Answer]) -> Callable[..., Answer]:
    """Check the version of a call that gives the table pages of L2 VMs back in R9 to R11: there are none."""

    def with_version(m: TwinModule, held: ExitStack, version: int = 0, **registers: int) -> Answer:
        try:
            if version > 1:
                raise RefusedError(tw.OPERAND_INVALID + tw.RAX)
            answer = call(m, held, **registers)
        except RefusedError as refused:
            answer = Answer(*refused.args)
        return answer._replace(r9=NO_PAGE, r10=NO_PAGE, r11=NO_PAGE)

    return with_version


@no_l2_pages
def sept_remove(m: TwinModule, held: ExitStack, rcx: int, rdx: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, INITIALIZED)
    at = m.locate(held, td, rcx, 1, td.levels - 1, tw.NON_LEAF, exclusive=True)
    entry, table = pamt_behind(m, at), m.raw(at) & tw.HPA
    m.lock_word(held, entry, True, tw.OPERAND_BUSY + tw.RCX)
    m.check_removable(td, at, entry.bepoch)
    if any(tw.state(raw) != "FREE" for raw in m.pages[table]):
        raise m.refuse(tw.EPT_PAGE_NOT_FREE, at)
    m.store(at, tw.FREE)
    m.free(td, table, 0)
    return Answer(rcx=table)


def page_relocate(m: TwinModule, held: ExitStack, rcx: int, rdx: int, r8: int) -> Answer:
    td = m.begin(held, rdx, tw.RDX, CHANGING)
    at = m.locate(held, td, rcx, 0, 0, LEAVES)
    raw, entry, hpa = m.raw(at), pamt_behind(m, at), m.raw(at) & tw.HPA
    if r8 == hpa:
        raise RefusedError(tw.OPERAND_INVALID + tw.R8)
    m.lock_word(held, entry, True, tw.OPERAND_BUSY + tw.RCX)
    m.check_removable(td, at, entry.bepoch)
    m.lock_operand(held, r8, 0, tw.NDA, tw.R8)
    m.give(td, r8, 0, tw.REG)
    m.free(td, hpa, 0)
    unblocked = opened(raw) if tw.state(raw) in tw.BLOCKED_STATES else raw
    m.store(at, unblocked & ~tw.HPA | r8)
    return Answer(rcx=hpa)


@no_l2_pages
def page_promote(m: TwinModule, held: ExitStack, rcx: int, rdx: int, interrupt: bool = False) -> Answer:
    td = m.begin(held, rdx, tw.RDX, CHANGING)
    at = m.locate(held, td, rcx, 1, 2, tw.NON_LEAF)
    entry, table = pamt_behind(m, at), m.raw(at) & tw.HPA
    m.lock_word(held, entry, True, tw.OPERAND_BUSY + tw.RCX)
    m.check_removable(td, at, entry.bepoch)
    hpa = _lock_children(m, held, at, table)
    if interrupt:
        raise RefusedError(tw.INTERRUPTED_RESTARTABLE, rcx, rdx)
    whole, first = m.entry(at.level, hpa), m.entry(at.level - 1, hpa)
    m.lock_word(held, whole, True, tw.OPERAND_BUSY + tw.RCX)
    whole.type, whole.owner = first.type, first.owner  # the bepoch stays
    for i in range(512):
        m.entry(at.level - 1, hpa + i * tw.page_bytes(at.level - 1)).type = tw.NDA
    m.store(at, m.pages[table][0] & ~tw.ENTRY_LOCK)  # with the accept counter of a 2M child
    m.free(td, table, 0)
    return Answer(rcx=table)


def _lock_children(m: TwinModule, held: ExitStack, parent: Place, table: int) -> int:
    """Lock the 512 entries of a table, which must be of one state and map one page; return its HPA."""
    level, alike = parent.level - 1, 0
    for i in range(512):
        at = Place(level, table, i)
        if not m.lock_entry(at):
            raise m.refuse(tw.OPERAND_BUSY, parent)
        held.callback(m.unlock_entry, at)
        raw = m.raw(at)
        if level and raw & tw.ENTRY_PENDING:
            raw &= ~tw.COUNTER
        if i == 0:
            alike = raw
        aligned = (alike & tw.HPA) % tw.page_bytes(parent.level) == 0
        expected = alike + i * tw.page_bytes(level)
        if tw.state(raw) not in ("MAPPED", "PENDING") or not aligned or raw != expected:
            raise m.refuse(tw.EPT_INVALID_PROMOTE_CONDITIONS, parent)
    return alike & tw.HPA


def page_demote(
    m: TwinModule, held: ExitStack, rcx: int, rdx: int, r8: int, r9: int = 0, r10: int = 0, r11: int = 0,
    interrupt: bool = False,
) -> Answer:  # fmt: skip
    try:
        if rdx & RDX_RESERVED:
            raise RefusedError(tw.OPERAND_INVALID + tw.RDX)
        td = m.begin(held, rdx & ~1, tw.RDX, CHANGING)
        at = m.locate(held, td, rcx, 1, 2, DEMOTABLE)
        _split(m, held, td, at, r8, (rcx, rdx) if interrupt else None)
    except RefusedError as refused:
        return Answer(*refused.args, r9=r9, r10=r10, r11=r11)
    return Answer(r9=r9, r10=r10, r11=r11)


def _split(m: TwinModule, held: ExitStack, td: Td, at: Place, new: int, interrupted: tuple[int, int] | None) -> None:
    """Split a leaf by the table page ``new``, unless an interrupt gives the registers back."""
    raw, entry, size = m.raw(at), pamt_behind(m, at), tw.page_bytes(at.level - 1)
    hpa = tw.page_of(raw, at.level)
    m.check_removable(td, at, entry.bepoch)
    table = m.lock_operand(held, new, 0, tw.NDA, tw.R8)
    if interrupted:
        raise RefusedError(tw.INTERRUPTED_RESTARTABLE, *interrupted)
    m.lock_word(held, entry, True, tw.OPERAND_BUSY + tw.RCX)
    m.pages[new] = [opened(raw) & ~tw.HPA | hpa + i * size for i in range(512)]
    for i in range(512):
        child = m.entry(at.level - 1, hpa + i * size)
        child.type, child.owner, child.bepoch = entry.type, entry.owner, 0
    entry.type = tw.NDA
    table.type, table.owner = tw.EPT, td.tdr >> 12  # the bepoch stays
    td.chldcnt += 1
    m.store(at, tw.NL_MAPPED | new)


# --- physical pages


def _lock_any(m: TwinModule, held: ExitStack, hpa: int, exclusive: bool) -> tuple[tw.PamtEntry, int]:
    """Lock whatever PAMT entry is in use for a page; return it and its level."""
    m.check_hpa(hpa, 0, tw.RCX)
    level = m.lock_page(held, hpa, 0, exclusive, tw.RCX)
    return m.entry(level, hpa), level


def page_rdmd(m: TwinModule, held: ExitStack, rcx: int) -> Answer:
    entry, level = _lock_any(m, held, rcx, exclusive=False)
    bepoch = entry.bepoch if entry.type in (tw.REG, tw.EPT) else 0
    return Answer(0, entry.type, entry.owner << 12, level, bepoch)


def page_reclaim(m: TwinModule, held: ExitStack, rcx: int) -> Answer:
    entry, level = _lock_any(m, held, rcx, exclusive=True)
    if entry.type in (tw.NDA, tw.RSVD):
        raise RefusedError(tw.PAGE_METADATA_INCORRECT + tw.RCX)
    answer = Answer(0, entry.type, entry.owner << 12, level)
    if rcx % tw.page_bytes(level):
        return answer._replace(rax=tw.OPERAND_INVALID + tw.RCX)
    is_tdr = entry.type == tw.TDR
    td = m.td_at(rcx if is_tdr else entry.owner << 12)
    assert td is not None
    if not is_tdr:
        owner = m.entry(0, td.tdr)
        if not owner.share():
            return answer._replace(rax=tw.OPERAND_BUSY + tw.TDR_OPERAND)
        held.callback(owner.unshare)
    if td.lifecycle != TEARDOWN:
        return answer._replace(rax=tw.LIFECYCLE_STATE_INCORRECT)
    if is_tdr and td.chldcnt:
        return answer._replace(rax=tw.TD_ASSOCIATED_PAGES_EXIST)
    td.chldcnt -= 0 if is_tdr else tw.PAGES[level]
    entry.type = tw.NDA
    return answer


def page_wbinvd(m: TwinModule, held: ExitStack, rcx: int) -> Answer:
    hkid = (1 << 52) - (1 << m.hkid_start_bit)
    m.lock_operand(held, rcx & ~hkid, 0, tw.NDA, tw.RCX, exclusive=False)
    return Answer()


CALLS: dict[str, Callable[..., Answer]] = {
    "TDH.MEM.SEPT.ADD": sept_add, "TDH.MEM.SEPT.REMOVE": sept_remove, "TDH.MEM.SEPT.RD": sept_rd,
    "TDH.MEM.PAGE.ADD": page_add, "TDH.MEM.PAGE.AUG": page_aug, "TDH.MEM.PAGE.REMOVE": page_remove,
    "TDH.MEM.PAGE.RELOCATE": page_relocate, "TDH.MEM.PAGE.PROMOTE": page_promote, "TDH.MEM.PAGE.DEMOTE": page_demote,
    "TDH.MEM.RANGE.BLOCK": range_block, "TDH.MEM.RANGE.UNBLOCK": range_unblock, "TDH.MEM.TRACK": mem_track,
    "TDH.MR.EXTEND": mr_extend, "TDH.MR.FINALIZE": mr_finalize, "TDH.PHYMEM.PAGE.RDMD": page_rdmd,
    "TDH.PHYMEM.PAGE.RECLAIM": page_reclaim, "TDH.PHYMEM.PAGE.WBINVD": page_wbinvd,
}  # fmt: skip
"""SEAMCALLs by name."""


def seamcall(module: TwinModule, name: str, **given: int) -> Answer:
    """Execute one SEAMCALL; ``given`` are its registers, and ``version`` or ``interrupt`` where it has them."""
    module.walk_reads = 0
    with ExitStack() as held:
        try:
            return CALLS[name](module, held, **given)
        except RefusedError as refused:
            return Answer(*refused.args)
