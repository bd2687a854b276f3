"""Question 1: the wrapper's interface itself, per call."""

from perfmodel.costs import ledger
from perfmodel.report.answer import Answer, Group
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import Sampled, exact, table
from perfmodel.report.situation import NO_STRUCT_PAGE, NotApplicableError, Situation
from perfmodel.workers import Progress

_CALLS = {
    ("page", "4K"): "page_conversions",
    ("page", "2M"): "page_conversions",
    ("folio", "4K"): "folio_checks_4k",
    ("folio", "2M"): "folio_checks_2m",
}
_FAULTS = {"4K": "aug_4k", "2M": "aug_2m"}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Price what the wrapper does with its argument, against the fault around it."""
    if not situation.memory.backing.has_struct_page:
        raise NotApplicableError(
            f"{NO_STRUCT_PAGE}, and the PFN form makes the least of its argument: its cost here is 0"
        )
    cost = situation.price_each({call: ledger({counter: 1}) for call, counter in _CALLS.items()})
    faults = fault_costs(situation)
    calls = [one.row(*key, "s") for key, one in cost.items()]
    shares = {key: share_of(cost[key], faults[key[1]]) for key in _CALLS}
    dearest = shares["folio", "2M"]
    notes = [
        "Added to a fault of the PFN form, whose call makes the least of its argument: its cost here is 0.",
        "A page or PFN argument touches no memory; the folio check reads two lines of struct page and adds up 512 "
        "addresses at 2M: Yan Zhao, patch 01/24 of [PATCH v3 00/24] KVM: TDX huge page support for private memory, "
        "2026-01-06, https://lore.kernel.org/all/20260106101826.24870-1-yan.y.zhao@intel.com.",
    ]
    return Answer(
        headline=f"The dearest form, a folio at 2M, costs {cost['folio', '2M'].text('s')} a call, "
        f"{dearest.times(100).text('%')} of its fault; at 4K a folio costs {cost['folio', '4K'].text('s')}, a page "
        f"{cost['page', '4K'].text('s')}.",
        groups=[
            Group(
                "Cost of a call beyond the PFN form",
                [*calls, *(exact("PFN", size, 0.0, "s") for size in _FAULTS)],
                drawn=True,
            ),
            table("Share of the fault around it", {key: share.times(100) for key, share in shares.items()}, "%"),
            table("The fault itself", {("PFN form", size): fault for size, fault in faults.items()}, "s"),
        ],
        hangs_on=situation.causes.most("a folio at 2M, per call", cost["folio", "2M"]),
        notes=notes,
        command=command("run", situation.a_gib_of_folio(), situation.words),
    )


def fault_costs(situation: Situation) -> dict[str, Sampled]:
    """Return what one fault costs at 4K and at 2M, from the touch to the accepted page, without the wrapper's form."""
    ledgers = [ledger(situation.a_gib(level) | {"page_conversions": 0}) for level in (0, 1)]
    costs = situation.price(ledgers)
    return {
        size: cost.times(1 / situation.a_gib(level)[_FAULTS[size]])
        for level, (size, cost) in enumerate(zip(_FAULTS, costs, strict=True))
    }


def share_of(cost: Sampled, rest: Sampled) -> Sampled:
    """Return ``cost`` as a share of itself and the rest."""
    return cost / (cost + rest)
