"""How long a fault, or another unit of work, takes as its vCPU sees it: percentiles by the number of vCPUs."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.show import format_time
from perfmodel.sizes import format_size
from plots.axes import name_ends, plain_log_ticks, vcpu_axis
from plots.scaling import describe_scale, leaves_of, made_by
from plots.style import INTERFACE_LOOKS, add_title, source_line, style

MOST_CURVES = 24
UNITS = {"populate": "fault", "convert": "changed leaf", "split": "split leaf", "teardown": "removed leaf"}
LINES: tuple[dict[str, Any], ...] = (
    {"linestyle": "-", "linewidth": 2.0},
    {"linestyle": (0, (6, 1.5)), "linewidth": 1.3},
    {"linestyle": (0, (4, 1.5, 1, 1.5)), "linewidth": 1.3},
    {"linestyle": (0, (1.5, 1.5)), "linewidth": 1.3},
)
"""Of the percentiles, the lowest first."""

_COLUMNS = 2
_WIDTH, _ROW_HEIGHT, _HEAD, _FOOT = 13.0, 3.5, 0.95, 0.3
_LEFT, _RIGHT = 0.06, 0.9
_HEADROOM = 1.3
_NAME_HEIGHT = 0.16  # inches


def plot_latency(result: ScaleResult) -> Figure:
    """Draw percentiles of the time of a unit of work by the number of vCPUs.

    Parameters
    ----------
    result : ScaleResult

    Returns
    -------
    Figure
        One axes a curve of the result, all with the same range: microseconds at each percentile, the band from the
        lowest to the highest of them.

    Raises
    ------
    ValueError
        There are more than :data:`MOST_CURVES` curves.
    """
    curves = result.curves
    if len(curves) > MOST_CURVES:
        raise ValueError(f"{len(curves)} curves: at most {MOST_CURVES} can be drawn")
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with style():
        height = _HEAD + rows * _ROW_HEIGHT + _FOOT
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            rows, columns, left=_LEFT, right=_RIGHT, bottom=(_FOOT + 0.5) / height, top=1 - (_HEAD + 0.25) / height,
            wspace=0.28, hspace=0.42,
        )  # fmt: skip
        limits = _limits(curves)
        for number, curve in enumerate(curves):
            axes = figure.add_subplot(grid[number])
            _draw_curve(axes, curve, limits)
            axes.set_title(_name(curve, curves), fontweight="bold")
            axes.tick_params(axis="y", labelleft=number % columns == 0)
            if number % columns == 0:
                axes.set_ylabel(f"time of a {UNITS[curve.workload]}, µs")
        size = format_size(result.scenario["memory_bytes"])
        add_title(figure, f"Latencies in a {size} TD guest with many vCPUs: percentiles", *describe_scale(result))
        source_line(figure, *made_by(result))
    return figure


def percentiles_us(curve: Curve) -> dict[str, list[float]]:
    """Return the latency at each percentile in microseconds, a number a point, the lowest percentile first."""
    names = sorted(curve.points[0].latency_ns, key=_share)
    return {name: [point.latency_ns[name] / 1e3 for point in curve.points] for name in names}


def _share(name: str) -> float:
    return float(name.removeprefix("p"))


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    times = [ns / 1e3 for curve in curves for point in curve.points for ns in point.latency_ns.values()]
    return min(times) / _HEADROOM, max(times) * _HEADROOM


def _name(curve: Curve, curves: Sequence[Curve]) -> str:
    several = {"workload": curve.workload, "state": f"other vCPUs {curve.state}"}
    parts = [text for field, text in several.items() if len({getattr(one, field) for one in curves}) > 1]
    return f"{', '.join((curve.interface, *parts))}: {leaves_of(curve)}"


def _draw_curve(axes: Axes, curve: Curve, limits: tuple[float, float]) -> None:
    look, counts = INTERFACE_LOOKS[curve.interface], [point.vcpus for point in curve.points]
    found = percentiles_us(curve)
    names = list(found)
    axes.fill_between(
        counts, found[names[0]], found[names[-1]], color=look.colour, alpha=0.13, linewidth=0, label="percentiles"
    )
    for number, (name, times) in enumerate(found.items()):
        drawn = look.of_line() | LINES[number % len(LINES)]
        axes.plot(counts, times, label=name, **drawn)
    vcpu_axis(axes, counts)
    axes.set_yscale("log")
    axes.set_ylim(limits)
    plain_log_ticks(axes.yaxis)
    axes.grid(visible=True, axis="y")
    per_inch = 1 / (_ROW_HEIGHT * 0.7)
    ends = [(times[-1], f"{name}  {_time(times[-1])}") for name, times in found.items()]
    name_ends(axes, ends, _NAME_HEIGHT * per_inch)


def _time(us: float) -> str:
    return format_time(us / 1e6).replace("us", "µs") if math.isfinite(us) else "never"
