"""Predicted against measured: every scored observation, with its interval, from nanoseconds to minutes.

On the left all of them on one diagonal, where only what is far off shows; on the right how far off each one is, with
what the two trivial baselines say of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from perfmodel.calibration.report import ValidatedRow, Validation
from plots.style import FAINT, add_title, priced_by, source_line, style

PREDICTED_LABEL = "predicted without its fold, 5 % to 95 %"
HELD_OUT_LABEL = "predicted, held out, 5 % to 95 %"
IN_SAMPLE_LABEL = "predicted with it in the fit"
PAGE_LABEL, CALL_LABEL = "one cost per 4K page", "one cost per call"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
_MARKERS = "osD^vP*X"
_WIDTH, _ROW_HEIGHT, _LEAST_HEIGHT, _EDGE_HEIGHT = 13.0, 0.3, 3.2, 2.1
_TICKS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (1e3, "ks"))


class Point(NamedTuple):
    """One scored row: measured in seconds, and ratios to it."""

    row: ValidatedRow
    seconds: float
    ratio: float
    low: float
    high: float


def points_of(result: Validation) -> list[Point]:
    """Return the scored rows; left-out predictions where there are any."""
    points = []
    for row in result.rows:
        if row.role != "not scored" and row.measured_ns is not None and row.ratio is not None:
            by = row.left_out or row
            ratio = row.left_out.ratio if row.left_out else row.ratio
            points.append(Point(row, row.measured_ns / 1e9, ratio, by.low / row.measured, by.high / row.measured))
    return points


def plot_residuals(result: Validation) -> Figure:
    """Draw scored rows against the model.

    Parameters
    ----------
    result : Validation

    Returns
    -------
    Figure
        Two axes: predicted against measured, and the ratio of both by row.

    Raises
    ------
    ValueError
        No row is scored.
    """
    points = points_of(result)
    if not points:
        raise ValueError("no scored row")
    hosts = list(dict.fromkeys(point.row.host for point in points))
    with style():
        height = _EDGE_HEIGHT + max(_LEAST_HEIGHT, _ROW_HEIGHT * len(points))
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            1, 2, left=0.06, right=0.985, bottom=1.05 / height, top=1 - 0.95 / height, width_ratios=(1, 1.25),
            wspace=0.34,
        )  # fmt: skip
        diagonal, ratios = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        _draw_diagonal(diagonal, points, hosts)
        _draw_ratios(ratios, points, hosts, result.max_ratio)
        add_title(figure, "The model against what others measured", _summary(result), gid="summary")
        source_line(figure, priced_by(result.version, result.parameters))
    return figure


def _look(hosts: Sequence[str], host: str) -> tuple[str, str]:
    k = hosts.index(host)
    return _COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]


def _draw_diagonal(axes: Axes, points: Sequence[Point], hosts: Sequence[str]) -> None:
    ends = [x for p in points for x in (p.seconds, p.seconds * p.low, p.seconds * p.high)]
    limits = min(ends) / 2, max(ends) * 2
    axes.plot(limits, limits, color=FAINT, linewidth=0.8, zorder=1)
    for host in hosts:
        colour, marker = _look(hosts, host)
        own = [p for p in points if p.row.host == host]
        axes.errorbar(
            [p.seconds for p in own], [p.seconds * p.ratio for p in own],
            yerr=[[p.seconds * (p.ratio - p.low) for p in own], [p.seconds * (p.high - p.ratio) for p in own]],
            fmt=marker, color=colour, markersize=5, elinewidth=1, capsize=2, label=host,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda seconds, _: _seconds(seconds)))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, axis="both")
    axes.tick_params(labelsize=8)
    axes.set_xlabel("measured")
    axes.set_ylabel("predicted")
    axes.set_title("All on one diagonal", fontweight="bold")
    axes.legend(loc="upper left", fontsize=8.5)


def _draw_ratios(axes: Axes, points: Sequence[Point], hosts: Sequence[str], max_ratio: float) -> None:
    places = range(len(points))
    axes.axvspan(1 / max_ratio, max_ratio, color="#eeeeee", zorder=0, label=f"within a factor of {max_ratio:g}")
    axes.axvline(1, color=FAINT, linewidth=0.8, zorder=1)
    for label, marker, of in ((PAGE_LABEL, "|", "per_page_ratio"), (CALL_LABEL, "x", "per_call_ratio")):
        known = [(getattr(p.row.left_out, of), y) for y, p in zip(places, points, strict=True) if p.row.left_out]
        if known:
            axes.plot(*zip(*known, strict=True), marker, color=FAINT, markersize=6, label=label, zorder=2)
    left_out = any(p.row.left_out for p in points)
    for y, point in zip(places, points, strict=True):
        colour, marker = _look(hosts, point.row.host)
        label = (PREDICTED_LABEL if left_out else HELD_OUT_LABEL) if y == 0 else "_"
        axes.errorbar(
            point.ratio, y, xerr=[[point.ratio - point.low], [point.high - point.ratio]], fmt=marker, color=colour,
            markersize=5, elinewidth=1.2, capsize=2.5, label=label, zorder=4,
        )  # fmt: skip
        if point.row.left_out and point.row.ratio is not None:
            axes.plot(
                point.row.ratio, y, marker, markerfacecolor="white", markeredgecolor=colour, markersize=5, zorder=3,
                label=IN_SAMPLE_LABEL if y == 0 else "_",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_yticks(places, [_name(point.row) for point in points])
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.set_xlabel("predicted / measured")
    axes.set_title("How far off", fontweight="bold")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.13), ncols=3, fontsize=8.5, borderaxespad=0)


def _name(row: ValidatedRow) -> str:
    return f"{row.id} - {row.minus}  {row.operation}" if row.minus else f"{row.id}  {row.operation}"


def _seconds(seconds: float) -> str:
    per, unit = [tick for tick in _TICKS if seconds >= tick[0] * 0.999][-1] if seconds >= 1e-9 else _TICKS[0]
    return f"{seconds / per:.3g} {unit}"


def _summary(result: Validation) -> str:
    summary, parts = result.summary, []
    for name, errors in (("left out", summary.left_out), ("held out", summary.held_out)):
        if errors is not None:
            parts.append(
                f"{name}: geometric-mean error {100 * errors.geometric_mean_error:.1f} %, "
                f"largest ratio {errors.maximum_ratio:.2f} over {errors.rows} rows"
            )
    return "; ".join(parts)
