"""Does the module object give, call by call, what the TDX module gives?"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernels.replay_record import EV_FIELDS
from perfmodel.errors import InputError
from perfmodel.module import Result, TdxModule

GIB, MIB, PAGE = 1 << 30, 1 << 20, 1 << 12
TABLES, DATA = GIB, GIB + 256 * MIB  # HPAs that the tests give tables and data from
NO_PAGE = (1 << 64) - 1


class Host:
    """A TD with its TDR's address and a supply of table pages."""

    def __init__(self, *tables: int, **td: Any) -> None:
        self.module = TdxModule.small(**td)
        self.tdr = self.module.td(0).tdr
        self.pages: Iterator[int] = iter(range(TABLES, TABLES + 128 * MIB, PAGE))
        for rcx in tables:
            self.ok("tdh_mem_sept_add", rcx, next(self.pages))

    def call(self, name: str, rcx: int, r8: int | None = None, **more: Any) -> Result:
        registers = more if r8 is None else {"r8": r8} | more
        result = getattr(self.module, name)(rcx=rcx, rdx=self.tdr, **registers)
        assert isinstance(result, Result)
        return result

    def ok(self, name: str, rcx: int, r8: int | None = None, **more: Any) -> Result:
        result = self.call(name, rcx, r8, **more)
        assert result.status == "SUCCESS", (name, hex(rcx), result)
        return result

    def track(self) -> int:
        return self.module.tdh_mem_track(rcx=self.tdr).rax

    def block(self, rcx: int) -> None:
        self.ok("tdh_mem_range_block", rcx)
        assert self.track() == 0

    def map_4k(self, gpa: int = 0, pages: int = 512, hpa: int = DATA, accept: bool = False) -> None:
        for offset in range(0, pages * PAGE, PAGE):
            self.ok("tdh_mem_page_aug", gpa + offset, hpa + offset)
            assert not accept or self.module.tdg_mem_page_accept(0, gpa + offset).rax == 0


@pytest.fixture
def running() -> Host:
    """A running TD with tables down to 4K for the first 2 MiB and down to 2M for the rest of the first GiB."""
    return Host(3, 2, 1, op_state="RUNNABLE")


def test_a_td_from_its_first_table_to_its_last_page() -> None:
    host = Host(3, 2, 1, vcpus=2)
    module, tdr = host.module, host.tdr
    assert host.call("tdh_mem_page_add", 0, DATA, r9=DATA + PAGE).rax == 0
    for chunk in range(0, PAGE, 256):
        assert host.call("tdh_mr_extend", chunk).rax == 0
    assert module.vcpu_enter(0).rax == 0xC000060800000000
    assert module.tdh_mr_finalize(rcx=tdr).rax == 0
    assert module.td(0).op_state == "RUNNABLE"
    assert host.call("tdh_mem_page_add", PAGE, DATA + 2 * PAGE, r9=DATA).rax == 0xC000060800000000
    assert module.sept_entry(0, 0) == (0, 0x80000000000000F7 | DATA, "MAPPED")

    entered = module.vcpu_enter(0)
    assert (entered.rax, entered.epoch, entered.invept) == (0, 1, True)
    exited = module.tdg_mem_page_accept(0, PAGE)  # nothing there
    assert (exited.exit, exited.rax, exited.status) == (True, 48, "EPT_VIOLATION_EXIT")
    assert (exited.rcx, exited.rdx, exited.r8, exited.r9) == (2, 1, PAGE, 0)
    assert host.call("tdh_mem_page_aug", PAGE, DATA + PAGE).rax == 0
    assert module.sept_entry(0, PAGE).state == "PENDING"
    assert module.td_ept_violation(0, rcx=PAGE + 8, rdx=0x182)[:4] == (48, 2, 6, PAGE)
    assert module.tdg_mem_page_accept(0, PAGE).rax == 0
    assert module.tdg_mem_page_accept(0, PAGE).rax == 0x00000B0A00000000

    assert host.call("tdh_mem_page_remove", PAGE).rax == 0xC0000B0600000001
    assert host.call("tdh_mem_range_block", PAGE).rax == 0
    assert host.call("tdh_mem_range_block", PAGE).rax == 0x00000B0700000001
    assert host.call("tdh_mem_page_remove", PAGE).rax == 0xC0000B0800000001
    assert host.call("tdh_mem_range_unblock", PAGE).rax == 0xC0000B0800000092
    assert host.track() == 0
    assert host.call("tdh_mem_page_remove", PAGE).rax == 0xC0000B0800000001  # the vCPU is still inside
    assert module.vcpu_enter(0, 1).epoch == 2
    assert host.track() == 0x8000020100000000
    module.vcpu_exit(0, 0)
    assert module.td(0).refcount == (1, 0)
    removed = host.call("tdh_mem_page_remove", PAGE)
    assert (removed.rax, removed.rcx) == (0, DATA + PAGE)
    assert module.pamt(DATA + PAGE).type == "NDA"
    assert module.tdh_phymem_page_wbinvd(rcx=DATA + PAGE | 66 << 45).rax == 0
    assert module.vcpu_enter(0, 0).invept is True
    module.vcpu_exit(0, 0)
    module.vcpu_exit(0, 1)

    assert module.tdh_phymem_page_reclaim(rcx=DATA).rax == 0xC000060700000000
    module.set_lifecycle(0, "TEARDOWN")
    assert host.call("tdh_mem_sept_rd", 0).rax == 0x8000081000000000
    reclaimed = module.tdh_phymem_page_reclaim(rcx=DATA)
    assert (reclaimed.rax, reclaimed.rcx, reclaimed.rdx, reclaimed.r8) == (0, 3, tdr, 0)
    assert module.tdh_phymem_page_reclaim(rcx=DATA).rax == 0xC000030000000001
    assert module.tdh_phymem_page_reclaim(rcx=tdr).rax == 0xC000040000000000
    for page in (TABLES, TABLES + PAGE, TABLES + 2 * PAGE, *(tdr + i * PAGE for i in range(1, 7))):
        assert module.tdh_phymem_page_reclaim(rcx=page).rax == 0
    assert module.td(0).chldcnt == 0
    assert module.tdh_phymem_page_reclaim(rcx=tdr).rax == 0
    assert host.call("tdh_mem_sept_rd", 0).rax == 0xC000030000000002


@pytest.mark.parametrize("accept", [True, False])
def test_promote_and_demote_undo_each_other(running: Host, accept: bool) -> None:
    host, module = running, running.module
    table = TABLES + 2 * PAGE
    host.map_4k(accept=accept)
    before = module.td(0).chldcnt
    assert host.call("tdh_mem_page_promote", 1).rax == 0xC0000B0600000001
    host.block(1)
    interrupted = host.call("tdh_mem_page_promote", 1, interrupt=True)
    assert (interrupted.rax, interrupted.rcx, interrupted.rdx) == (0x8000000400000000, 1, host.tdr)
    assert interrupted.events["lk"] == 1552
    promoted = host.ok("tdh_mem_page_promote", 1)
    assert promoted.rcx == table
    counts = promoted.events
    assert (counts["km"], counts["lk"], counts["lf"]) == (16, 1043, 17)
    assert module.sept_entry(0, 0) == (1, DATA | (0x80000000000000F7 if accept else 0x81000000000000F0),
                                       "MAPPED" if accept else "PENDING")  # fmt: skip
    assert [module.pamt(hpa).level for hpa in (DATA, DATA + PAGE)] == [1, 1]
    assert module.pamt(DATA + PAGE, 0).type == "NDA"
    assert module.pamt(table).type == "NDA"
    assert module.td(0).chldcnt == before - 1
    host.block(1)
    demoted = host.ok("tdh_mem_page_demote", 1, table)
    counts = demoted.events
    assert (counts["km"], counts["lk"], counts["lf"], counts["md"], counts["mf"]) == (23, 23, 24, 64, 1)
    for i in (0, 1, 511):
        assert module.sept_entry(0, i * PAGE).raw & 0x000F_FFFF_FFFF_F000 == DATA + i * PAGE
        assert module.pamt(DATA + i * PAGE)[:3] == (0, "REG", host.tdr)
    assert module.pamt(table).type == "EPT"
    assert module.td(0).chldcnt == before


def test_children_that_do_not_fit_are_not_promoted(running: Host) -> None:
    running.map_4k(pages=511)
    running.ok("tdh_mem_page_aug", 511 * PAGE, DATA + 4 * MIB)
    running.block(1)
    result = running.call("tdh_mem_page_promote", 1)
    assert (result.rax, result.rdx) == (0xC0000B0900000001, 0x8101)
    assert running.module.sept_entry(0, 0).state == "PENDING"


def test_blocking_loses_the_progress_of_an_accept(running: Host) -> None:
    host, module, gpa = running, running.module, 2 * MIB
    host.ok("tdh_mem_page_aug", gpa | 1, DATA)
    interrupted = module.tdg_mem_page_accept(0, gpa | 1, interrupt_after=99)
    assert (interrupted.status, interrupted.rax, interrupted.events["rm"]) == ("INTERRUPTED", 0, 100)
    assert module.sept_entry(0, gpa, 1).raw >> 12 & 511 == 100
    assert module.tdg_mem_page_accept(0, gpa | 1, interrupt_after=9).interrupted
    assert host.call("tdh_mem_sept_rd", gpa | 1).rcx >> 12 & 511 == 110
    host.block(gpa | 1)
    assert module.sept_entry(0, gpa, 1).raw >> 12 & 511 == 0
    host.ok("tdh_mem_range_unblock", gpa | 1)
    done = module.tdg_mem_page_accept(0, gpa | 1, interrupt_after=511)
    assert (done.status, done.events["md"]) == ("SUCCESS", 512 * 64)


def test_a_refused_host_has_priority_over_the_guest(running: Host) -> None:
    host, module = running, running.module
    host.map_4k(pages=1)
    entry = {"td": 0, "gpa": 0, "side": "guest"}
    assert module.lock("septe", **entry) == "SUCCESS"
    refused = host.call("tdh_mem_range_block", 0)
    assert (refused.rax, refused.operand, refused.rdx) == (0x8000020000000001, 1, 0x200)
    assert module.sept_entry(0, 0).raw >> 52 & 1 == 1
    assert module.tdg_mem_page_accept(0, 0).rax == 0x8000020000000001
    module.unlock("septe", **entry)
    assert module.tdg_mem_page_accept(0, 0).rax == 0x8000020400000001
    assert module.lock("septe", **entry) == "OPERAND_BUSY_HOST_PRIORITY"
    host.ok("tdh_mem_sept_rd", 0)
    assert module.sept_entry(0, 0).raw >> 52 & 1 == 0
    assert module.tdg_mem_page_accept(0, 0).rax == 0


def test_a_td_cannot_be_given_its_own_tdr(running: Host) -> None:
    host, module = running, running.module
    for _ in range(2):  # retrying does not help
        assert host.call("tdh_mem_page_aug", 0, host.tdr).rax == 0x8000020000000008
    assert module.pamt(host.tdr).lock == 2
    assert host.call("tdh_mem_page_aug", 2 * MIB | 1, host.tdr & -2 * MIB).rax == 0x8000020000000008
    assert module.pamt(host.tdr, 1).lock == 2
    assert host.track() == 0
    assert module.pamt(host.tdr).lock == 0


@pytest.mark.parametrize(
    ("kind", "where", "rax"),
    [
        ("tree", {"td": 0}, 0x8000020000000092),
        ("opstate", {"td": 0}, 0x80000200000000AC),
        ("pamt", {"hpa": DATA}, 0x8000020000000008),
        ("pamt", {"hpa": DATA, "level": 1, "exclusive": True}, 0x8000020000000008),
        ("pamt", {"hpa": GIB, "level": 2}, 0x8000020000000008),
        ("septe", {"td": 0, "gpa": 0}, 0x8000020000000001),
    ],
)
def test_whatever_another_lp_holds_is_busy(running: Host, kind: str, where: dict[str, Any], rax: int) -> None:
    module = running.module
    assert module.lock(kind, **where) == "SUCCESS"
    assert running.call("tdh_mem_page_aug", 0, DATA).rax == rax
    module.unlock(kind, **where)
    assert running.call("tdh_mem_page_aug", 0, DATA).rax == 0


def test_locks_that_can_be_shared_and_the_epochs(running: Host) -> None:
    module = running.module
    assert [module.lock("epoch", td=0, exclusive=False) for _ in "ab"] == ["SUCCESS", "SUCCESS"]
    assert module.lock("epoch", td=0) == "OPERAND_BUSY"
    assert running.track() == 0x80000200000000A9
    for _ in "ab":
        module.unlock("epoch", td=0, exclusive=False)
    assert running.track() == 0
    assert module.lock("epoch", td=0) == "SUCCESS"
    assert module.vcpu_enter(0).rax == 0x80000200000000A9
    with pytest.raises(InputError, match="a lock that is held"):
        module.unlock("tree", td=0)


GPA_2M = 2 * MIB
ERRORS: list[tuple[str, Callable[[Host], Result], int]] = [
    ("AUG at level 2", lambda h: h.call("tdh_mem_page_aug", 2, DATA), 0xC000010000000001),
    ("AUG with reserved bits", lambda h: h.call("tdh_mem_page_aug", 8, DATA), 0xC000010000000001),
    ("AUG of a misaligned GPA", lambda h: h.call("tdh_mem_page_aug", PAGE | 1, DATA), 0xC000010000000001),
    ("AUG of a shared GPA", lambda h: h.call("tdh_mem_page_aug", 1 << 47, DATA), 0xC000010000000001),
    ("AUG beyond the width", lambda h: h.call("tdh_mem_page_aug", 1 << 48, DATA), 0xC000010000000001),
    ("AUG without a table", lambda h: h.call("tdh_mem_page_aug", 4 * MIB, DATA), 0xC0000B0000000001),
    ("AUG below a 2M leaf", lambda h: h.call("tdh_mem_page_aug", GPA_2M, DATA), 0xC0000B0000000001),
    ("AUG twice", lambda h: h.call("tdh_mem_page_aug", GPA_2M | 1, DATA + 4 * MIB), 0xC0000B0D00000001),
    ("AUG from no TDMR", lambda h: h.call("tdh_mem_page_aug", PAGE, 9 * GIB), 0xC000010100000008),
    ("AUG with HKID bits", lambda h: h.call("tdh_mem_page_aug", PAGE, DATA | 1 << 45), 0xC000010000000008),
    ("AUG from a page of a 2M leaf", lambda h: h.call("tdh_mem_page_aug", PAGE, DATA + PAGE), 0xC000030000000008),
    ("AUG of a table", lambda h: h.call("tdh_mem_page_aug", PAGE, TABLES), 0xC000030000000008),
    ("no TDR", lambda h: h.module.tdh_mem_page_aug(rcx=0, rdx=DATA + 8 * MIB, r8=0), 0xC000030000000002),
    ("misaligned TDR", lambda h: h.module.tdh_mem_page_aug(rcx=0, rdx=h.tdr + 8, r8=0), 0xC000010000000002),
    ("BLOCK of FREE", lambda h: h.call("tdh_mem_range_block", PAGE), 0xC0000B0D00000001),
    ("SEPT.REMOVE in use", lambda h: h.call("tdh_mem_sept_remove", GPA_2M | 2), 0xC000010000000001),
    ("SEPT.ADD, flags", lambda h: h.call("tdh_mem_sept_add", 3, DATA, version=2), 0xC000010000000000),
    ("EXTEND later", lambda h: h.call("tdh_mr_extend", 0), 0xC000060800000000),
    ("ACCEPT 1G", lambda h: h.module.tdg_mem_page_accept(0, 2), 0xC000010000000001),
    ("ACCEPT 2M of a table", lambda h: h.module.tdg_mem_page_accept(0, 1), 0xC0000B0B00000001),
    ("RECLAIM of NDA", lambda h: h.module.tdh_phymem_page_reclaim(rcx=DATA + 8 * MIB), 0xC000030000000001),
    ("WBINVD in use", lambda h: h.module.tdh_phymem_page_wbinvd(rcx=TABLES), 0xC000030000000001),
]


@pytest.mark.parametrize(("call", "rax"), [pytest.param(*row[1:], id=row[0]) for row in ERRORS])
def test_golden_errors(running: Host, call: Callable[[Host], Result], rax: int) -> None:
    running.ok("tdh_mem_page_aug", GPA_2M | 1, DATA)
    result = call(running)
    assert (hex(result.rax), result.exit) == (hex(rax), False)


def test_errors_tell_the_entry(running: Host) -> None:
    running.ok("tdh_mem_page_aug", GPA_2M | 1, DATA)
    below = running.call("tdh_mem_page_aug", GPA_2M, DATA + 4 * MIB)
    assert (below.rcx, below.rdx) == (0x80000000000000F0 | DATA, 0x201)
    running.ok("tdh_mem_range_block", 1)
    blocked = running.call("tdh_mem_page_aug", 0, DATA + 4 * MIB)
    assert (blocked.status, blocked.rcx, blocked.rdx) == ("EPT_WALK_FAILED", 0, 0x8101)
    assert running.module.sept_entry(0, 0).level == 0  # the look inside goes through blocked tables


def test_states_that_forbid_calls(running: Host) -> None:
    module = running.module
    module.set_op_state(0, "FAILED_IMPORT")
    assert running.track() == 0xC000060800000000
    module.set_num_tdcx(0, 5)
    assert running.track() == 0xC000060600000000
    module.set_lifecycle(0, "BLOCKED")
    assert running.track() == 0x8000081000000000
    module.set_fatal(0)
    assert running.track() == 0xE000060400000000
    assert (module.td(0).fatal, module.td(0).lifecycle, module.td(0).num_tdcx) == (True, "BLOCKED", 5)
    built = Host()
    built.module.set_num_vcpus(0, 0)
    assert built.module.tdh_mr_finalize(rcx=built.tdr).rax == 0xC000060900000000


def test_versions_of_sept_add(running: Host) -> None:
    silent = running.call("tdh_mem_sept_add", 1, DATA)
    assert (silent.rax, silent.rdx) == (0xC0000B0D00000001, 0x8401)
    for version, given in ((0, DATA), (1, DATA)):  # bit 0 of RDX: a table may exist
        result = running.module.tdh_mem_sept_add(
            rcx=1, rdx=running.tdr | 1, r8=given, r9=NO_PAGE, r10=NO_PAGE, r11=NO_PAGE, version=version
        )
        assert (result.rax, result.r8, result.r11) == (0, DATA, NO_PAGE)
    assert running.ok("tdh_mem_sept_add", GPA_2M | 1, DATA, version=1).r8 == NO_PAGE
    removed = running.call("tdh_mem_sept_remove", GPA_2M | 1, version=1)
    assert (removed.status, removed.r9) == ("GPA_RANGE_NOT_BLOCKED", NO_PAGE)
    running.block(GPA_2M | 1)
    assert running.ok("tdh_mem_sept_remove", GPA_2M | 1).rcx == DATA
    running.ok("tdh_mem_page_aug", 0, DATA)
    running.block(1)
    assert running.call("tdh_mem_sept_remove", 1).rax == 0xC0000B0E00000001


def _warm(host: Host, name: str) -> Result:
    """Return what the second of two neighbouring calls gives, after what it needs."""
    module, a, b = host.module, 0, PAGE
    host.map_4k(pages=2)
    new = DATA + 8 * MIB
    calls: dict[str, Callable[[int], Result]] = {
        "AUG 4K": lambda gpa: host.ok("tdh_mem_page_aug", gpa + 8 * PAGE, new + gpa),
        "AUG 2M": lambda gpa: host.ok("tdh_mem_page_aug", (gpa << 9) + 64 * MIB | 1, DATA + 64 * MIB + (gpa << 9)),
        "SEPT.ADD": lambda gpa: host.ok("tdh_mem_sept_add", (gpa << 9) + 64 * MIB | 1, TABLES + 64 * PAGE + gpa),
        "ACCEPT 4K": lambda gpa: module.tdg_mem_page_accept(0, gpa),
        "BLOCK 4K": lambda gpa: host.ok("tdh_mem_range_block", gpa),
        "TRACK": lambda gpa: module.tdh_mem_track(rcx=host.tdr),
        "SEPT.RD": lambda gpa: host.ok("tdh_mem_sept_rd", gpa),
        "RDMD": lambda gpa: module.tdh_phymem_page_rdmd(rcx=DATA + gpa),
        "WBINVD": lambda gpa: module.tdh_phymem_page_wbinvd(rcx=new + gpa | 66 << 45),
        "UNBLOCK 4K": lambda gpa: host.ok("tdh_mem_range_unblock", gpa),
        "REMOVE 4K": lambda gpa: host.ok("tdh_mem_page_remove", gpa),
        "RELOCATE": lambda gpa: host.ok("tdh_mem_page_relocate", gpa, new + gpa),
        "RECLAIM 4K": lambda gpa: module.tdh_phymem_page_reclaim(rcx=DATA + gpa),
    }
    if name in ("UNBLOCK 4K", "REMOVE 4K", "RELOCATE"):
        if name == "RELOCATE":  # one that copies
            assert [module.tdg_mem_page_accept(0, gpa).rax for gpa in (a, b)] == [0, 0]
        host.ok("tdh_mem_range_block", a)
        host.block(b)
    if name == "RECLAIM 4K":
        module.set_lifecycle(0, "TEARDOWN")
    calls[name](a)
    return calls[name](b)


COUNTS = {
    "AUG 4K": (19, 19, 20, 0, 0),
    "AUG 2M": (20, 18, 21, 0, 0),
    "SEPT.ADD": (19, 20, 20, 64, 1),
    "ACCEPT 4K": (5, 2, 5, 64, 1),
    "BLOCK 4K": (13, 13, 14, 0, 0),
    "TRACK": (8, 10, 9, 0, 0),
    "SEPT.RD": (12, 13, 13, 0, 0),
    "RDMD": (7, 6, 7, 0, 0),
    "WBINVD": (8, 6, 8, 0, 1),
    "UNBLOCK 4K": (13, 13, 14, 0, 0),
    "REMOVE 4K": (13, 16, 14, 0, 0),
    "RELOCATE": (22, 22, 23, 64, 1),
    "RECLAIM 4K": (8, 9, 9, 0, 0),
}
"""Maps, locked instructions, LFENCE, MOVDIR64B and MFENCE of a call that has been made before, with 4 levels."""


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_a_warm_call(running: Host, name: str) -> None:
    result = _warm(running, name)
    events = result.events
    assert result.status == "SUCCESS"
    assert tuple(events) == EV_FIELDS
    assert tuple(events[field] for field in ("km", "lk", "lf", "md", "mf")) == COUNTS[name]
    if name in ("AUG 4K", "TRACK", "SEPT.RD", "RDMD", "UNBLOCK 4K", "REMOVE 4K", "RECLAIM 4K"):
        assert (events["kx"], events["ks"], events["iv"]) == (0, 0, 0)
    assert events["cf"] == (64 if name == "WBINVD" else 0)


def test_counts_of_building_a_td() -> None:
    host = Host(3, 2, 1)
    for gpa in (0, PAGE):
        added = host.ok("tdh_mem_page_add", gpa, DATA + gpa, r9=2 * GIB + gpa).events
    assert (added["km"], added["lk"], added["lf"], added["md"], added["sha"]) == (21, 12, 22, 64, 1)
    for chunk in (0, 256):
        extended = host.ok("tdh_mr_extend", chunk).events
    assert (extended["km"], extended["kx"], extended["lk"], extended["lf"], extended["sha"]) == (13, 0, 6, 14, 3)


def test_a_2m_accept_turns_all_keyholes_over(running: Host) -> None:
    running.ok("tdh_mem_page_aug", GPA_2M | 1, DATA)
    events = running.module.tdg_mem_page_accept(0, GPA_2M | 1).events
    assert (events["km"], events["kx"], events["lk"], events["lf"]) == (515, 512, 2, 515)
    assert (events["md"], events["mf"], events["rm"]) == (512 * 64, 512, 511)
    assert running.call("tdh_mem_sept_rd", 0).events["kx"] > 0


def test_every_lp_has_keyholes_of_its_own() -> None:
    host = Host(3, 2, 1, op_state="RUNNABLE", lps=2)
    first, again, other = (host.ok("tdh_mem_sept_rd", 0, lp=lp).events for lp in (0, 0, 1))
    assert again["kx"] + again["ks"] == 0
    assert (other["km"], other["ks"]) == (first["km"], 6)
    assert other["kx"] > 0


def test_tds_can_be_added_later(running: Host) -> None:
    module = running.module
    running.ok("tdh_mem_page_aug", 0, DATA)
    before = module.td(0)
    tdr = 2 * GIB
    added = {"tdr": tdr, "tdcx": [tdr + i * PAGE for i in range(1, 7)], "tdvpr": [tdr + 7 * PAGE]}
    td = module.add_td(**added, hkid=67, gpaw=1, levels=5)  # type: ignore[arg-type]
    assert (td, module.td(0), module.td(1).chldcnt, module.td(1).gpa_bits) == (1, before, 7, 51)
    assert [module.pamt(tdr + i * PAGE).type for i in (0, 1, 6, 7)] == ["TDR", "TDCX", "TDCX", "TDVPR"]
    assert module.tdh_mem_sept_add(rcx=4, rdx=tdr, r8=DATA + PAGE).rax == 0
    assert module.sept_entry(1, 0).level == 3
    assert running.call("tdh_mem_page_aug", PAGE, DATA + PAGE).rax == 0xC000030000000008


def test_a_vcpu_cannot_enter_twice(running: Host) -> None:
    running.module.vcpu_enter(0)
    with pytest.raises(InputError, match="not inside its TD"):
        running.module.vcpu_enter(0)
