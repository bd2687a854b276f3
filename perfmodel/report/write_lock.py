"""Question 6: what ACCEPTs below the mapping level cost under the write lock, and when the zero-step filter acts."""

from collections.abc import Mapping
from dataclasses import replace

from perfmodel.life.phases import AcceptMismatch, Boot
from perfmodel.module import TdxModule
from perfmodel.report.amounts import vcpus_text
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.huge_fault import booted
from perfmodel.report.reproduce import story_command
from perfmodel.report.sampled import Sampled, exact, table
from perfmodel.report.situation import Life, Situation, part
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.workers import Progress

VCPUS = (1, 8, 64, 248)
UNDER_LOCK = ("mmu_lock", "block", "track", "kick", "demote")
"""Stages of a split."""

FILTER_VCPUS, FILTER_SAMPLES = 16, 8
_TRIES = 64
_GPA, _RIP = 0x5000, 0x1000
_PHASES = (AcceptMismatch(), Boot())


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Let firmware accept 12 MiB at 4K that was prefaulted at 2M, and provoke the zero-step filter."""
    guest = situation.a_gib_of_folio()
    lives = {
        n: situation.live(replace(guest, vcpus=n, vcpu_state="inside" if n > 1 else "working"), _PHASES) for n in VCPUS
    }
    on_demand = situation.live(guest, (AcceptMismatch(prefault=False), Boot()))
    splitting = [name for name in situation.interfaces if lives[1].count(name, 0, "demote")]
    held = _held(situation, {(vcpus_text(n), name): life for n, life in lives.items() for name in splitting})
    boot = booted(situation, progress)
    counts = [
        row
        for name in situation.interfaces
        for row in (
            exact("accepted at 4K, prefaulted at 2M", name, lives[1].count(name, 0, "write_lock")),
            exact("of them with a split", name, lives[1].count(name, 0, "demote")),
            exact("accepted at 4K, not prefaulted", name, on_demand.count(name, 0, "write_lock")),
            exact("boot of this guest", name, boot.count(name, 0, "write_lock")),
        )
    ]
    first, accepted = first_logged_exit(), logged_after_accepts()
    reference = situation.reference if situation.reference in splitting else (splitting or [""])[0]
    one, most = (held.get((vcpus_text(n), reference)) for n in (1, VCPUS[-1]))
    price = (
        f"{one.text('s')} with one vCPU, {most.text('s')} with {VCPUS[-1] - 1} others inside"
        if one and most
        else "nothing: no interface maps at 2M here"
    )
    return Answer(
        headline=f"A 2M leaf that the guest accepts at 4K keeps mmu_lock for write for {price}. The zero-step filter "
        f"logs from the {first}th private EPT-violation exit at one RIP on; ACCEPT's exits never count.",
        groups=[
            table("mmu_lock held for write, a split leaf", held, "s", drawn=bool(held)),
            Group("mmu_lock taken for write, 12 MiB of firmware and then the boot", counts),
            Group("Zero-step filter, executed on the modelled module", zero_step_rows(first, accepted)),
            Group(f"Populating by one instruction, touch-first, {FILTER_VCPUS} vCPUs", filtered(situation, progress)),
        ],
        hangs_on=situation.causes.most(f"a split leaf, {reference}, {VCPUS[-1]} vCPUs", most) if most else [],
        notes=[
            "A touch at one RIP counts, and so does each entry that KVM makes while the mapping is still missing: a "
            "retry after BUSY from AUG or SEPT.ADD, or a lost race for a mirror entry. KVM therefore retries in "
            "place, without entering: Yan Zhao, [RFC PATCH 0/2] SEPT SEAMCALL retry proposal, 2024-11-21, "
            "https://lore.kernel.org/all/20241121115139.26338-1-yan.y.zhao@intel.com.",
            "Measured on KVM: 17,626 acquisitions in a boot, 11 once KVM looks first whether 2M is inhibited "
            "already; all of the model's interfaces but page-4k look first: Yan Zhao, 2025-07-02, "
            "https://lore.kernel.org/all/aGSoDnODoG2/pbYn@yzhao56-desk.sh.intel.com.",
        ],
        command=story_command(
            situation.story(replace(guest, vcpus=VCPUS[-1], vcpu_state="inside"), _PHASES), situation.words
        ),
    )


def first_logged_exit() -> int:
    """Return how many EPT-violation exits at one RIP it takes until the module logs one."""
    module = TdxModule.small(op_state="RUNNABLE")
    for exits in range(1, _TRIES + 1):
        module.vcpu_enter(0, rip=_RIP)
        module.td_ept_violation(0, rcx=_GPA, rip=_RIP)
        module.vcpu_exit(0, rip=_RIP)
        if module.zero_step_log(0):
            return exits
    return _TRIES


def logged_after_accepts() -> int:
    """Return what is logged after many exits of ACCEPT at one RIP: nothing."""
    module = TdxModule.small(op_state="RUNNABLE")
    for _ in range(_TRIES):
        module.vcpu_enter(0, rip=_RIP)
        exited = module.tdg_mem_page_accept(0, _GPA)
        assert exited.exit, exited.status
        module.vcpu_exit(0, rip=_RIP)
    return len(module.zero_step_log(0))


def zero_step_rows(first: int, accepted: int) -> list[Row]:
    """Return what the filter was seen to do."""
    return [
        exact("exits at one RIP without effect", "", first - 1),
        exact("first exit that is logged", "", first),
        exact(f"GPAs logged after {_TRIES} exits of ACCEPT at one RIP", "", accepted),
    ]


def filtered(situation: Situation, progress: Progress | None) -> list[Row]:
    """Return throughput where every touch moves RIP, and where one instruction touches all pages: the filter acts."""
    name = situation.interfaces[0]
    guest = replace(
        situation.scenario,
        guest="touch-first",
        interfaces=(name,),
        shattered=0.0,
        vcpus=FILTER_VCPUS,
        vcpu_state="working",
    )
    rows = []
    for label, same_rip in (("RIP moves: no filter", False), ("one RIP: the filter acts", True)):
        options = ScaleOptions(vcpus=(FILTER_VCPUS,), samples=FILTER_SAMPLES, same_rip=same_rip)
        result = scale(guest, situation.parameters, options, threads=situation.threads, progress=progress)
        speed = result.curves[0].points[0].gib_per_s
        rows.append(Row(label, name, speed.value, speed.low, speed.high, "GiB/s"))
    return rows


def _held(situation: Situation, lives: Mapping[tuple[str, str], Life]) -> dict[tuple[str, str], Sampled]:
    """Return the time under the lock of one split, by number of vCPUs and interface."""
    costs = situation.price_each(
        {(n, name): part(life.ledgers(name)[0], *UNDER_LOCK) for (n, name), life in lives.items()}
    )
    return {(n, name): costs[n, name].times(1 / life.count(name, 0, "demote")) for (n, name), life in lives.items()}
