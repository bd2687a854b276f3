"""What a platform and its TDs are described by, and how their state is shown."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kernels.module import state as st
from kernels.module.zero_step import THRESHOLD
from perfmodel.errors import InputError

HPA_BITS = 52
PAGE_BYTES, _BLOCK = 1 << 12, 1 << 30
_SEAMRR_BYTES = 32 << 20

LIFECYCLES = ("HKID_ASSIGNED", "KEYS_CONFIGURED", "BLOCKED", "TEARDOWN")
OP_STATES = (
    "UNINITIALIZED", "INITIALIZED", "RUNNABLE", "LIVE_EXPORT", "PAUSED_EXPORT", "POST_EXPORT", "MEMORY_IMPORT",
    "STATE_IMPORT", "POST_IMPORT", "LIVE_IMPORT", "FAILED_IMPORT",
)  # fmt: skip
PAGE_TYPES = {0: "NDA", 1: "RSVD", 3: "REG", 4: "TDR", 5: "TDCX", 6: "TDVPR", 8: "EPT", 15: "PAMT"}
ENTRY_STATES = {
    0: "FREE", 1: "BLOCKED", 2: "PENDING", 3: "PENDING_BLOCKED", 4: "MAPPED", 5: "REMOVED", 8: "BLOCKEDW",
    9: "EXP_BLOCKEDW", 11: "EXP_DIRTY", 12: "EXP_DIRTY_BLOCKEDW", 16: "PENDING_BLOCKEDW", 17: "PEND_EXP_BLOCKEDW",
    19: "PEND_EXP_DIRTY", 20: "PEND_EXP_DIRTY_BLOCKEDW", 129: "NL_BLOCKED", 132: "NL_MAPPED", 255: "NO_STATE",
}  # fmt: skip


def check(name: str, value: Any, good: bool, accepted: str) -> None:
    """Raise an InputError of one line unless ``value`` is ``good``."""
    if not good:
        shown = hex(value) if isinstance(value, int) and abs(value) > 9999 else repr(value)
        raise InputError(f"{name} {shown}: accepted is {accepted}")


def check_int(name: str, value: Any, low: int, high: int, step: int = 1) -> None:
    """Raise an InputError unless ``value`` is an int from ``low`` to ``high`` and a multiple of ``step``."""
    multiple = f"a multiple of {step:#x}" if step > 1 else "an integer"
    good = isinstance(value, int | np.integer) and low <= value <= high and value % step == 0
    check(name, value, bool(good), f"{multiple} from {low:#x} to {high:#x}")


@dataclass(frozen=True)
class ModuleTdmr:
    """A TDMR as the host handed it to TDMR.INIT; addresses and sizes in bytes.

    Attributes
    ----------
    base, size : int
        Multiples of 1 GiB.
    initialized : int, optional
        How far TDMR.INIT has come; the whole TDMR by default. Only whole 1 GiB blocks are usable.
    reserved : tuple of (offset, size)
        Areas that hold no private memory.
    pamt_4k, pamt_2m, pamt_1g : int, optional
        HPA of the three PAMT arrays; by default they follow each other above all TDMRs.
    """

    base: int
    size: int
    initialized: int | None = None
    reserved: tuple[tuple[int, int], ...] = ()
    pamt_4k: int | None = None
    pamt_2m: int | None = None
    pamt_1g: int | None = None

    def checked(self, name: str, low: int, limit: int) -> "ModuleTdmr":
        """Return the TDMR with ``initialized`` filled in, after a look at every field but the PAMT's."""
        check_int(f"{name}.base", self.base, low, limit - _BLOCK, _BLOCK)
        check_int(f"{name}.size", self.size, _BLOCK, limit - self.base, _BLOCK)
        done = self.size if self.initialized is None else self.initialized
        check_int(f"{name}.initialized", done, 0, self.size, PAGE_BYTES)
        for offset, size in self.reserved:
            check_int(f"{name}.reserved offset", offset, 0, self.size - PAGE_BYTES, PAGE_BYTES)
            check_int(f"{name}.reserved size", size, PAGE_BYTES, self.size - offset, PAGE_BYTES)
        return replace(self, initialized=done)


@dataclass(frozen=True)
class Seamrr:
    """The memory that the module itself lies in; PAGE.ADD takes no source from there."""

    base: int
    size: int


@dataclass(frozen=True, kw_only=True)
class ModulePlatform:
    """A host after SYS.CONFIG and TDMR.INIT, with a physical address width of 52 bits.

    Attributes
    ----------
    tdmr : tuple of ModuleTdmr
        In ascending order.
    hkid_bits : int
        Upper bits of a physical address that hold the HKID, 1 to 15.
    private_hkid_min : int
        First private HKID; those below are shared (MKTME).
    global_hkid : int
        HKID of PAMT and TDRs.
    seamrr : Seamrr, optional
        By default 32 MiB above TDMRs and PAMT.
    lps : int
        Logical processors, each with cold keyholes.
    dynamic_pamt : bool
        A newer module, configured with Dynamic PAMT: PAMT_4K entries exist only where PAMT.ADD has given pages.
    zero_step_threshold : int
        Private EPT-violation exits at one RIP that the zero-step filter counts without effect.

    Raises
    ------
    InputError
        One line that names field, value and what is accepted.
    """

    tdmr: tuple[ModuleTdmr, ...]
    hkid_bits: int = 7
    private_hkid_min: int = 64
    global_hkid: int = 65
    seamrr: Seamrr | None = None
    lps: int = 1
    dynamic_pamt: bool = False
    zero_step_threshold: int = THRESHOLD

    @property
    def hkid_start_bit(self) -> int:
        """First HKID bit of a physical address."""
        return HPA_BITS - self.hkid_bits

    def __post_init__(self) -> None:
        check_int("hkid_bits", self.hkid_bits, 1, 15)
        check_int("private_hkid_min", self.private_hkid_min, 1, (1 << self.hkid_bits) - 1)
        check_int("global_hkid", self.global_hkid, self.private_hkid_min, (1 << self.hkid_bits) - 1)
        check_int("lps", self.lps, 1, 255)
        check_int("zero_step_threshold", self.zero_step_threshold, 0, 255)
        check("tdmr", self.tdmr, len(self.tdmr) > 0, "at least one TDMR")
        limit, end, tdmrs = 1 << self.hkid_start_bit, 0, []
        for i, given in enumerate(self.tdmr):
            tdmrs.append(given.checked(f"tdmr[{i}]", end, limit))
            end = given.base + given.size
        for i, tdmr in enumerate(tdmrs):
            for field, page_shift in (("pamt_4k", 12), ("pamt_2m", 21), ("pamt_1g", 30)):
                size = -(-16 * (tdmr.size >> page_shift) // PAGE_BYTES) * PAGE_BYTES
                hpa = getattr(tdmr, field)
                if hpa is None:
                    hpa, end = end, end + size
                check_int(f"tdmr[{i}].{field}", hpa, 0, limit - size, PAGE_BYTES)
                tdmrs[i] = replace(tdmrs[i], **{field: hpa})
        if self.seamrr is None:
            end = -(-end // _SEAMRR_BYTES) * _SEAMRR_BYTES
            object.__setattr__(self, "seamrr", Seamrr(end, _SEAMRR_BYTES))
        assert self.seamrr is not None
        check_int("seamrr.base", self.seamrr.base, 0, limit - PAGE_BYTES, PAGE_BYTES)
        check_int("seamrr.size", self.seamrr.size, PAGE_BYTES, limit - self.seamrr.base, PAGE_BYTES)
        object.__setattr__(self, "tdmr", tuple(tdmrs))


@dataclass(frozen=True, kw_only=True)
class ModuleTd:
    """A TD as MNG.CREATE, ADDCX and INIT leave it, with the pages of some vCPUs (``tdvpr``) perhaps."""

    tdr: int
    tdcx: tuple[int, ...]
    hkid: int
    gpaw: int = 0
    levels: int = 4
    op_state: int = st.INITIALIZED
    num_vcpus: int = 1
    tdvpr: tuple[int, ...] = ()
    td_epoch: int = 1
    lifecycle: int = st.KEYS_CONFIGURED
    fatal: int = 0
    num_tdcx: int = 6
    refcount: tuple[int, int] = (0, 0)
    pending_ve_disable: int = 1

    @property
    def chldcnt(self) -> int:
        """Pages that belong to the TD."""
        return len(self.tdcx) + len(self.tdvpr)


class TdView(NamedTuple):
    """A TD's fields and raw lock words."""

    tdr: int
    root: int
    hkid: int
    levels: int
    gpa_bits: int
    fatal: bool
    lifecycle: str
    num_tdcx: int
    op_state: str
    num_vcpus: int
    chldcnt: int
    epoch: int
    refcount: tuple[int, int]
    op_state_lock: int
    tree_lock: int
    epoch_lock: int


class SeptView(NamedTuple):
    """An S-EPT entry, its level and the name of its state."""

    level: int
    raw: int
    state: str


class PamtView(NamedTuple):
    """A PAMT entry: level, name of the page type, HPA of the owner's TDR, bepoch, raw lock word."""

    level: int
    type: str
    owner: int
    bepoch: int
    lock: int
