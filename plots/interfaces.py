"""What each interface costs: time to populate a guest, where it goes, and throughput.

Interfaces often differ by a factor of five to a hundred, so the bars of the fast ones are slivers where time is drawn
to scale. The middle panel draws every bar at full length: shares are read there, sizes on the left.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.result import Comparison, Row, Run
from perfmodel.sizes import format_size
from plots.stacks import (
    BAR_HEIGHT,
    Part,
    add_legend,
    amount,
    dress,
    error_bars,
    group_stages,
    name_bar,
    name_rows,
    name_segments,
    stack,
    time_unit,
)
from plots.style import INK, PLAIN_LOOK, add_title, module_of, priced_by, source_line, style

_WIDTH, _ROW_HEIGHT, _HEAD_HEIGHT, _AXIS_HEIGHT = 13.0, 0.72, 1.05, 0.65
_LEGEND_COLUMNS, _LEGEND_ROW_HEIGHT, _SOURCE_HEIGHT = 4, 0.22, 0.42
_LEFT, _RIGHT, _PANEL_WIDTHS = 0.095, 0.985, (1.25, 1.25, 0.8)
_NAMED_PER_CENT = 7


def plot_interfaces(result: Comparison | Run) -> Figure:
    """Draw time by stage, shares of it, and throughput, with one bar an interface.

    Parameters
    ----------
    result : Comparison or Run

    Returns
    -------
    Figure
        Three axes: time (to scale, with the interval of the total), share of the time, GiB/s with its interval.
    """
    rows, scenario = rows_of(result), result.scenario
    parts = group_stages([row.ns for row in rows])
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
        _draw_time(time, rows, parts, scenario["vcpus"])
        _draw_shares(share, rows, parts)
        _draw_throughput(speed, rows)
        name_rows(time, [row.interface for row in rows])
        add_legend(figure, parts, _LEFT - 0.01, (foot - _AXIS_HEIGHT) / height, _LEGEND_COLUMNS, time)
        size = format_size(scenario["memory_bytes"])
        add_title(figure, f"Populating a {size} TD guest, by mapping interface", describe(scenario))
        made_by = priced_by(result.version, result.parameters)
        source_line(figure, made_by, f"seed {result.seed}", module_of(scenario))
    return figure


def rows_of(result: Comparison | Run) -> list[Row]:
    """Return the rows of a result, one an interface."""
    return result.rows if isinstance(result, Comparison) else [one.row for one in result.runs]


def _draw_time(axes: Axes, rows: Sequence[Row], parts: Sequence[Part], vcpus: int) -> None:
    unit = time_unit(max(row.ns.total for row in rows))
    stack(axes, parts, [[unit.of_ns(part.of(row.ns.by_stage)) for row in rows] for part in parts])
    low, total, high = ([unit.of_ns(ns) for ns in side] for side in _intervals(rows))
    error_bars(axes, low, total, high)
    for y, row in enumerate(rows):
        name_bar(axes, y, amount(low[y], total[y], high[y], unit.name) if row.ns.total else "0 s, nothing mapped")
    of_all = f"work of all {vcpus:,} vCPUs, waits left out" if vcpus > 1 else "time to populate"
    dress(axes, "Time, to scale", f"{of_all}, {unit.name}", 1.04 * max(high))


def _draw_shares(axes: Axes, rows: Sequence[Row], parts: Sequence[Part]) -> None:
    shares = [
        [100 * part.of(row.ns.by_stage) / row.ns.total if row.ns.total else 0.0 for row in rows] for part in parts
    ]
    name_segments(stack(axes, parts, shares), _NAMED_PER_CENT)
    dress(axes, "Where it goes", "share of the time, %", 100.4)  # the last edge shows


def throughput_interval(row: Row) -> tuple[float, float, float]:
    """Return GiB/s of the time that passes: the low end, at the parameters' values, the high end."""
    if row.scaling:
        speed = row.scaling.point.gib_per_s
        return speed.low, row.gib_per_s, speed.high
    slow, fast = (row.gib_per_s * row.ns.total / ns if ns else 0.0 for ns in (row.ns.high, row.ns.low))
    return slow, row.gib_per_s, fast


def _draw_throughput(axes: Axes, rows: Sequence[Row]) -> None:
    slow, speed, fast = (list(side) for side in zip(*map(throughput_interval, rows), strict=True))
    axes.barh(range(len(rows)), speed, BAR_HEIGHT, color=PLAIN_LOOK.colour, edgecolor=INK, linewidth=0.5)
    error_bars(axes, slow, speed, fast)
    for y, row in enumerate(rows):
        name_bar(axes, y, amount(slow[y], speed[y], fast[y], "GiB/s") if row.pages.mapped else "nothing mapped")
    dress(axes, "Throughput", "throughput, GiB/s", 1.04 * max(fast))


def _intervals(rows: Sequence[Row]) -> tuple[list[float], list[float], list[float]]:
    return [row.ns.low for row in rows], [row.ns.total for row in rows], [row.ns.high for row in rows]


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
