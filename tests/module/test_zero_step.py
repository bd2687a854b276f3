"""Does the zero-step filter count, log and refuse as the module does, and do the module's methods use it so?"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.module import zero_step as zs
from perfmodel.errors import InputError
from perfmodel.module import ModulePlatform, ModuleTdmr, Result, TdxModule

GIB, PAGE = 1 << 30, 1 << 12
POOL = GIB + (2 << 20)
BUSY_TREE = 0x8000_0200_0000_0092
EXIT = 48
RIP = 0xFFFF_FFFF_8100_0000


class Guest:
    """A RUNNABLE TD with the tables for the first 2 MiB of GPA, and its first vCPU."""

    def __init__(self, threshold: int | None = None) -> None:
        options = {} if threshold is None else {"zero_step_threshold": threshold}
        self.module = TdxModule(ModulePlatform(tdmr=(ModuleTdmr(GIB, GIB),), **options))
        self.module.add_td(tdr=GIB, tdcx=[GIB + i * PAGE for i in range(1, 7)], hkid=70, op_state="RUNNABLE", vcpus=2)
        for level in (3, 2, 1):
            assert self.module.tdh_mem_sept_add(rcx=level, rdx=GIB, r8=POOL + level * PAGE).rax == 0

    def aug(self, gfn: int) -> None:
        assert self.module.tdh_mem_page_aug(rcx=gfn << 12, rdx=GIB, r8=POOL + (1 << 20) + (gfn << 12)).rax == 0

    def map(self, gfn: int) -> None:
        self.aug(gfn)
        assert self.module.tdg_mem_page_accept(0, gfn << 12).rax == 0

    def enter(self, rip: int = RIP) -> tuple[int, int]:
        """Return RAX and R8 of an entry; a refused one must not count for an epoch."""
        before = sum(self.module.td(0).refcount)
        result = self.module.vcpu_enter(0, rip=rip)
        assert sum(self.module.td(0).refcount) == before + (result.rax == 0)
        assert result.exit == (result.rax == EXIT)
        assert (result.epoch is None) == (result.rax != 0)
        return result.rax, result.r8

    def fault(self, gfn: int, rip: int = RIP) -> Result:
        """Leave by an EPT violation."""
        result = self.module.td_ept_violation(0, rcx=gfn << 12, rip=rip)
        self.module.vcpu_exit(0, rip=rip)
        return result

    def log(self, *gfns: int) -> None:
        """Enter once and fault at each of ``gfns``, which a threshold of 0 logs."""
        assert self.enter() == (0, 0)
        for gfn in gfns:
            self.module.td_ept_violation(0, rcx=gfn << 12, rip=RIP)
        self.module.vcpu_exit(0, rip=RIP)
        assert self.module.zero_step_log(0) == tuple(gfn << 12 for gfn in gfns)


def fresh() -> npt.NDArray[np.int64]:
    return np.zeros(zs.ZERO_STEP_FIELDS, np.int64)


@dataclass
class Twin:
    """The filter's memory in plain Python."""

    threshold: int
    at: int = 0
    faults: int = 0
    logged: list[int] = field(default_factory=list)

    def leave(self, rip: int) -> None:
        if rip != self.at:
            self.faults, self.logged, self.at = 0, [], rip

    def violate(self, rip: int, gfn: int) -> bool:
        self.leave(rip)
        self.faults += 1
        if self.faults <= self.threshold:
            return False
        self.faults = self.threshold
        if gfn not in self.logged and len(self.logged) < 32:
            self.logged.append(gfn)
        return gfn in self.logged


EVENTS = st.tuples(st.sampled_from("eevvvvvvvvo"), st.sampled_from([-1, -1, -1, -1, 7]), st.integers(0, 40))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 8), st.lists(EVENTS, max_size=150))
def test_counter_and_list(threshold: int, events: list[tuple[str, int, int]]) -> None:
    state, twin = fresh(), Twin(threshold)
    for event, rip, gfn in events:
        if event == "v":
            assert zs.log_private_violation(state, rip, gfn, threshold) == twin.violate(rip, gfn)
        elif event == "o":
            zs.note_exit(state, rip)
            twin.leave(rip)
        else:
            state[zs.ENTRY_RIP] = twin.at = rip
        assert (state[zs.FAULTS], state[zs.ENTRY_RIP]) == (twin.faults, twin.at)
        assert state[zs.LOG : zs.LOG + state[zs.LOGGED]].tolist() == twin.logged


MOVES = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 16])
STAYS = st.lists(st.tuples(st.sampled_from("vvvvvvaobm"), MOVES, st.integers(0, 4)), max_size=60)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([0, 2, zs.THRESHOLD]), STAYS)
def test_stays_of_a_vcpu(threshold: int, stays: list[tuple[str, int, int]]) -> None:
    """Stays that end with a violation, an exit of ACCEPT or another; a busy tree; and pages that get mapped."""
    guest, twin, mapped, rip = Guest(threshold), Twin(threshold), set(), RIP
    module = guest.module
    for kind, moves, gfn in stays:
        if kind == "m" and gfn not in mapped:
            guest.map(gfn)
            mapped.add(gfn)
        if kind == "b":
            assert module.lock("tree", td=0, exclusive=False) == "SUCCESS"
            expected = (BUSY_TREE, 0) if twin.logged else (0, 0)
        else:
            expected = next(((EXIT, other << 12) for other in twin.logged if other not in mapped), (0, 0))
        assert guest.enter(rip) == expected
        twin.at = rip
        if kind == "b":
            module.unlock("tree", td=0, exclusive=False)
        if expected[0] == 0:
            rip += moves
            if kind == "v":
                twin.violate(rip, gfn)
                assert guest.fault(gfn, rip)[:5] == (EXIT, 0, 0, gfn << 12, 0)
            else:
                twin.leave(rip)
                if kind == "a":
                    assert module.tdg_mem_page_accept(0, 99 << 12).exit
                module.vcpu_exit(0, rip=rip)
        assert module.zero_step_log(0) == tuple(other << 12 for other in twin.logged)
        assert sum(module.td(0).refcount) == 0
        assert module.td(0).tree_lock == 0


@pytest.mark.parametrize("threshold", [0, 5, zs.THRESHOLD])
def test_the_exit_after_the_threshold_is_the_first_to_be_logged(threshold: int) -> None:
    guest = Guest(threshold)
    assert guest.enter(RIP - 4) == (0, 0)
    for exits in range(1, threshold + 2):  # the guest has moved when it first faults, which is the first of them
        guest.fault(9)
        assert guest.module.zero_step_log(0) == ((9 << 12,) if exits > threshold else ())
        assert guest.enter() == ((EXIT, 9 << 12) if exits > threshold else (0, 0))


def test_the_seventh_exit_is_the_first_to_be_logged_by_default() -> None:
    guest = Guest()
    for _ in range(6):
        assert guest.enter() == (0, 0)
        guest.fault(9)
    assert guest.module.zero_step_log(0) == ()
    assert guest.enter() == (0, 0)
    guest.fault(9)
    assert guest.module.zero_step_log(0) == (9 << 12,)


def test_more_than_the_list_holds() -> None:
    guest = Guest(0)
    guest.log(*range(32))
    guest.map(0)
    assert guest.enter() == (EXIT, PAGE)
    for gfn in range(1, 32):
        guest.map(gfn)
    assert guest.enter() == (0, 0)
    guest.fault(32)
    assert guest.module.zero_step_log(0) == tuple(gfn << 12 for gfn in range(32))
    assert guest.enter() == (0, 0), "what the list has no room for is not looked at"


def test_an_empty_list_leaves_the_tree_alone() -> None:
    guest = Guest()
    assert guest.module.lock("tree", td=0, exclusive=False) == "SUCCESS"
    assert guest.enter(5) == (0, 0)


def test_a_held_tree_refuses_entry_and_the_epoch_stays_free() -> None:
    guest = Guest(0)
    guest.log(3)
    assert guest.module.lock("tree", td=0, exclusive=False) == "SUCCESS"
    for _ in range(3):
        assert guest.enter() == (BUSY_TREE, 0)
        assert guest.module.tdh_mem_track(rcx=GIB).rax == 0
    assert guest.module.td(0).tree_lock == 2
    assert guest.module.zero_step_log(0) == (3 << 12,)


def test_from_fault_to_progress() -> None:
    guest = Guest(0)
    guest.log(3)
    assert guest.enter() == (EXIT, 3 << 12)
    guest.aug(3)
    assert guest.enter() == (EXIT, 3 << 12), "a PENDING page still faults"
    assert guest.module.tdg_mem_page_accept(0, 3 << 12).rax == 0
    assert guest.enter() == (0, 0)
    assert guest.module.zero_step_log(0) == (3 << 12,), "only progress empties the list"
    guest.module.vcpu_exit(0, rip=RIP + 2)
    assert guest.module.zero_step_log(0) == ()


def test_who_is_watched() -> None:
    guest = Guest(0)
    module = guest.module
    guest.log(3)
    assert module.zero_step_log(0, 1) == ()
    assert module.vcpu_enter(0, 1, rip=RIP).rax == 0, "the filter is a vCPU's own"
    assert module.td_ept_violation(0, rcx=1 << 47, vcpu=1, rip=RIP).exit
    assert module.zero_step_log(0, 1) == (), "a shared GPA"
    module.vcpu_exit(0, 1)
    assert module.vcpu_enter(0).rax == 0, "without a RIP the filter does not look"
    assert module.td_ept_violation(0, rcx=4 << 12).exit
    module.vcpu_exit(0)
    assert module.zero_step_log(0) == (3 << 12,)
    guest.map(3)
    assert module.vcpu_enter(0, rip=RIP + 8).rax == 0
    module.vcpu_exit(0, rip=RIP + 8)
    assert module.zero_step_log(0) == (3 << 12,), "what counts is the RIP of the entry, not of the last exit"
    with pytest.raises(InputError, match="inside its TD"):
        module.td_ept_violation(0, rcx=0, rip=RIP)
    with pytest.raises(InputError, match="rip"):
        module.vcpu_enter(0, rip=1 << 64)


@pytest.fixture(scope="module")
def half_mapped() -> Guest:
    """GFNs 0 to 19 are mapped, 20 to 29 PENDING, all others FREE or without a table."""
    guest = Guest(0)
    for gfn in range(30):
        if gfn < 20:
            guest.map(gfn)
        else:
            guest.aug(gfn)
    return guest


@settings(max_examples=60, deadline=None)
@given(gfns=st.lists(st.one_of(st.integers(0, 25), st.sampled_from([511, 512, 1 << 18])), max_size=32, unique=True))
def test_the_first_logged_gpa_that_faults_is_reported(half_mapped: Guest, gfns: list[int]) -> None:
    module = half_mapped.module
    assert module.vcpu_enter(0).rax == 0  # without the filter, which may still hold the list of the last example
    module.vcpu_exit(0, rip=0)
    half_mapped.log(*gfns)
    expected = next(((EXIT, gfn << 12) for gfn in gfns if gfn >= 20), (0, 0))
    assert half_mapped.enter() == expected
    if expected[0] == 0:
        module.vcpu_exit(0)
    assert sum(module.td(0).refcount) == 0
