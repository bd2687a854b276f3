"""Question 8: how long a TD's end takes."""

from perfmodel.life.phases import Boot, Teardown
from perfmodel.report.answer import Answer, Group
from perfmodel.report.huge_fault import booted
from perfmodel.report.reproduce import story_command
from perfmodel.report.sampled import exact, table
from perfmodel.report.situation import Situation
from perfmodel.workers import Progress

_CALLS = {
    "RANGE.BLOCK": ("block_4k", "block_2m"),
    "PAGE.REMOVE": ("remove_4k", "remove_2m"),
    "PHYMEM.PAGE.WBINVD": ("page_wbinvd",),
    "PHYMEM.PAGE.RECLAIM": ("reclaim_4k", "reclaim_2m"),
}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Tear the booted guest down leaf by leaf, and by reclaim after its HKID is released."""
    lives = {
        "removal": booted(situation, progress),
        "reclaim": situation.live(situation.alone, (Boot(), Teardown(how="reclaim")), progress),
    }
    cost = situation.price_each(
        {(how, name): life.ledgers(name)[1] for how, life in lives.items() for name in situation.interfaces}
    )
    reference = situation.reference
    others = [name for name in situation.interfaces if name != reference]
    over = {name: cost["removal", name] / cost["removal", reference] for name in others}
    return Answer(
        headline=f"Removal of {reference}'s leaves takes {cost['removal', reference].text('s')}, reclaim "
        f"{cost['reclaim', reference].text('s')}; by removal "
        + (
            ", ".join(f"{name} takes {one.text('times')}" for name, one in over.items()) + " as long."
            if over
            else "no other interface ends."
        ),
        groups=[
            table("Time of the tear-down", cost, "s", drawn=True),
            Group(
                "Exact calls",
                [
                    exact(f"{call}, {how}", name, sum(life.count(name, 1, counter) for counter in counters))
                    for how, life in lives.items()
                    for call, counters in _CALLS.items()
                    for name in situation.interfaces
                ],
            ),
        ],
        hangs_on=situation.causes.of_each({f"{how}, {reference}": cost[how, reference] for how in lives}),
        notes=[
            "Removal is today's tear-down of guest memory, reclaim that of KVM_TDX_TERMINATE_VM: Adrian Hunter and "
            "Sean Christopherson, KVM: TDX: Add sub-ioctl KVM_TDX_TERMINATE_VM, v5, 2025-07-18, "
            "https://lore.kernel.org/all/20250718181541.98146-1-seanjc@google.com.",
            "No vCPU runs meanwhile. On processors with X86_BUG_TDX_PW_MCE every page is cleared too: knob "
            "reset_pages.",
        ],
        command=story_command(lives["removal"].plan.story, situation.words),
    )
