"""What the exact calls work on: a described platform and its TDs, laid down in :class:`kernels.module.state.Module`."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.keyhole import make_keyholes
from kernels.module import state as st
from kernels.module.locate import api_state
from kernels.module.trace import CONTEXT_FIELDS, COUNT_COLUMNS, COUNT_ROWS, GLOBAL_KEY, Trace
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK, PT_RSVD, PT_TDCX, PT_TDR, make_entry
from kernels.sept_entry import FREE
from perfmodel.errors import InputError

_PAGES_PER_BLOCK = 1 << 18
_MAP_NORESERVE = 0x4000  # Linux: address space without a promise of memory; the mmap module names it from 3.13 on
_GPA_BITS = (47, 51)
_HPA_BITS = 52
_PAGE, _BLOCK = 1 << 12, 1 << 30
_SEAMRR_BYTES = 32 << 20

LIFECYCLES = ("HKID_ASSIGNED", "KEYS_CONFIGURED", "BLOCKED", "TEARDOWN")
OP_STATES = (
    "UNINITIALIZED", "INITIALIZED", "RUNNABLE", "LIVE_EXPORT", "PAUSED_EXPORT", "POST_EXPORT", "MEMORY_IMPORT",
    "STATE_IMPORT", "POST_IMPORT", "LIVE_IMPORT", "FAILED_IMPORT",
)  # fmt: skip
PAGE_TYPES = {0: "NDA", 1: "RSVD", 3: "REG", 4: "TDR", 5: "TDCX", 6: "TDVPR", 8: "EPT"}
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
        check_int(f"{name}.initialized", done, 0, self.size, _PAGE)
        for offset, size in self.reserved:
            check_int(f"{name}.reserved offset", offset, 0, self.size - _PAGE, _PAGE)
            check_int(f"{name}.reserved size", size, _PAGE, self.size - offset, _PAGE)
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

    @property
    def hkid_start_bit(self) -> int:
        """First HKID bit of a physical address."""
        return _HPA_BITS - self.hkid_bits

    def __post_init__(self) -> None:
        check_int("hkid_bits", self.hkid_bits, 1, 15)
        check_int("private_hkid_min", self.private_hkid_min, 1, (1 << self.hkid_bits) - 1)
        check_int("global_hkid", self.global_hkid, self.private_hkid_min, (1 << self.hkid_bits) - 1)
        check_int("lps", self.lps, 1, 255)
        check("tdmr", self.tdmr, len(self.tdmr) > 0, "at least one TDMR")
        limit, end, tdmrs = 1 << self.hkid_start_bit, 0, []
        for i, given in enumerate(self.tdmr):
            tdmrs.append(given.checked(f"tdmr[{i}]", end, limit))
            end = given.base + given.size
        for i, tdmr in enumerate(tdmrs):
            for field, page_shift in (("pamt_4k", 12), ("pamt_2m", 21), ("pamt_1g", 30)):
                size = -(-16 * (tdmr.size >> page_shift) // _PAGE) * _PAGE
                hpa = getattr(tdmr, field)
                if hpa is None:
                    hpa, end = end, end + size
                check_int(f"tdmr[{i}].{field}", hpa, 0, limit - size, _PAGE)
                tdmrs[i] = replace(tdmrs[i], **{field: hpa})
        if self.seamrr is None:
            end = -(-end // _SEAMRR_BYTES) * _SEAMRR_BYTES
            object.__setattr__(self, "seamrr", Seamrr(end, _SEAMRR_BYTES))
        assert self.seamrr is not None
        check_int("seamrr.base", self.seamrr.base, 0, limit - _PAGE, _PAGE)
        check_int("seamrr.size", self.seamrr.size, _PAGE, limit - self.seamrr.base, _PAGE)
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

    def check(self, module: st.Module, platform: ModulePlatform) -> None:
        """Raise an InputError unless MNG.CREATE, ADDCX and INIT would lay the TD down on ``module``."""
        check("tdcx", self.tdcx, len(self.tdcx) == 6, "six pages")
        check_int("gpaw", self.gpaw, 0, 1)
        check("levels", self.levels, self.levels == 5 or (self.levels, self.gpaw) == (4, 0), "4 or 5; 5 with gpaw 1")
        check_int("vcpus", self.num_vcpus, 0, st.MAX_VCPUS)
        check_int("epoch", self.td_epoch, 1, 1 << 62)
        check_int("hkid", self.hkid, platform.private_hkid_min, (1 << platform.hkid_bits) - 1)
        used = {platform.global_hkid, *module.tds[:, st.HKID].tolist()}
        check("hkid", self.hkid, self.hkid not in used, f"none of {sorted(used)}, which are in use")
        pages = {"tdr": self.tdr}
        pages |= {f"tdcx[{i}]": hpa for i, hpa in enumerate(self.tdcx)}
        pages |= {f"tdvpr[{i}]": hpa for i, hpa in enumerate(self.tdvpr)}
        for i, (name, hpa) in enumerate(pages.items()):
            check_int(name, hpa, 0, (1 << _HPA_BITS) - _PAGE, _PAGE)
            free = is_usable(module, hpa) and hpa not in list(pages.values())[:i]
            free = free and all(view_pamt(module, hpa, level).type == "NDA" for level in (0, 1, 2))
            check(name, hpa, free, "a page of an initialised TDMR that is not in use")


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


def page_space(pages: int) -> npt.NDArray[np.uint64]:
    """Return ``pages`` pages of 512 entries that take memory only when written."""
    space = mmap.mmap(-1, pages << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    return np.frombuffer(space, np.uint64).reshape(pages, 512)


def build_module(platform: Any, tds: Sequence[Any], lps: int) -> st.Module:
    """Return the module's state before its first call.

    Parameters
    ----------
    platform : ModulePlatform or perfmodel.vectors.header.PlatformState
    tds : sequence of ModuleTd or perfmodel.vectors.header.TdState
    lps : int
        Logical processors, each with cold keyholes.
    """
    blocks = max((t.base + t.size) >> 30 for t in platform.tdmr)
    first = min(t.base >> 30 for t in platform.tdmr)
    slot = np.full(blocks, -1, np.int32)
    pamt_hpa = np.zeros((blocks, 3), np.int64)
    usable = [t.base // (1 << 30) + i for t in platform.tdmr for i in range(t.initialized >> 30)]
    slot[usable] = np.arange(len(usable))
    for tdmr in platform.tdmr:
        for i in range(tdmr.size >> 30):
            block = (tdmr.base >> 30) + i
            pamt_hpa[block] = (
                tdmr.pamt_4k + 16 * ENTRIES_4K_PER_BLOCK * i,
                tdmr.pamt_2m + 16 * ENTRIES_2M_PER_BLOCK * i,
                tdmr.pamt_1g + 16 * i,
            )
    module = st.Module(
        platform=np.array(
            [platform.hkid_start_bit, platform.global_hkid, platform.private_hkid_min,
             platform.seamrr.base, platform.seamrr.size], np.int64),
        pamt_1g=np.zeros((blocks, 2), np.uint64),
        pamt_2m=np.zeros((len(usable) * ENTRIES_2M_PER_BLOCK, 2), np.uint64),
        pamt_4k=np.zeros((len(usable) * ENTRIES_4K_PER_BLOCK, 2), np.uint64),
        slot=slot,
        sept=page_space((blocks - first) * _PAGES_PER_BLOCK),
        sept_pfn=first * _PAGES_PER_BLOCK,
        tds=np.zeros((0, st.TD_FIELDS), np.int64),
        locks=np.zeros((0, st.LOCKS, 1), np.uint64),
        trace=Trace(
            make_keyholes(lps), np.zeros((COUNT_ROWS, COUNT_COLUMNS), np.int64), np.zeros(CONTEXT_FIELDS, np.int64),
            pamt_hpa),
    )  # fmt: skip
    module.trace.context[GLOBAL_KEY] = platform.global_hkid << (platform.hkid_start_bit - 12)
    for tdmr in platform.tdmr:
        _reserve(module, tdmr)
    for td in tds:
        module = add_td(module, td)
    return module


def _reserve(module: st.Module, tdmr: Any) -> None:
    """Mark a TDMR's reserved areas, as TDMR.INIT does, as far as it went."""
    for offset, size in tdmr.reserved:
        for hpa in range(tdmr.base + offset, tdmr.base + min(offset + size, tdmr.initialized), 1 << 12):
            set_type(module, hpa, 0, PT_RSVD, 0)


def is_usable(module: st.Module, hpa: int) -> bool:
    """Whether a wholly initialised block of a TDMR holds ``hpa``."""
    block = hpa >> 30
    return 0 <= block < module.slot.size and bool(module.slot[block] >= 0)


def pamt_entry(module: st.Module, hpa: int, level: int) -> npt.NDArray[np.uint64]:
    """Return the two words of a PAMT entry, to read and to write; ``hpa`` is usable."""
    if level == 2:
        words = module.pamt_1g[hpa >> 30]
    elif level == 1:
        words = module.pamt_2m[int(module.slot[hpa >> 30]) * ENTRIES_2M_PER_BLOCK + ((hpa >> 21) & 511)]
    else:
        words = module.pamt_4k[int(module.slot[hpa >> 30]) * ENTRIES_4K_PER_BLOCK + ((hpa >> 12) & 0x3FFFF)]
    return words  # type: ignore[no-any-return]


def set_type(module: st.Module, hpa: int, level: int, page_type: int, owner_hpa: int) -> None:
    """Write a page's type and owner (HPA of a TDR, 0 none) into its PAMT entry."""
    pamt_entry(module, hpa, level)[0] = make_entry(page_type, owner_hpa >> 12)


def view_pamt(module: st.Module, hpa: int, level: int) -> PamtView:
    """Return the PAMT entry of ``hpa`` at ``level``."""
    word, bepoch = pamt_entry(module, hpa, level).tolist()
    kind = word >> 16 & 0xFF
    return PamtView(level, PAGE_TYPES.get(kind, str(kind)), word >> 24 << 12, bepoch, word & 0xFFFF)


def view_td(module: st.Module, td: int) -> TdView:
    """Return the fields of a TD."""
    fields, locks = module.tds[td].tolist(), module.locks[td, :, 0].tolist()
    tdr, root, levels, gpa_bits, hkid, fatal, lifecycle, tdcx, op_state, vcpus, chldcnt, epoch = fields[: st.REFCOUNT]
    refcount = fields[st.REFCOUNT], fields[st.REFCOUNT + 1]
    return TdView(
        tdr << 12, root << 12, hkid, levels, gpa_bits, fatal != 0, LIFECYCLES[lifecycle], tdcx, OP_STATES[op_state],
        vcpus, chldcnt, epoch, refcount, locks[st.OP_STATE_LOCK], locks[st.TREE_LOCK], locks[st.EPOCH_LOCK],
    )  # fmt: skip


def view_sept(level: int, raw: np.uint64) -> SeptView:
    """Return an S-EPT entry with the name of its state."""
    return SeptView(level, int(raw), ENTRY_STATES[int(api_state(raw))])


def add_td(module: st.Module, td: Any) -> st.Module:
    """Return ``module`` with one more TD; memory, PAMT and trace are the same arrays."""
    index = module.tds.shape[0]
    grown = module._replace(
        tds=np.concatenate([module.tds, np.zeros((1, st.TD_FIELDS), np.int64)]),
        locks=np.concatenate([module.locks, np.zeros((1, st.LOCKS, 1), np.uint64)]),
    )
    _create(grown, index, td, int(module.platform[st.HKID_START_BIT]) - 12)
    return grown


def _create(module: st.Module, index: int, td: Any, shift: int) -> None:
    fields = module.tds[index]
    fields[st.TDR_PFN] = td.tdr >> 12
    fields[st.ROOT_PFN] = td.tdcx[3] >> 12
    fields[st.LEVELS] = td.levels
    fields[st.GPA_BITS] = _GPA_BITS[td.gpaw]
    fields[st.HKID] = td.hkid
    fields[st.FATAL] = td.fatal
    fields[st.LIFECYCLE] = td.lifecycle
    fields[st.NUM_TDCX] = td.num_tdcx
    fields[st.OP_STATE] = td.op_state
    fields[st.NUM_VCPUS] = td.num_vcpus
    fields[st.CHLDCNT] = td.chldcnt
    fields[st.EPOCH] = td.td_epoch
    fields[st.REFCOUNT : st.REFCOUNT + 2] = td.refcount
    fields[st.VE_DISABLE] = td.pending_ve_disable
    set_type(module, td.tdr, 0, PT_TDR, 0)
    for i, hpa in enumerate(td.tdcx):
        set_type(module, hpa, 0, PT_TDCX, td.tdr)
        fields[st.TDCX + i] = (hpa >> 12) + (td.hkid << shift)
    module.sept[(td.tdcx[3] >> 12) - module.sept_pfn] = FREE
