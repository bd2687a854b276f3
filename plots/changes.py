"""Conversion, splits and tear-down with many vCPUs: time per page, by the state of the others and the size of leaves.

One vCPU of a TD changes mappings; each change looks at all the others, and interrupts those inside the TD.
"""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.together import ScalePoint
from perfmodel.show import format_time
from perfmodel.sizes import format_size
from plots.axes import plain_log_ticks, spread_out, vcpu_axis
from plots.scaling import describe_scale, made_by
from plots.stacks import INTERVAL_LABEL
from plots.style import FAINT, INTERFACE_LOOKS, add_title, source_line, style

TITLES = {
    "convert": "Conversion to shared, 2 MiB a MapGPA",
    "split": "Splitting of 2M leaves",
    "teardown": "Tear-down by removal",
}
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "inside": ("other vCPUs inside the TD", {"linestyle": "-", "fillstyle": "full"}),
    "ticking": (
        "other vCPUs outside, waking for ticks",
        {"linestyle": (0, (4, 1.5, 1, 1.5)), "fillstyle": "left", "markerfacecoloralt": "white"},
    ),
    "halted": ("other vCPUs halted outside", {"linestyle": (0, (1.5, 1.5)), "markerfacecolor": "white"}),
}
NEAR_END = 1.25
"""Curves of one leaf size whose last points are within this factor are named together."""

_GIB_PAGES = 1 << 18
_WIDTH, _HEIGHT = 13.0, 6.2
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.06, 0.935, 0.3, 0.825
_HEADROOM = 1.5
_NAME_WIDTH, _NAME_GAP, _NAME_HEIGHT = 1.7, 0.1, 0.1  # inches, inches, share of the axes


def plot_changes(result: ScaleResult) -> Figure:
    """Draw the time that a change of mappings takes per 4K page, by the number of vCPUs.

    Parameters
    ----------
    result : ScaleResult
        Its curves of workloads ``convert``, ``split`` and ``teardown`` are drawn.

    Returns
    -------
    Figure
        One axes a workload: microseconds per page of 4 KiB; seconds per GiB on the right of the last.

    Raises
    ------
    ValueError
        All curves are of populating.
    """
    curves = [curve for curve in result.curves if curve.workload in TITLES]
    if not curves:
        raise ValueError("no curve of workload convert, split or teardown")
    workloads = [name for name in TITLES if any(curve.workload == name for curve in curves)]
    with style():
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        grid = figure.add_gridspec(1, len(workloads), left=_LEFT, right=_RIGHT, bottom=_BOTTOM, top=_TOP, wspace=0.06)
        panels = [figure.add_subplot(grid[number]) for number in range(len(workloads))]
        for axes, workload in zip(panels, workloads, strict=True):
            own = [curve for curve in curves if curve.workload == workload]
            _draw_workload(axes, own)
            _set_limits(axes, curves)
            _name_ends(axes, own)
            axes.set_title(TITLES[workload], fontweight="bold")
        _dress(panels)
        _add_legend(figure, curves)
        size = format_size(result.scenario["memory_bytes"])
        add_title(figure, f"Changing mappings of a {size} TD guest", *describe_scale(result))
        source_line(figure, *made_by(result))
    return figure


def page_us(point: ScalePoint) -> tuple[float, float, float]:
    """Return the time of one 4K page in microseconds: its low end, at the parameters' values, its high end."""
    speed = point.gib_per_s
    low, value, high = (1e6 / _GIB_PAGES / one if one else math.inf for one in (speed.high, speed.value, speed.low))
    return low, value, high


def leaf_of(curve: Curve) -> str:
    """Return the size of the leaves that a curve changes: that of most of the memory."""
    return "2M" if curve.leaves_2m_share > 0.5 else "4K"


def near_ends(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Return the curves that are named together at their last points, the fastest first."""
    groups: list[list[Curve]] = []
    for curve in sorted(curves, key=_end):
        near = groups and _end(curve) <= _end(groups[-1][0]) * NEAR_END
        if near and leaf_of(groups[-1][0]) == leaf_of(curve):
            groups[-1].append(curve)
        else:
            groups.append([curve])
    return groups


def _end(curve: Curve) -> float:
    return page_us(curve.points[-1])[1]


def _draw_workload(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        look = INTERFACE_LOOKS[curve.interface]
        name = f"{curve.interface}, {curve.state}"
        x = [point.vcpus for point in curve.points]
        low, middle, high = zip(*(page_us(point) for point in curve.points), strict=True)
        axes.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0, label=f"{name} interval")
        drawn = look.of_line() | {"markerfacecolor": look.colour} | STATES[curve.state][1]
        axes.plot(x, middle, linewidth=1.5, label=name, zorder=3, **drawn)


def _set_limits(axes: Axes, curves: Sequence[Curve]) -> None:
    """Give every panel the range of all curves, and room for names on the right."""
    counts = sorted({point.vcpus for curve in curves for point in curve.points})
    times = [page_us(point) for curve in curves for point in curve.points]
    vcpu_axis(axes, counts)
    left, right = (math.log2(x) for x in axes.get_xlim())
    room = (right - left) * _NAME_WIDTH / (_width(axes) - _NAME_WIDTH)
    axes.set_xlim(2**left, 2 ** (right + room))
    axes.set_yscale("log")
    axes.set_ylim(min(low for low, _, _ in times) / _HEADROOM, max(high for _, _, high in times) * _HEADROOM)


def _width(axes: Axes) -> float:
    """Return the width of the axes in inches."""
    return axes.get_position().width * _WIDTH


def _name_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Write beside the last points what one leaf takes there."""
    low, high = (math.log10(y) for y in axes.get_ylim())
    groups = near_ends(curves)
    wanted = [
        (math.fsum(math.log10(_end(curve)) for curve in group) / len(group) - low) / (high - low) for group in groups
    ]
    for group, y in zip(groups, spread_out(wanted, [_NAME_HEIGHT] * len(groups)), strict=True):
        axes.annotate(
            _name(group), (group[0].points[-1].vcpus, y), xycoords=axes.get_xaxis_transform(),
            xytext=(72 * _NAME_GAP, 0), textcoords="offset points", va="center", fontsize=8.5, gid="end",
        )  # fmt: skip


def _name(group: Sequence[Curve]) -> str:
    ends = sorted(_end(curve) * curve.pages_per_unit / 1e6 for curve in group)
    times = format_time(*dict.fromkeys([ends[0], ends[-1]])).replace("us", "µs")
    states = ", ".join(name for name in STATES if name in {curve.state for curve in group})
    return f"{states}:\n{times} a {leaf_of(group[0])} leaf"


def _dress(panels: Sequence[Axes]) -> None:
    per_gib = panels[-1].secondary_yaxis("right", functions=(_gib_seconds, _page_us))
    per_gib.set_ylabel("time per GiB, s")
    per_gib.spines["right"].set_visible(True)
    for axis in (*(axes.yaxis for axes in panels), per_gib.yaxis):
        plain_log_ticks(axis)
    for axes in panels:
        axes.grid(visible=True, axis="y")
        axes.tick_params(axis="y", labelleft=axes is panels[0])
    panels[0].set_ylabel("time per page of 4 KiB, µs")


def _gib_seconds(us: Any) -> Any:
    return us * (_GIB_PAGES / 1e6)


def _page_us(seconds: Any) -> Any:
    return seconds * (1e6 / _GIB_PAGES)


def _add_legend(figure: Figure, curves: Sequence[Curve]) -> None:
    leaves = {curve.interface: leaf_of(curve) for curve in curves}
    used = {curve.state for curve in curves}
    handles: list[Any] = [
        Line2D([], [], label=f"{name}: {leaf} leaves", **INTERFACE_LOOKS[name].of_line() | {"linestyle": ""})
        for name, leaf in leaves.items()
    ]
    handles += [
        Line2D([], [], color=FAINT, marker="o", linewidth=1.5, label=title, **look)
        for state, (title, look) in STATES.items()
        if state in used
    ]
    handles.append(Patch(facecolor=FAINT, alpha=0.25, label=INTERVAL_LABEL))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(_LEFT - 0.01, 0.19), ncols=3, fontsize=8.5, handlelength=3.2,
        borderaxespad=0,
    )  # fmt: skip
