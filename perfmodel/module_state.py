"""What the exact calls work on: a described platform and its TDs, laid down in :class:`kernels.module.state.Module`."""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.entry_states import api_state
from kernels.keyhole import make_keyholes
from kernels.module import state as st
from kernels.module.trace import CONTEXT_FIELDS, COUNT_COLUMNS, COUNT_ROWS, GLOBAL_KEY, Trace
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK, PT_RSVD, PT_TDCX, PT_TDR, make_entry
from kernels.sept_entry import FREE
from perfmodel.memory_need import require_memory
from perfmodel.module_platform import (
    ENTRY_STATES,
    HPA_BITS,
    LIFECYCLES,
    OP_STATES,
    PAGE_BYTES,
    PAGE_TYPES,
    ModulePlatform,
    ModuleTd,
    PamtView,
    SeptView,
    TdView,
    check,
    check_int,
)

_PAGES_PER_BLOCK = 1 << 18
_PAMT_BYTES = 24 * (ENTRIES_4K_PER_BLOCK + ENTRIES_2M_PER_BLOCK)
"""Of a block: two words an entry, and one more while the final state is read."""
_MAP_NORESERVE = 0x4000  # Linux: address space without a promise of memory; the mmap module names it from 3.13 on
_GPA_BITS = (47, 51)


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
    usable_bytes = sum(t.initialized >> 30 for t in platform.tdmr) * _PAMT_BYTES
    require_memory(usable_bytes + 44 * blocks, "PAMT of the platform's TDMRs", "smaller TDMRs")
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
            [platform.hkid_start_bit, platform.private_hkid_min,
             platform.seamrr.base, platform.seamrr.size, 0], np.int64),
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


def check_td(td: ModuleTd, module: st.Module, platform: ModulePlatform) -> None:
    """Raise an InputError unless MNG.CREATE, ADDCX and INIT would lay ``td`` down on ``module``."""
    check("tdcx", td.tdcx, len(td.tdcx) == 6, "six pages")
    check_int("gpaw", td.gpaw, 0, 1)
    check("levels", td.levels, td.levels == 5 or (td.levels, td.gpaw) == (4, 0), "4 or 5; 5 with gpaw 1")
    check_int("vcpus", td.num_vcpus, 0, st.MAX_VCPUS)
    check_int("epoch", td.td_epoch, 1, 1 << 62)
    check_int("hkid", td.hkid, platform.private_hkid_min, (1 << platform.hkid_bits) - 1)
    used = {platform.global_hkid, *module.tds[:, st.HKID].tolist()}
    check("hkid", td.hkid, td.hkid not in used, f"none of {sorted(used)}, which are in use")
    above, having = ("PAMT", " and has a PAMT page pair") if platform.dynamic_pamt else ("NDA", "")
    pages = {"tdr": td.tdr}
    pages |= {f"tdcx[{i}]": hpa for i, hpa in enumerate(td.tdcx)}
    pages |= {f"tdvpr[{i}]": hpa for i, hpa in enumerate(td.tdvpr)}
    for i, (name, hpa) in enumerate(pages.items()):
        check_int(name, hpa, 0, (1 << HPA_BITS) - PAGE_BYTES, PAGE_BYTES)
        free = is_usable(module, hpa) and hpa not in list(pages.values())[:i]
        free = free and [view_pamt(module, hpa, level).type for level in (0, 1, 2)] == ["NDA", above, "NDA"]
        check(name, hpa, free, f"a page of an initialised TDMR that is not in use{having}")


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
