"""From the counts of a phase to the counters that the work tables price."""

from collections.abc import Iterable

import kernels.counters as k
from kernels.keyhole_calls import GUEST_MISSES, HOST_MISSES
from perfmodel.backings.contract import RANGE_PAGES, REGION_PAGES
from perfmodel.costs import Ledger, ledger
from perfmodel.life.at_1g import counters_at_1g
from perfmodel.life.phases import AcceptMismatch, AnyPhase, Boot, Convert, Teardown
from perfmodel.life.plan import LifeTally, Plan
from perfmodel.policies.contract import Policy
from perfmodel.scenario import Scenario

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
    a page is cleared when it is first mapped and not when it comes back, and a page that was not just cleared is in no
    cache when it is flushed; vCPUs run inside the TD while others convert, unless the scenario has them wait, and none
    does while it is torn down; the folios behind the guest come with the boot and go with the tear-down.
    """
    phase, scenario, what_if = plan.story.phases[number], plan.memory.scenario, plan.story.what_if
    n = {name: int(tally.counts[number, at]) for name, at in NAMES.items()} | counters_at_1g(phase, tally.at_1g)
    augs = n["aug_4k"] + n["aug_2m"] + n["aug_1g"]
    pages = n["aug_4k"] + n["aug_2m"] * RANGE_PAGES + n["aug_1g"] * REGION_PAGES
    fresh = isinstance(phase, Boot | AcceptMismatch)
    cleared = pages if fresh and what_if.host_clear else 0
    flushed = {"every-page": pages, "first-page": augs, "none": 0}[what_if.flush]
    tables = n["sept_add"] if what_if.flush != "none" else 0
    inside = 0 if isinstance(phase, Teardown) else inside_vcpus(scenario)
    folio = policy.wrapper == "folio"
    return n | {
        **kick_counters(n["kick"], scenario.vcpus, inside),
        "flush_pages": tables + (flushed if cleared else 0),
        "flush_absent_pages": 0 if cleared else flushed,
        "clear_pages": cleared,
        "pfn_valid_checks": pages + n["page_add"] if what_if.pfn_check == "pfn-valid" else 0,
        "convertible_checks": pages + n["page_add"] if what_if.pfn_check == "convertible" else 0,
        "folio_allocs": int(tally.folios) if isinstance(phase, Boot) else 0,
        "folio_frees": int(tally.folios) if isinstance(phase, Teardown) else 0,
        "folio_split_pages": n["folio_split"] * _split_into(policy, scenario.backing),
        "gmem_lookups": n["fault"],
        "mirror_installs": n["sept_add"] + augs,
        "mirror_tables": n["sept_add"],
        "folio_checks_4k": n["aug_4k"] + n["page_wbinvd"] if folio else 0,
        "folio_checks_2m": n["aug_2m"] + n["aug_1g"] * (REGION_PAGES // RANGE_PAGES) if folio else 0,
        "page_conversions": augs if policy.wrapper == "page" else 0,
        "pamt_pairs_returned": 0 if what_if.dynamic_pamt_fast_path else n["pamt_get"] - n["pamt_add"],
        "attribute_pages": _converted_pages(phase),
        "keyhole_misses_host": int(tally.keyholes[number, HOST_MISSES]),
        "keyhole_misses_guest": int(tally.keyholes[number, GUEST_MISSES]),
    }  # fmt: skip


def kick_counters(requests: int, vcpus: int, inside: int) -> dict[str, int]:
    """Return the priced counters of ``requests`` that look at all ``vcpus`` and interrupt those that run ``inside``."""
    return {"kick": requests * inside, "kick_looks": requests * vcpus, "kick_rounds": requests if inside else 0}


def inside_vcpus(scenario: Scenario) -> int:
    """Return the vCPUs that run inside while one changes mappings; those that tick are hardly ever met there."""
    return scenario.vcpus - 1 if scenario.vcpu_state in ("working", "inside") else 0


def total_ledger(ledgers: Iterable[Ledger]) -> Ledger:
    """Return the sum of ``ledgers``."""
    total = Ledger({})
    for one in ledgers:
        total = total + one
    return total


def life_ledgers(plan: Plan, policy: Policy, tally: LifeTally) -> list[Ledger]:
    """Return the units of work of each phase."""
    return [ledger(priced_phase(plan, policy, tally, number)) for number in range(len(plan.story.phases))]


def _split_into(policy: Policy, backing: str) -> int:
    """Return into how many folios guest_memfd splits one."""
    return RANGE_PAGES if policy.name == "folio-lenient" else _FOLIO_PAGES.get(backing, 0)


def _converted_pages(phase: AnyPhase) -> int:
    return phase.count * phase.pages * (1 + phase.back) if isinstance(phase, Convert) else 0
