"""Question 2: faults, SEAMCALLs, exits and time to populate, and the share of shattered folios that matters."""

import math
from dataclasses import replace
from typing import Any

from perfmodel.comparison import Outcome, compare_rows
from perfmodel.names import BACKINGS
from perfmodel.report.amounts import amount, spread
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.reproduce import command
from perfmodel.report.sampled import Sampled, exact
from perfmodel.report.situation import Situation
from perfmodel.report.thresholds import Pair, Shares, Threshold, extend, find_threshold
from perfmodel.result import Comparison
from perfmodel.result import Row as ResultRow
from perfmodel.show import format_number
from perfmodel.workers import Progress

RATIOS = (1.01, 1.10)
SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
OTHER_BACKINGS_BYTES = 64 << 30
"""Other backings are run at this size at most: GiB/s hardly depend on it."""

_FROM_FILES = ("extents", "host")


def answer(situation: Situation, progress: Progress | None = None) -> tuple[Answer, Comparison]:
    """Populate the guest, without and with shattered folios, and on other backings."""
    done = situation.populate(situation.scenario, progress)
    ratios = ratios_of(situation, done)
    groups = [
        Group("Time to populate", [Row("time", one.interface, one.seconds, *_interval(one), "s") for one in done.rows]),
        Group("Exact counts", [row for one in done.rows for row in _counts(one)]),
    ]
    notes = []
    found: dict[str, list[Threshold]] = {}
    others = [name for name in situation.interfaces if name != situation.reference]
    if situation.whole_folios and others:
        lines = {name: Shares(situation, name, progress).line() for name in others}
        groups.append(Group(f"Work over that of {situation.reference}, by share of shattered folios",
                            [row for name, line in lines.items() for row in _by_share(name, line)], drawn=True))  # fmt: skip
        for name in others:
            shares = Shares(situation, name, progress)
            found[name] = [find_threshold(r, *lines[name], situation.whole_folios, shares.ratio) for r in RATIOS]
        rows = [_threshold_row(name, one) for name, both in found.items() for one in both if one.folios is not None]
        groups.append(Group(f"Least share of shattered folios at which work differs from {situation.reference}", rows))
        notes += [_in_folios(name, one, situation.whole_folios) for name, both in found.items() for one in both]
    elif others:
        notes.append("The guest has no whole GiB, so no share of shattered folios.")
    groups.append(Group("Throughput on other backings, same guest", _other_backings(situation, progress)))
    return Answer(
        headline=headline(situation, done, ratios),
        groups=groups,
        hangs_on=[
            *(one for name in others for one in situation.causes.most(f"{name} over {situation.reference}",
                                                                      ratios[name])),
            *(one for name, both in found.items() for at in both if at.folios
              for one in situation.causes.most(_threshold_name(name, at), at.share)),
        ],
        notes=[*notes, *_structural(situation)],
        command=command("compare", situation.scenario, situation.words),
    ), compare_rows(done)  # fmt: skip


def ratios_of(situation: Situation, done: Outcome) -> dict[str, Sampled]:
    """Return by interface how many times as long it takes as the reference: the time that passes where vCPUs meet."""
    names = [row.interface for row in done.rows]
    costs = situation.price(done.ledgers)
    if all(seconds.size for seconds in done.seconds):
        costs = [Sampled(row.seconds, seconds) for row, seconds in zip(done.rows, done.seconds, strict=True)]
    below = costs[names.index(situation.reference)]
    return {name: cost / below for name, cost in zip(names, costs, strict=True)}


def headline(situation: Situation, done: Outcome, ratios: dict[str, Sampled]) -> str:
    """Return how long the reference takes, and the others by how many times as long."""
    (row,) = (one for one in done.rows if one.interface == situation.reference)
    others = [
        f"{name} {format_number(one.value)}x ({' to '.join(map(format_number, one.interval))})"
        for name, one in ratios.items()
        if name != situation.reference
    ]
    text = f"{row.interface} populates it in {spread('s', row.seconds)} ({spread('s', *_interval(row))})"
    return text + (f"; times as long: {', '.join(reversed(others))}." if others else "; no other interface can.")


def _interval(row: ResultRow) -> tuple[float, float]:
    if row.scaling:
        return row.scaling.seconds.low, row.scaling.seconds.high
    return row.ns.low / 1e9, row.ns.high / 1e9


def _counts(row: ResultRow) -> list[Row]:
    counts = {"TD exits": row.td_exits, "KVM faults": row.faults, **row.seamcalls, **row.tdcalls}
    counts |= {"leaves at 4K": row.leaves.size_4k, "leaves at 2M": row.leaves.size_2m}
    return [exact(label, row.interface, count) for label, count in counts.items()]


def _by_share(name: str, line: tuple[Pair, Pair]) -> list[Row]:
    (above, below), (above_all, below_all) = line
    return [
        (extend(above, above_all, share) / extend(below, below_all, share)).row(f"{100 * share:g} %", name, "times")
        for share in SHARES
    ]


def _threshold_row(name: str, at: Threshold) -> Row:
    return at.share.times(100).row(f"by {100 * (at.ratio - 1):.0f} %", name, "%")


def _threshold_name(name: str, at: Threshold) -> str:
    return f"share at which {name} differs by {100 * (at.ratio - 1):.0f} %"


def _in_folios(name: str, at: Threshold, folios: int) -> str:
    by = f"by {100 * (at.ratio - 1):.0f} %"
    if at.folios is None:
        return f"{name} does not differ {by} with any number of shattered folios."
    if at.folios == 0:
        return f"{name} differs {by} and more without any."
    low, high = (math.ceil(min(share, 1.0) * folios) if math.isfinite(share) else None for share in at.share.interval)
    last = f"{high:,}" if high is not None else "never"
    return f"{name} differs {by} from {at.folios:,} of {folios:,} folios on ({low:,} to {last}); run at that number " \
           "and at one less."  # fmt: skip


def _other_backings(situation: Situation, progress: Progress | None) -> list[Row]:
    """Return throughput on every backing that needs no file, the guest's own with its own options."""
    guest = situation.alone
    size = min(guest.memory_bytes, OTHER_BACKINGS_BYTES)
    rows = []
    for name in BACKINGS:
        if name in _FROM_FILES or (name == guest.backing):
            continue
        own: dict[str, Any] = {"extents": None, "host": None, "scale_host": False, "max_folio_order": 9, "thp_share": 0.9,
               "block_shares": {}}  # fmt: skip
        interfaces = () if name == "pfnmap" else situation.scenario.interfaces
        done = situation.populate(replace(guest, memory=size, backing=name, interfaces=interfaces, **own), progress)
        for row, cost in zip(done.rows, situation.price(done.ledgers), strict=True):
            gib = Sampled(row.pages.mapped / (1 << 18), 0 * cost.samples + row.pages.mapped / (1 << 18))
            rows.append((gib / cost).row(name, row.interface, "GiB/s"))
    return rows


def _structural(situation: Situation) -> list[str]:
    notes = [
        "2M mappings after the TD runs rest on ENHANCED_DEMOTE_INTERRUPTIBILITY, which KVM's hugepage series demands and "
        "TDX_1.5.01 lacks: Yan Zhao, [PATCH v3 00/24] KVM: TDX huge page support for private memory, 2026-01-06, "
        "https://lore.kernel.org/all/20260106101646.24809-1-yan.y.zhao@intel.com.",
        "folio-strict: guest_memfd splits a whole 1G folio to 4K for one shared page: Ackerley Tng, [RFC PATCH v2 00/51] "
        "1G page support for guest_memfd, 2025-05-14, "
        "https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com.",
    ]
    if situation.scenario.backing in ("order0", "thp"):
        notes.append("How contiguous the memory is rests on the shares of free blocks by order, which are the host's own "
                     "(perfmodel ingest host); the default is the same share for each order.")  # fmt: skip
    if situation.scenario.vcpus * situation.scenario.tds > 1:
        notes.append("Times are those that pass with all vCPUs; shares of shattered folios and other backings are of the "
                     "work, waiting left out.")  # fmt: skip
    return notes
