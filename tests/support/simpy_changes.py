"""Zap, split, conversion and tear-down in SimPy, and the vCPUs that are kicked meanwhile."""

from collections.abc import Callable, Iterator
from typing import Any

import simpy
from simpy_lines import Steps
from simpy_module import BusyError, answer, drop_tree, share_tree, td_call, td_exit, vp_enter
from simpy_vcpus import RANGE, Mode, Vcpu

from perfmodel.scaling.changes import ChangeServices
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.registers import Register as Reg

_PAGES = 1 << RANGE
Leaf = Callable[[Vcpu, ChangeServices], Steps]


def land(vcpu: Vcpu) -> Steps:
    """Execute the guest's first instruction, before which a kick that came on the way is taken."""
    vcpu.mode = Mode.INSIDE
    if vcpu.kicked:
        yield from leave(vcpu)


def leave(vcpu: Vcpu) -> Steps:
    """What an interrupt does to a vCPU inside: out, acknowledged, and in again."""
    s = vcpu.host.d.change
    assert s is not None
    while True:
        vcpu.kicked, vcpu.mode = False, Mode.OUTSIDE
        yield from td_exit(vcpu, s.exit)
        answer(vcpu)
        vcpu.count(Call.KICKED)
        vcpu.owe(s.dispatch)
        yield from vp_enter(vcpu, s.enter, s.dispatch)
        if not vcpu.kicked:
            break
    vcpu.mode = Mode.INSIDE


def stay_inside(vcpu: Vcpu, start_ns: float) -> Steps:
    """Run in the TD without touching memory."""
    s = vcpu.host.d.kinds[0].services
    yield vcpu.env.timeout(start_ns)
    yield from vp_enter(vcpu, s.enter, s.dispatch)
    yield from land(vcpu)
    yield from vcpu.wait(vcpu.env.event())


def tick(vcpu: Vcpu, start_ns: float) -> Steps:
    """Halt, and wake for ticks."""
    d = vcpu.host.d
    s = d.kinds[0].services
    yield vcpu.env.timeout(start_ns)
    while True:
        vcpu.owe(d.costs.tick_period)
        yield from vp_enter(vcpu, s.enter, s.dispatch)
        yield from land(vcpu)
        vcpu.owe(d.costs.tick_inside)
        yield from td_exit(vcpu, s.exit)
        yield from vcpu.spend(s.dispatch)


def convert(vcpu: Vcpu, start_ns: float) -> Steps:
    """MapGPA of one 2 MiB after the other, by zaps or by splits."""
    d, s = vcpu.host.d, vcpu.host.d.change
    assert s is not None
    yield vcpu.env.timeout(start_ns)
    yield from vp_enter(vcpu, s.enter, s.dispatch)
    yield from land(vcpu)
    while True:
        vcpu.take()
        yield from td_exit(vcpu, s.exit)
        vcpu.owe(s.dispatch + s.map_gpa + s.attributes)
        yield from _under_write_lock(vcpu, s, _split_leaf if d.workload == "split" else _zap_leaf)
        yield from vp_enter(vcpu, s.enter, s.dispatch)
        yield from land(vcpu)


def tear_down(vcpu: Vcpu, start_ns: float) -> Steps:
    """Zap one range after the other."""
    s = vcpu.host.d.change
    assert s is not None
    yield vcpu.env.timeout(start_ns)
    while True:
        vcpu.take()
        yield from _under_write_lock(vcpu, s, _zap_leaf)


def split_under_write_lock(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """Split one leaf because a fault asks for less."""
    meter = vcpu.meters[Reg.MMU_LOCK]
    yield from vcpu.spend(s.write_lock)
    yield from vcpu.td.mmu_lock.lock(vcpu, meter)
    yield from _split_leaf(vcpu, s)
    yield from vcpu.td.mmu_lock.unlock(vcpu, meter)


def _under_write_lock(vcpu: Vcpu, s: ChangeServices, leaf: Leaf) -> Steps:
    meter = vcpu.meters[Reg.MMU_LOCK]
    yield from vcpu.spend(s.write_lock)
    yield from vcpu.td.mmu_lock.lock(vcpu, meter)
    for _ in range(s.leaves):
        yield from leaf(vcpu, s)
        vcpu.host.finish(s.pages)
    yield from vcpu.td.mmu_lock.unlock(vcpu, meter)


def _zap_leaf(vcpu: Vcpu, s: ChangeServices) -> Steps:
    yield from _block_and_track(vcpu, s)
    yield from _or_without_vcpus(vcpu, s, lambda: _remove(vcpu, s))
    for _ in range(_PAGES if s.level else 1):
        yield from _wbinvd(vcpu, s)
        vcpu.owe(s.reset)
        if s.level:
            yield from vcpu.spend()
    yield from vcpu.spend(s.free)


def _split_leaf(vcpu: Vcpu, s: ChangeServices) -> Steps:
    yield from _block_and_track(vcpu, s)
    yield from _or_without_vcpus(vcpu, s, lambda: _demote(vcpu, s))


def _block_and_track(vcpu: Vcpu, s: ChangeServices) -> Steps:
    yield from _or_without_vcpus(vcpu, s, lambda: _block(vcpu, s))
    yield from _or_without_vcpus(vcpu, s, lambda: _track(vcpu, s))
    yield from _kick(vcpu, s)


def _or_without_vcpus(vcpu: Vcpu, s: ChangeServices, call: Callable[[], Steps]) -> Steps:
    """Make a call; where it is BUSY, again and again while no vCPU may enter."""
    try:
        yield from call()
        return
    except BusyError:
        vcpu.td.wait_for_sept_zap = True
        vcpu.count(Call.NO_VCPUS)
    yield from _kick(vcpu, s)
    while vcpu.td.wait_for_sept_zap:
        try:
            yield from call()
            vcpu.td.wait_for_sept_zap = False
        except BusyError:
            continue


def _kick(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """Interrupt every other vCPU that is inside or on its way, and wait until all have answered."""
    yield from vcpu.spend(s.kick)
    td, costs, env = vcpu.td, vcpu.host.d.costs, vcpu.env
    there = [other for other in td.vcpus if other is not vcpu and (other.mode is Mode.INSIDE or _on_its_way(other))]
    if not there:
        return
    since, td.answers_due, td.all_out = env.now, len(there), env.event()
    for sent, other in enumerate(there, 1):
        if other.mode is Mode.ENTERING:
            other.kicked = True
        else:
            env.process(_interrupt(env, other, sent * costs.ipi_send + costs.ipi_delivery))
    yield td.all_out
    vcpu.meters[Reg.KICK].blocked += env.now - since


def _on_its_way(vcpu: Vcpu) -> bool:
    return vcpu.mode is Mode.ENTERING


def _interrupt(env: simpy.Environment, vcpu: Vcpu, way_ns: float) -> Iterator[Any]:
    """Deliver an IPI: to a vCPU inside, on its way in, or to the host where the vCPU has left meanwhile."""
    yield env.timeout(way_ns)
    if vcpu.mode is Mode.OUTSIDE:
        answer(vcpu)
    elif vcpu.interruptible:
        assert vcpu.process is not None
        vcpu.process.interrupt()
    else:
        vcpu.kicked = True


def _block(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """TDH.MEM.RANGE.BLOCK."""
    td = vcpu.td

    def body(each: float) -> Steps:
        yield from vcpu.atomic(td.tree_line, Reg.TDCS_TREE, each)
        if not vcpu.tried(td.tree.try_exclusive(), Reg.TDCS_TREE):
            raise BusyError
        yield from vcpu.atomic(td.tree_line, Reg.TDCS_TREE, each)
        td.tree.drop_exclusive()

    yield from td_call(vcpu, s.block, 2, body, s.failed_call)
    vcpu.count(Call.BLOCK)


def _track(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """TDH.MEM.TRACK."""
    td = vcpu.td

    def body(each: float) -> Steps:
        yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
        if not vcpu.tried(td.epoch_lock.try_exclusive(), Reg.TD_EPOCH):
            raise BusyError
        tracked = vcpu.tried(td.inside_since[td.epoch - 1] == 0, Reg.TD_EPOCH)
        td.epoch += tracked
        yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each if tracked else 0.0)
        td.epoch_lock.drop_exclusive()
        if not tracked:
            raise BusyError

    yield from td_call(vcpu, s.track, 2, body, s.failed_call)
    vcpu.count(Call.TRACK)


def _remove(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """TDH.MEM.PAGE.REMOVE, which reads epoch and reference count by LOCK CMPXCHG16B."""
    td = vcpu.td

    def body(each: float) -> Steps:
        yield from share_tree(vcpu, each)
        yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
        yield from vcpu.atomic(td.tdr_chldcnt, Reg.TDR_CHLDCNT, each)
        yield from drop_tree(vcpu, each)

    yield from td_call(vcpu, s.remove, 4, body, s.failed_call)
    vcpu.count(Call.REMOVE)


def _demote(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """TDH.MEM.PAGE.DEMOTE, exclusive on the PAMT_2M entry."""
    td = vcpu.td

    def body(each: float) -> Steps:
        yield from share_tree(vcpu, each)
        yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
        if not vcpu.tried(vcpu.range.pamt.try_exclusive(), Reg.RANGE_PAMT):
            yield from drop_tree(vcpu, 0.0)
            raise BusyError
        yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
        yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
        vcpu.range.pamt.drop_exclusive()
        yield from vcpu.atomic(td.tdr_chldcnt, Reg.TDR_CHLDCNT, each)
        yield from drop_tree(vcpu, each)

    yield from td_call(vcpu, s.demote, 6, body, s.failed_call)
    vcpu.count(Call.DEMOTE)


def _wbinvd(vcpu: Vcpu, s: ChangeServices) -> Steps:
    """TDH.PHYMEM.PAGE.WBINVD of one 4K page, whose PAMT it shares."""
    each = s.wbinvd / 5
    yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G, each)
    yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
    yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
    yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G, each)
    yield from vcpu.spend(each)
    vcpu.count(Call.WBINVD)
