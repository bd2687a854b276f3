"""What each interface costs: time to populate a guest, where it goes, and throughput.

Interfaces often differ by a factor of five to a hundred, so the bars of the fast ones are slivers where time is drawn
to scale. The middle panel draws every bar at full length: shares are read there, sizes on the left.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from perfmodel.costs import ALL_STAGES
from perfmodel.result import Comparison, Row
from perfmodel.show import STAGE_TITLES
from perfmodel.sizes import format_size
from plots.style import INK, OTHER_LOOK, PLAIN_LOOK, STAGE_LOOKS, Look, source_line, style

SMALL_SHARE = 0.01
"""A stage that stays below this share of the time of every interface is drawn with the others of its kind."""

INTERVAL_LABEL = "5 % to 95 % interval"

_WIDTH, _ROW_HEIGHT, _HEAD_HEIGHT, _AXIS_HEIGHT = 13.0, 0.72, 1.05, 0.65
_LEGEND_COLUMNS, _LEGEND_ROW_HEIGHT, _SOURCE_HEIGHT = 4, 0.22, 0.42
_LEFT, _RIGHT, _PANEL_WIDTHS = 0.095, 0.985, (1.25, 1.25, 0.8)
_BAR_HEIGHT, _LABEL_GAP = 0.46, 0.04
_NAMED_SHARE = 0.07
_TIME_UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))


class TimeUnit(NamedTuple):
    """A unit of time and how many of it make a second."""

    name: str
    per_second: float

    def of_ns(self, ns: float) -> float:
        """Return ``ns`` in this unit."""
        return ns * (self.per_second / 1e9)


class Part(NamedTuple):
    """A kind of segment of the bars: the stages it stands for, and how it is drawn."""

    label: str
    stages: tuple[str, ...]
    look: Look

    def ns(self, row: Row) -> float:
        """Return the time that ``row`` spends in it."""
        return math.fsum(row.ns.by_stage[stage] for stage in self.stages)


def plot_interfaces(comparison: Comparison) -> Figure:
    """Draw time by stage, shares of it, and throughput, with one bar an interface.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    Figure
        Three axes: time (to scale, with the interval of the total), share of the time, GiB/s with its interval.
    """
    rows, parts = comparison.rows, group_stages(comparison.rows)
    with style():
        legend_rows = -(-(len(parts) + 1) // _LEGEND_COLUMNS)
        foot = _AXIS_HEIGHT + _LEGEND_ROW_HEIGHT * legend_rows + _SOURCE_HEIGHT
        height = _HEAD_HEIGHT + _ROW_HEIGHT * len(rows) + foot
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            1, 3, left=_LEFT, right=_RIGHT, bottom=foot / height, top=1 - _HEAD_HEIGHT / height,
            width_ratios=_PANEL_WIDTHS, wspace=0.1,
        )  # fmt: skip
        time = figure.add_subplot(grid[0])
        share, speed = (figure.add_subplot(grid[k], sharey=time) for k in (1, 2))
        _draw_time(time, rows, parts, comparison.scenario["vcpus"])
        _draw_shares(share, rows, parts)
        _draw_throughput(speed, rows)
        _name_rows(time, rows)
        _add_legend(figure, time, parts, (foot - _AXIS_HEIGHT) / height)
        _add_title(figure, comparison.scenario, height)
        source_line(figure, comparison)
    return figure


def group_stages(rows: Sequence[Row]) -> list[Part]:
    """Return the segments that a bar of ``rows`` is made of; each stage that costs anything is in one of them.

    Stages below :data:`SMALL_SHARE` in every row are one segment, the last, if there are two or more.
    """
    largest = {
        stage: max((row.ns.by_stage.get(stage, 0.0) / row.ns.total for row in rows if row.ns.total), default=0.0)
        for stage in ALL_STAGES
    }
    small = tuple(stage for stage in ALL_STAGES if 0 < largest[stage] < SMALL_SHARE)
    alone = [stage for stage in ALL_STAGES if largest[stage] and (stage not in small or len(small) == 1)]
    parts = [Part(STAGE_TITLES[stage], (stage,), STAGE_LOOKS[stage]) for stage in alone]
    if len(small) > 1:
        parts.append(Part(f"{len(small)} other stages, each below {100 * SMALL_SHARE:.0f} %", small, OTHER_LOOK))
    return parts


def time_unit(rows: Sequence[Row]) -> TimeUnit:
    """Return the unit in which the longest time of ``rows`` is at least 1."""
    longest = max(row.ns.total for row in rows) / 1e9
    fits = [TimeUnit(*unit) for unit in _TIME_UNITS if longest * unit[1] >= 1]
    return fits[0] if fits else TimeUnit(*_TIME_UNITS[0])


def _draw_time(axes: Axes, rows: Sequence[Row], parts: Sequence[Part], vcpus: int) -> None:
    unit = time_unit(rows)
    _stack(axes, parts, [[unit.of_ns(part.ns(row)) for row in rows] for part in parts])
    low, total, high = ([unit.of_ns(ns) for ns in side] for side in _intervals(rows))
    _error_bars(axes, low, total, high)
    for y, row in enumerate(rows):
        _label(axes, y, _amount(low[y], total[y], high[y], unit.name) if row.ns.total else "0 s, nothing mapped")
    of_all = f"work of all {vcpus:,} vCPUs, waits left out" if vcpus > 1 else "time to populate"
    _dress(axes, "Time, to scale", f"{of_all}, {unit.name}", 1.04 * max(high))


def _draw_shares(axes: Axes, rows: Sequence[Row], parts: Sequence[Part]) -> None:
    shares = [[100 * part.ns(row) / row.ns.total if row.ns.total else 0.0 for row in rows] for part in parts]
    for bars in _stack(axes, parts, shares):
        for bar in bars:
            if bar.get_width() >= 100 * _NAMED_SHARE:
                axes.annotate(
                    f"{bar.get_width():.0f} %", bar.get_center(), ha="center", va="center", fontsize=7.5,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
                )  # fmt: skip
    _dress(axes, "Where it goes", "share of the time, %", 100.4)  # the last edge shows


def throughput_interval(row: Row) -> tuple[float, float, float]:
    """Return GiB/s of the time that passes: the low end, at the parameters' values, the high end."""
    if row.scaling:
        speed = row.scaling.point.gib_per_s
        return speed.low, row.gib_per_s, speed.high
    slow, fast = (row.gib_per_s * row.ns.total / ns if ns else 0.0 for ns in (row.ns.high, row.ns.low))
    return slow, row.gib_per_s, fast


def _draw_throughput(axes: Axes, rows: Sequence[Row]) -> None:
    slow, speed, fast = (list(side) for side in zip(*map(throughput_interval, rows), strict=True))
    axes.barh(range(len(rows)), speed, _BAR_HEIGHT, color=PLAIN_LOOK.colour, edgecolor=INK, linewidth=0.5)
    _error_bars(axes, slow, speed, fast)
    for y, row in enumerate(rows):
        _label(axes, y, _amount(slow[y], speed[y], fast[y], "GiB/s") if row.pages.mapped else "nothing mapped")
    _dress(axes, "Throughput", "throughput, GiB/s", 1.04 * max(fast))


def _intervals(rows: Sequence[Row]) -> tuple[list[float], list[float], list[float]]:
    return [row.ns.low for row in rows], [row.ns.total for row in rows], [row.ns.high for row in rows]


def _stack(axes: Axes, parts: Sequence[Part], widths: Sequence[Sequence[float]]) -> list[BarContainer]:
    stacked, left = [], [0.0] * len(widths[0]) if widths else []
    for part, width in zip(parts, widths, strict=True):
        bars = axes.barh(range(len(width)), width, _BAR_HEIGHT, left, label=part.label, **_paint(part.look))
        stacked.append(bars)
        left = [start + more for start, more in zip(left, width, strict=True)]
    return stacked


def _paint(look: Look) -> dict[str, Any]:
    return {"facecolor": look.colour, "hatch": look.hatch or None, "edgecolor": INK, "linewidth": 0.4}


def _error_bars(axes: Axes, low: Sequence[float], middle: Sequence[float], high: Sequence[float]) -> None:
    below = [m - n for m, n in zip(middle, low, strict=True)]
    above = [n - m for m, n in zip(middle, high, strict=True)]
    axes.errorbar(
        middle, range(len(middle)), xerr=[below, above], label=INTERVAL_LABEL,
        fmt="none", ecolor="black", elinewidth=1.3, capsize=3.5, capthick=1.3,
    )  # fmt: skip


def _label(axes: Axes, y: int, text: str) -> None:
    """Write above bar ``y``, from its foot: there is room however short the bar is."""
    axes.annotate(
        text, (0, y - _BAR_HEIGHT / 2 - _LABEL_GAP), xytext=(2, 0), textcoords="offset points",
        ha="left", va="bottom", fontsize=8.5,
    )  # fmt: skip


def _dress(axes: Axes, title: str, label: str, limit: float) -> None:
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel(label)
    axes.set_xlim(0, limit or 1)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.12g}"))
    axes.tick_params(axis="y", length=0, labelleft=False)


def _name_rows(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [row.interface for row in rows])
    axes.tick_params(axis="y", labelleft=True)
    axes.set_ylim(len(rows) - 1 + 0.4, -0.62)  # the first row on top


def _add_legend(figure: Figure, axes: Axes, parts: Sequence[Part], top: float) -> None:
    handles: list[Any] = [Patch(label=part.label, **_paint(part.look)) for part in parts]
    handles += [bars for bars in axes.containers if bars.get_label() == INTERVAL_LABEL]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(_LEFT - 0.01, top), ncols=_LEGEND_COLUMNS,
        fontsize=8.5, handlelength=2.6, handleheight=1.1, borderaxespad=0,
    )  # fmt: skip


def _add_title(figure: Figure, scenario: Mapping[str, Any], height: float) -> None:
    figure.suptitle(
        f"Populating a {format_size(scenario['memory_bytes'])} TD guest, by mapping interface",
        x=0.012, y=1 - 0.12 / height, ha="left", va="top", fontsize=13, fontweight="bold",
    )  # fmt: skip
    figure.text(0.012, 1 - 0.42 / height, describe(scenario), va="top", fontsize=9.5, gid="scenario")


def describe(scenario: Mapping[str, Any]) -> str:
    """Return one line that says what was run, beyond the size of the guest."""
    shared = "no shattered folios"
    if scenario["shattered"]:
        pages = scenario["shared_pages"]
        shared = (
            f"{100 * scenario['shattered']:.3g} % of the 1G folios hold {pages:,} shared "
            f"page{'s' if pages > 1 else ''} each ({scenario['shatter_layout']})"
        )
    return (
        f"backing {scenario['backing']}, {shared}; guest {scenario['guest']}, {scenario['order']} order, "
        f"layout {scenario['layout']}, {scenario['levels']} S-EPT levels"
    )


def _amount(low: float, value: float, high: float, unit: str) -> str:
    return f"{_number(value)} {unit} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    if value >= 999.5:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"
