"""Does the module object give what the TDX module gave, for recorded calls made one by one?"""

from pathlib import Path
from typing import Any

import pytest

from kernels.replay_record import LOCK_KINDS, LOCK_SIDES, NONE, OPS, SET_FIELDS
from perfmodel.module import ModulePlatform, ModuleTdmr, Result, TdxModule
from perfmodel.module_platform import LIFECYCLES, OP_STATES, Seamrr
from perfmodel.vectors import REGISTER_COLUMNS, VectorFile, load_vectors

METHODS = {op: op.lower().replace(".", "_") for op in OPS[: OPS.index("VCPU_ENTER")]}


def _module_of(vectors: VectorFile) -> TdxModule:
    header = vectors.header
    given = header.platform
    platform = ModulePlatform(
        tdmr=tuple(
            ModuleTdmr(**{name: getattr(tdmr, name) for name in ModuleTdmr.__dataclass_fields__}) for tdmr in given.tdmr
        ),
        hkid_bits=given.hkid_bits, private_hkid_min=given.private_hkid_min, global_hkid=given.global_hkid,
        seamrr=Seamrr(given.seamrr.base, given.seamrr.size), lps=header.lps,
    )  # fmt: skip
    module = TdxModule(platform)
    for td in header.tds:
        tdvpr = [page.hpa for page in header.pamt_preset if page.owner == td.tdr]
        module.add_td(
            tdr=td.tdr, tdcx=td.tdcx, hkid=td.hkid, gpaw=td.gpaw, levels=td.levels, op_state=td.op_state_name,
            vcpus=td.num_vcpus, tdvpr=tdvpr, epoch=td.td_epoch,
        )  # fmt: skip
    return module


def _set(module: TdxModule, td: int, field: str, value: int) -> None:
    named = {"lifecycle": LIFECYCLES, "op_state": OP_STATES}.get(field)
    getattr(module, f"set_{field}")(td, named[value] if named else value)


def _side_record(module: TdxModule, vectors: VectorFile, i: int) -> None:
    """Execute SET, LOCK or UNLOCK."""
    r = vectors.records
    op, td = OPS[r.op[i]], int(r.td[i])
    if op == "SET":
        _set(module, td, SET_FIELDS[r.set_field[i]], int(r.set_value[i]))
        return
    kind = LOCK_KINDS[r.lock_kind[i]]
    where: dict[str, Any] = {"exclusive": bool(r.lock_mode[i] == 1)}
    if kind != "pamt":
        where["td"] = td
    if kind in ("pamt", "septe"):
        where |= {"level": int(r.lock_level[i]), "hpa": int(r.lock_hpa[i]), "gpa": int(r.lock_gpa[i])}
    if kind == "septe":
        where["side"] = LOCK_SIDES[r.lock_side[i]]
    if op == "UNLOCK":
        module.unlock(kind, **where)
    else:
        assert (module.lock(kind, **where) == "SUCCESS") == (r.rc[i] == 0)


def _call_record(module: TdxModule, vectors: VectorFile, i: int) -> Result:
    r = vectors.records
    op, td = OPS[r.op[i]], int(r.td[i])
    if op == "VCPU_ENTER":
        return module.vcpu_enter(td, int(r.vcpu[i]), new_assoc=bool(r.new_assoc[i]), lp=int(r.lp[i]))
    given: dict[str, Any] = {
        name: int(r.regs_in[i, column]) for name, column in REGISTER_COLUMNS.items() if r.in_mask[i] >> column & 1
    }
    given["lp"] = int(r.lp[i])
    after, msr = int(r.intr_after[i]), int(r.intr_msr[i])
    if op in ("TDG.MEM.PAGE.ACCEPT", "TD.EPT_VIOLATION"):
        given["td"] = td
    if op == "TDG.MEM.PAGE.ACCEPT" and after >= 0:
        given["interrupt_after"] = after
    if op in ("TDH.MEM.PAGE.PROMOTE", "TDH.MEM.PAGE.DEMOTE"):
        enabled = int(r.intr_rflags[i]) >> 9 & 1
        given["interrupt"] = after == 0 and (msr > 1 or (msr == 1 and enabled == 1))
    if op in ("TDH.MEM.SEPT.ADD", "TDH.MEM.SEPT.REMOVE", "TDH.MEM.PAGE.PROMOTE"):
        given["version"] = int(r.version[i])
    result = getattr(module, METHODS[op])(**given)
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("name", ["dir_l4_g0", "dir_misc_a", "dir_edge_b"])
def test_recorded_calls_made_one_by_one(shared: Path, name: str) -> None:
    vectors = load_vectors(shared / "vectors" / f"{name}.jsonl.gz")
    module, r = _module_of(vectors), vectors.records
    for i in range(len(r.op)):
        op = OPS[r.op[i]]
        if op == "VCPU_EXIT":
            module.vcpu_exit(int(r.td[i]), int(r.vcpu[i]))
        elif op in ("SET", "LOCK", "UNLOCK"):
            _side_record(module, vectors, i)
        else:
            result = _call_record(module, vectors, i)
            got = {name: getattr(result, name) for name, c in REGISTER_COLUMNS.items() if r.out_mask[i] >> c & 1}
            want = {name: int(r.regs_out[i, c]) for name, c in REGISTER_COLUMNS.items() if r.out_mask[i] >> c & 1}
            assert got == want, (i, op)
            assert (result.exit, result.interrupted) == (r.is_exit[i], r.intr_out[i]), (i, op)
            assert r.ev[i, 0] == NONE or result.counts == tuple(r.ev[i].tolist()), (i, op)
            assert op != "VCPU_ENTER" or result.rax or (result.epoch, result.invept) == (r.epoch[i], r.invept[i])
    for td, final in enumerate(vectors.final.tds):
        view = module.td(td)
        assert (view.fatal, view.num_tdcx, view.num_vcpus) == (final.fatal, final.num_tdcx, final.num_vcpus)
        assert (view.chldcnt, view.epoch, view.refcount) == (final.chldcnt, final.td_epoch, final.refcount)
        assert (view.lifecycle, view.op_state) == (LIFECYCLES[final.lifecycle], OP_STATES[final.op_state])
        assert view[-3:] == (final.op_state_lock, final.sept_lock, final.epoch_lock)
