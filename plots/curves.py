"""Curves with intervals along one axis of a sweep: what figures of throughput and of speed-ups have in common."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from plots.axes import name_ends, number_axis, plain_log_ticks
from plots.stacks import INTERVAL_LABEL, number
from plots.style import FAINT, LINE_HEIGHT, LineLook, add_title, source_line
from plots.swept import Line

_WIDTH, _HEAD, _PANEL, _FOOT = 13.0, 0.65, 4.4, 1.55
_LEFT, _RIGHT = 0.06, 0.765
_LEGEND_TOP = 0.95
_LEGEND_COLUMNS = 3
_BETWEEN = 16
"""Steps from one point to the next where curves are bent."""
_HEADROOM = 1.4
_NAME_HEIGHT = 0.045

Side = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """One curve: its values along the axis with their low and high ends, NaN where there is none.

    The ends may be NaN where the values are not: a curve without an interval.
    """

    name: str
    low: Side
    value: Side
    high: Side
    look: LineLook


def of_interface(line: Line, place: int, name: str, look: LineLook) -> Curve:
    """Return the curve of a variable for one interface; what is not above 0 is left out."""
    low, value, high = (np.where(side[:, place] > 0, side[:, place], np.nan) for side in line.band(name))
    return Curve(line.interfaces[place], low, value, high, look)


def draw_curves(line: Line, curves: Sequence[Curve], title: str, label: str, unit: str) -> tuple[Figure, Axes]:
    """Draw ``curves`` along the axis of ``line``, with title and source; y is logarithmic.

    Raises
    ------
    ValueError
        No curve has a value.
    """
    seen = np.concatenate(
        [side[np.isfinite(side)] for curve in curves for side in (curve.low, curve.value, curve.high)]
    )
    if not seen.size:
        raise ValueError(f"no value at any point along {line.axis}: nothing was mapped, or a life has no throughput")
    lines = line.lines()
    height = _HEAD + LINE_HEIGHT * len(lines) + _PANEL + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((_LEFT, _FOOT / height, _RIGHT - _LEFT, _PANEL / height))
    axes.set_yscale("log")
    axes.set_ylim(seen.min() / _HEADROOM, seen.max() * _HEADROOM)
    number_axis(axes, (_RIGHT - _LEFT) * _WIDTH, line.numbers, line.labels, line.title)
    for curve in curves:
        _draw_curve(axes, line, curve)
    name_ends(axes, [_end(curve, unit) for curve in curves if np.isfinite(curve.value).any()], _NAME_HEIGHT)
    plain_log_ticks(axes.yaxis)
    axes.grid(visible=True, axis="y")
    axes.set_ylabel(f"{label}, {unit}")
    add_title(figure, title, *lines)
    source_line(figure, *line.made_by())
    return figure, axes


def _draw_curve(axes: Axes, line: Line, curve: Curve) -> None:
    """Draw one curve with its band: between two shares of folios times are linear, and so bent on another scale."""
    steps = _BETWEEN if line.axis == "shattered" else 1
    at = np.arange(line.numbers.size)
    fine = np.linspace(0, line.numbers.size - 1, (line.numbers.size - 1) * steps + 1)
    x, low, value, high = (np.interp(fine, at, side) for side in (line.numbers, curve.low, curve.value, curve.high))
    if np.isfinite(low).any():
        axes.fill_between(
            x, low, high, color=curve.look.colour, alpha=0.16, linewidth=0, label=f"{curve.name} interval"
        )
    axes.plot(x, value, linewidth=1.5, label=curve.name, zorder=3, markevery=steps, **curve.look.of_line())


def _end(curve: Curve, unit: str) -> tuple[float, str]:
    last = np.flatnonzero(np.isfinite(curve.value))[-1]
    low, value, high = (float(side[last]) for side in (curve.low, curve.value, curve.high))
    within = f" ({number(low)} to {number(high)})" if np.isfinite(low) else ""
    return value, f"{curve.name}  {number(value)} {unit}{within}"


def add_legend(figure: Figure, axes: Axes, curves: Sequence[Curve], *more: Artist) -> None:
    """Write below the axes how the curves are drawn, what the bands are, and ``more``."""
    names = {curve.name for curve in curves}
    handles: list[Any] = [line for line in axes.get_lines() if line.get_label() in names]
    handles += [Patch(facecolor=FAINT, alpha=0.25, label=INTERVAL_LABEL), *more]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(_LEFT - 0.01, _LEGEND_TOP / figure.get_figheight()),
        ncols=_LEGEND_COLUMNS, fontsize=8.5, handlelength=3.2, borderaxespad=0,
    )  # fmt: skip
