"""Question 5: what a sanity check of every PFN in the wrapper would add."""

from perfmodel.costs import ledger
from perfmodel.report.answer import Answer
from perfmodel.report.huge_fault import booted, savings
from perfmodel.report.reproduce import story_command
from perfmodel.report.sampled import table
from perfmodel.report.situation import Situation
from perfmodel.report.wrapper import fault_costs, share_of
from perfmodel.workers import Progress

CHECKS = {"pfn-valid": "pfn_valid_checks", "convertible": "convertible_checks"}
_KNOBS = {check: {"pfn_check": check} for check in CHECKS}
PAGES = {"4K": 1, "2M": 512}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Price the checks by call, by fault and for the guest's boot."""
    one = situation.price_each({check: ledger({counter: 1}) for check, counter in CHECKS.items()})
    faults = fault_costs(situation)
    calls = {(check, size): one[check].times(pages) for check in CHECKS for size, pages in PAGES.items()}
    shares = {key: share_of(call, faults[key[1]]) for key, call in calls.items()}
    life = booted(situation, progress)
    added = {key: one.times(-1.0) for key, one in savings(situation, life, _KNOBS).items()}
    dearest = added["convertible", situation.reference]
    return Answer(
        headline=f"Finding the TDMR of every PFN adds {shares['convertible', '2M'].times(100).text('%')} to a "
        f"2M fault and {dearest.text('s')} to this guest's boot; pfn_valid() "
        f"{shares['pfn-valid', '2M'].times(100).text('%')} and {added['pfn-valid', situation.reference].text('s')}.",
        groups=[
            table("Share of a fault", {key: share.times(100) for key, share in shares.items()}, "%", drawn=True),
            table("Added to a call", calls, "s"),
            table("Added to the guest's boot", added, "s"),
        ],
        hangs_on=situation.causes.most("convertible, added to the boot", dearest),
        notes=[
            "One check for each 4K PFN, 512 for a 2M call; the module checks each page against PAMT all the same. "
            "Both prices are assumed; a binary search, or one check a mapping, would be cheaper."
        ],
        command=story_command(life.plan.story, situation.words, "--what-if"),
    )
