"""Question 10: KVM_PRE_FAULT_MEMORY against demand faults."""

from dataclasses import replace

from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import exact
from perfmodel.report.situation import Situation
from perfmodel.workers import Progress

PREFAULT, DEMAND = "prefault", "linux-lazy"


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Populate the guest both ways; a guest that prefaults is held against ``linux-lazy``."""
    demand = situation.alone.guest if situation.alone.guest != PREFAULT else DEMAND
    done = {guest: situation.populate(replace(situation.alone, guest=guest), progress) for guest in (demand, PREFAULT)}
    names = [row.interface for row in done[demand].rows]
    cost = {guest: dict(zip(names, situation.price(one.ledgers), strict=True)) for guest, one in done.items()}
    saved = {name: cost[demand][name] - cost[PREFAULT][name] for name in names}
    share = {name: saved[name] / cost[demand][name] for name in names}
    exits = {guest: {row.interface: row.td_exits for row in one.rows} for guest, one in done.items()}
    reference = situation.reference
    return Answer(
        headline=f"Prefaulting saves {amount(share[reference].times(100).row('', '', '%'))} of the work under {reference}, "
        f"{amount(saved[reference].row('', '', 's'))}"
        + "".join(f"; {name} {amount(share[name].times(100).row('', '', '%'))}" for name in names if name != reference) + ".",
        groups=[
            Group("Saved, share of the work of populating",
                  [one.times(100).row("prefault", name, "%") for name, one in share.items()], drawn=True),
            Group("Work of populating", [one.row(guest, name, "s") for guest, by in cost.items() for name, one in by.items()]),
            Group("Exact counts of TD exits", [exact(guest, name, n) for guest, by in exits.items() for name, n in by.items()]),
        ],
        hangs_on=situation.causes.most(f"share saved, {reference}", share[reference]),
        notes=[
            "What is saved is exits, entries and ACCEPTs that fail; every AUG, clearing and zeroing stays. Prefaulting runs "
            "before the guest does, on whatever thread the VMM has, which this does not count as a gain.",
            "A prefaulted 2M leaf that the guest accepts at 4K is split under the write lock: question 6.",
        ],
        command=command("compare", replace(situation.alone, guest=PREFAULT), situation.words),
    )  # fmt: skip
