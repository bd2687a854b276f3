"""The TDX module as an object: one SEAMCALL at a time, registers in, registers out."""

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.module import state as st
from kernels.module.block_calls import mem_track, range_block, range_unblock
from kernels.module.build_calls import mr_extend, mr_finalize
from kernels.module.guest_calls import INTERRUPTED_ACCEPT, ept_violation, mem_page_accept, vcpu_enter, vcpu_exit
from kernels.module.page_calls import page_add, page_aug, page_relocate, page_remove
from kernels.module.phymem_calls import page_rdmd, page_reclaim, page_wbinvd
from kernels.module.replay import Outcome, find_entry, replay_records
from kernels.module.resize_calls import page_demote, page_promote
from kernels.module.table_calls import sept_add, sept_rd, sept_remove
from kernels.module.trace import LP, start
from kernels.pamt_entry import PT_TDVPR
from kernels.replay_record import EV_FIELDS, LOCK_KINDS, LOCK_SIDES, OP_LOCK, OP_UNLOCK, REGISTERS
from kernels.status import EPT_VIOLATION_EXIT, as_unsigned
from perfmodel import module_state as ms
from perfmodel.errors import InputError
from perfmodel.module_platform import (
    LIFECYCLES,
    OP_STATES,
    ModulePlatform,
    ModuleTd,
    ModuleTdmr,
    PamtView,
    SeptView,
    TdView,
    check,
    check_int,
)
from perfmodel.module_result import Result
from perfmodel.vectors.records import Records
from perfmodel.vectors.statuses import status_name

__all__ = ["ModulePlatform", "ModuleTdmr", "PamtView", "Result", "SeptView", "TdView", "TdxModule"]

_load = struct.Struct(f"={REGISTERS}Q").pack_into
_INPUTS = ("rcx", "rdx", "r8", "r9", "r10", "r11")
_MAX = (1 << 64) - 1
_VERSIONS = (np.int8(0), np.int8(1), np.int8(2))  # typed as in Records, so that calls and replays share compiled code


class TdxModule:
    """TDX module 1.5.01 on a described platform.

    Calls take registers as keyword integers and the logical processor ``lp`` that executes them. A *TD* is the index
    that ``add_td`` returns; SEAMCALLs name a TD by its TDR page, as the host does.

    Docstrings name only the statuses that are a call's own. Besides, every call on a TD gives OPERAND_INVALID,
    OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY and PAGE_METADATA_INCORRECT for its TDR, then TD_FATAL,
    TD_KEYS_NOT_CONFIGURED, TDCS_NOT_ALLOCATED, OPERAND_BUSY of the op-state (0xAC) and OP_STATE_INCORRECT. One that
    takes a GPA and a level in RCX also gives OPERAND_INVALID, OPERAND_BUSY of the tree (0x92) or the entry (RCX),
    EPT_WALK_FAILED and EPT_ENTRY_STATE_INCORRECT, the last two with the entry in RCX and RDX. A *new page* gives
    OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR, OPERAND_BUSY and PAGE_METADATA_INCORRECT of its register. *Tracked*
    calls give GPA_RANGE_NOT_BLOCKED and TLB_TRACKING_NOT_DONE in a TD that runs.

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
        self.platform, self._lps = platform, platform.lps
        self._state = ms.build_module(platform, (), platform.lps)
        self._context = self._state.trace.context
        self._events = self._state.trace.counts[0, : len(EV_FIELDS)]
        self._in, self._out = np.zeros(REGISTERS, np.uint64), np.zeros(REGISTERS, np.uint64)
        self._registers = self._in.data
        self._inside: set[tuple[int, int]] = set()
        self._held: Counter[tuple[Any, ...]] = Counter()

    @classmethod
    def small(cls, gib: int = 4, *, lps: int = 1, **td: Any) -> "TdxModule":
        """Return a module with one TDMR of ``gib`` GiB from 1 GiB on and one TD, laid down in its last 2 MiB.

        ``td`` are options of ``add_td``. The TDR's address is ``module.td(0).tdr``.
        """
        check_int("gib", gib, 1, 4096)
        module = cls(ModulePlatform(tdmr=(ModuleTdmr(1 << 30, gib << 30),), lps=lps))
        page = ((gib + 1) << 30) - (1 << 21)
        options: dict[str, Any] = {"tdr": page, "tdcx": [page + (i << 12) for i in range(1, 7)], "hkid": 66}
        module.add_td(**options | td)
        return module

    def add_td(
        self, *, tdr: int, tdcx: Sequence[int], hkid: int, gpaw: int = 0, levels: int = 4,
        op_state: str = "INITIALIZED", vcpus: int = 1, tdvpr: Sequence[int] = (), epoch: int = 1,
    ) -> int:  # fmt: skip
        """Lay down a TD as MNG.CREATE, MNG.ADDCX and MNG.INIT leave it, and return its index.

        Parameters
        ----------
        tdr, tdcx : int, sequence of six int
            HPA of pages that are not in use; ``tdcx[3]`` becomes the S-EPT root.
        hkid : int
            A private HKID that no other TD has.
        gpaw, levels : int
            0 or 1, and 4 or 5; a GPA width of 1 needs 5 levels.
        op_state : str
            INITIALIZED or RUNNABLE.
        vcpus : int
        tdvpr : sequence of int
            HPA of vCPU pages; they count as the TD's pages.
        epoch : int
        """
        check("op_state", op_state, op_state in ("INITIALIZED", "RUNNABLE"), "INITIALIZED or RUNNABLE")
        td = ModuleTd(
            tdr=tdr, tdcx=tuple(tdcx), hkid=hkid, gpaw=gpaw, levels=levels, op_state=OP_STATES.index(op_state),
            num_vcpus=vcpus, tdvpr=tuple(tdvpr), td_epoch=epoch,
        )  # fmt: skip
        ms.check_td(td, self._state, self.platform)
        self._state = ms.add_td(self._state, td)
        for hpa in tdvpr:
            ms.set_type(self._state, hpa, 0, PT_TDVPR, tdr)
        return len(self._state.tds) - 1

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
        exits, counts = bool(status == EPT_VIOLATION_EXIT), tuple(self._events.tolist())
        return Result(rax, out[1], out[2], out[8], out[9], out[10], out[11], exits, interrupted, counts)

    def _run(self, call: Any, lp: int, *registers: int) -> Result:
        self._begin(lp, *registers)
        return self._end(call(self._state, self._in, self._out))

    def _version(self, version: int) -> np.int8:
        check_int("version", version, 0, 255)
        return _VERSIONS[min(version, 2)]  # the module knows 0 and 1 and refuses all others alike

    def _td(self, td: int | None) -> int:
        if isinstance(td, int | np.integer) and 0 <= td < len(self._state.tds):
            return int(td)
        raise InputError(f"td {td!r}: accepted is a TD's index, below {len(self._state.tds)}")

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
        self._begin(lp, rcx, rdx, r8, r9, r10, r11)
        return self._end(page_demote(self._state, self._in, bool(interrupt), self._out))

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

    def td_ept_violation(self, td: int, *, rcx: int, rdx: int = 0, lp: int = 0) -> Result:
        """Exit for an access to GPA RCX with the hardware's qualification RDX; SEPT_VE_DISABLE is 1."""
        self._begin(lp, rcx, rdx)
        return self._end(ept_violation(self._state, self._td(td), self._in, self._out))

    def vcpu_enter(self, td: int, vcpu: int = 0, *, new_assoc: bool = False, lp: int = 0) -> Result:
        """Enter a vCPU: the state checks and TLB tracking of TDH.VP.ENTER; ``new_assoc`` if it last ran on another LP.

        Statuses: those of the TD's state, OPERAND_BUSY of the epoch (0xA9). Source: ``tdh_vp_enter.c``.
        """
        place = self._vcpu(td, vcpu)
        check("vcpu", vcpu, place not in self._inside, "one that is not inside its TD")
        self._begin(lp, 0)
        status, invept = vcpu_enter(self._state, *place, bool(new_assoc))
        result = self._end(status)
        if result.rax:
            return result
        self._inside.add(place)
        return result._replace(epoch=int(self._state.tds[place[0], st.EPOCH]), invept=bool(invept))

    def vcpu_exit(self, td: int, vcpu: int = 0) -> None:
        """Leave a TD: count the vCPU out of the epoch that it entered with. Source: ``td_exit.c``."""
        place = self._vcpu(td, vcpu)
        check("vcpu", vcpu, place in self._inside, "one that is inside its TD")
        vcpu_exit(self._state, *place)
        self._inside.remove(place)

    def _vcpu(self, td: int, vcpu: int) -> tuple[int, int]:
        check_int("vcpu", vcpu, 0, st.MAX_VCPUS - 1)  # no TDVPR is looked up, so any number will do
        return self._td(td), int(vcpu)

    # A look inside, and a hand in

    def td(self, td: int) -> TdView:
        """Return the fields and lock words of a TD."""
        return ms.view_td(self._state, self._td(td))

    def sept_entry(self, td: int, gpa: int, level: int = 0) -> SeptView:
        """Return the entry for ``gpa`` at ``level``, or above it where the tables end; blocked tables are followed."""
        gfn = self._gfn(td, gpa, level)
        reached, row, index = find_entry(self._state, td, gfn, level)
        return ms.view_sept(int(reached), self._state.sept[row, index])

    def _gfn(self, td: int, gpa: int, level: int) -> int:
        fields = self._state.tds[self._td(td)]
        check_int("level", level, 0, int(fields[st.LEVELS]) - 1)
        check_int("gpa", gpa, 0, (1 << int(fields[st.GPA_BITS])) - 1)
        return gpa >> 12

    def pamt(self, hpa: int, level: int | None = None) -> PamtView:
        """Return the PAMT entry of ``hpa`` at ``level``, by default the one that is in use: 1G, 2M, else 4K."""
        check_int("hpa", hpa, 0, _MAX)
        check("hpa", hpa, ms.is_usable(self._state, hpa), "an address in an initialised TDMR")
        if level is None:
            used = (at for at in (2, 1) if ms.view_pamt(self._state, hpa, at).type == "REG")
            level = next(used, 0)
        check_int("level", level, 0, 2)
        return ms.view_pamt(self._state, hpa, level)

    def set_fatal(self, td: int, fatal: bool = True) -> None:
        """Mark a TD as failed for good, or as not."""
        self._state.tds[self._td(td), st.FATAL] = bool(fatal)

    def set_lifecycle(self, td: int, lifecycle: str) -> None:
        """Set a TD's lifecycle state by name; TEARDOWN stands for VP.FLUSH to KEY.FREEID and allows RECLAIM."""
        check("lifecycle", lifecycle, lifecycle in LIFECYCLES, ", ".join(LIFECYCLES))
        self._state.tds[self._td(td), st.LIFECYCLE] = LIFECYCLES.index(lifecycle)

    def set_op_state(self, td: int, op_state: str) -> None:
        """Set a TD's op-state by name."""
        check("op_state", op_state, op_state in OP_STATES, ", ".join(OP_STATES))
        self._state.tds[self._td(td), st.OP_STATE] = OP_STATES.index(op_state)

    def set_num_tdcx(self, td: int, pages: int) -> None:
        """Set how many of a TD's six TDCX pages have been added."""
        check_int("pages", pages, 0, 6)
        self._state.tds[self._td(td), st.NUM_TDCX] = pages

    def set_num_vcpus(self, td: int, vcpus: int) -> None:
        """Set how many vCPUs a TD has."""
        check_int("vcpus", vcpus, 0, st.MAX_VCPUS)
        self._state.tds[self._td(td), st.NUM_VCPUS] = vcpus

    def lock(
        self, kind: str, *, td: int | None = None, hpa: int = 0, gpa: int = 0, level: int = 0, exclusive: bool = True,
        side: str = "host",
    ) -> str:  # fmt: skip
        """Let another LP take a lock, and return the status that it sees, with the usual traces of a refusal.

        ``kind`` is ``pamt`` (with ``hpa`` and ``level``: this entry alone), ``tree``, ``opstate``, ``epoch`` (with
        ``td``) or ``septe`` (with ``td``, ``gpa``, ``level`` and the ``side``, ``host`` or ``guest``).
        """
        key = (kind, td, hpa, gpa, level, bool(exclusive), side)
        status = self._lock(OP_LOCK, *key)
        self._held[key] += status == "SUCCESS"
        return status

    def unlock(
        self, kind: str, *, td: int | None = None, hpa: int = 0, gpa: int = 0, level: int = 0, exclusive: bool = True,
        side: str = "host",
    ) -> None:  # fmt: skip
        """Release what ``lock`` has taken with the same arguments."""
        key = (kind, td, hpa, gpa, level, bool(exclusive), side)
        check("kind", kind, self._held[key] > 0, "a lock that is held, with the arguments that took it")
        self._lock(OP_UNLOCK, *key)
        self._held[key] -= 1

    def _lock(
        self, op: int, kind: str, td: int | None, hpa: int, gpa: int, level: int, exclusive: bool, side: str
    ) -> str:
        check("kind", kind, kind in LOCK_KINDS, ", ".join(LOCK_KINDS))
        check("side", side, side in LOCK_SIDES, ", ".join(LOCK_SIDES))
        if kind == "pamt":
            self.pamt(hpa, level)
        elif kind == "septe":
            self._gfn(self._td(td), gpa, level)
        else:
            self._td(td)
        records = Records.empty(1)
        for name, value in {
            "op": op, "td": -1 if td is None else td, "lock_kind": LOCK_KINDS.index(kind), "lock_mode": exclusive,
            "lock_side": LOCK_SIDES.index(side), "lock_level": level, "lock_hpa": hpa, "lock_gpa": gpa,
        }.items():  # fmt: skip
            getattr(records, name)[0] = value
        got = Outcome(*(getattr(records, name) for name in Outcome._fields))
        replay_records(self._state, records, got)
        return status_name(int(got.rc[0]) >> 32)
