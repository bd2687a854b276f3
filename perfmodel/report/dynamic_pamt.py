"""Question 7: what Dynamic PAMT adds to a boot and saves of memory."""

import msgspec

from perfmodel.life.phases import Boot, Teardown
from perfmodel.life.story import memory_behind
from perfmodel.report.amounts import with_unit
from perfmodel.report.answer import Answer, Group
from perfmodel.report.huge_fault import booted
from perfmodel.report.reproduce import story_command
from perfmodel.report.sampled import exact, table
from perfmodel.report.situation import Life, Situation
from perfmodel.workers import Progress

_STATIC = "static"
WAYS = {"fast path": True, "global lock": False}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Boot and tear down with Dynamic PAMT, both ways, against static PAMT."""
    static = booted(situation, progress)
    dynamic = {
        way: situation.live(
            situation.alone, (Boot(), Teardown()), progress, dynamic_pamt=True, dynamic_pamt_fast_path=fast
        )
        for way, fast in WAYS.items()
    }
    lives = {_STATIC: static, **dynamic}
    priced = situation.price_each(
        {
            (what, way, name): life.ledgers(name)[phase]
            for phase, what in enumerate(("boot", "tear-down"))
            for way, life in lives.items()
            for name in situation.interfaces
        }
    )
    costs = {}
    for (what, way, name), cost in priced.items():
        before = priced[what, _STATIC, name]
        if way != _STATIC:
            costs[what, way, name] = (cost - before, (cost - before) / before)
    used = {name: (pamt_bytes(static, name), pamt_bytes(dynamic["fast path"], name)) for name in situation.interfaces}
    reference, fast = situation.reference, dynamic["fast path"]
    added, share = costs["boot", "fast path", reference]
    before_bytes, after_bytes = used[reference]
    return Answer(
        headline=f"Under {reference} it adds {added.text('s')} to the boot, "
        f"{share.times(100).text('%')}, and saves {with_unit(before_bytes - after_bytes, 'bytes')} of "
        f"{with_unit(before_bytes, 'bytes')} of PAMT; with the global lock it adds "
        f"{costs['boot', 'global lock', reference][0].text('s')}.",
        groups=[
            table(
                "Added to the boot, share",
                {(way, name): one.times(100) for (what, way, name), (_, one) in costs.items() if what == "boot"},
                "%",
                drawn=True,
            ),
            table("Time added", {(f"{what}, {way}", name): one for (what, way, name), (one, _) in costs.items()}, "s"),
            Group(
                "PAMT after the boot",
                [
                    row
                    for name, (old, new) in used.items()
                    for row in (
                        exact("static", name, old, "bytes"),
                        exact("dynamic", name, new, "bytes"),
                        exact("saved", name, old - new, "bytes"),
                    )
                ],
            ),
            Group(
                "Exact counts of the boot",
                [
                    row
                    for name in situation.interfaces
                    for row in (
                        exact("pairs added", name, fast.count(name, 0, "pamt_add")),
                        exact("global lock, fast path", name, fast.count(name, 0, "pamt_lock")),
                        exact("global lock, without", name, dynamic["global lock"].count(name, 0, "pamt_lock")),
                    )
                ],
            ),
        ],
        hangs_on=situation.causes.of_each(
            {f"added to the boot, {way}, {reference}": costs["boot", way, reference][0] for way in WAYS}
        ),
        notes=[
            "PAMT of the memory behind the guest and its control pages alone; that of the rest of a host is saved "
            "whole. A 2M leaf needs no pair: Dynamic PAMT v6, 2026-05-25, "
            "https://lore.kernel.org/all/20260526023515.288829-10-rick.p.edgecombe@intel.com.",
            "Waiting of vCPUs for the global lock is not in it: perfmodel scale --dynamic-pamt global-lock.",
        ],
        command=story_command(fast.plan.story, situation.words, "--what-if"),
    )


def pamt_bytes(life: Life, name: str) -> int:
    """Return the bytes of all that PAMT takes after the boot."""
    use = msgspec.structs.asdict(memory_behind(life.plan, life.tallies[name].standing[0].tolist()))
    return sum(size for purpose, size in use.items() if purpose.startswith("pamt_"))
