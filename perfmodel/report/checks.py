"""Question 5: what a sanity check of every PFN in the wrapper would add."""

from perfmodel.costs import ledger
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group
from perfmodel.report.huge_fault import booted, saving
from perfmodel.report.reproduce import story_command
from perfmodel.report.situation import Situation
from perfmodel.report.wrapper import fault_costs, share_of
from perfmodel.workers import Progress

CHECKS = {"pfn-valid": "pfn_valid_checks", "convertible": "convertible_checks"}
PAGES = {"4K": 1, "2M": 512}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Price the checks by call, by fault and for the guest's boot."""
    one = dict(zip(CHECKS, situation.price([ledger({counter: 1}) for counter in CHECKS.values()]), strict=True))
    faults = fault_costs(situation)
    shares = {
        (check, size): share_of(one[check].times(pages), faults[size])
        for check in CHECKS for size, pages in PAGES.items()
    }  # fmt: skip
    life = booted(situation, progress)
    added = {
        (check, name): saving(situation, life, name, pfn_check=check).times(-1.0)
        for check in CHECKS for name in situation.interfaces
    }  # fmt: skip
    dearest = added["convertible", situation.reference]
    return Answer(
        headline=f"Finding the TDMR of every PFN adds {amount(shares['convertible', '2M'].times(100).row('', '', '%'))} to a "
        f"2M fault and {amount(dearest.row('', '', 's'))} to this guest's boot; pfn_valid() "
        f"{amount(shares['pfn-valid', '2M'].times(100).row('', '', '%'))} and "
        f"{amount(added['pfn-valid', situation.reference].row('', '', 's'))}.",
        groups=[
            Group("Share of a fault", [share.times(100).row(f"{check}, {size}", "", "%")
                                      for (check, size), share in shares.items()], drawn=True),
            Group("Added to a call", [one[check].times(pages).row(f"{check}, {size}", "", "s")
                                     for check in CHECKS for size, pages in PAGES.items()]),
            Group("Added to the guest's boot", [cost.row(check, name, "s") for (check, name), cost in added.items()]),
        ],
        hangs_on=situation.causes.most("convertible, added to the boot", dearest),
        notes=["One check for each 4K PFN, 512 for a 2M call; the module checks each page against PAMT all the same. "
               "Both prices are assumed; a binary search, or one check a mapping, would be cheaper."],
        command=story_command(life.plan.story, situation.words, "--what-if"),
    )  # fmt: skip
