"""Question 4: what of a 2M fault is flushing, clearing and zeroing, and what each knob saves."""

from collections.abc import Mapping

from perfmodel.costs import ledger
from perfmodel.life.phases import Boot, Teardown
from perfmodel.report.answer import Answer
from perfmodel.report.reproduce import story_command
from perfmodel.report.sampled import Sampled, table
from perfmodel.report.situation import Life, NotApplicableError, Situation, part
from perfmodel.workers import Progress

BYTES = {
    "flush": "cache-line flush",
    "host_clear": "clearing by the host",
    "guest_zero": "zeroing by the module (ACCEPT)",
}
KNOBS: dict[str, dict[str, str | bool]] = {
    "flush the first 4K only": {"flush": "first-page"},
    "flush nothing": {"flush": "none"},
    "no clearing by the host": {"host_clear": False},
    "neither": {"flush": "none", "host_clear": False},
}


def answer(situation: Situation, progress: Progress | None = None) -> Answer:
    """Cut a 2M fault into its stages, and price the guest's boot with each knob changed."""
    if situation.scenario.features_off:
        raise NotApplicableError(f"without {', '.join(situation.scenario.features_off)} KVM maps nothing at 2M")
    counters = situation.a_gib(1)
    fault = ledger(counters | {"page_conversions": 0})
    whole, *bytes_of = (
        cost.times(1 / counters["aug_2m"])
        for cost in situation.price([fault, *(part(fault, stage) for stage in BYTES)])
    )
    times = dict(zip(BYTES.values(), bytes_of, strict=True))
    shares = {title: one / whole for title, one in times.items()}
    together = (bytes_of[0] + bytes_of[1] + bytes_of[2]) / whole
    life = booted(situation, progress)
    saved = savings(situation, life, KNOBS)
    return Answer(
        headline=f"{together.times(100).text('%')} of a 2M fault is bytes: "
        + ", ".join(f"{title} {one.times(100).text('%')}" for title, one in shares.items())
        + f". Honouring CLFLUSH_BEFORE_ALLOC and not clearing would save "
        f"{saved['neither', situation.reference].text('s')} of this guest's boot under {situation.reference}.",
        groups=[
            table(
                "Share of a 2M fault", {(title, ""): one.times(100) for title, one in shares.items()}, "%", drawn=True
            ),
            table("Time of a 2M fault", {("all of it", ""): whole} | {(t, ""): one for t, one in times.items()}, "s"),
            table("Saved of the guest's boot", saved, "s"),
        ],
        hangs_on=situation.causes.of_each(
            {
                "share of bytes in a 2M fault": together,
                f"saved by neither, {situation.reference}": saved["neither", situation.reference],
            }
        ),
        notes=[
            "Without clearing the lines to flush are in no cache, so flushing gets cheaper too; guest_memfd's own "
            "clearing is named as avoidable by Ackerley Tng, [RFC PATCH v2 00/51] 1G page support for guest_memfd, "
            "2025-05-14, https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com.",
            "No module has been seen to set CLFLUSH_BEFORE_ALLOC; with it set nothing could be saved by leaving the "
            "flush out.",
        ],
        command=story_command(life.plan.story, situation.words, "--what-if"),
    )


def booted(situation: Situation, progress: Progress | None) -> Life:
    """Return the guest's boot and its end by removal."""
    return situation.live(situation.alone, (Boot(), Teardown()), progress)


def savings(
    situation: Situation, life: Life, knobs: Mapping[str, Mapping[str, str | bool]]
) -> dict[tuple[str, str], Sampled]:
    """Return what knobs that only price save of a boot, in seconds, by their names and interface."""
    names = situation.interfaces
    before = situation.price_each({name: life.ledgers(name)[0] for name in names})
    after = situation.price_each(
        {(knob, name): life.ledgers(name, **values)[0] for knob, values in knobs.items() for name in names}
    )
    return {(knob, name): before[name] - cost for (knob, name), cost in after.items()}
