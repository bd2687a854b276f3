"""Stacked bars: which stages are a segment of their own, how segments, intervals and names are drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from perfmodel.costs import ALL_STAGES
from perfmodel.result import Cost
from perfmodel.show import STAGE_TITLES
from plots.style import OTHER_LOOK, STAGE_LOOKS, Look

SMALL_SHARE = 0.01
"""A stage that stays below this share of every bar is drawn with the others of its kind."""

INTERVAL_LABEL = "5 % to 95 % interval"
BAR_HEIGHT = 0.46

_LABEL_GAP = 0.04
_WHOLE = 1e-9
_TIME_UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))


class TimeUnit(NamedTuple):
    """A unit of time and how many of it make a second."""

    name: str
    per_second: float

    def of_ns(self, ns: float) -> float:
        """Return ``ns`` in this unit."""
        return ns * (self.per_second / 1e9)


class Part(NamedTuple):
    """A kind of segment of the bars: the stages, causes or phases it stands for, and how it is drawn."""

    label: str
    keys: tuple[str, ...]
    look: Look

    def of(self, amounts: Mapping[str, float]) -> float:
        """Return what of ``amounts`` falls to it."""
        return math.fsum(amounts.get(key, 0.0) for key in self.keys)


def group_stages(costs: Sequence[Cost]) -> list[Part]:
    """Return the segments that bars of ``costs`` are made of; each stage that costs anything is in one of them.

    Stages below :data:`SMALL_SHARE` of every cost are one segment, the last, if there are two or more.
    """
    largest = {
        stage: max((cost.by_stage.get(stage, 0.0) / cost.total for cost in costs if cost.total), default=0.0)
        for stage in ALL_STAGES
    }
    small = tuple(stage for stage in ALL_STAGES if 0 < largest[stage] < SMALL_SHARE)
    alone = [stage for stage in ALL_STAGES if largest[stage] and (stage not in small or len(small) == 1)]
    parts = [Part(STAGE_TITLES[stage], (stage,), STAGE_LOOKS[stage]) for stage in alone]
    if len(small) > 1:
        parts.append(Part(f"{len(small)} other stages, each below {100 * SMALL_SHARE:.0f} %", small, OTHER_LOOK))
    return parts


def time_unit(longest_ns: float) -> TimeUnit:
    """Return the unit in which ``longest_ns`` is at least 1."""
    fits = [TimeUnit(*unit) for unit in _TIME_UNITS if longest_ns / 1e9 * unit[1] >= 1]
    return fits[0] if fits else TimeUnit(*_TIME_UNITS[0])


def stack(axes: Axes, parts: Sequence[Part], widths: Sequence[Sequence[float]]) -> list[BarContainer]:
    """Draw a bar a row from the segments ``widths``, a sequence a part with a width a row; return them by part."""
    stacked, left = [], [0.0] * len(widths[0]) if widths else []
    for part, width in zip(parts, widths, strict=True):
        bars = axes.barh(range(len(width)), width, BAR_HEIGHT, left, label=part.label, **part.look.of_bar())
        stacked.append(bars)
        left = [start + more for start, more in zip(left, width, strict=True)]
    return stacked


def name_segments(stacked: Sequence[BarContainer], least: float) -> None:
    """Write its per cent into every segment of at least ``least`` per cent."""
    for bars in stacked:
        for bar in bars:
            if bar.get_width() >= least:
                nearly_all = 99.5 <= bar.get_width() < 100 - _WHOLE
                text = "> 99 %" if nearly_all else f"{bar.get_width():.0f} %"
                bar.axes.annotate(
                    text, bar.get_center(), ha="center", va="center", fontsize=7.5,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
                )  # fmt: skip


def error_bars(axes: Axes, low: Sequence[float], middle: Sequence[float], high: Sequence[float]) -> None:
    """Draw the interval of each row."""
    below = [m - n for m, n in zip(middle, low, strict=True)]
    above = [n - m for m, n in zip(middle, high, strict=True)]
    axes.errorbar(
        middle, range(len(middle)), xerr=[below, above], label=INTERVAL_LABEL,
        fmt="none", ecolor="black", elinewidth=1.3, capsize=3.5, capthick=1.3,
    )  # fmt: skip


def name_bar(axes: Axes, y: int, text: str) -> None:
    """Write above bar ``y``, from its foot: there is room however short the bar is."""
    axes.annotate(
        text, (0, y - BAR_HEIGHT / 2 - _LABEL_GAP), xytext=(2, 0), textcoords="offset points",
        ha="left", va="bottom", fontsize=8.5,
    )  # fmt: skip


def amount(low: float, value: float, high: float, unit: str) -> str:
    """Return a value with its unit and its interval."""
    return f"{number(value)} {unit} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """Return three significant digits, or a whole number from 1000 on."""
    if value >= 999.5:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def dress(axes: Axes, title: str, label: str, limit: float) -> None:
    """Give a panel of bars its title, and an axis from 0 to ``limit``."""
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel(label)
    axes.set_xlim(0, limit or 1)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.12g}"))
    axes.tick_params(axis="y", length=0, labelleft=False)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write the rows' names on the left, the first row on top."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelleft=True)
    axes.set_ylim(len(names) - 1 + 0.4, -0.62)


def add_legend(
    figure: Figure, parts: Sequence[Part], left: float, top: float, columns: int = 4, interval: Axes | None = None
) -> None:
    """Write below the panels what segments stand for, and the interval that is drawn in ``interval``."""
    handles: list[Any] = [Patch(label=part.label, **part.look.of_bar()) for part in parts]
    if interval:
        handles += [bars for bars in interval.containers if bars.get_label() == INTERVAL_LABEL]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(left, top), ncols=columns,
        fontsize=8.5, handlelength=2.6, handleheight=1.1, borderaxespad=0,
    )  # fmt: skip
