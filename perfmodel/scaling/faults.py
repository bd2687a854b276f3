"""The path of a private fault as a script: ACCEPT or touch, TD exit, KVM, guest_memfd, module, entry, ACCEPT.

Steps and locks in the order of Linux (arch/x86/kvm/vmx/tdx.c, arch/x86/kvm/mmu, virt/kvm/guest_memfd.c). On BUSY and on
a frozen mirror entry KVM answers RET_PF_RETRY and begins again at guest_memfd, without leaving to the guest: Yan Zhao,
"[RFC PATCH 0/2] SEPT SEAMCALL retry proposal", 2024-11-21,
https://lore.kernel.org/all/20241121115139.26338-1-yan.y.zhao@intel.com.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kernels.queueing.layout import ABSENT, PRESENT, Op
from perfmodel.scaling.changes import ChangePath
from perfmodel.scaling.module_calls import Call, page_aug, sept_add, td_exit, vp_enter
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script
from perfmodel.scaling.services import FaultServices

CHUNK_PAGES = 1024
RANGE_PAGES = 512
"""A Linux guest accepts 4 MiB, its largest page-allocator order, at a time: two ranges of 2 MiB."""
_LINES = 64


@dataclass(frozen=True)
class PathOptions:
    """How KVM, guest_memfd and the guest are built.

    Attributes
    ----------
    dynamic_pamt : {"none", "fast-path", "global-lock"}
    guest_lock : {"dropped", "held"}
        Whether the guest holds ``unaccepted_memory_lock`` while it accepts; it does so up to Linux 6.5.
    touch_first : bool
        Faults come from touches; the guest accepts after each.
    page_wise : bool
        vCPUs take neighbouring pages and so share tables, S-EPT lines and PAMT_4K lines; else each has 4 MiB.
    clear : {"mapping", "folio"}
        Whether a fault clears what it maps, or who allocates a folio all of it while others wait for its lock, as
        guest_memfd does with folios of 4K.
    same_rip : bool
        Touches of one instruction, such as REP STOS: the zero-step filter counts its exits.
    zero_step_threshold : int
    """

    dynamic_pamt: str = "none"
    guest_lock: str = "dropped"
    touch_first: bool = False
    page_wise: bool = False
    clear: str = "mapping"
    same_rip: bool = False
    zero_step_threshold: int = 6


@dataclass(frozen=True)
class Extras:
    """Prices that the ledger of populating does not hold, in ns."""

    failed_call: float
    failed_accept: float
    dram_line: float
    poll: float
    pamt_get: float
    pamt_lock: float
    pamt_add: float
    pamt_pair: float
    remote_line: float = 0.0


class FaultPath:
    """Writes the faults of one leaf size into a script."""

    def __init__(
        self, script: Script, services: FaultServices, folio_per_gib: bool, extras: Extras, options: PathOptions
    ) -> None:
        self._script, self._s, self._x, self._options = script, services, extras, options
        self._folio_per_gib = folio_per_gib

    def _stream(self, ns: float, pages: int) -> None:
        self._script.stream(ns, Reg.DRAM, pages * _LINES * self._x.dram_line, Reg.LINK)

    def _long_work(self, ns: float) -> None:
        """Work that at 2M is the sum of 512 pages', and so hardly scatters."""
        if self._s.level:
            self._script.stream(ns, Reg.DRAM, 0.0, Reg.LINK)
        else:
            self._script.work(ns)

    def _guest_memfd(self) -> None:
        """kvm_gmem_get_pfn: the folio, allocated by whoever comes first, its lock, and clearing what is mapped."""
        script, s = self._script, self._s
        whole = self._options.clear == "folio" and self._folio_per_gib
        if not self._folio_per_gib:
            script.work(s.folio_alloc * s.folios / s.faults)
        else:
            there, locked = Label(), Label()
            script.add(Op.IF_STATE, lock=Reg.FOLIO, arg=ABSENT, otherwise=there)
            script.add(Op.WRITE_LOCK, Reg.HUGETLB_MUTEX)
            script.add(Op.IF_STATE, lock=Reg.FOLIO, arg=ABSENT, otherwise=locked)
            script.work(s.folio_alloc + (s.clear * s.faults if whole else 0.0))
            script.add(Op.SET_STATE, lock=Reg.FOLIO, arg=PRESENT)
            script.place(locked)
            script.add(Op.WRITE_UNLOCK, Reg.HUGETLB_MUTEX)
            script.place(there)
        self._look_up()
        self._long_work(0.0 if whole else s.clear)

    def _look_up(self) -> None:
        """A folio that is there, under its lock."""
        script, s = self._script, self._s
        if self._folio_per_gib:
            script.add(Op.SLEEP_LOCK, Reg.FOLIO_LOCK)
        script.work(s.gmem)
        if self._folio_per_gib:
            script.add(Op.SLEEP_UNLOCK, Reg.FOLIO_LOCK)

    def _dynamic_pamt_get(self) -> None:
        """tdx_pamt_get of a 4K leaf: the pair for its 2 MiB of host memory is there, or is added under the lock."""
        script, x = self._script, self._x
        if self._options.dynamic_pamt == "none" or self._s.level:
            return
        if self._options.dynamic_pamt == "global-lock":
            script.add(Op.WRITE_LOCK, Reg.PAMT_LOCK)
            script.work(x.pamt_lock)
            script.add(Op.ATOMIC, Reg.PAMT_REFERENCES)
            script.add(Op.WRITE_UNLOCK, Reg.PAMT_LOCK)
            script.work(x.pamt_pair)
        else:
            script.work(x.pamt_get)
            script.add(Op.ATOMIC, Reg.PAMT_REFERENCES)

    def _dynamic_pamt_add(self) -> None:
        """The first get of a 2 MiB: TDH.PHYMEM.PAMT.ADD under the global lock, exclusive on the PAMT_2M entry."""
        script, x = self._script, self._x
        if self._options.dynamic_pamt == "none" or self._s.level:
            return
        script.add(Op.WRITE_LOCK, Reg.PAMT_LOCK)
        again = Label()
        script.place(again)
        script.work(x.pamt_add)
        script.add(Op.TRY_EXCLUSIVE, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT, otherwise=again)
        script.add(Op.DROP_EXCLUSIVE, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT)
        script.add(Op.COUNT, arg=Call.PAMT_ADD)
        script.add(Op.WRITE_UNLOCK, Reg.PAMT_LOCK)

    def _missing_table(self, table: Reg, retry: Label, then: Callable[[], None] | None = None) -> None:
        """Freeze the entry above a missing table, SEPT.ADD, write the entry; who finds it frozen tries again.

        Who adds the table does ``then``: what the first page of its range needs once.
        """
        script, s = self._script, self._s
        there, busy, end = Label(), Label(), Label()
        script.add(Op.FREEZE, lock=table, arg=retry, otherwise=there)
        script.work(s.table)
        self._stream(s.table_flush, 1)
        sept_add(script, s.sept_add, self._x.failed_call, busy)
        script.add(Op.SET_STATE, lock=table, arg=PRESENT)
        if then is not None:
            then()
        script.add(Op.JUMP, arg=end)
        script.place(busy)
        script.add(Op.SET_STATE, lock=table, arg=ABSENT)
        script.add(Op.JUMP, arg=retry)
        script.place(there)
        script.place(end)

    def kvm(self, first: bool) -> None:
        """From ``kvm_tdp_page_fault`` to RET_PF_FIXED; ``first``: of its 2M range, so tables may be missing."""
        script, s = self._script, self._s
        again, retry, fixed = Label(), Label(), Label()
        script.work(s.fault / 2)
        script.place(again)
        self._guest_memfd()
        script.add(Op.READ_LOCK, Reg.MMU_LOCK)
        if first:
            self._missing_table(Reg.TABLE_2M, retry)
            if not s.level:
                self._missing_table(Reg.TABLE_4K, retry, self._dynamic_pamt_add)
        self._dynamic_pamt_get()
        script.work(s.install)
        self._stream(s.flush, s.pages)
        script.work(s.pamt_lines * self._x.remote_line)
        page_aug(script, s.aug, self._x.failed_call, s.level, retry, self._options.page_wise)
        script.add(Op.READ_UNLOCK, Reg.MMU_LOCK)
        script.add(Op.JUMP, arg=fixed)
        script.place(retry)
        script.add(Op.READ_UNLOCK, Reg.MMU_LOCK)
        script.add(Op.COUNT, arg=Call.RETRY)
        script.work(s.fault / 2)
        script.add(Op.NOTHING)
        script.add(Op.JUMP, arg=again)
        script.place(fixed)
        script.add(Op.COUNT, arg=Call.FAULT)
        script.work(s.fault / 2)

    def fault(self, first: bool) -> None:
        """A fault with its TD exit and entry, or without for KVM_PRE_FAULT_MEMORY."""
        script, s = self._script, self._s
        if not s.exits:
            self.kvm(first)
            return
        if self._options.same_rip:
            script.add(Op.ADD, Reg.SAME_RIP, arg=1)
        td_exit(script, s.exit)
        script.work(s.dispatch / 2)
        self.kvm(first)
        script.work(s.dispatch / 2)
        vp_enter(
            script, s.enter, s.dispatch, self._options.zero_step_threshold if self._options.same_rip else None
        )  # fmt: skip

    def accept(self, locked: bool) -> None:
        """An ACCEPT that succeeds; at 2M the entry stays locked while the module zeroes."""
        script, s = self._script, self._s
        again, busy, taken = Label(), Label(), Label()
        self._long_work(s.accept)
        if self._options.page_wise:
            script.add(Op.ATOMIC, Reg.SEPT_LINE)
        if locked:
            script.place(again)
            script.add(Op.TRY_GUEST, -1, Reg.RANGE, otherwise=busy)
            script.add(Op.JUMP, arg=taken)
            script.place(busy)  # OPERAND_BUSY to the guest, which executes ACCEPT again
            script.add(Op.COUNT, arg=Call.GUEST_BUSY)
            script.work(self._x.failed_accept)
            script.add(Op.NOTHING)
            script.add(Op.JUMP, arg=again)
            script.place(taken)
        self._stream(s.zero, s.pages)
        if locked:
            script.add(Op.DROP_EXCLUSIVE, -1, Reg.RANGE)
        if self._options.page_wise:
            script.add(Op.ATOMIC, Reg.SEPT_LINE)
        script.add(Op.COUNT, arg=Call.ACCEPT)

    def _unit(self, first: bool, mismatch: bool) -> None:
        script, s = self._script, self._s
        script.add(Op.BEGIN)
        if s.exits and not self._options.touch_first:
            script.work(s.failed_accept)
            script.add(Op.COUNT, arg=Call.ACCEPT)
        self.fault(first)
        if mismatch:
            script.work(s.mismatch)
            script.add(Op.COUNT, arg=Call.ACCEPT)
        self.accept(locked=bool(s.level))
        script.add(Op.DONE, arg=s.pages)

    def range(self) -> Label:
        """One 2M range, from its first ACCEPT or touch to its last; return where its second page begins."""
        if self._s.level:
            self._unit(first=True, mismatch=False)
            return Label()
        self._unit(first=True, mismatch=not self._options.touch_first)
        with self._script.repeat(Reg.FIRST_COUNT, RANGE_PAGES - 1) as second_page:
            self._unit(first=False, mismatch=False)
        return second_page

    def page(self) -> None:
        """One page whose neighbours are other vCPUs': any of them may find the tables missing."""
        self._unit(first=True, mismatch=False)

    def touched_chunk(self, changes: ChangePath) -> None:
        """4 MiB mapped at 2M and accepted at 4K: the first ACCEPT in a range makes KVM split the leaf."""
        script, s = self._script, self._s
        for left in (1, 0):
            script.add(Op.BEGIN)
            self.fault(first=True)
            script.work(s.failed_accept)
            script.add(Op.COUNT, arg=Call.ACCEPT)
            td_exit(script, s.exit)
            script.work(s.dispatch + s.fault / 2)
            self._look_up()
            changes.split_under_write_lock()
            script.work(s.fault / 2 + s.inhibit)
            script.add(Op.COUNT, arg=Call.FAULT)
            vp_enter(script, s.enter, s.dispatch)
            self._long_work(s.accept)
            self._stream(s.zero, s.pages)
            with script.repeat(Reg.SECOND_COUNT, RANGE_PAGES):
                script.add(Op.COUNT, arg=Call.ACCEPT)
            script.add(Op.DONE, arg=s.pages)
            if left:
                script.add(Op.MOVE, arg=RANGE_PAGES)

    def chunk(self) -> Label:
        """4 MiB that the guest's page allocator accepts at a time; its bitmap is behind ``unaccepted_memory_lock``."""
        script = self._script
        held = self._options.guest_lock == "held"
        script.add(Op.WRITE_LOCK, Reg.GUEST_LOCK)
        if not held:
            script.add(Op.WRITE_UNLOCK, Reg.GUEST_LOCK)
        second_page = self.range()
        script.add(Op.MOVE, arg=RANGE_PAGES)
        self.range()
        if not held:
            script.add(Op.WRITE_LOCK, Reg.GUEST_LOCK)
        script.add(Op.WRITE_UNLOCK, Reg.GUEST_LOCK)
        return second_page
