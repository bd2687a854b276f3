"""Populating with many vCPUs: throughput by their number, what bounds it, and where a fault's time goes.

Bounds are drawn as a roofline's: each begins where the ideal line of its interface meets it, and is named beside the
axes.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.together import Limit, ScalePoint
from perfmodel.show import format_number, format_time
from perfmodel.sizes import format_size
from plots.axes import plain_log_ticks, spread_out, vcpu_axis
from plots.interfaces import describe
from plots.stacks import INTERVAL_LABEL
from plots.style import (
    FAINT,
    INK,
    INTERFACE_LOOKS,
    LineLook,
    Look,
    add_title,
    module_of,
    priced_by,
    source_line,
    style,
)

IDEAL_LABEL = "ideal: one vCPU alone, times their number"
BOUND_LABEL = "bound of a resource at the central values, named above"
KNEE_LABEL = "knee: ideal meets the tightest bound, at this many vCPUs"
BANDWIDTH = "memory bandwidth"

SAME_BOUND = 1.05
"""Bounds of an interface within this factor of the tighter one are drawn as one line."""
SHOWN_BOUNDS = 3
"""Lines an interface at most, the tightest."""

PARTS = ("own work", "lines in transfer", "queues at lines", "blocked by locks", "memory bandwidth", "wasted")
PART_LOOKS = dict(
    zip(
        PARTS,
        (
            Look("#bfe6dc", ""), Look("#56b4e9", "////"), Look("#0072b2", ""), Look("#d55e00", "\\\\\\\\"),
            Look("#f0e442", "oo"), Look("#222222", ""),
        ),
        strict=True,
    )
)  # fmt: skip

_WIDTH, _HEIGHT = 13.0, 9.0
_LEFT, _CURVES_RIGHT, _RIGHT = 0.06, 0.62, 0.985
_CURVES = (0.475, 0.88)
_PARTS = (0.145, 0.365)
_HEADROOM = 1.7
_BAR_WIDTH = 0.72
_NAMED_SHARE = 7
_LABEL_COLUMNS = 74
_LABEL_SIZE, _LINE_HEIGHT, _LEGEND_LINE = 7.8, 0.145, 0.18
KNEE_LOOK: dict[str, Any] = {"marker": "*", "markersize": 11, "color": "white", "markeredgecolor": INK, "linestyle": ""}
_LEADER_X, _LABEL_X, _MARKER_STEP = 1.025, 1.05, 0.013


class Bound(NamedTuple):
    """One line: the tightest of the limits that it stands for, all that it names, and the curves it belongs to."""

    gib_per_s: float
    resources: tuple[str, ...]
    curves: tuple[Curve, ...]


def plot_scaling(result: ScaleResult) -> Figure:
    """Draw throughput by the number of vCPUs, with its bounds, and where a unit's time goes.

    Parameters
    ----------
    result : ScaleResult
        Its curves of workload ``populate`` are drawn.

    Returns
    -------
    Figure
        Two or three axes: GiB/s of every curve; shares of the time of a fault for the first and the last of them.

    Raises
    ------
    ValueError
        No curve is of populating.
    """
    curves = [curve for curve in result.curves if curve.workload == "populate"]
    if not curves:
        raise ValueError("no curve of workload populate")
    broken_down = curves if len(curves) == 1 else [curves[0], curves[-1]]
    with style():
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        above = figure.add_gridspec(1, 1, left=_LEFT, right=_CURVES_RIGHT, bottom=_CURVES[0], top=_CURVES[1])
        below = figure.add_gridspec(
            1, len(broken_down), left=_LEFT, right=_RIGHT, bottom=_PARTS[0], top=_PARTS[1], wspace=0.12
        )
        throughput = figure.add_subplot(above[0])
        _draw_throughput(throughput, curves)
        for number, curve in enumerate(broken_down):
            _draw_parts(figure.add_subplot(below[number]), curve, name_of(curve, curves))
        _add_legends(figure, throughput, curves)
        size = format_size(result.scenario["memory_bytes"])
        add_title(figure, f"Populating a {size} TD guest with many vCPUs", *describe_scale(result))
        source_line(figure, *made_by(result))
    return figure


def ideal_per_vcpu(curve: Curve) -> float:
    """Return what one vCPU (of each TD) brings that meets nobody, in GiB/s."""
    last = curve.points[-1]
    return last.gib_per_s.value / last.efficiency / last.vcpus


def group_bounds(curves: Sequence[Curve]) -> list[Bound]:
    """Return the lines to draw, the tightest first; what several curves share is one line."""
    lines: dict[tuple[str, ...], Bound] = {}
    for curve in curves:
        for group in _near_each_other(curve.limits)[:SHOWN_BOUNDS]:
            names = tuple(limit.resource for limit in group)
            here = Bound(group[0].gib_per_s, names, (curve,))
            same = lines.get(names)
            if same and here.gib_per_s < same.gib_per_s * SAME_BOUND and same.gib_per_s < here.gib_per_s * SAME_BOUND:
                here = Bound(min(same.gib_per_s, here.gib_per_s), names, (*same.curves, curve))
            elif same:
                names = (*names, curve.interface, curve.state)  # the same resources, elsewhere
            lines[names] = here
    return sorted(lines.values(), key=lambda bound: bound.gib_per_s)


def _near_each_other(limits: Sequence[Limit]) -> list[list[Limit]]:
    groups: list[list[Limit]] = []
    for limit in sorted(limits, key=lambda one: one.gib_per_s):
        if groups and limit.gib_per_s <= groups[-1][0].gib_per_s * SAME_BOUND:
            groups[-1].append(limit)
        else:
            groups.append([limit])
    return groups


def parts_of(point: ScalePoint) -> dict[str, float]:
    """Return what a unit's time is made of, in ns, by :data:`PARTS`."""
    lines = [wait for name, wait in point.waits_ns.items() if name != BANDWIDTH]
    bandwidth = point.waits_ns.get(BANDWIDTH)
    return {
        "own work": point.service_ns,
        "lines in transfer": math.fsum(wait.transfer for wait in point.waits_ns.values()),
        "queues at lines": math.fsum(wait.queue for wait in lines),
        "blocked by locks": math.fsum(wait.blocked for wait in lines),
        "memory bandwidth": bandwidth.queue + bandwidth.blocked if bandwidth else 0.0,
        "wasted": point.wasted_ns,
    }


def name_of(curve: Curve, curves: Sequence[Curve]) -> str:
    """Return the interface, with the state of the other vCPUs where curves differ in it."""
    return curve.interface if len({one.state for one in curves}) == 1 else f"{curve.interface}, {curve.state}"


def look_of(curve: Curve) -> LineLook:
    """Return how the curve of an interface is drawn."""
    return INTERFACE_LOOKS[curve.interface]


def _draw_throughput(axes: Axes, curves: Sequence[Curve]) -> None:
    bounds = group_bounds(curves)
    counts = sorted({point.vcpus for curve in curves for point in curve.points})
    highest = max(point.gib_per_s.high for curve in curves for point in curve.points)
    lowest = min(point.gib_per_s.low for curve in curves for point in curve.points)
    vcpu_axis(axes, counts)
    left, right = axes.get_xlim()
    reached = [
        bound
        for bound in bounds
        if bound.gib_per_s <= _HEADROOM * highest and any(_begin(bound, curve, left) < right for curve in bound.curves)
    ]
    top = _HEADROOM * max([highest, *(bound.gib_per_s for bound in reached)])
    axes.set_yscale("log")
    axes.set_ylim(lowest / _HEADROOM, top)
    for curve in curves:
        _draw_curve(axes, curve, name_of(curve, curves), counts)
    for bound in reached:
        _draw_bound(axes, bound)
    _name_bounds(axes, reached, curves)
    _draw_knees(axes, curves, top)
    axes.grid(axis="y")
    axes.set_title("Throughput", fontweight="bold")
    axes.set_ylabel("throughput of all TDs together, GiB/s")
    plain_log_ticks(axes.yaxis)


def _draw_curve(axes: Axes, curve: Curve, name: str, counts: Sequence[int]) -> None:
    look, points = look_of(curve), curve.points
    x = [point.vcpus for point in points]
    axes.fill_between(
        x, [p.gib_per_s.low for p in points], [p.gib_per_s.high for p in points],
        color=look.colour, alpha=0.18, linewidth=0, label=f"{name} interval",
    )  # fmt: skip
    axes.plot(x, [p.gib_per_s.value for p in points], linewidth=1.5, label=name, zorder=3, **look.of_line())
    if curve.state == "working":
        ends = [counts[0], counts[-1]]
        ideal = [n * ideal_per_vcpu(curve) for n in ends]
        axes.plot(ends, ideal, color=look.colour, linestyle=":", linewidth=1.0, alpha=0.75, label=f"{name} ideal")


def _begin(bound: Bound, curve: Curve, left: float) -> float:
    """Return the vCPUs from which on a bound is felt by a curve: where its ideal line meets it."""
    return max(bound.gib_per_s / ideal_per_vcpu(curve), left) if curve.state == "working" else left


def _draw_bound(axes: Axes, bound: Bound) -> None:
    left, right = axes.get_xlim()
    for curve in bound.curves:
        axes.plot(
            [min(_begin(bound, curve, left), right), right], [bound.gib_per_s] * 2, color=look_of(curve).colour,
            linestyle=(0, (5, 3)), linewidth=1.0, label="; ".join(bound.resources), gid="bound",
        )  # fmt: skip


def _draw_knees(axes: Axes, curves: Sequence[Curve], top: float) -> None:
    drawn: set[int] = set()
    for curve in curves:
        tightest = min(curve.limits, key=lambda one: one.gib_per_s, default=None)
        if curve.state != "working" or tightest is None or tightest.gib_per_s > top:
            continue
        if curve.knee_vcpus > axes.get_xlim()[1]:
            continue
        at = (curve.knee_vcpus, tightest.gib_per_s)
        axes.plot(*at, gid="knee", zorder=4, **KNEE_LOOK)
        if round(curve.knee_vcpus) not in drawn:
            axes.annotate(
                f"{curve.knee_vcpus:.0f}", at, xytext=(0, 7), textcoords="offset points", ha="center", va="bottom",
                fontsize=8.5, fontweight="bold",
            )  # fmt: skip
        drawn.add(round(curve.knee_vcpus))


def _name_bounds(axes: Axes, bounds: Sequence[Bound], curves: Sequence[Curve]) -> None:
    """Name each line beside the axes, as near to its height as the names below allow."""
    height = axes.get_position().height * _HEIGHT
    low, high = (math.log10(y) for y in axes.get_ylim())
    texts = [_name_bound(bound, curves) for bound in bounds]
    heights = [_LINE_HEIGHT * (text.count("\n") + 1.35) / height for text in texts]
    wanted = [(math.log10(bound.gib_per_s) - low) / (high - low) for bound in bounds]
    floor = _LEGEND_LINE * (len(curves) + 5) / height  # the legend is below
    for bound, text, line, y in zip(bounds, texts, wanted, spread_out(wanted, heights, floor), strict=True):
        axes.text(_LABEL_X, y, text, transform=axes.transAxes, fontsize=_LABEL_SIZE, va="center", gid="bound name")
        beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        first = _LABEL_X - _MARKER_STEP * (len(bound.curves) + 0.4)
        axes.plot([1.002, min(first, _LEADER_X)], [line, y], color=FAINT, linewidth=0.6, gid="leader", **beside)
        for number, curve in enumerate(reversed(bound.curves), 1):
            look = look_of(curve).of_line() | {"markersize": look_of(curve).size * 0.8}
            axes.plot(_LABEL_X - _MARKER_STEP * number, y, gid="bound marker", **beside, **look)


def _name_bound(bound: Bound, curves: Sequence[Curve]) -> str:
    names = ", ".join(dict.fromkeys(name_of(curve, curves) for curve in bound.curves))
    listed = f"{format_number(bound.gib_per_s)} GiB/s {names}: {'; '.join(bound.resources)}"
    return "\n".join(textwrap.wrap(listed, _LABEL_COLUMNS))


def _draw_parts(axes: Axes, curve: Curve, name: str) -> None:
    parts = [parts_of(point) for point in curve.points]
    totals = [math.fsum(one.values()) for one in parts]
    below = [0.0] * len(parts)
    for part, look in PART_LOOKS.items():
        shares = [100 * one[part] / total for one, total in zip(parts, totals, strict=True)]
        bars = axes.bar(range(len(parts)), shares, _BAR_WIDTH, below, label=part, **look.of_bar())
        for bar in bars:
            if bar.get_height() >= _NAMED_SHARE:
                axes.annotate(
                    f"{bar.get_height():.0f}", bar.get_center(), ha="center", va="center", fontsize=7.5,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
                )  # fmt: skip
        below = [one + more for one, more in zip(below, shares, strict=True)]
    for x, total in enumerate(totals):
        text = format_time(total / 1e9).replace("us", "µs")
        axes.annotate(text, (x, 101.5), ha="center", va="bottom", fontsize=8.5, annotation_clip=False)
    axes.set_title(f"Where the time of a fault goes: {name}, {leaves_of(curve)}", fontweight="bold", pad=17)
    axes.set_xlabel("vCPUs of a TD; above each bar the mean time of a fault")
    axes.set_ylabel("share of the time, %")
    axes.set_xticks(range(len(parts)), [str(point.vcpus) for point in curve.points])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 100.4)
    axes.grid(visible=False, axis="x")
    axes.grid(visible=True, axis="y")


def leaves_of(curve: Curve) -> str:
    """Return which leaves a curve maps, in words."""
    share = 100 * curve.leaves_2m_share
    if 0.5 <= share < 99.5:
        return f"{share:.0f} % of the memory in 2M leaves"
    return "2M leaves" if share >= 99.5 else "4K leaves"


def _add_legends(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    names = {name_of(curve, curves) for curve in curves}
    handles: list[Any] = [line for line in axes.get_lines() if line.get_label() in names]
    handles += [
        Patch(facecolor=FAINT, alpha=0.25, label=INTERVAL_LABEL),
        Line2D([], [], color=FAINT, linestyle=":", label=IDEAL_LABEL),
        Line2D([], [], color=FAINT, linestyle=(0, (5, 3)), linewidth=1.0, label=BOUND_LABEL),
        Line2D([], [], label=KNEE_LABEL, **KNEE_LOOK),
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(_CURVES_RIGHT + 0.02, _CURVES[0]), fontsize=8.5,
        handlelength=3.2, borderaxespad=0,
    )  # fmt: skip
    figure.legend(
        handles=[Patch(label=name, **look.of_bar()) for name, look in PART_LOOKS.items()], loc="upper left",
        bbox_to_anchor=(_LEFT - 0.01, 0.085), ncols=len(PARTS), fontsize=8.5, handlelength=2.6, handleheight=1.1,
        borderaxespad=0,
    )  # fmt: skip


def made_by(result: ScaleResult) -> tuple[str, ...]:
    """Return what the source line of a figure of ``result`` says."""
    return priced_by(result.version, result.parameters), f"seed {result.seed}", module_of(result.scenario)


def describe_scale(result: ScaleResult) -> tuple[str, str]:
    """Return what was run, beyond the size of the guest; the second line says what is not the default of ``scale``."""
    scenario, options = result.scenario, result.options
    said = {
        f"{scenario['tds']} TDs": scenario["tds"] > 1,
        f"{scenario['nodes']} nodes, placement {scenario['placement']}": scenario["nodes"] > 1,
        f"Dynamic PAMT {options['dynamic_pamt']}": options["dynamic_pamt"] != "none",
        "unaccepted_memory_lock held": options["guest_lock"] == "held",
        "1G folios cleared whole": options["clear"] == "folio",
        "one RIP touches all pages": options["same_rip"],
        "removed pages reset": options["reset_pages"],
        "memory model simulated": scenario["memory_model"] == "simulated",
    }
    return describe(scenario), "; ".join(text for text, is_so in said.items() if is_so)
