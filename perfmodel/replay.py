"""Replay a vector file on the model's own module."""

from collections.abc import Iterator, Sequence

import numpy as np

from kernels.module import state as st
from kernels.module.replay import Outcome, replay_records
from kernels.pamt_entry import ENTRIES_2M_PER_BLOCK, ENTRIES_4K_PER_BLOCK
from kernels.sept_entry import FREE, HPA_MASK, LEAF, REMOVED, STATE_MASK
from perfmodel.conform import Replay
from perfmodel.module_state import build_module, set_type
from perfmodel.vectors import Final, VectorFile, pamt_runs, sept_runs
from perfmodel.vectors.final import FinalPamt, FinalSept, FinalTd

_FREE, _STATE, _LEAF, _HPA = int(FREE), int(STATE_MASK), int(LEAF), int(HPA_MASK)
_NO_TABLE = (int(FREE) & _STATE, int(REMOVED) & _STATE)


def replay_vectors(vectors: VectorFile) -> Replay:
    """Execute the records of ``vectors`` from its header's state and return what they gave."""
    header, records = vectors.header, vectors.records
    module = build_module(header.platform, header.tds, header.lps)
    for page in header.pamt_preset:
        set_type(module, page.hpa, page.level, page.type, page.owner)
    got = Outcome(
        regs_out=np.zeros_like(records.regs_out),
        is_exit=np.zeros_like(records.is_exit),
        rc=np.zeros_like(records.rc),
        epoch=np.full_like(records.epoch, -1),
        invept=np.full_like(records.invept, -1),
        intr_out=np.zeros_like(records.intr_out),
        se_level=np.full_like(records.se_level, -1),
        se_raw=np.zeros_like(records.se_raw),
        ev=np.zeros_like(records.ev),
    )
    replay_records(module, records, got)
    return Replay(*got, final=_final(module, vectors))


def _final(module: st.Module, vectors: VectorFile) -> Final:
    bases = [tdmr.base for tdmr in vectors.header.platform.tdmr]
    tds = range(module.tds.shape[0])
    return Final(
        "final",
        len(vectors.records.op),
        tuple(_final_td(module, td) for td in tds),
        tuple(_final_sept(module, td) for td in tds),
        _final_pamt(module, bases),
    )


def _final_td(module: st.Module, td: int) -> FinalTd:
    fields = module.tds[td].tolist()
    locks = module.locks[td, :, 0].tolist()
    return FinalTd(
        id=td,
        fatal=fields[st.FATAL],
        lifecycle=fields[st.LIFECYCLE],
        num_tdcx=fields[st.NUM_TDCX],
        op_state=fields[st.OP_STATE],
        num_vcpus=fields[st.NUM_VCPUS],
        chldcnt=fields[st.CHLDCNT],
        td_epoch=fields[st.EPOCH],
        refcount=(fields[st.REFCOUNT], fields[st.REFCOUNT + 1]),
        op_state_lock=locks[st.OP_STATE_LOCK],
        sept_lock=locks[st.TREE_LOCK],
        epoch_lock=locks[st.EPOCH_LOCK],
    )


def sept_entries(module: st.Module, pfn: int, level: int, gfn: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(gpa, level, raw, table HPA)`` of every entry that is not exactly FREE, in and below a table."""
    table = module.sept[pfn - module.sept_pfn]
    for index in np.flatnonzero(table != FREE).tolist():
        raw = int(table[index])
        at = gfn + (index << (9 * level))
        yield at << 12, level, raw, pfn << 12
        if level and not raw & _LEAF and raw & _STATE not in _NO_TABLE:
            yield from sept_entries(module, (raw & _HPA) >> 12, level - 1, at)


def _final_sept(module: st.Module, td: int) -> FinalSept:
    root, levels = int(module.tds[td, st.ROOT_PFN]), int(module.tds[td, st.LEVELS])
    entries = list(sept_entries(module, root, levels - 1, 0))
    gpa, level, raw, table = np.array(entries, np.uint64).reshape(-1, 4).T
    return FinalSept(td, len(entries), sept_runs(gpa, level, raw, table))


def _final_pamt(module: st.Module, bases: Sequence[int]) -> FinalPamt:
    block_of = {int(slot): block for block, slot in enumerate(module.slot) if slot >= 0}
    found = []
    for level, per_block in ((2, 1), (1, ENTRIES_2M_PER_BLOCK), (0, ENTRIES_4K_PER_BLOCK)):
        entries = (module.pamt_4k, module.pamt_2m, module.pamt_1g)[level]
        used = np.flatnonzero(entries[:, 0] & np.uint64(0xFFFFFF))
        blocks = used if level == 2 else np.array([block_of[int(i) // per_block] for i in used], np.int64)
        hpa = (blocks.astype(np.int64) << 30) + ((used % per_block) << (12 + 9 * level))
        word, bepoch = entries[used, 0], entries[used, 1]
        found.append(
            (
                hpa.astype(np.uint64),
                np.full(used.size, level),
                (word >> np.uint64(16)) & np.uint64(0xFF),
                (word >> np.uint64(24)) << np.uint64(12),
                bepoch,
                word & np.uint64(0xFFFF),
            )
        )
    hpa, levels, types, owners, bepochs, locks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return FinalPamt(hpa.size, pamt_runs(hpa, levels, types, owners, bepochs, locks, bases))
