"""One TD in three implementations: the single-call kernels, the exact calls, and the plain-Python twin."""

import bridge
import numpy as np
from numpy.testing import assert_array_equal

from kernels.module import state as ms
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_TDR_PFN
from perfmodel.module import ModulePlatform, ModuleTdmr, TdxModule
from perfmodel.module_platform import OP_STATES
from perfmodel.td_tables import TdTables

SOURCE = 4096  # a page of shared memory


class Exact:
    """The exact calls on a copy of kernel tables, under the names that the twin of one TD has."""

    def __init__(self, held: TdTables, op_state: str) -> None:
        tables = held.tables
        self.tdr, levels = int(tables.td[TD_TDR_PFN]) << 12, int(tables.td[TD_LEVELS])
        blocks = np.flatnonzero(tables.slot >= 0)
        base, size = int(blocks[0]) << 30, len(blocks) << 30
        platform = ModulePlatform(
            tdmr=(ModuleTdmr(base, size),), hkid_bits=2, private_hkid_min=1, global_hkid=1  # few HKIDs, much memory
        )  # fmt: skip
        self.module = TdxModule(platform)
        self.module.add_td(
            tdr=self.tdr, tdcx=[self.tdr + (i << 12) for i in range(1, 7)], hkid=2, levels=levels, gpaw=levels - 4,
            op_state=op_state,
        )  # fmt: skip
        self.state = self.module._state
        self.state.tds[0, ms.CHLDCNT] = tables.td[TD_CHLDCNT]  # kernel tables leave TDCX pages out
        self.state.pamt_1g[:] = tables.pamt_1g
        for block in blocks.tolist():
            for name, entries in (("pamt_2m", ENTRIES_2M_PER_BLOCK), ("pamt_4k", ENTRIES_4K_PER_BLOCK)):
                to, of = int(self.state.slot[block]) * entries, int(tables.slot[block]) * entries
                getattr(self.state, name)[to : to + entries] = getattr(tables, name)[of : of + entries]
        for row in bridge.rows(tables):
            self.state.sept[tables.sept_pfn + row - self.state.sept_pfn] = tables.sept[row]

    def set_epoch(self, epoch: int, busy: bool) -> None:
        """Set TD_EPOCH, and whether vCPUs of the epoch before are still inside."""
        fields = self.state.tds[0]
        fields[ms.EPOCH] = epoch
        fields[ms.REFCOUNT + (epoch & 1)] = 1  # vCPUs of the epoch itself do not matter
        fields[ms.REFCOUNT + 1 - (epoch & 1)] = busy

    def sept_add(self, gpa: int, level: int, hpa: int) -> int:
        return self.module.tdh_mem_sept_add(rcx=gpa | level, rdx=self.tdr, r8=hpa).rax

    def page_add(self, gpa: int, hpa: int) -> int:
        return self.module.tdh_mem_page_add(rcx=gpa, rdx=self.tdr, r8=hpa, r9=SOURCE).rax

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        return self.module.tdh_mem_page_aug(rcx=gpa | level, rdx=self.tdr, r8=hpa).rax

    def accept(self, gpa: int, level: int) -> int:
        return self.module.tdg_mem_page_accept(0, gpa | level).rax

    def block(self, gpa: int, level: int) -> int:
        return self.module.tdh_mem_range_block(rcx=gpa | level, rdx=self.tdr).rax

    def remove(self, gpa: int, level: int) -> int:
        return self.module.tdh_mem_page_remove(rcx=gpa | level, rdx=self.tdr).rax

    def demote(self, gpa: int, level: int, hpa: int) -> int:
        return self.module.tdh_mem_page_demote(rcx=gpa | level, rdx=self.tdr, r8=hpa).rax

    def promote(self, gpa: int, level: int) -> int:
        return self.module.tdh_mem_page_promote(rcx=gpa | level, rdx=self.tdr).rax


class Three:
    """All three on equal tables; every call must answer alike.

    SEPT.ADD and DEMOTE take the next page of KVM's pool where no page is given.
    """

    def __init__(self, held: TdTables, op_state: str = "RUNNABLE") -> None:
        self.held = held
        self.kernels = bridge.KernelModule(held)
        self.exact = Exact(held, op_state)
        self.twin = bridge.copy_to_twin(held, OP_STATES.index(op_state))
        self.module = self.exact.state
        self.set_epoch(1, False)

    def set_epoch(self, epoch: int, busy: bool) -> None:
        """Set TD_EPOCH, and whether vCPUs of the epoch before are still inside."""
        for module in (self.kernels, self.exact, self.twin):
            module.set_epoch(epoch, busy)

    def call(self, name: str, *operands: int) -> int:
        """Make one call and return RAX."""
        statuses = [getattr(module, name)(*operands) for module in (self.kernels, self.exact, self.twin)]
        assert len(set(statuses)) == 1, (name, [hex(o) for o in operands], [hex(s) for s in statuses])
        return statuses[0]

    def _with_table(self, name: str, gpa: int, level: int, hpa: int | None) -> int:
        status = self.call(name, gpa, level, self.kernels.next_table if hpa is None else hpa)
        if status == 0 and hpa is None:
            self.kernels.next_table += 4096
            self.twin.next_table += 4096
        return status

    def sept_add(self, gpa: int, level: int, hpa: int | None = None) -> int:
        return self._with_table("sept_add", gpa, level, hpa)

    def demote(self, gpa: int, level: int, hpa: int | None = None) -> int:
        return self._with_table("demote", gpa, level, hpa)

    def page_add(self, gpa: int, hpa: int) -> int:
        return self.call("page_add", gpa, hpa)

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        return self.call("page_aug", gpa, level, hpa)

    def accept(self, gpa: int, level: int) -> int:
        return self.call("accept", gpa, level)

    def block(self, gpa: int, level: int) -> int:
        return self.call("block", gpa, level)

    def remove(self, gpa: int, level: int) -> int:
        return self.call("remove", gpa, level)

    def promote(self, gpa: int, level: int) -> int:
        return self.call("promote", gpa, level)

    def set_pamt(self, hpa: int, level: int, **fields: int) -> None:
        """Set fields of a PAMT entry on all sides."""
        entry = self.twin.entry(level, hpa)
        for name, value in fields.items():
            setattr(entry, name, value)
        for side in (self.held.tables, self.module):
            array = (side.pamt_4k, side.pamt_2m)[level]
            per_block = (ENTRIES_4K_PER_BLOCK, ENTRIES_2M_PER_BLOCK)[level]
            array[int(side.slot[hpa >> 30]) * per_block + (hpa >> 12 + 9 * level) % per_block] = entry.words

    def set_raw(self, gpa: int, level: int, raw: int) -> None:
        """Set the raw entry where the walk of ``gpa`` to ``level`` ends, on all sides."""
        at, tables = self.twin.at(gpa, level), self.held.tables
        self.twin.store(at, raw)
        pfn = at.table >> 12
        tables.sept[pfn - tables.sept_pfn, at.index] = self.module.sept[pfn - self.module.sept_pfn, at.index] = raw

    def assert_equal(self) -> None:
        """Every S-EPT entry, every PAMT entry and TDR.CHLDCNT are equal, and the TD's locks are free."""
        tables, module = self.held.tables, self.module
        bridge.assert_same(self.held, self.twin)
        for page in self.twin.pages:
            pfn = page >> 12
            assert_array_equal(tables.sept[pfn - tables.sept_pfn], module.sept[pfn - module.sept_pfn])
        for block in np.flatnonzero(tables.slot >= 0).tolist():
            for name, entries in (("pamt_2m", ENTRIES_2M_PER_BLOCK), ("pamt_4k", ENTRIES_4K_PER_BLOCK)):
                of, to = int(tables.slot[block]) * entries, int(module.slot[block]) * entries
                assert_array_equal(getattr(tables, name)[of : of + entries], getattr(module, name)[to : to + entries])
        assert_array_equal(tables.pamt_1g, module.pamt_1g)
        assert tables.td[TD_CHLDCNT] == module.tds[0, ms.CHLDCNT]
        assert not module.locks.any()
        assert self.twin.td.op_state_lock.lock == self.twin.td.tree.lock == self.twin.td.epoch_lock.lock == 0
