"""Question 2: faults, SEAMCALLs, exits and time to populate, and the share of shattered folios that matters."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perfmodel.comparison import Outcome, compare_rows
from perfmodel.names import BACKINGS
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import Sampled, exact, table
from perfmodel.report.situation import Situation
from perfmodel.report.thresholds import Pair, Shares, Threshold, extend, find_threshold
from perfmodel.result import Comparison
from perfmodel.result import Row as ResultRow
from perfmodel.scenario import Scenario
from perfmodel.show import format_number
from perfmodel.workers import Progress

RATIOS = (1.01, 1.10)
SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
OTHER_BACKINGS_BYTES = 64 << 30
"""Other backings are run at this size at most: GiB/s hardly depend on it."""

_FROM_FILES = ("extents", "host")
_OF_ONE_BACKING: dict[str, Any] = {
    name: Scenario.__dataclass_fields__[name].default
    for name in ("extents", "host", "scale_host", "max_folio_order", "thp_share")
} | {"block_shares": {}}
_GIB_PAGES = 1 << 18


def answer(situation: Situation, progress: Progress | None = None) -> tuple[Answer, Comparison]:
    """Populate the guest, without and with shattered folios, and on other backings."""
    done = situation.populate(situation.scenario, progress)
    ratios = ratios_of(situation, done)
    by_share = shattering(situation, progress)
    others = {f"work, {name} over {situation.reference}": ratio for name, ratio in work_ratios(situation, done).items()}
    return Answer(
        headline=headline(situation, done, ratios),
        groups=[
            Group("Time to populate", [time_row(one) for one in done.rows]),
            Group("Exact counts", [row for one in done.rows for row in _counts(one)]),
            *by_share.groups,
            table("Throughput on other backings, same guest", _other_backings(situation, progress), "GiB/s"),
        ],
        hangs_on=[*situation.causes.of_each(others), *by_share.hangs_on],
        notes=[*by_share.notes, *_structural(situation)],
        command=command("compare", situation.scenario, situation.words),
    ), compare_rows(done)


def shattering(situation: Situation, progress: Progress | None = None) -> Answer:
    """Return what the share of shattered folios decides, a part of an answer."""
    folios, reference = situation.whole_folios, situation.reference
    others = [name for name in situation.interfaces if name != reference]
    if not (folios and others):
        why = "the guest has no whole GiB that could be shattered" if others else f"only {reference} is compared"
        return Answer(notes=[f"From which share of shattered folios on interfaces differ is not applicable: {why}."])
    lines: dict[tuple[str, str], Sampled] = {}
    found: dict[tuple[str, str], Threshold] = {}
    for name in others:
        shares = Shares(situation, name, progress)
        line = shares.line()
        lines |= _by_share(name, line)
        found |= {(_by(ratio), name): find_threshold(ratio, *line, folios, shares.ratio) for ratio in RATIOS}
    reached = {key: at for key, at in found.items() if at.folios is not None}
    return Answer(
        groups=[
            table(f"Work over that of {reference}, by share of shattered folios", lines, "times", drawn=True),
            table(
                f"Least share of shattered folios at which work differs from {reference}",
                {key: _percent(at.share) for key, at in reached.items()},
                "%",
            ),
        ],
        hangs_on=situation.causes.of_each(
            {f"share at which {name} differs {by}": at.share for (by, name), at in reached.items() if at.folios}
        ),
        notes=[_in_folios(name, by, at, folios) for (by, name), at in found.items()],
    )


def ratios_of(situation: Situation, done: Outcome) -> dict[str, Sampled]:
    """Return by interface how many times as long it takes as the reference: the time that passes where vCPUs meet."""
    if not all(seconds.size for seconds in done.seconds):
        return work_ratios(situation, done)
    times = [Sampled(row.seconds, seconds) for row, seconds in zip(done.rows, done.seconds, strict=True)]
    return _over_reference(situation, done, times)


def work_ratios(situation: Situation, done: Outcome) -> dict[str, Sampled]:
    """Return by interface how many times as much work it is as the reference."""
    return _over_reference(situation, done, situation.price(done.ledgers))


def _over_reference(situation: Situation, done: Outcome, costs: Sequence[Sampled]) -> dict[str, Sampled]:
    by_name = {row.interface: cost for row, cost in zip(done.rows, costs, strict=True)}
    return {name: cost / by_name[situation.reference] for name, cost in by_name.items()}


def headline(situation: Situation, done: Outcome, ratios: dict[str, Sampled]) -> str:
    """Return how long the reference takes, and the others by how many times as long."""
    (row,) = (one for one in done.rows if one.interface == situation.reference)
    others = [
        f"{name} {format_number(one.value)}x ({' to '.join(map(format_number, one.interval))})"
        for name, one in ratios.items()
        if name != situation.reference
    ]
    text = f"{row.interface} populates it in {amount(time_row(row))}"
    return text + (f"; times as long: {', '.join(reversed(others))}." if others else "; no other interface can.")


def time_row(row: ResultRow) -> Row:
    """Return the time that passes, with its interval."""
    low, high = (row.ns.low / 1e9, row.ns.high / 1e9)
    if row.scaling:
        low, high = row.scaling.seconds.low, row.scaling.seconds.high
    return Row("time", row.interface, row.seconds, low, high, "s")


def _counts(row: ResultRow) -> list[Row]:
    counts = {"TD exits": row.td_exits, "KVM faults": row.faults, **row.seamcalls, **row.tdcalls}
    counts |= {"leaves at 4K": row.leaves.size_4k, "leaves at 2M": row.leaves.size_2m}
    return [exact(label, row.interface, count) for label, count in counts.items()]


def _by_share(name: str, line: tuple[Pair, Pair]) -> dict[tuple[str, str], Sampled]:
    (above, below), (above_all, below_all) = line
    return {
        (f"{100 * share:g} %", name): extend(above, above_all, share) / extend(below, below_all, share)
        for share in SHARES
    }


def _by(ratio: float) -> str:
    return f"by {100 * (ratio - 1):.0f} %"


def _percent(share: Sampled) -> Sampled:
    """Return a share in percent; samples that never reach it count as all folios."""
    return Sampled(100 * share.value, 100 * np.minimum(share.samples, 1.0))


def _in_folios(name: str, by: str, at: Threshold, folios: int) -> str:
    if at.folios is None:
        return f"{name} does not differ {by} with any number of shattered folios."
    if at.folios == 0:
        return f"{name} differs {by} and more without any."
    low, high = (math.ceil(min(share, 1.0) * folios) if math.isfinite(share) else None for share in at.share.interval)
    last = f"{high:,}" if high is not None else "never"
    return (
        f"{name} differs {by} from {at.folios:,} of {folios:,} folios on (interval {low:,} to {last}); run at that "
        "number and at one less."
    )


def _other_backings(situation: Situation, progress: Progress | None) -> dict[tuple[str, str], Sampled]:
    """Return GiB/s on every other backing that needs no file."""
    guest = situation.alone
    found = {}
    for name in BACKINGS:
        if name in (*_FROM_FILES, guest.backing):
            continue
        interfaces = () if name == "pfnmap" else guest.interfaces
        size = min(guest.memory_bytes, OTHER_BACKINGS_BYTES)
        other = replace(guest, memory=size, backing=name, interfaces=interfaces, **_OF_ONE_BACKING)
        done = situation.populate(other, progress)
        for row, cost in zip(done.rows, situation.price(done.ledgers), strict=True):
            found[name, row.interface] = cost.under(row.pages.mapped / _GIB_PAGES)
    return found


def _structural(situation: Situation) -> list[str]:
    notes = [
        "2M mappings after the TD runs rest on ENHANCED_DEMOTE_INTERRUPTIBILITY, which KVM's hugepage series demands "
        "and TDX_1.5.01 lacks: Yan Zhao, [PATCH v3 00/24] KVM: TDX huge page support for private memory, 2026-01-06, "
        "https://lore.kernel.org/all/20260106101646.24809-1-yan.y.zhao@intel.com.",
        "folio-strict: guest_memfd splits a whole 1G folio to 4K for one shared page: Ackerley Tng, [RFC PATCH v2 "
        "00/51] 1G page support for guest_memfd, 2025-05-14, "
        "https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com.",
    ]
    if situation.scenario.backing in ("order0", "thp"):
        notes.append(
            "How contiguous the memory is rests on the shares of free blocks by order, which are the host's own "
            "(perfmodel ingest host); the default is the same share for each order."
        )
    if situation.scenario.vcpus * situation.scenario.tds > 1:
        notes.append(
            "Times are those that pass with all vCPUs; shares of shattered folios and other backings are of the work, "
            "waiting left out."
        )
    return notes
