"""Zap, split, conversion and tear-down as scripts, and what vCPUs do that are kicked meanwhile.

One thread changes mappings under mmu_lock for write; each leaf is BLOCK, TRACK, a kick of every vCPU inside, REMOVE or
DEMOTE. A call of this group that finds its lock taken is tried once more with all vCPUs kept outside
(``tdh_do_no_vcpus``). Sources: Sean Christopherson, "KVM: x86/mmu: TDX post-populate cleanups" v4, 2025-10-30,
https://lore.kernel.org/all/20251030200951.3402865-17-seanjc@google.com; Linux arch/x86/kvm/vmx/tdx.c (about v6.19).
"""

from collections.abc import Callable
from dataclasses import dataclass

from kernels.queueing.layout import Op
from perfmodel.scaling.module_calls import Call, Shares, fail, td_call, td_exit, vp_enter
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import Label, Script

RANGE_PAGES = 512
_DROP = {Op.TRY_SHARED: Op.DROP_SHARED, Op.TRY_EXCLUSIVE: Op.DROP_EXCLUSIVE}


@dataclass(frozen=True)
class ChangeServices:
    """Pieces of a change of mappings, in ns, for one vCPU that meets nobody and kicks nobody.

    Attributes
    ----------
    level : {0, 1}
        Of the leaves that are zapped.
    block, track, remove, wbinvd, reset, demote : float
        The calls, with KVM's part; ``reset`` is 0 on parts that need none.
    kick : float
        One kvm_make_all_cpus_request, with its look at every vCPU.
    write_lock, map_gpa, attributes, free : float
        mmu_lock for write; a MapGPA chunk's way to userspace and back; the change of its attributes; giving one
        leaf's pages back.
    exit, dispatch, enter : float
        Of a vCPU that is kicked or that converts.
    failed_call : float
    leaves : int
        Of a MapGPA chunk, or of a range zapped under one lock.
    """

    level: int
    block: float
    track: float
    remove: float
    wbinvd: float
    reset: float
    demote: float
    kick: float
    write_lock: float
    map_gpa: float
    attributes: float
    free: float
    exit: float
    dispatch: float
    enter: float
    failed_call: float
    leaves: int

    @property
    def pages(self) -> int:
        """4K pages of a leaf."""
        return RANGE_PAGES if self.level else 1


class ChangePath:
    """Writes changes of mappings into a script."""

    def __init__(self, script: Script, services: ChangeServices) -> None:
        self._script, self._s = script, services

    def kicked(self) -> int:
        """What a vCPU inside does when it is interrupted; return its first step."""
        script, s = self._script, self._s
        first = script.here
        td_exit(script, s.exit)
        script.add(Op.ANSWER, Reg.KICK)
        script.add(Op.COUNT, arg=Call.KICKED)
        script.work(s.dispatch)
        vp_enter(script, s.enter, s.dispatch, lands=False)
        script.add(Op.RESUME)
        return first

    def _or_without_vcpus(self, call: Callable[[Label], None]) -> None:
        """Make a call; if it is BUSY, once more while ``wait_for_sept_zap`` keeps all vCPUs outside."""
        script = self._script
        busy, end = Label(), Label()
        call(busy)
        script.add(Op.JUMP, arg=end)
        script.place(busy)
        script.add(Op.FLAG, arg=1)
        script.add(Op.COUNT, arg=Call.NO_VCPUS)
        script.work(self._s.kick)
        script.add(Op.KICK, Reg.KICK)
        again = Label()
        script.place(again)
        call(again)
        script.add(Op.FLAG, arg=0)
        script.place(end)

    def _call(self, ns: float, inner: list[tuple[Op, int, int]], counted: Call) -> None:
        """A call of the group: ``inner`` are its atomics behind op_state, those that lock first."""

        script = self._script

        def make(busy: Label) -> None:
            failed, end = [Label() for _ in inner], Label()
            with td_call(script, ns, len(inner), busy) as call:
                for (op, line, lock), label in zip(inner, failed, strict=True):
                    call.step(op, line, lock, label if op in _DROP else 0)
            script.add(Op.COUNT, arg=counted)
            script.add(Op.JUMP, arg=end)
            tried = [(step, label) for step, label in zip(inner, failed, strict=True) if step[0] in _DROP]
            for at in range(len(tried) - 1, 0, -1):  # who fails at one lock gives those before it back
                script.place(tried[at][1])
                op, line, lock = tried[at - 1][0]
                script.add(_DROP[op], line, lock)
            fail(script, max(self._s.failed_call - call.spent(5), 0.0), tried[0][1], busy)
            script.place(end)

        self._or_without_vcpus(make)

    def _block(self) -> None:
        self._call(
            self._s.block,
            [(Op.TRY_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE), (Op.DROP_EXCLUSIVE, Reg.TDCS_TREE, Reg.TDCS_TREE)],
            Call.BLOCK,
        )

    def _track(self) -> None:
        """TRACK, then always a kick, whether it found vCPUs of the epoch before or not."""
        script = self._script

        def make(busy: Label) -> None:
            locked, tracked, end = Label(), Label(), Label()
            with td_call(script, self._s.track, 2, busy) as call:
                call.step(Op.TRY_EXCLUSIVE, Reg.TD_EPOCH, Reg.TD_EPOCH, locked)
                script.add(Op.TRACK, lock=Reg.TD_EPOCH, otherwise=tracked)
                call.step(Op.DROP_EXCLUSIVE, Reg.TD_EPOCH, Reg.TD_EPOCH)
            script.add(Op.COUNT, arg=Call.TRACK)
            script.add(Op.JUMP, arg=end)
            script.place(tracked)
            script.add(Op.DROP_EXCLUSIVE, Reg.TD_EPOCH, Reg.TD_EPOCH)
            fail(script, max(self._s.failed_call - call.spent(5), 0.0), locked, busy)
            script.place(end)

        self._or_without_vcpus(make)
        script.work(self._s.kick)
        script.add(Op.KICK, Reg.KICK)

    def _remove(self) -> None:
        self._call(
            self._s.remove,
            [
                (Op.TRY_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE),
                (Op.ATOMIC, Reg.TD_EPOCH, -1),  # LOCK CMPXCHG16B reads epoch and reference count
                (Op.ATOMIC, Reg.TDR_CHLDCNT, -1),
                (Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE),
            ],
            Call.REMOVE,
        )

    def _wbinvd(self) -> None:
        """TDH.PHYMEM.PAGE.WBINVD of one 4K page: no TDR, the page's PAMT shared."""
        script = self._script
        shares = Shares(script, self._s.wbinvd, 4)
        shares.atomic(Reg.PAGE_PAMT_1G)
        shares.atomic(Reg.PAGE_PAMT_2M)
        shares.atomic(Reg.PAGE_PAMT_2M)
        shares.atomic(Reg.PAGE_PAMT_1G)
        shares.rest()
        script.add(Op.COUNT, arg=Call.WBINVD)

    def zap_leaf(self) -> None:
        """Zap one leaf with mmu_lock held for write."""
        script, s = self._script, self._s
        self._block()
        self._track()
        self._remove()
        if s.level:
            with script.repeat(Reg.SECOND_COUNT, RANGE_PAGES):
                self._wbinvd()
                script.work(s.reset)
        else:
            self._wbinvd()
            script.work(s.reset)
        script.work(s.free)
        script.add(Op.NOTHING)

    def split_leaf(self) -> None:
        """Split one 2M leaf with mmu_lock held for write."""
        self._block()
        self._track()
        self._call(
            self._s.demote,
            [
                (Op.TRY_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE),
                (Op.TRY_EXCLUSIVE, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT),
                (Op.ATOMIC, Reg.TD_EPOCH, -1),
                (Op.DROP_EXCLUSIVE, Reg.PAGE_PAMT_2M, Reg.RANGE_PAMT),
                (Op.ATOMIC, Reg.TDR_CHLDCNT, -1),
                (Op.DROP_SHARED, Reg.TDCS_TREE, Reg.TDCS_TREE),
            ],
            Call.DEMOTE,
        )

    def split_under_write_lock(self) -> None:
        """Split the leaf of a fault whose ACCEPT asks for less."""
        self._script.work(self._s.write_lock)
        self._script.add(Op.WRITE_LOCK, Reg.MMU_LOCK)
        self.split_leaf()
        self._script.add(Op.WRITE_UNLOCK, Reg.MMU_LOCK)

    def under_write_lock(self, leaf: Callable[[], None]) -> None:
        """Change all leaves of a unit under one write lock."""
        script, s = self._script, self._s
        script.work(s.write_lock)
        script.add(Op.WRITE_LOCK, Reg.MMU_LOCK)
        with script.repeat(Reg.FIRST_COUNT, s.leaves):
            script.add(Op.BEGIN)
            leaf()
            script.add(Op.DONE, arg=s.pages)
        script.add(Op.WRITE_UNLOCK, Reg.MMU_LOCK)

    def convert_chunk(self, split: bool) -> None:
        """One 2 MiB chunk of MapGPA, private to shared: out to userspace, attributes, split or zap, and back in."""
        script, s = self._script, self._s
        td_exit(script, s.exit)
        script.work(s.dispatch + s.map_gpa + s.attributes)
        self.under_write_lock(self.split_leaf if split else self.zap_leaf)
        vp_enter(script, s.enter, s.dispatch)
