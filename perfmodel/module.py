"""The TDX module as an object: one SEAMCALL at a time, registers in, registers out."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.module import state as st
from kernels.module.block_calls import mem_track, range_block, range_unblock
from kernels.module.build_calls import mr_extend, mr_finalize
from kernels.module.dynamic_pamt import pamt_add, pamt_remove, removable_hint
from kernels.module.guest_calls import INTERRUPTED_ACCEPT, ept_violation, mem_page_accept, vcpu_enter, vcpu_exit
from kernels.module.page_calls import page_add, page_aug, page_relocate, page_remove
from kernels.module.phymem_calls import page_rdmd, page_reclaim, page_wbinvd
from kernels.module.resize_calls import page_demote, page_promote
from kernels.module.table_calls import sept_add, sept_rd, sept_remove
from kernels.module.trace import LP, start
from kernels.module.zero_step import (
    LOG,
    LOGGED,
    ZERO_STEP_FIELDS,
    filter_on_enter,
    log_private_violation,
    note_exit,
)
from kernels.replay_record import EV_FIELDS, REGISTERS
from kernels.status import EPT_VIOLATION_EXIT, OPERAND_INVALID, OPERAND_RAX, SUCCESS, as_unsigned
from perfmodel.module_inside import ModuleInside
from perfmodel.module_platform import (
    ModulePlatform,
    ModuleTdmr,
    PamtView,
    SeptView,
    TdView,
    check,
    check_int,
)
from perfmodel.module_result import Result

__all__ = ["ModulePlatform", "ModuleTdmr", "PamtView", "Result", "SeptView", "TdView", "TdxModule"]

_load = struct.Struct(f"={REGISTERS}Q").pack_into
_INPUTS = ("rcx", "rdx", "r8", "r9", "r10", "r11")
_MAX = (1 << 64) - 1
_UNKNOWN_LEAF = OPERAND_INVALID + OPERAND_RAX
_VERSIONS = (np.int8(0), np.int8(1), np.int8(2))  # typed as in Records, so that calls and replays share compiled code


class TdxModule(ModuleInside):
    """TDX module 1.5.01 on a described platform, with Dynamic PAMT if that asks for it.

    Calls take registers as keyword integers and the logical processor ``lp`` that executes them. A *TD* is the index
    that ``add_td`` returns; SEAMCALLs name a TD by its TDR page, as the host does.

    Docstrings name only the statuses that are a call's own. Besides, every call on a TD gives OPERAND_INVALID,
    OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY and PAGE_METADATA_INCORRECT for its TDR, then TD_FATAL,
    TD_KEYS_NOT_CONFIGURED, TDCS_NOT_ALLOCATED, OPERAND_BUSY of the op-state (0xAC) and OP_STATE_INCORRECT. One that
    takes a GPA and a level in RCX also gives OPERAND_INVALID, OPERAND_BUSY of the tree (0x92) or the entry (RCX),
    EPT_WALK_FAILED and EPT_ENTRY_STATE_INCORRECT, the last two with the entry in RCX and RDX. A *new page* gives
    OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY and PAGE_METADATA_INCORRECT of its register, and
    MISSING_PAMT_PAGE_PAIR with Dynamic PAMT. *Tracked* calls give GPA_RANGE_NOT_BLOCKED and TLB_TRACKING_NOT_DONE in
    a TD that runs.

    Parameters
    ----------
    platform : ModulePlatform

    Raises
    ------
    InputError
        From every method: a value that no register or argument holds, in one line. A call that the module refuses
        is no error; its status says why.
    """

    def __init__(self, platform: ModulePlatform) -> None:
        super().__init__(platform)
        self._lps, self._dynamic = platform.lps, platform.dynamic_pamt
        self._context = self._state.trace.context
        self._events = self._state.trace.counts[0, : len(EV_FIELDS)]
        self._in, self._out = np.zeros(REGISTERS, np.uint64), np.zeros(REGISTERS, np.uint64)
        self._registers = self._in.data
        self._inside: set[tuple[int, int]] = set()
        self._zero_step: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    @classmethod
    def small(cls, gib: int = 4, *, lps: int = 1, dynamic_pamt: bool = False, **td: Any) -> "TdxModule":
        """Return a module with one TDMR of ``gib`` GiB from 1 GiB on and one TD, laid down in its last 2 MiB.

        ``td`` are options of ``add_td``. The TDR's address is ``module.td(0).tdr``. With ``dynamic_pamt`` the two pages
        below the last 2 MiB hold the PAMT_4K entries of the TD's pages.
        """
        check_int("gib", gib, 1, 4096)
        module = cls(ModulePlatform(tdmr=(ModuleTdmr(1 << 30, gib << 30),), lps=lps, dynamic_pamt=dynamic_pamt))
        page = ((gib + 1) << 30) - (1 << 21)
        if dynamic_pamt:
            module.tdh_phymem_pamt_add(rcx=page | 1, rdx=page - (2 << 12), r8=page - (1 << 12))
        options: dict[str, Any] = {"tdr": page, "tdcx": [page + (i << 12) for i in range(1, 7)], "hkid": 66}
        module.add_td(**options | td)
        return module

    def _begin(self, lp: int, rcx: int, rdx: int = 0, r8: int = 0, r9: int = 0, r10: int = 0, r11: int = 0) -> None:
        if type(lp) is not int or not 0 <= lp < self._lps:
            check_int("lp", lp, 0, self._lps - 1)
        try:
            _load(self._registers, 0, 0, rcx, rdx, 0, 0, 0, 0, 0, r8, r9, r10, r11, 0, 0, 0, 0)
        except struct.error:
            for name, value in zip(_INPUTS, (rcx, rdx, r8, r9, r10, r11), strict=True):
                check_int(name, value, 0, _MAX)
            raise
        self._out.fill(0)
        self._context[LP] = lp
        start(self._state.trace)

    def _end(self, status: Any) -> Result:
        out = self._out.tolist()
        interrupted = bool(status == INTERRUPTED_ACCEPT)
        rax = 0 if interrupted else as_unsigned(status)
        if self._dynamic and rax == 0:
            rax = removable_hint(self._state)
        exits, counts = bool(status == EPT_VIOLATION_EXIT), tuple(self._events.tolist())
        return Result(rax, out[1], out[2], out[8], out[9], out[10], out[11], exits, interrupted, counts)

    def _run(self, call: Any, lp: int, *registers: int) -> Result:
        self._begin(lp, *registers)
        return self._end(call(self._state, self._in, self._out))

    def _version(self, version: int) -> np.int8:
        check_int("version", version, 0, 255)
        return _VERSIONS[min(version, 2)]  # the module knows 0 and 1 and refuses all others alike

    # Building and mapping

    def tdh_mem_sept_add(
        self, *, rcx: int, rdx: int, r8: int, r9: int = 0, r10: int = 0, r11: int = 0, version: int = 0, lp: int = 0
    ) -> Result:
        """TDH.MEM.SEPT.ADD: put a table page below the entry at RCX (GPA, level 1 to levels - 1).

        RDX is the TDR (bit 0: an existing table is no error), R8 the new page; version 1 gives unused pages back in
        R8 to R11. Source: ``tdh_mem_sept_add.c``.
        """
        self._begin(lp, rcx, rdx, r8, r9, r10, r11)
        return self._end(sept_add(self._state, self._in, self._version(version), self._out))

    def tdh_mem_sept_remove(self, *, rcx: int, rdx: int, version: int = 0, lp: int = 0) -> Result:
        """TDH.MEM.SEPT.REMOVE: take the empty table below RCX (GPA, level 1 to levels - 1) away; RDX TDR.

        RCX returns the table page. Statuses: tracked; EPT_PAGE_NOT_FREE, OPERAND_BUSY of RCX. Source:
        ``tdh_mem_sept_remove.c``.
        """
        self._begin(lp, rcx, rdx)
        return self._end(sept_remove(self._state, self._in, self._version(version), self._out))

    def tdh_mem_sept_rd(self, *, rcx: int, rdx: int, lp: int = 0) -> Result:
        """TDH.MEM.SEPT.RD: read the entry at RCX (GPA, level 0 to levels - 1); RDX TDR.

        RCX returns the entry, RDX level and state << 8. Source: ``tdh_mem_sept_rd.c``.
        """
        return self._run(sept_rd, lp, rcx, rdx)

    def tdh_mem_page_add(self, *, rcx: int, rdx: int, r8: int, r9: int, lp: int = 0) -> Result:
        """TDH.MEM.PAGE.ADD: copy a page into a TD that is being built, at GPA RCX; RDX TDR.

        R8 is the new page, R9 the source in shared memory (OPERAND_INVALID of R9). Takes no op-state, tree or entry
        lock, but the TDR exclusively. Source: ``tdh_mem_page_add.c``.
        """
        return self._run(page_add, lp, rcx, rdx, r8, r9)

    def tdh_mem_page_aug(self, *, rcx: int, rdx: int, r8: int, lp: int = 0) -> Result:
        """TDH.MEM.PAGE.AUG: map a page, PENDING until the guest accepts it, at RCX (GPA, level 0 or 1); RDX TDR.

        R8 is the new page, as large as the level says. Source: ``tdh_mem_page_aug.c``.
        """
        return self._run(page_aug, lp, rcx, rdx, r8)

    def tdh_mr_extend(self, *, rcx: int, rdx: int, lp: int = 0) -> Result:
        """TDH.MR.EXTEND: measure the 256 bytes at GPA RCX; RDX TDR. No hash is computed.

        Statuses: EPT_ENTRY_NOT_PRESENT instead of walk and state errors. Source: ``tdh_mr_extend.c``.
        """
        return self._run(mr_extend, lp, rcx, rdx)

    def tdh_mr_finalize(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.MR.FINALIZE: make the TD runnable; RCX TDR. Status: NO_VCPUS. Source: ``tdh_mr_finalize.c``."""
        return self._run(mr_finalize, lp, rcx)

    # Blocking, unmapping, resizing

    def tdh_mem_range_block(self, *, rcx: int, rdx: int, lp: int = 0) -> Result:
        """TDH.MEM.RANGE.BLOCK: block the entry at RCX (GPA, level 0 to levels - 1); RDX TDR.

        Status: GPA_RANGE_ALREADY_BLOCKED. Source: ``tdh_mem_range_block.c``.
        """
        return self._run(range_block, lp, rcx, rdx)

    def tdh_mem_range_unblock(self, *, rcx: int, rdx: int, lp: int = 0) -> Result:
        """TDH.MEM.RANGE.UNBLOCK: undo BLOCK at RCX (GPA, level 0 to levels - 1); RDX TDR.

        Status: TLB_TRACKING_NOT_DONE of the tree. Source: ``tdh_mem_range_unblock.c``.
        """
        return self._run(range_unblock, lp, rcx, rdx)

    def tdh_mem_track(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.MEM.TRACK: begin the next epoch; RCX TDR.

        Statuses: PREVIOUS_TLB_EPOCH_BUSY, OPERAND_BUSY of the epoch (0xA9). Source: ``tdh_mem_track.c``.
        """
        return self._run(mem_track, lp, rcx)

    def tdh_mem_page_remove(self, *, rcx: int, rdx: int, lp: int = 0) -> Result:
        """TDH.MEM.PAGE.REMOVE: unmap the page at RCX (GPA, level 0 to 2), which RCX returns; RDX TDR.

        Statuses: tracked; OPERAND_BUSY of RCX. Source: ``tdh_mem_page_remove.c``.
        """
        return self._run(page_remove, lp, rcx, rdx)

    def tdh_mem_page_relocate(self, *, rcx: int, rdx: int, r8: int, lp: int = 0) -> Result:
        """TDH.MEM.PAGE.RELOCATE: move the 4K page at GPA RCX to the new page R8; RDX TDR; RCX returns the old one.

        Statuses: tracked; OPERAND_BUSY of RCX. Source: ``tdh_mem_page_relocate.c``.
        """
        return self._run(page_relocate, lp, rcx, rdx, r8)

    def tdh_mem_page_promote(
        self, *, rcx: int, rdx: int, version: int = 0, interrupt: bool = False, lp: int = 0
    ) -> Result:
        """TDH.MEM.PAGE.PROMOTE: merge 512 pages to one at RCX (GPA, level 1 or 2); RDX TDR.

        RCX returns the table page. Statuses: tracked; EPT_INVALID_PROMOTE_CONDITIONS, OPERAND_BUSY of RCX, and
        INTERRUPTED_RESTARTABLE where an ``interrupt`` is pending. Source: ``tdh_mem_page_promote.c``.
        """
        self._check_static_pamt()
        self._begin(lp, rcx, rdx)
        return self._end(page_promote(self._state, self._in, self._version(version), bool(interrupt), self._out))

    def tdh_mem_page_demote(
        self, *, rcx: int, rdx: int, r8: int, r9: int = 0, r10: int = 0, r11: int = 0, interrupt: bool = False,
        lp: int = 0,
    ) -> Result:  # fmt: skip
        """TDH.MEM.PAGE.DEMOTE: split the page at RCX (GPA, level 1 or 2) by the new table page R8; RDX TDR.

        R9 to R11, pages for L2 VMs, come back. Statuses: tracked; INTERRUPTED_RESTARTABLE where an ``interrupt`` is
        pending, OPERAND_BUSY of RCX. Source: ``tdh_mem_page_demote.c``.
        """
        self._check_static_pamt()
        self._begin(lp, rcx, rdx, r8, r9, r10, r11)
        return self._end(page_demote(self._state, self._in, bool(interrupt), self._out))

    def _check_static_pamt(self) -> None:
        check("dynamic_pamt", True, not self._dynamic, "False, for PROMOTE and DEMOTE move no PAMT pages here")

    # Physical pages

    def tdh_phymem_page_rdmd(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.PHYMEM.PAGE.RDMD: read the PAMT entry of page RCX; RCX type, RDX owner, R8 size, R9 bepoch.

        Source: ``tdh_phymem_page_rdmd.c``.
        """
        return self._run(page_rdmd, lp, rcx)

    def tdh_phymem_page_reclaim(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.PHYMEM.PAGE.RECLAIM: take page RCX from a TD in TEARDOWN; RCX type, RDX owner, R8 size.

        Statuses: LIFECYCLE_STATE_INCORRECT, TD_ASSOCIATED_PAGES_EXIST, PAGE_METADATA_INCORRECT, OPERAND_BUSY of the
        owner (0x80). Source: ``tdh_phymem_page_reclaim.c``.
        """
        return self._run(page_reclaim, lp, rcx)

    def tdh_phymem_page_wbinvd(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.PHYMEM.PAGE.WBINVD: flush page RCX, HKID included, which must be free. Source: the file so named."""
        return self._run(page_wbinvd, lp, rcx)

    def tdh_phymem_pamt_add(self, *, rcx: int, rdx: int, r8: int, lp: int = 0) -> Result:
        """TDH.PHYMEM.PAMT.ADD: give pages RDX and R8 for the 4K entries of the range at RCX (HPA, level 1).

        Statuses: HPA_RANGE_NOT_FREE; OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY, PAGE_METADATA_INCORRECT
        of its register; without Dynamic PAMT OPERAND_INVALID of RAX, as for any leaf that the module does not know.
        Source: later public releases; no recorded call covers it.
        """
        self._begin(lp, rcx, rdx, r8)
        return self._end(pamt_add(self._state, self._in) if self._dynamic else _UNKNOWN_LEAF)

    def tdh_phymem_pamt_remove(self, *, rcx: int, lp: int = 0) -> Result:
        """TDH.PHYMEM.PAMT.REMOVE: take the 4K entries of the range at RCX (HPA, level 1) away; RDX and R8 return pages.

        Statuses: NO_PAMT_PAGE_PAIR, PAMT_PAGE_NOT_EMPTY, else as PAMT.ADD. Source: later public releases; no recorded
        call covers it.
        """
        self._begin(lp, rcx)
        return self._end(pamt_remove(self._state, self._in, self._out) if self._dynamic else _UNKNOWN_LEAF)

    # The guest

    def tdg_mem_page_accept(self, td: int, rcx: int, interrupt_after: int | None = None, *, lp: int = 0) -> Result:
        """TDG.MEM.PAGE.ACCEPT: accept the page at RCX (GPA, level 0 or 1).

        A 2M accept looks for an interrupt after each 4K but the last and finds one after ``interrupt_after`` looks
        that found none. Statuses: OPERAND_INVALID, OPERAND_BUSY(_HOST_PRIORITY), PAGE_ALREADY_ACCEPTED,
        PAGE_SIZE_MISMATCH; or an exit, whose registers are those of the TD exit. Source: ``tdg_mem_page_accept.c``.
        """
        tests = -1
        if interrupt_after is not None:
            check_int("interrupt_after", interrupt_after, 0, 1 << 31)
            tests = int(interrupt_after)
        self._begin(lp, rcx)
        return self._end(mem_page_accept(self._state, self._td(td), self._in, tests, self._out))

    def td_ept_violation(
        self, td: int, *, rcx: int, rdx: int = 0, vcpu: int = 0, rip: int | None = None, lp: int = 0
    ) -> Result:
        """Exit for an access to GPA RCX with the hardware's qualification RDX; SEPT_VE_DISABLE is 1.

        With a ``rip`` the zero-step filter of ``vcpu``, which must be inside, notes the exit, and logs a private GPA.
        Neither way counts the vCPU out of its epoch: ``vcpu_exit`` does.
        """
        place, at = self._vcpu(td, vcpu), _rip(rip)
        check("vcpu", vcpu, at is None or place in self._inside, "one that is inside its TD")
        self._begin(lp, rcx, rdx)
        result = self._end(ept_violation(self._state, place[0], self._in, self._out))
        if at is not None:
            note_exit(self._filter(place), at)
            if rcx >> int(self._state.tds[place[0], st.GPA_BITS]) == 0:  # private
                threshold = np.int64(self.platform.zero_step_threshold)
                log_private_violation(self._filter(place), at, np.int64(rcx >> 12), threshold)
        return result

    def vcpu_enter(
        self, td: int, vcpu: int = 0, *, new_assoc: bool = False, rip: int | None = None, lp: int = 0
    ) -> Result:
        """Enter a vCPU: the state checks and TLB tracking of TDH.VP.ENTER; ``new_assoc`` if it last ran on another LP.

        With a ``rip``, the guest's, the zero-step filter looks: while a GPA is logged that still faults there is no
        entry but an exit as of that EPT violation. Without, it does not look, and what it knows stays.

        Statuses: those of the TD's state, OPERAND_BUSY of the epoch (0xA9) or, of the filter, the tree (0x92). Source:
        ``tdh_vp_enter.c``, ``td_exit_stepping.c``.
        """
        place, at = self._vcpu(td, vcpu), _rip(rip)
        check("vcpu", vcpu, place not in self._inside, "one that is not inside its TD")
        self._begin(lp, 0)
        status, invept = vcpu_enter(self._state, *place, bool(new_assoc))
        if at is not None and status == SUCCESS:
            status = filter_on_enter(self._state, *place, self._filter(place), at, self._out)
        result = self._end(status)
        if result.rax:
            return result
        self._inside.add(place)
        return result._replace(epoch=int(self._state.tds[place[0], st.EPOCH]), invept=bool(invept))

    def vcpu_exit(self, td: int, vcpu: int = 0, *, rip: int | None = None) -> None:
        """Leave a TD: count the vCPU out of the epoch that it entered with. Source: ``td_exit.c``.

        With a ``rip`` other than that of the entry, the zero-step filter forgets; after ``td_ept_violation`` at the
        same ``rip`` nothing more is noted.
        """
        place, at = self._vcpu(td, vcpu), _rip(rip)
        check("vcpu", vcpu, place in self._inside, "one that is inside its TD")
        if at is not None:
            note_exit(self._filter(place), at)
        vcpu_exit(self._state, *place)
        self._inside.remove(place)

    def zero_step_log(self, td: int, vcpu: int = 0) -> tuple[int, ...]:
        """Return the GPAs that the zero-step filter has logged for a vCPU, page by page."""
        known = self._filter(self._vcpu(td, vcpu))
        return tuple(gfn << 12 for gfn in known[LOG : LOG + int(known[LOGGED])].tolist())

    def _filter(self, place: tuple[int, int]) -> npt.NDArray[np.int64]:
        return self._zero_step.setdefault(place, np.zeros(ZERO_STEP_FIELDS, np.int64))

    def _vcpu(self, td: int, vcpu: int) -> tuple[int, int]:
        check_int("vcpu", vcpu, 0, st.MAX_VCPUS - 1)  # no TDVPR is looked up, so any number will do
        return self._td(td), int(vcpu)


def _rip(rip: int | None) -> np.int64 | None:
    """Return the bits of ``rip``, if there is one, as the filter's kernels compare them."""
    if rip is None:
        return None
    check_int("rip", rip, 0, _MAX)
    return np.uint64(rip).astype(np.int64)
