"""How near the kernels come to what the machine's memory allows, and how they compare with others' code.

A roofline here is the rate of loops that only load and store what a kernel must: measured beside it, at the same time,
for each case. So each case has a roof of its own; all roofs lie on the diagonal.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plots.axes import plain_log_ticks
from plots.benchmarks import Benchmark, Benchmarks, Group, by_question
from plots.style import FAINT, INK, add_title, source_line, style
from plots.words import cut

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222")
MARKERS = "osD^vP*Xdh<"
SHARES = (1.0, 0.5, 0.25)
"""Of the roofline: the lines of the left panel."""
ROOF_LOOK: dict[str, Any] = {"color": INK, "linewidth": 1.2}
PART_LOOK: dict[str, Any] = {"color": FAINT, "linewidth": 0.8, "linestyle": (0, (4, 3))}
PEER_LOOK: dict[str, Any] = {"color": "#0072b2", "marker": "o", "linestyle": "", "markersize": 5}

_WIDTH, _HEAD, _FOOT, _ROW = 13.0, 1.0, 0.95, 0.3
_LEAST_HEIGHT = 4.2
_LEFT, _RIGHT = 0.075, 0.985
_NAME, _UNIT = 36, 12
MOST_QUESTIONS = 100
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def plot_roofline(result: Benchmarks) -> Figure:
    """Draw rates against rooflines, and ratios to peers.

    Parameters
    ----------
    result : Benchmarks

    Returns
    -------
    Figure
        Up to three axes: items a second reached over those of the roofline, both logarithmic, with diagonals at
        :data:`SHARES`; the same as share of the roofline, a row a question; rates over those of peers, a row a
        question and peer.

    Raises
    ------
    ValueError
        No benchmark has a roofline or a peer, or there are more than :data:`MOST_QUESTIONS` questions.
    """
    roofs = by_question([one for one in result.benchmarks if one.extra_info.roofline_ratio])
    peers = by_peer([one for one in result.benchmarks if one.extra_info.peer and one.extra_info.peer_ratio])
    if not roofs and not peers:
        raise ValueError("no benchmark with a roofline or a peer")
    if max(len(roofs), len(peers)) > MOST_QUESTIONS:
        raise ValueError(f"{max(len(roofs), len(peers))} questions: at most {MOST_QUESTIONS} can be drawn")
    with style():
        rows = max(len(roofs) + (len(peers) + 3 if roofs and peers else 0), len(peers))
        height = _HEAD + max(_LEAST_HEIGHT, _ROW * (rows + 2)) + _FOOT
        figure = Figure(figsize=(_WIDTH, height))
        bottom, top = _FOOT / height, 1 - _HEAD / height
        if roofs:
            _draw_diagonal(figure.add_axes((_LEFT, bottom, 0.37, top - bottom)), roofs)
        left, heights = (0.68 if roofs else 0.3), (len(roofs) + 1, len(peers) + 1)
        grid = figure.add_gridspec(
            bool(roofs) + bool(peers), 1, left=left, right=_RIGHT, bottom=bottom, top=top,
            height_ratios=[rows for rows, drawn in zip(heights, (roofs, peers), strict=True) if drawn],
            hspace=0.0 if not (roofs and peers) else 2.2 / (top - bottom) / height,
        )  # fmt: skip
        if roofs:
            _draw_shares(figure.add_subplot(grid[0]), roofs)
        if peers:
            _draw_peers(figure.add_subplot(grid[-1]), peers)
        add_title(
            figure, "The kernels against what this machine's memory allows, and against their peers",
            f"{len(result.benchmarks)} benchmarks, medians; the roofline of a case is the rate of loops that only load "
            "and store what its kernel must",
        )  # fmt: skip
        source_line(figure, *_made_by(result))
    return figure


def by_peer(benchmarks: Sequence[Benchmark]) -> list[Group]:
    """Return the cases by question and peer."""
    groups: dict[str, list[Benchmark]] = {}
    for one in benchmarks:
        asked = one.function.partition(" against ")[0]
        groups.setdefault(f"{asked} against {one.extra_info.peer}", []).append(one)
    return [Group(name, tuple(cases)) for name, cases in groups.items()]


def look_of(number: int) -> dict[str, Any]:
    """Return colour and marker of a question: no two alike up to the product of their numbers."""
    return {
        "color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "linestyle": "",
        "markersize": 6, "markerfacecolor": "white" if number // len(COLOURS) % 2 else COLOURS[number % len(COLOURS)],
    }  # fmt: skip


def _made_by(result: Benchmarks) -> tuple[str, ...]:
    cpu = result.machine_info.cpu
    settings = sorted({one.extra_info.thp for one in result.benchmarks})
    python = f"Python {result.machine_info.python_version}" if result.machine_info.python_version else ""
    machine = ", ".join(
        part for part in (cut(cpu.brand_raw, _NAME), f"{cpu.count} cores", f"THP {', '.join(settings)}") if part
    )
    return tuple(part for part in (f"pytest-benchmark, {result.datetime[:10]}", machine, python) if part)


def _draw_diagonal(axes: Axes, roofs: Sequence[Group]) -> None:
    cases = [case for group in roofs for case in group.cases]
    rates = [rate for case in cases for rate in (case.rate, case.roofline_rate)]
    limits = min(rates) / 2, max(rates) * 2
    for share in SHARES:
        axes.plot(
            limits, [limit * share for limit in limits], zorder=1, gid="roof",
            **(ROOF_LOOK if share == 1 else PART_LOOK),
        )  # fmt: skip
    for number, group in enumerate(roofs):
        x, y = [case.roofline_rate for case in group.cases], [case.rate for case in group.cases]
        axes.plot(x, y, label=group.name, zorder=3, **look_of(number))
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=10))
        axis.set_major_formatter(FuncFormatter(lambda rate, _: scaled(rate)))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.grid(visible=True, axis="both")
    axes.set_xlabel("rate of the roofline, items a second (dashed: 50 % and 25 % of it)")
    axes.set_ylabel("rate reached, items a second")
    axes.set_title("Rate reached by each case, and its roof", fontweight="bold")


def scaled(rate: float) -> str:
    """Return a rate with the prefix G, M or k."""
    scale, prefix = next(((s, p) for s, p in _SCALES if rate >= 0.999 * s), _SCALES[-1])
    return f"{rate / scale:,.3g} {prefix}".rstrip()


def _draw_shares(axes: Axes, roofs: Sequence[Group]) -> None:
    names = []
    for y, group in enumerate(roofs):
        shares = [100 * case.rate / case.roofline_rate for case in group.cases]
        axes.plot([min(shares), max(shares)], [y, y], color=FAINT, linewidth=1, zorder=2)
        axes.plot(shares, [y] * len(shares), zorder=3, **look_of(y))
        names.append(_row_name(group, group.cases[0].extra_info.unit))
    axes.axvline(100, zorder=1, **ROOF_LOOK)
    highest = max(100 * case.rate / case.roofline_rate for group in roofs for case in group.cases)
    axes.set_xlim(0, 1.08 * max(100.0, highest))
    _dress_rows(axes, names, "rate reached, % of the roofline's", "Share of the roofline, by case")


def _draw_peers(axes: Axes, peers: Sequence[Group]) -> None:
    names = []
    ratios = [[case.extra_info.peer_ratio or math.nan for case in group.cases] for group in peers]
    for y, (group, own) in enumerate(zip(peers, ratios, strict=True)):
        axes.plot([min(own), max(own)], [y, y], color=FAINT, linewidth=1, zorder=2)
        axes.plot(own, [y] * len(own), zorder=3, **PEER_LOOK)
        names.append(f"{_row_name(group, '')}: {statistics.median(own):.3g}")
    flat = [ratio for own in ratios for ratio in own]
    axes.axvline(1, zorder=1, **ROOF_LOOK)
    axes.set_xscale("log")
    axes.set_xlim(min(1.0, *flat) / 1.5, max(1.0, *flat) * 1.5)
    if math.log10(max(1.0, *flat) / min(1.0, *flat)) < 1.5:
        plain_log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.12g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    _dress_rows(axes, names, "rate over the peer's; logarithmic", "Against peers, by case; median named")


def _row_name(group: Group, unit: str) -> str:
    name = cut(group.name, _NAME)
    return f"{name} ({cut(unit, _UNIT)})" if unit else name


def _dress_rows(axes: Axes, names: Sequence[str], label: str, title: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.set_title(title, fontweight="bold")
