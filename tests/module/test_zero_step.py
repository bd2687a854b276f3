"""Does the zero-step filter count, log and refuse as the module does?"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.keyhole import DYNAMIC_SLOTS, REFERENCES
from kernels.locks import share
from kernels.module import zero_step as zs
from kernels.module.block_calls import mem_track
from kernels.module.guest_calls import mem_page_accept, vcpu_enter, vcpu_exit
from kernels.module.page_calls import page_aug
from kernels.module.state import REFCOUNT, RUNNABLE, TREE_LOCK, Module
from kernels.module.table_calls import sept_add
from kernels.module.trace import start
from kernels.replay_record import R8, RCX, RDX
from kernels.status import EPT_VIOLATION_EXIT, as_unsigned
from perfmodel.module_state import build_module

BASE = 4 << 30
TDR = BASE
POOL = BASE + (2 << 20)
BUSY_TREE = 0x8000_0200_0000_0092
EXIT = 48


def make_module() -> Module:
    """Return a RUNNABLE TD with the tables for the first 2 MiB of GPA."""
    tdmr = SimpleNamespace(
        base=BASE, size=1 << 30, initialized=1 << 30, pamt_4k=7 << 36, pamt_2m=8 << 36, pamt_1g=9 << 36, reserved=()
    )
    platform = SimpleNamespace(
        tdmr=(tdmr,), hkid_start_bit=45, global_hkid=66, private_hkid_min=64, seamrr=SimpleNamespace(base=0, size=0)
    )
    td = SimpleNamespace(
        tdr=TDR, hkid=70, tdcx=[TDR + i * 4096 for i in range(1, 7)], gpaw=0, levels=4, lifecycle=1, fatal=0,
        num_tdcx=6, op_state=RUNNABLE, td_epoch=1, refcount=(0, 0), num_vcpus=1, pending_ve_disable=1, chldcnt=6,
    )  # fmt: skip
    module = build_module(platform, [td], 1)
    for level in (3, 2, 1):
        start(module.trace)
        assert sept_add(module, regs(level, POOL + level * 4096), 0, regs(0, 0)) == 0
    return module


def regs(rcx: int, page: int) -> npt.NDArray[np.uint64]:
    """Return registers of a call on the TD."""
    values = np.zeros(16, np.uint64)
    values[[RCX, RDX, R8]] = rcx, TDR, page
    return values


def aug(module: Module, gfn: int) -> None:
    start(module.trace)
    assert page_aug(module, regs(gfn << 12, POOL + (1 << 20) + (gfn << 12)), regs(0, 0)) == 0


def accept(module: Module, gfn: int) -> None:
    start(module.trace)
    assert mem_page_accept(module, 0, regs(gfn << 12, 0), -1, regs(0, 0)) == 0


def fresh() -> npt.NDArray[np.int64]:
    return np.zeros(zs.ZERO_STEP_FIELDS, np.int64)


def enter(module: Module, state: npt.NDArray[np.int64], rip: int) -> tuple[int, int]:
    """VP.ENTER as far as it is modelled; return RAX and R8."""
    out = regs(0, 0)
    start(module.trace)
    status, _ = vcpu_enter(module, 0, 0, False)
    assert status == 0
    status = zs.filter_on_enter(module, 0, 0, state, rip, out)
    assert not module.trace.keyholes[:, REFERENCES : REFERENCES + DYNAMIC_SLOTS].any()
    return as_unsigned(status), int(out[R8])


def refcounts(module: Module) -> int:
    return int(module.tds[0, REFCOUNT : REFCOUNT + 2].sum())


def log(state: npt.NDArray[np.int64], gfns: list[int], rip: int = 0) -> None:
    """Make ``gfns`` the logged ones."""
    for gfn in gfns:
        zs.log_private_violation(state, rip, gfn, 0)
    assert state[zs.LOG : zs.LOG + state[zs.LOGGED]].tolist() == gfns


@dataclass
class Twin:
    """The filter's memory in plain Python."""

    threshold: int
    at: int = 0
    faults: int = 0
    logged: list[int] = field(default_factory=list)

    def leave(self, rip: int) -> None:
        if rip != self.at:
            self.faults, self.logged = 0, []

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


@pytest.mark.parametrize("threshold", [0, 5, zs.THRESHOLD])
def test_the_exit_after_the_threshold_is_the_first_to_be_logged(threshold: int) -> None:
    state = fresh()
    logged = [bool(zs.log_private_violation(state, 0x40, 9, threshold))]  # the guest moved here: the first of them
    state[zs.ENTRY_RIP] = 0x40
    logged += [bool(zs.log_private_violation(state, 0x40, 9, threshold)) for _ in range(threshold + 1)]
    assert logged.index(True) == threshold


def test_more_than_the_list_holds() -> None:
    state = fresh()
    log(state, list(range(32)))
    assert not zs.log_private_violation(state, 0, 32, 0)
    assert zs.log_private_violation(state, 0, 31, 0)
    assert state[zs.LOGGED] == 32


def test_an_empty_list_leaves_the_tree_alone() -> None:
    module, state = make_module(), fresh()
    assert share(module.locks[0], TREE_LOCK)
    assert enter(module, state, 5) == (0, 0)
    assert state[zs.ENTRY_RIP] == 5
    assert refcounts(module) == 1


def test_a_held_tree_refuses_entry_and_the_epoch_stays_free() -> None:
    module, state = make_module(), fresh()
    log(state, [3])
    assert share(module.locks[0], TREE_LOCK)
    for _ in range(3):
        assert enter(module, state, 0) == (BUSY_TREE, 0)
        assert refcounts(module) == 0
        start(module.trace)
        assert mem_track(module, regs(TDR, 0), regs(0, 0)) == 0
    assert module.locks[0, TREE_LOCK, 0] == 2
    assert state[zs.LOGGED] == 1


def test_from_fault_to_progress() -> None:
    module, state = make_module(), fresh()
    log(state, [3])
    assert enter(module, state, 0) == (EXIT, 3 << 12)
    aug(module, 3)
    assert enter(module, state, 0) == (EXIT, 3 << 12), "a PENDING page still faults"
    assert refcounts(module) == 0
    accept(module, 3)
    assert enter(module, state, 0) == (0, 0)
    assert refcounts(module) == 1
    assert state[zs.LOGGED] == 1, "only progress empties the list"
    vcpu_exit(module, 0, 0)
    zs.note_exit(state, 2)
    assert (state[zs.FAULTS], state[zs.LOGGED]) == (0, 0)
    assert module.locks[0, TREE_LOCK, 0] == 0


@pytest.fixture(scope="module")
def half_mapped() -> Module:
    """GFNs 0 to 19 are mapped, 20 to 29 PENDING, all others FREE or without a table."""
    module = make_module()
    for gfn in range(30):
        aug(module, gfn)
        if gfn < 20:
            accept(module, gfn)
    return module


@settings(max_examples=60, deadline=None)
@given(gfns=st.lists(st.one_of(st.integers(0, 25), st.sampled_from([511, 512, 1 << 18])), max_size=32, unique=True))
def test_the_first_logged_gpa_that_faults_is_reported(half_mapped: Module, gfns: list[int]) -> None:
    state = fresh()
    log(state, gfns)
    expected = next(((EXIT, gfn << 12) for gfn in gfns if gfn >= 20), (0, 0))
    assert enter(half_mapped, state, 0) == expected
    if expected[0] == 0:
        vcpu_exit(half_mapped, 0, 0)
    assert refcounts(half_mapped) == 0
    assert EPT_VIOLATION_EXIT == EXIT
