"""From the counts of a phase to the counters that the work tables price."""

import kernels.counters as k
from kernels.keyhole_calls import GUEST_MISSES, HOST_MISSES
from perfmodel.backings.contract import RANGE_PAGES
from perfmodel.life.phases import AcceptMismatch, AnyPhase, Boot, Convert, Teardown
from perfmodel.life.runner import LifeTally, Plan
from perfmodel.policies.contract import Policy

_FOLIO_PAGES = {"hugetlb-1g": 1 << 18, "hugetlb-2m": RANGE_PAGES, "thp": RANGE_PAGES}

NAMES = {
    c.name.lower(): int(c)
    for enum in (k.Counter, k.ChangeCounter, k.LifeCounter)
    for c in enum
    if c != k.Counter.EXISTING_TABLE
}


def priced_phase(plan: Plan, policy: Policy, tally: LifeTally, number: int) -> dict[str, int]:
    """Return the counters of one phase that ``data/work.toml`` and ``data/work_life.toml`` price.

    Assumed where no public code says it: conversions keep their pages in guest_memfd, as the HugeTLB series does, so
    a page is cleared when it is first mapped and not when it comes back; vCPUs run inside the TD while others convert,
    and none does while it is torn down; the folios behind the guest come with the boot and go with the tear-down.
    """
    phase, scenario = plan.story.phases[number], plan.memory.scenario
    n = {name: int(tally.counts[number, at]) for name, at in NAMES.items()}
    augs = n["aug_4k"] + n["aug_2m"]
    inside = 0 if isinstance(phase, Teardown) else scenario.vcpus - 1
    fresh = isinstance(phase, Boot | AcceptMismatch)
    flushed_2m = 1 if scenario.flush_first_page_only else RANGE_PAGES
    folio = policy.wrapper == "folio"
    return n | {
        "kick": n["kick"] * inside,
        "flush_pages": n["aug_4k"] + n["aug_2m"] * flushed_2m + n["sept_add"],
        "clear_pages": n["aug_4k"] + n["aug_2m"] * RANGE_PAGES if fresh else 0,
        "folio_allocs": int(tally.folios) if isinstance(phase, Boot) else 0,
        "folio_frees": int(tally.folios) if isinstance(phase, Teardown) else 0,
        "folio_split_pages": n["folio_split"] * _split_into(policy, scenario.backing),
        "gmem_lookups": n["fault"],
        "mirror_installs": n["sept_add"] + augs,
        "mirror_tables": n["sept_add"],
        "folio_checks_4k": n["aug_4k"] + n["page_wbinvd"] if folio else 0,
        "folio_checks_2m": n["aug_2m"] if folio else 0,
        "page_conversions": augs if policy.wrapper == "page" else 0,
        "attribute_pages": _converted_pages(phase),
        "keyhole_misses_host": int(tally.keyholes[number, HOST_MISSES]),
        "keyhole_misses_guest": int(tally.keyholes[number, GUEST_MISSES]),
    }  # fmt: skip


def _split_into(policy: Policy, backing: str) -> int:
    """Return into how many folios guest_memfd splits one."""
    return RANGE_PAGES if policy.name == "folio-lenient" else _FOLIO_PAGES.get(backing, 0)


def _converted_pages(phase: AnyPhase) -> int:
    return phase.count * phase.pages * (1 + phase.back) if isinstance(phase, Convert) else 0
