"""Question 10: KVM_PRE_FAULT_MEMORY against demand faults."""

from dataclasses import replace

from perfmodel.report.answer import Answer, Group
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import exact, table
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
        headline=f"Prefaulting saves {share[reference].times(100).text('%')} of the work under {reference}, "
        f"{saved[reference].text('s')}"
        + "".join(f"; {name} {share[name].times(100).text('%')}" for name in names if name != reference)
        + ".",
        groups=[
            table(
                "Saved, share of the work of populating",
                {("prefault", name): one.times(100) for name, one in share.items()},
                "%",
                drawn=True,
            ),
            table("Work of populating", {(g, name): one for g, by in cost.items() for name, one in by.items()}, "s"),
            Group(
                "Exact counts of TD exits",
                [exact(guest, name, n) for guest, by in exits.items() for name, n in by.items()],
            ),
        ],
        hangs_on=situation.causes.most(f"share saved, {reference}", share[reference]),
        notes=[
            "What is saved is exits, entries and ACCEPTs that fail; every AUG, clearing and zeroing stays. "
            "Prefaulting runs before the guest does, on whatever thread the VMM has, which this does not count as a "
            "gain.",
            "A prefaulted 2M leaf that the guest accepts at 4K is split under the write lock: question 6.",
        ],
        command=command("compare", replace(situation.alone, guest=PREFAULT), situation.words),
    )
