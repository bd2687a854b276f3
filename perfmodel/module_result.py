"""What one call of the modelled TDX module gives."""

from typing import NamedTuple

from kernels.module.dynamic_pamt import REMOVABLE_HINT
from kernels.replay_record import EV_FIELDS
from perfmodel.vectors.statuses import EXIT_NAME, status_name


class Result(NamedTuple):
    """What a call gives; registers that the leaf does not define are 0.

    Attributes
    ----------
    rax, rcx, rdx, r8, r9, r10, r11 : int
    exit : bool
        The TD exits with an EPT violation: RAX is the exit reason, not a status.
    interrupted : bool
        An ACCEPT has stored its progress and the guest executes it again; RAX does not reach the guest.
    counts : tuple of int
        In the order of ``kernels.replay_record.EV_FIELDS``; ``events`` names them.
    epoch, invept : int, bool, optional
        Of a vCPU that has entered: the TD's epoch, and whether the module flushes the vCPU's translations.
    """

    rax: int
    rcx: int
    rdx: int
    r8: int
    r9: int
    r10: int
    r11: int
    exit: bool
    interrupted: bool
    counts: tuple[int, ...]
    epoch: int | None = None
    invept: bool | None = None

    @property
    def status(self) -> str:
        """Name of the status without its operand; EPT_VIOLATION_EXIT or INTERRUPTED where there is none."""
        if self.interrupted:
            return "INTERRUPTED"
        if self.exit:
            return EXIT_NAME
        return status_name(0 if self.pamt_removable else self.rax >> 32)

    @property
    def pamt_removable(self) -> bool:
        """Whether RAX hints (bit 62 alone) that the last 4K leaf of a 2M range is gone: PAMT.REMOVE will succeed."""
        return self.rax == REMOVABLE_HINT

    @property
    def operand(self) -> int:
        """Lower half of RAX: id of the operand (1 RCX, 2 RDX, 8 R8, 0x92 tree, ...) or, of some ACCEPTs, a level."""
        return self.rax & 0xFFFF_FFFF

    @property
    def events(self) -> dict[str, int]:
        """Events of the call by name: ``km`` keyhole maps, ``kx`` misses, ``lk`` locked instructions, ..."""
        return dict(zip(EV_FIELDS, self.counts, strict=True))
