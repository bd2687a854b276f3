"""The module's calls as scripts: their atomic instructions on the lines that vCPUs share, in the module's order.

Lines that only the calling vCPU writes (its page's PAMT_4K and S-EPT entries, its TDVPR's own) are part of the work.
Atomic instructions of a call divide its work evenly. Sources: TDX module 1.5.01, commit 72d8cffb,
``tdh_mem_page_aug.c`` and the other calls' files, ``tdx_locks.h``, ``pamt_manager.c``, ``tdh_vp_enter.c``,
``td_exit.c``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from kernels.queueing.layout import Op
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script


class Call(IntEnum):
    """What scripts count."""

    TD_EXIT = 0
    VP_ENTER = 1
    FAULT = 2
    AUG = 3
    SEPT_ADD = 4
    ACCEPT = 5
    RETRY = 6  # RET_PF_RETRY
    BLOCK = 7
    TRACK = 8
    REMOVE = 9
    WBINVD = 10
    DEMOTE = 11
    KICKED = 12  # TD exits that a kick forced
    PAMT_ADD = 13
    ENTER_BUSY = 14  # TDH.VP.ENTERs that failed
    NO_VCPUS = 15  # tdh_do_no_vcpus: a second kick and a second try
    GUEST_BUSY = 16  # ACCEPTs that met a locked entry


class Shares:
    """Divides a call's work evenly among its atomic instructions and what follows them."""

    def __init__(self, script: Script, ns: float, atomics: int) -> None:
        self._script, self._each = script, ns / (atomics + 1)

    def atomic(self, line: Reg) -> None:
        """One atomic instruction without a lock that anyone can find taken."""
        self.step(Op.ATOMIC, line)

    def step(self, op: Op, line: int, lock: int = -1, otherwise: "Label | int" = 0) -> None:
        """One atomic instruction that does ``op``."""
        self._script.work(self._each)
        self._script.add(op, line, lock, otherwise=otherwise)

    def spent(self, atomics: int) -> float:
        """Return the work done with the first ``atomics`` of them, in ns."""
        return atomics * self._each

    def rest(self) -> None:
        """The work behind the last of them."""
        self._script.work(self._each)


@contextmanager
def td_call(script: Script, ns: float, inner: int, busy: Label) -> Iterator[Shares]:
    """A call of TD scope: PAMT locks on the TDR, op_state, then the block with ``inner`` atomics, and all released.

    ``busy`` is placed behind what a call leaves when it fails at the TDR; a call that fails later goes to the label
    that the block gives, between which and the end the locks are released.
    """
    shares = Shares(script, ns, 8 + inner)
    shares.atomic(Reg.TDR_PAMT_1G)
    shares.atomic(Reg.TDR_PAMT_2M)
    shares.step(Op.TRY_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K, busy)
    shares.atomic(Reg.TDCS_OP_STATE)
    yield shares
    shares.atomic(Reg.TDCS_OP_STATE)
    shares.step(Op.DROP_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K)
    shares.atomic(Reg.TDR_PAMT_2M)
    shares.atomic(Reg.TDR_PAMT_1G)
    shares.rest()


def fail(script: Script, ns: float, failed: Label, go_on: Label) -> None:
    """What a call that fails behind the op_state lock does: release, return; then KVM goes on at ``go_on``."""
    script.place(failed)
    shares = Shares(script, ns, 4)
    shares.atomic(Reg.TDCS_OP_STATE)
    shares.step(Op.DROP_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K)
    shares.atomic(Reg.TDR_PAMT_2M)
    shares.atomic(Reg.TDR_PAMT_1G)
    shares.rest()
    script.add(Op.NOTHING)
    script.add(Op.JUMP, arg=go_on)


def page_aug(
    script: Script, ns: float, failed_ns: float, level: int, busy: Label, page_wise: bool = False
) -> None:  # fmt: skip
    """TDH.MEM.PAGE.AUG; BUSY goes on at ``busy``.

    A 4K entry is nobody else's, a 2M entry a guest may hold; with ``page_wise`` the lines of a 4K entry and of its
    PAMT entry are shared.
    """
    tree, entry, page, promote, end = Label(), Label(), Label(), Label(), Label()
    with td_call(script, ns, 7 + level + (3 if page_wise else 0), busy) as call:
        call.step(Op.TRY_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE, tree)
        if level:
            script.add(Op.TRY_EXCLUSIVE, -1, Reg.RANGE, otherwise=entry)
        if page_wise:
            call.atomic(Reg.SEPT_LINE)
        call.atomic(Reg.PAGE_PAMT_1G)
        call.step(Op.TRY_SHARED, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT, page)
        if level:
            call.step(Op.TRY_PROMOTE, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT, promote)
        if page_wise:
            call.atomic(Reg.PAGE_PAMT_4K)
        call.atomic(Reg.TDR_CHLDCNT)
        if page_wise:
            call.atomic(Reg.PAGE_PAMT_4K)
        call.step(Op.DROP_EXCLUSIVE if level else Op.DROP_SHARED, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT)
        call.atomic(Reg.PAGE_PAMT_1G)
        if level:
            script.add(Op.DROP_EXCLUSIVE, -1, Reg.RANGE)
        call.step(Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE)
    script.add(Op.COUNT, arg=Call.AUG)
    script.add(Op.JUMP, arg=end)
    script.place(promote)
    script.add(Op.DROP_SHARED, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT)
    script.place(page)
    script.add(Op.ATOMIC, Reg.PAGE_PAMT_1G)
    if level:
        script.add(Op.DROP_EXCLUSIVE, -1, Reg.RANGE)
    script.place(entry)
    script.add(Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE)
    fail(script, max(failed_ns - call.spent(5), 0.0), tree, busy)
    script.place(end)


def sept_add(script: Script, ns: float, failed_ns: float, busy: Label) -> None:
    """TDH.MEM.SEPT.ADD of a table whose page lies where the other tables do."""
    tree, end = Label(), Label()
    with td_call(script, ns, 3, busy) as call:
        call.step(Op.TRY_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE, tree)
        call.atomic(Reg.TDR_CHLDCNT)
        call.step(Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE)
    script.add(Op.COUNT, arg=Call.SEPT_ADD)
    script.add(Op.JUMP, arg=end)
    fail(script, max(failed_ns - call.spent(5), 0.0), tree, busy)
    script.place(end)


def vp_enter(
    script: Script, ns: float, poll_ns: float, zero_step: int | None = None, lands: bool = True
) -> None:  # fmt: skip
    """KVM's entry of the TD: TDH.VP.ENTER, again until it succeeds.

    Parameters
    ----------
    script : Script
    ns, poll_ns : float
        The entry, and one turn of the run loop while ``wait_for_sept_zap`` is set.
    zero_step : int, optional
        For a vCPU whose RIP may not have moved: the EPT-violation exits at one RIP that only count. From the next on,
        the entry takes the S-EPT tree lock exclusive.
    lands : bool
        The guest goes on behind it, not what a kick broke off.
    """
    again, busy, inside, plain = Label(), Label(), Label(), Label()
    script.add(Op.GATE, Reg.KICK, arg=round(poll_ns * 1000))
    script.place(again)
    shares = Shares(script, ns, 7)
    shares.atomic(Reg.TDVPR_PAMT_1G)
    shares.step(Op.TRY_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K, again)
    shares.atomic(Reg.TDCS_OP_STATE)
    shares.atomic(Reg.TDCS_OP_STATE)
    shares.step(Op.TRY_SHARED, Reg.TD_EPOCH, Reg.TD_EPOCH, busy)
    if zero_step is not None:
        filtered, logged = Label(), Label()
        script.add(Op.IF_LESS, Reg.SAME_RIP, arg=zero_step + 1, otherwise=filtered)
        script.add(Op.JUMP, arg=plain)
        script.place(filtered)
        script.add(Op.TRY_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE, otherwise=logged)
        script.add(Op.DROP_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE)
        script.add(Op.JUMP, arg=plain)
        script.place(logged)
        script.add(Op.DROP_SHARED, Reg.TD_EPOCH, Reg.TD_EPOCH)
        script.add(Op.JUMP, arg=busy)
    script.place(plain)
    shares.step(Op.ENTER, Reg.TD_EPOCH)
    shares.step(Op.DROP_SHARED, Reg.TD_EPOCH, Reg.TD_EPOCH)
    shares.rest()
    if lands:
        script.add(Op.LAND)
    script.add(Op.COUNT, arg=Call.VP_ENTER)
    script.add(Op.JUMP, arg=inside)
    script.place(busy)
    script.add(Op.DROP_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K)
    script.add(Op.ATOMIC, Reg.TDVPR_PAMT_1G)
    script.add(Op.COUNT, arg=Call.ENTER_BUSY)
    script.work(poll_ns)
    script.add(Op.GATE, Reg.KICK, arg=round(poll_ns * 1000))
    script.add(Op.JUMP, arg=again)
    script.place(inside)


def td_exit(script: Script, ns: float) -> None:
    """The TD exit, from the guest to the host: out of the epoch, TDR and TDVPR released."""
    shares = Shares(script, ns, 3)
    shares.step(Op.EXIT, Reg.TD_EPOCH)
    shares.step(Op.DROP_SHARED, Reg.TDR_PAMT_4K, Reg.TDR_PAMT_4K)
    shares.atomic(Reg.TDVPR_PAMT_1G)
    shares.rest()
    script.add(Op.COUNT, arg=Call.TD_EXIT)
