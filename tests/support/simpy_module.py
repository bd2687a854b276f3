"""The TDX module's calls in SimPy, by their atomic instructions on lines that vCPUs share."""

from collections.abc import Callable, Iterator
from typing import Any

from simpy_lines import Steps
from simpy_vcpus import Mode, Vcpu

from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.registers import Register as Reg

Body = Callable[[float], Steps]


class BusyError(Exception):
    """TDX_OPERAND_BUSY, or TDX_PREVIOUS_TLB_EPOCH_BUSY."""


def td_call(vcpu: Vcpu, ns: float, atomics: int, body: Body, failed_ns: float) -> Steps:
    """A call of TD scope around ``body``, which executes ``atomics`` of its instructions; each takes its share."""
    td, each = vcpu.td, ns / (8 + atomics + 1)
    yield from vcpu.atomic(td.tdr_pamt_1g, Reg.TDR_PAMT_1G, each)
    yield from vcpu.atomic(td.tdr_pamt_2m, Reg.TDR_PAMT_2M, each)
    yield from vcpu.atomic(td.tdr_pamt_4k, Reg.TDR_PAMT_4K, each)
    if not vcpu.tried(td.tdr.try_shared(), Reg.TDR_PAMT_4K):
        raise AssertionError("no call that is simulated takes the TDR exclusive")
    yield from vcpu.atomic(td.op_state, Reg.TDCS_OP_STATE, each)
    busy = None
    try:
        yield from body(each)
    except BusyError as error:
        busy, each = error, max(failed_ns - 5 * each, 0.0) / 5
    yield from vcpu.atomic(td.op_state, Reg.TDCS_OP_STATE, each)
    yield from vcpu.atomic(td.tdr_pamt_4k, Reg.TDR_PAMT_4K, each)
    td.tdr.drop_shared()
    yield from vcpu.atomic(td.tdr_pamt_2m, Reg.TDR_PAMT_2M, each)
    yield from vcpu.atomic(td.tdr_pamt_1g, Reg.TDR_PAMT_1G, each)
    yield from vcpu.spend(each)
    if busy:
        raise busy


def share_tree(vcpu: Vcpu, each: float) -> Steps:
    """Share the S-EPT tree lock, or be BUSY."""
    yield from vcpu.atomic(vcpu.td.tree_line, Reg.TDCS_TREE, each)
    if not vcpu.tried(vcpu.td.tree.try_shared(), Reg.TDCS_TREE):
        raise BusyError


def drop_tree(vcpu: Vcpu, each: float) -> Steps:
    """Stop sharing the S-EPT tree lock."""
    yield from vcpu.atomic(vcpu.td.tree_line, Reg.TDCS_TREE, each)
    vcpu.td.tree.drop_shared()


def sept_add(vcpu: Vcpu, ns: float, failed_ns: float) -> Steps:
    """TDH.MEM.SEPT.ADD."""

    def body(each: float) -> Steps:
        yield from share_tree(vcpu, each)
        yield from vcpu.atomic(vcpu.td.tdr_chldcnt, Reg.TDR_CHLDCNT, each)
        yield from drop_tree(vcpu, each)

    yield from td_call(vcpu, ns, 3, body, failed_ns)
    vcpu.count(Call.SEPT_ADD)


def page_aug(vcpu: Vcpu, ns: float, failed_ns: float, level: int) -> Steps:
    """TDH.MEM.PAGE.AUG; at 2M it owns the S-EPT entry and, having shared it, the PAMT_2M entry."""
    page_wise = vcpu.host.d.options.page_wise

    def locked_page(each: float) -> Steps:
        pamt = vcpu.range.pamt
        yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G, each)
        yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
        if not vcpu.tried(pamt.try_shared(), Reg.RANGE_PAMT):
            yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G)
            raise BusyError
        if level:
            yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
            if not vcpu.tried(pamt.try_exclusive(sharers=1), Reg.RANGE_PAMT):
                yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M)
                pamt.drop_shared()
                yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G)
                raise BusyError
        if page_wise:
            yield from vcpu.atomic(vcpu.pamt_4k, Reg.PAGE_PAMT_4K, each)
        yield from vcpu.atomic(vcpu.td.tdr_chldcnt, Reg.TDR_CHLDCNT, each)
        if page_wise:
            yield from vcpu.atomic(vcpu.pamt_4k, Reg.PAGE_PAMT_4K, each)
        yield from vcpu.atomic(vcpu.pamt_2m, Reg.PAGE_PAMT_2M, each)
        pamt.drop_exclusive() if level else pamt.drop_shared()
        yield from vcpu.atomic(vcpu.pamt_1g, Reg.PAGE_PAMT_1G, each)

    def body(each: float) -> Steps:
        yield from share_tree(vcpu, each)
        entry = vcpu.range.entry
        try:
            if level and not vcpu.tried(entry.try_exclusive(), Reg.RANGE):
                raise BusyError
            try:
                if page_wise:
                    yield from vcpu.atomic(vcpu.sept_line, Reg.SEPT_LINE, each)
                yield from locked_page(each)
            finally:
                if level:
                    entry.drop_exclusive()
        except BusyError:
            yield from drop_tree(vcpu, 0.0)
            raise
        yield from drop_tree(vcpu, each)

    yield from td_call(vcpu, ns, 7 + level + 3 * page_wise, body, failed_ns)
    vcpu.count(Call.AUG)


def td_exit(vcpu: Vcpu, ns: float) -> Steps:
    """From the guest to the host."""
    td, each = vcpu.td, ns / 4
    yield from vcpu.spend(each)
    vcpu.mode = Mode.OUTSIDE
    yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH)
    td.inside_since[vcpu.epoch] -= 1
    yield from vcpu.atomic(td.tdr_pamt_4k, Reg.TDR_PAMT_4K, each)
    td.tdr.drop_shared()
    yield from vcpu.atomic(td.tdvpr_pamt_1g, Reg.TDVPR_PAMT_1G, each)
    yield from vcpu.spend(each)
    vcpu.count(Call.TD_EXIT)


def vp_enter(vcpu: Vcpu, ns: float, poll_ns: float, filtered: bool = False) -> Steps:
    """KVM's entry of the TD and TDH.VP.ENTER, again until it succeeds; the guest's first instruction comes next."""
    yield from pass_gate(vcpu, poll_ns)
    while True:
        try:
            yield from _enter(vcpu, ns / 8, filtered)
            break
        except BusyError:
            yield from vcpu.atomic(vcpu.td.tdr_pamt_4k, Reg.TDR_PAMT_4K)
            vcpu.td.tdr.drop_shared()
            yield from vcpu.atomic(vcpu.td.tdvpr_pamt_1g, Reg.TDVPR_PAMT_1G)
            vcpu.count(Call.ENTER_BUSY)
            vcpu.owe(poll_ns)
            yield from pass_gate(vcpu, poll_ns)
    vcpu.count(Call.VP_ENTER)


def pass_gate(vcpu: Vcpu, poll_ns: float) -> Steps:
    """Look at ``wait_for_sept_zap`` each time that the run loop goes round."""
    yield from vcpu.spend()
    while vcpu.td.wait_for_sept_zap:
        vcpu.mode = Mode.OUTSIDE
        if vcpu.kicked:
            vcpu.kicked = False
            answer(vcpu)
        vcpu.host.polls += 1
        yield vcpu.env.timeout(poll_ns)
    vcpu.mode = Mode.ENTERING


def answer(vcpu: Vcpu) -> None:
    """Acknowledge a kick."""
    vcpu.td.answers_due -= 1
    if not vcpu.td.answers_due:
        vcpu.td.all_out.succeed()


def _enter(vcpu: Vcpu, each: float, filtered: bool) -> Iterator[Any]:
    td = vcpu.td
    yield from vcpu.atomic(td.tdvpr_pamt_1g, Reg.TDVPR_PAMT_1G, each)
    yield from vcpu.atomic(td.tdr_pamt_4k, Reg.TDR_PAMT_4K, each)
    if not vcpu.tried(td.tdr.try_shared(), Reg.TDR_PAMT_4K):
        raise AssertionError("no call that is simulated takes the TDR exclusive")
    yield from vcpu.atomic(td.op_state, Reg.TDCS_OP_STATE, each)
    yield from vcpu.atomic(td.op_state, Reg.TDCS_OP_STATE, each)
    yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
    if not vcpu.tried(td.epoch_lock.try_shared(), Reg.TD_EPOCH):
        raise BusyError
    if filtered:
        yield from vcpu.atomic(td.tree_line, Reg.TDCS_TREE)
        if not vcpu.tried(td.tree.try_exclusive(), Reg.TDCS_TREE):
            yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH)
            td.epoch_lock.drop_shared()
            raise BusyError
        yield from vcpu.atomic(td.tree_line, Reg.TDCS_TREE)
        td.tree.drop_exclusive()
    yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
    vcpu.epoch = td.epoch
    td.inside_since[td.epoch] += 1
    yield from vcpu.atomic(td.epoch_line, Reg.TD_EPOCH, each)
    td.epoch_lock.drop_shared()
    yield from vcpu.spend(each)
