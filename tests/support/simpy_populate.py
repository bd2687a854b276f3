"""vCPUs that take up memory, in SimPy: the guest's 4 MiB, KVM's fault, guest_memfd, and the module's calls."""

from simpy_changes import land, split_under_write_lock
from simpy_lines import Steps
from simpy_module import BusyError, page_aug, sept_add, td_exit, vp_enter
from simpy_vcpus import RANGE, Table, Vcpu

from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.network import Kind
from perfmodel.scaling.registers import Register as Reg

_PAGES = 1 << RANGE
_LINES_PER_PAGE = 64


class Populate:
    """The path of one vCPU through the faults of each kind of memory."""

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu, self.d = vcpu, vcpu.host.d
        self.phase = vcpu.phase

    # the guest

    def run(self, start_ns: float, skip: int | None) -> Steps:
        """Populate forever, from the page after ``skip`` others of a 2M range on, or from a whole 4 MiB."""
        vcpu, s = self.vcpu, self.d.kinds[0].services
        yield vcpu.env.timeout(start_ns)
        if any(kind.services.exits for kind in self.d.kinds):
            yield from vp_enter(vcpu, s.enter, s.dispatch)
            yield from land(vcpu)
        if skip is not None:
            vcpu.take()
            vcpu.range.table_4k = Table.PRESENT
            yield from self._chunk(self.d.kinds[0], skip)
        while True:
            vcpu.take()
            kind = self._choose()
            if self.d.options.page_wise:
                yield from self._page(kind, first=True)
            elif kind.services.level and self.d.options.touch_first and self.d.change:
                yield from self._touched_chunk(kind)
            else:
                yield from self._chunk(kind)

    def _choose(self) -> Kind:
        if len(self.d.kinds) == 1:
            return self.d.kinds[0]
        first, second = self.d.kinds
        self.phase += first.share
        if self.phase < 1:
            return second
        self.phase -= 1
        return first

    def _chunk(self, kind: Kind, skip: int | None = None) -> Steps:
        """4 MiB of the guest's page allocator, from its first page on, or from the middle of its first range."""
        vcpu, lock, meter = self.vcpu, self.vcpu.td.guest_lock, self.vcpu.meters[Reg.GUEST_LOCK]
        held = self.d.options.guest_lock == "held"
        if skip is None:
            yield from lock.lock(vcpu, meter)
            if not held:
                yield from lock.unlock(vcpu, meter)
        yield from self._range(kind, 0 if skip is None else skip + 1)
        vcpu.point_at(vcpu.page + _PAGES)
        yield from self._range(kind, 0)
        if not held:
            yield from lock.lock(vcpu, meter)
        yield from lock.unlock(vcpu, meter)

    def _range(self, kind: Kind, begin: int) -> Steps:
        for page in range(begin, 1 if kind.services.level else _PAGES):
            yield from self._page(kind, first=page == 0)

    def _page(self, kind: Kind, first: bool) -> Steps:
        """One fault, from the ACCEPT or touch that causes it to the ACCEPT that succeeds."""
        vcpu, s, options = self.vcpu, kind.services, self.d.options
        if s.exits and not options.touch_first:
            yield from vcpu.spend(s.failed_accept)
            vcpu.count(Call.ACCEPT)
        yield from self._fault(kind, first)
        if first and not s.level and not options.touch_first and not options.page_wise:
            yield from vcpu.spend(s.mismatch)
            vcpu.count(Call.ACCEPT)
        yield from self._accept(kind)
        vcpu.host.finish(s.pages)

    def _accept(self, kind: Kind) -> Steps:
        vcpu, s, page_wise = self.vcpu, kind.services, self.d.options.page_wise
        yield from self._long_work(kind, s.accept)
        if page_wise:
            yield from vcpu.atomic(vcpu.sept_line, Reg.SEPT_LINE)
        entry = vcpu.range.entry if s.level else None
        while entry and not vcpu.tried(entry.try_guest(), Reg.RANGE):
            vcpu.count(Call.GUEST_BUSY)
            yield from vcpu.spend(self.d.extras.failed_accept)
        yield from self._bytes(s.zero, s.pages)
        if entry:
            entry.drop_exclusive()
        if page_wise:
            yield from vcpu.atomic(vcpu.sept_line, Reg.SEPT_LINE)
        vcpu.count(Call.ACCEPT)

    def _touched_chunk(self, kind: Kind) -> Steps:
        """4 MiB mapped at 2M, whose ranges the guest's first ACCEPTs at 4K make KVM split."""
        vcpu, s, change = self.vcpu, kind.services, self.d.change
        assert change is not None
        for left in (1, 0):
            yield from self._fault(kind, first=True)
            yield from vcpu.spend(s.failed_accept)
            vcpu.count(Call.ACCEPT)
            yield from td_exit(vcpu, s.exit)
            vcpu.owe(s.dispatch + s.fault / 2)
            yield from self._look_up(kind)
            yield from split_under_write_lock(vcpu, change)
            yield from vcpu.spend(s.fault / 2 + s.inhibit)
            vcpu.count(Call.FAULT)
            yield from vp_enter(vcpu, s.enter, s.dispatch)
            yield from land(vcpu)
            yield from self._long_work(kind, s.accept)
            yield from self._bytes(s.zero, s.pages)
            for _ in range(_PAGES):
                vcpu.count(Call.ACCEPT)
            vcpu.host.finish(s.pages)
            if left:
                vcpu.point_at(vcpu.page + _PAGES)

    # the host

    def _fault(self, kind: Kind, first: bool) -> Steps:
        vcpu, s, options = self.vcpu, kind.services, self.d.options
        if not s.exits:
            yield from self._kvm(kind, first)
            return
        vcpu.same_rip += 1
        yield from td_exit(vcpu, s.exit)
        vcpu.owe(s.dispatch / 2)
        yield from self._kvm(kind, first)
        vcpu.owe(s.dispatch / 2)
        filtered = options.same_rip and vcpu.same_rip > options.zero_step_threshold
        yield from vp_enter(vcpu, s.enter, s.dispatch, filtered)
        yield from land(vcpu)

    def _kvm(self, kind: Kind, first: bool) -> Steps:
        vcpu, s, mmu_lock = self.vcpu, kind.services, self.vcpu.td.mmu_lock
        done = False
        while not done:
            vcpu.owe(s.fault / 2)
            yield from vcpu.spend()
            yield from self._guest_memfd(kind)
            yield from vcpu.spend()
            yield from mmu_lock.lock(vcpu, vcpu.meters[Reg.MMU_LOCK], reads=True)
            try:
                yield from self._map(kind, first)
                done = True
            except BusyError:
                pass
            yield from vcpu.spend()
            yield from mmu_lock.unlock(vcpu, vcpu.meters[Reg.MMU_LOCK], reads=True)
            vcpu.count(Call.FAULT if done else Call.RETRY)
        vcpu.owe(s.fault / 2)

    def _guest_memfd(self, kind: Kind) -> Steps:
        """kvm_gmem_get_pfn: the folio, its lock, and the clearing of what is mapped."""
        vcpu, s, gib = self.vcpu, kind.services, self.vcpu.gib
        whole = self.d.options.clear == "folio" and kind.folio_per_gib
        if not kind.folio_per_gib:
            vcpu.owe(s.folio_alloc * s.folios / s.faults)
        elif gib.folio is Table.ABSENT:
            mutex, meter = gib.hugetlb_mutex, vcpu.meters[Reg.HUGETLB_MUTEX]
            yield from mutex.lock(vcpu, meter)
            if gib.folio is Table.ABSENT:
                yield from vcpu.spend(s.folio_alloc + s.clear * s.faults * whole)
                gib.folio = Table.PRESENT
            yield from mutex.unlock(vcpu, meter)
        yield from self._look_up(kind)
        yield from self._long_work(kind, 0.0 if whole else s.clear)

    def _look_up(self, kind: Kind) -> Steps:
        """A folio that is there, and its lock if other vCPUs fault in it too."""
        vcpu, meter, lock = self.vcpu, self.vcpu.meters[Reg.FOLIO_LOCK], self.vcpu.gib.folio_lock
        if not kind.folio_per_gib:
            vcpu.owe(kind.services.gmem)
            return
        yield from vcpu.spend()
        yield from lock.lock(vcpu, meter)
        yield from vcpu.spend(kind.services.gmem)
        yield from lock.unlock(vcpu, meter)

    def _map(self, kind: Kind, first: bool) -> Steps:
        """kvm_tdp_mmu_map with mmu_lock held for read."""
        vcpu, s, x = self.vcpu, kind.services, self.d.extras
        if first:
            yield from self._missing_table(kind, vcpu.gib, "table_2m", Reg.TABLE_2M)
            if not s.level:
                yield from self._missing_table(kind, vcpu.range, "table_4k", Reg.TABLE_4K)
        if not s.level:
            yield from self._dynamic_pamt_get()
        vcpu.owe(s.install)
        yield from self._bytes(s.flush, s.pages)
        vcpu.owe(s.pamt_lines * x.remote_line)
        yield from page_aug(vcpu, s.aug, x.failed_call, s.level)

    def _missing_table(self, kind: Kind, above: object, table: str, name: Reg) -> Steps:
        """Freeze the mirror entry, add the table, write the entry; BUSY where another has frozen it."""
        vcpu, s = self.vcpu, kind.services
        if getattr(above, table) is Table.PRESENT:
            return
        if not vcpu.tried(getattr(above, table) is not Table.FROZEN, name):
            raise BusyError
        setattr(above, table, Table.FROZEN)
        vcpu.owe(s.table)
        yield from self._bytes(s.table_flush, 1)
        try:
            yield from sept_add(vcpu, s.sept_add, self.d.extras.failed_call)
        except BusyError:
            setattr(above, table, Table.ABSENT)
            raise
        setattr(above, table, Table.PRESENT)
        if name is Reg.TABLE_4K:
            yield from self._dynamic_pamt_add()

    def _dynamic_pamt_add(self) -> Steps:
        """The first tdx_pamt_get of 2 MiB: TDH.PHYMEM.PAMT.ADD under the global lock."""
        vcpu = self.vcpu
        if self.d.options.dynamic_pamt == "none":
            return
        lock, meter = vcpu.host.pamt_lock, vcpu.meters[Reg.PAMT_LOCK]
        yield from lock.lock(vcpu, meter)
        while True:
            yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, self.d.extras.pamt_add)
            if vcpu.tried(vcpu.range.pamt.try_exclusive(), Reg.RANGE_PAMT):
                break
        yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M)
        vcpu.range.pamt.drop_exclusive()
        vcpu.count(Call.PAMT_ADD)
        yield from lock.unlock(vcpu, meter)

    def _dynamic_pamt_get(self) -> Steps:
        vcpu, x = self.vcpu, self.d.extras
        if self.d.options.dynamic_pamt == "global-lock":
            lock, meter = vcpu.host.pamt_lock, vcpu.meters[Reg.PAMT_LOCK]
            yield from lock.lock(vcpu, meter)
            yield from vcpu.atomic(vcpu.pamt_references, Reg.PAMT_REFERENCES, x.pamt_lock)
            yield from lock.unlock(vcpu, meter)
            vcpu.owe(x.pamt_pair)
        elif self.d.options.dynamic_pamt == "fast-path":
            yield from vcpu.atomic(vcpu.pamt_references, Reg.PAMT_REFERENCES, x.pamt_get)

    def _long_work(self, kind: Kind, ns: float) -> Steps:
        """Work that at 2M is the sum of 512 pages', and so does not scatter."""
        if kind.services.level:
            yield from self.vcpu.move(ns, 0.0)
        else:
            self.vcpu.owe(ns)

    def _bytes(self, ns: float, pages: int) -> Steps:
        yield from self.vcpu.move(ns, pages * _LINES_PER_PAGE * self.d.extras.dram_line)
