"""What the model counts for an observation: integer counters from the kernels, and what no stage is about.

Counts come from running the guest of the observation, never from its value; a change of prices needs no second run.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from perfmodel.calibration.observations import Observation
from perfmodel.costs import ALL_STAGES
from perfmodel.life.phases import AnyPhase, Boot, Convert, Teardown
from perfmodel.life.plan import Plan
from perfmodel.life.pricing import kick_counters, priced_phase
from perfmodel.life.runner import run_life
from perfmodel.life.scenario_file import Story, WhatIf
from perfmodel.policies import POLICIES
from perfmodel.scenario import Scenario

PAGE_BYTES, HUGE_BYTES = 1 << 12, 1 << 21
_PAGES_PER_PAMT_PAIR = 512
_CALLS = {
    "kvm_fault": ("td_exit", "map_gpa"),  # an exit is a call of KVM
    "seamcall": ("sept_add", "aug_4k", "aug_2m"),
    "entry": ("vp_enter",),
    "guest_accept": ("accept_4k", "accept_2m", "accept_exit", "accept_size_mismatch", "accept_1g_invalid"),
    "measure": ("mr_extend",),
    "block": ("block_4k", "block_2m"),
    "track": ("mem_track",),
    "remove": ("remove_4k", "remove_2m"),
    "wbinvd": ("page_wbinvd",),
    "reclaim": ("reclaim_4k", "reclaim_2m"),
    "pamt": ("pamt_get", "pamt_put", "pamt_add", "pamt_remove"),
}
"""Calls by the stage that an interval has to cover for them to be in it."""


class Counted(NamedTuple):
    """Counts of one observation.

    Attributes
    ----------
    counters : dict of str to int
        What the work tables price.
    extras : dict of str to int
        Parts of the interval that no stage is about, by name in ``data/calibration.toml``.
    per : int
        How many of what `quantity` counts there are; 1 for totals.
    calls : int
        SEAMCALLs, TDCALLs and exits that the interval covers.
    pages : int
        4K pages that the operation is about.
    """

    counters: dict[str, int]
    extras: dict[str, int]
    per: int
    calls: int
    pages: int


def count(one: Observation) -> Counted:
    """Run the guest of ``one`` and return its counts."""
    pages = one.memory_bytes // PAGE_BYTES
    counters, extras = _OPERATIONS[one.operation](one, pages)
    if one.knobs.tracer != "none":
        extras["tracer_service"] = counters["fault"]
    if one.knobs.tracer == "addresses":
        extras["tracer_addresses"] = counters["fault"]
    calls = sum(counters[name] for stage in one.stages for name in _CALLS.get(stage, ()))
    per = {
        "time-per-page": pages,
        "time-per-2m": -(-one.memory_bytes // HUGE_BYTES),
        "time-per-fault": max(counters["fault"], 1),
    }.get(one.quantity, 1)
    return Counted(dict(counters), extras, per, max(calls, 1), pages)


def _populate(one: Observation, _: int) -> tuple[Counter[str], dict[str, int]]:
    """Boot a guest that accepts as Linux does; memory is fresh: 4K folios out of large free blocks."""
    return _phases(one, Boot()), {}


def _touch(one: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    """Add the guest's own fault on each page, which makes it accept."""
    return _phases(one, Boot()), {"guest_touch": pages}


def _grant(one: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    """Add a MapGPA to private before each piece: a hypercall to userspace and one attribute change.

    Source: Linux ``arch/x86/kvm/vmx/tdx.c`` (about v6.16), ``tdx_map_gpa``; ``virt/kvm/kvm_main.c``,
    ``kvm_vm_set_mem_attributes``.
    """
    requests = -(-pages // one.request_pages)
    asked = {"map_gpa": requests, "set_attributes": requests, "write_lock": requests, "attribute_pages": pages}
    return _phases(one, Boot()) + Counter(asked), {}


def _shared_fault(_: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    """Count an EPT violation in shared memory: exit, KVM's fault path and entry, without guest_memfd and S-EPT."""
    return Counter({"td_exit": pages, "fault": pages, "vp_enter": pages}), {}


def _convert(one: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    """Convert all memory to shared by MapGPA in chunks of 2 MiB; the VMM then punches it out of guest_memfd.

    The guest flushes each page before it asks: Linux ``arch/x86/coco/tdx/tdx.c`` (about v6.16),
    ``tdx_cache_flush_required``, and ``cpa_flush``.
    """
    whole = min(pages, 1 << 18)
    phase = Convert(count=-(-pages // whole), pages=whole, placement="scattered", back=False)
    counters = _phases(one, Boot(), phase, only=phase)
    kicked = kick_counters(counters["mem_track"], one.vcpus, one.inside)
    around = {"punch_hole": counters["map_gpa"], "folio_frees": pages, "flush_absent_pages": pages}
    return Counter({**counters, **kicked, **around}), {}


def _shutdown(one: Observation, _: int) -> tuple[Counter[str], dict[str, int]]:
    """Tear a booted guest down; no vCPU is inside. What the VMM does besides is in a time of the whole only."""
    end = Teardown(how=one.operation.removeprefix("shutdown-"))
    return _phases(one, Boot(), end, only=end), {"vmm_shutdown": 1} if one.stages == ALL_STAGES else {}


def _measure(_: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    """Extend the measurement by each page: 16 MR.EXTEND, each with a walk of four entries."""
    return Counter({"mr_extend": 16 * pages, "walk_reads_host": 64 * pages}), {}


def _pamt(one: Observation, calls: int) -> tuple[Counter[str], dict[str, int]]:
    """Take or give back one reference of Dynamic PAMT a page; the first or last of each 2 MiB handles the pair."""
    pairs = -(-calls // _PAGES_PER_PAMT_PAIR)
    fast = one.knobs.what_if.dynamic_pamt_fast_path
    counters = Counter({"pamt_lock": pairs if fast else calls})
    if one.operation == "pamt-get":
        return counters + Counter({"pamt_get": calls, "pamt_add": pairs} | _returned(fast, calls - pairs)), {}
    return counters + Counter({"pamt_put": calls, "pamt_remove": pairs}), {}


def _returned(fast: bool, calls: int) -> dict[str, int]:
    return {} if fast else {"pamt_pairs_returned": calls}


def _clear(_: Observation, pages: int) -> tuple[Counter[str], dict[str, int]]:
    return Counter({"clear_pages": pages}), {}


def _nothing(_: Observation, __: int) -> tuple[Counter[str], dict[str, int]]:
    return Counter(), {}


_OPERATIONS = {
    "populate": _populate,
    "touch": _touch,
    "grant": _grant,
    "shared-fault": _shared_fault,
    "convert": _convert,
    "shutdown-removal": _shutdown,
    "shutdown-reclaim": _shutdown,
    "measure": _measure,
    "pamt-get": _pamt,
    "pamt-put": _pamt,
    "clear": _clear,
    "initial-image": _nothing,
    "clflush-before-alloc": _nothing,
}


def _phases(one: Observation, *phases: AnyPhase, only: AnyPhase | None = None) -> "Counter[str]":
    """Return the counters of the last of ``phases``, or of ``only``."""
    wanted = phases.index(only) if only else len(phases) - 1
    ran = _run(one.memory_bytes, one.page_size, one.vcpus, one.knobs.what_if, phases)
    return Counter({name: n for name, n in ran[wanted].items() if n})


@functools.cache
def _run(
    memory_bytes: int, page_size: str, vcpus: int, what_if: WhatIf, phases: Sequence[AnyPhase]
) -> tuple[dict[str, int], ...]:
    """Run a life and return the counters of each phase.

    Mapped at 4K under mainline's rule, at 2M by PFN; either way memory is contiguous, in folios of 4K for mainline
    and of 2M for 2M mappings.
    """
    interface = "page-4k" if page_size == "4K" else "pfn"
    backing, blocks = ("order0", {10: 1.0}) if page_size == "4K" else ("hugetlb-2m", {})
    scenario = Scenario(memory=memory_bytes, interfaces=(interface,), vcpus=vcpus, backing=backing, block_shares=blocks)
    plan = Plan.of(Story(name="observation", scenario=scenario, what_if=what_if, phases=tuple(phases)))
    policy = POLICIES[interface]
    tally = run_life(plan, [policy])[0]
    return tuple(priced_phase(plan, policy, tally, number) for number in range(len(phases)))


def not_a_time(one: Observation, counted: Counted) -> float:
    """Return what the model says where no price is asked for: faults, bytes, platforms."""
    if one.quantity == "faults":
        return float(counted.counters["fault"])
    if one.quantity == "size":
        return one.memory_bytes / (1 << 20)
    return float(WhatIf().flush == "none")  # the model's today flushes always, as if no platform had the bit
