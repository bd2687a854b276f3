"""One TD that runs in the plain-Python twin, under the names that KVM's flow and the single-call kernels have."""

from dataclasses import dataclass

import twin_words as tw
from twin_calls import seamcall
from twin_guest import accept
from twin_module import Place, Td, TwinModule


@dataclass
class Twin(TwinModule):
    """The twin with one TD; calls take GPA, level and page, and return RAX."""

    next_table: int = 0  # HPA that KVM gives to SEPT.ADD next

    @property
    def td(self) -> Td:
        """The TD."""
        return self.tds[0]

    @property
    def levels(self) -> int:
        """Levels of its S-EPT."""
        return self.td.levels

    def _call(self, name: str, gpa: int, level: int, **given: int) -> int:
        rcx = (gpa | level & 7) & (1 << 64) - 1  # a level or a GPA that RCX cannot hold is as bad there
        return seamcall(self, name, rcx=rcx, rdx=self.td.tdr, **given).rax

    def sept_add(self, gpa: int, level: int, hpa: int) -> int:
        """TDH.MEM.SEPT.ADD, version 0; ``level`` is the parent entry's."""
        return self._call("TDH.MEM.SEPT.ADD", gpa, level, r8=hpa)

    def page_add(self, gpa: int, hpa: int) -> int:
        """TDH.MEM.PAGE.ADD of a page of shared memory."""
        return self._call("TDH.MEM.PAGE.ADD", gpa, 0, r8=hpa, r9=4096)

    def page_aug(self, gpa: int, level: int, hpa: int) -> int:
        """TDH.MEM.PAGE.AUG."""
        return self._call("TDH.MEM.PAGE.AUG", gpa, level, r8=hpa)

    def block(self, gpa: int, level: int) -> int:
        """TDH.MEM.RANGE.BLOCK."""
        return self._call("TDH.MEM.RANGE.BLOCK", gpa, level)

    def remove(self, gpa: int, level: int) -> int:
        """TDH.MEM.PAGE.REMOVE."""
        return self._call("TDH.MEM.PAGE.REMOVE", gpa, level)

    def demote(self, gpa: int, level: int, hpa: int) -> int:
        """TDH.MEM.PAGE.DEMOTE with a new table page."""
        return self._call("TDH.MEM.PAGE.DEMOTE", gpa, level, r8=hpa)

    def promote(self, gpa: int, level: int) -> int:
        """TDH.MEM.PAGE.PROMOTE."""
        return self._call("TDH.MEM.PAGE.PROMOTE", gpa, level)

    def accept(self, gpa: int, level: int) -> int:
        """TDG.MEM.PAGE.ACCEPT; the status of the TDCALL, or ``EXIT``."""
        return accept(self, self.td, (gpa | level & 7) & (1 << 64) - 1).rax

    def set_epoch(self, epoch: int, busy: bool) -> None:
        """Set TD_EPOCH, and whether vCPUs of the epoch before are still inside."""
        self.td.epoch = epoch
        self.td.refcount[epoch & 1], self.td.refcount[epoch + 1 & 1] = 1, int(busy)

    def at(self, gpa: int, level: int) -> Place:
        """Return where the walk of ``gpa`` to ``level`` ends."""
        return self.walk(self.td, gpa, level)

    def lookup(self, hpa: int) -> tuple[int, tw.PamtEntry] | None:
        """Find the leaf PAMT entry: the first of 1G and 2M that is REG, else 4K; None outside every TDMR."""
        if hpa >> 30 not in self.blocks:
            return None
        level = next((at for at in (2, 1) if self.entry(at, hpa).type == tw.REG), 0)
        return level, self.entry(level, hpa)

    def has_table(self, gpa: int, level: int) -> bool:
        """Whether the table below the entry of ``gpa`` at ``level`` is there."""
        found = self._peek(gpa, level)
        return found.level == level and tw.state(self.raw(found)) in tw.NON_LEAF

    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]:
        """Return the 64 B lines of the S-EPT entry and of the PAMT leaf entry that an AUG writes."""
        found = self._peek(gpa, level)
        return (found.table + 8 * found.index) // 64, (level, (hpa >> (12 + 9 * level)) * 16 // 64)

    def _peek(self, gpa: int, level: int) -> Place:
        reads = self.walk_reads  # this walk is not a call's
        found = self.at(gpa, level)
        self.walk_reads = reads
        return found
