"""Where the time goes along an axis of a sweep: stacked by stage, for each interface."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.result import Cost
from perfmodel.sweep.dataset import labels
from plots.stacks import (
    Part,
    TimeUnit,
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
from plots.style import LINE_HEIGHT, add_title, source_line, style
from plots.swept import Line, Swept
from plots.words import cut

MOST_ROWS = 16
MOST_LETTERS = 15

_WIDTH, _ROW_HEIGHT, _HEAD, _AXIS, _GAP = 13.0, 0.5, 0.85, 0.65, 1.0
_LEGEND_COLUMNS, _LEGEND_ROW, _SOURCE = 4, 0.22, 0.42
_LEFT, _RIGHT = 0.095, 0.985
_NAMED_PER_CENT = (7, 9, 12, 15)
"""By number of panels side by side."""


def plot_stages(swept: Swept) -> Figure:
    """Draw the time of a GiB by stage, to scale and as shares, at the values of the first axis that is free.

    Parameters
    ----------
    swept : Swept

    Returns
    -------
    Figure
        Two rows of axes with a column an interface: time per GiB of guest memory with the interval of the total, and
        shares of the time; a bar a value of the axis, at most :data:`MOST_ROWS`.

    Raises
    ------
    ValueError
        No point along the axis takes any time.
    """
    line = swept.along_any(MOST_ROWS)
    costs = costs_of(line)
    every = [cost for column in costs for cost in column]
    if not any(cost.total for cost in every):
        raise ValueError(f"nothing was mapped at any point along {line.axis}")
    parts, unit = group_stages(every), time_unit(max(cost.total for cost in every))
    with style():
        block, foot = _ROW_HEIGHT * len(line.labels), _LEGEND_ROW * -(-(len(parts) + 1) // _LEGEND_COLUMNS) + _SOURCE
        lines = line.lines()
        head = _HEAD + LINE_HEIGHT * len(lines)
        height = head + 2 * block + _GAP + _AXIS + foot
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            2, len(costs), left=_LEFT, right=_RIGHT, bottom=(foot + _AXIS) / height, top=1 - head / height,
            wspace=0.12, hspace=_GAP / block,
        )  # fmt: skip
        limit = 1.04 * max(unit.of_ns(cost.high) for cost in every)
        for column, (interface, own) in enumerate(zip(line.interfaces, costs, strict=True)):
            time, share = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
            _draw_time(time, own, parts, unit)
            dress(time, f"{interface}: time per GiB", f"time per GiB of the guest, {unit.name}", limit)
            _draw_shares(share, own, parts, _NAMED_PER_CENT[min(len(costs), len(_NAMED_PER_CENT)) - 1])
            dress(share, f"{interface}: where it goes", "share of the time, %", 100.4)
            for axes in (time, share):
                name_rows(axes, [cut(label, MOST_LETTERS) for label in line.labels])
                axes.tick_params(axis="y", labelleft=column == 0)
        add_legend(figure, parts, _LEFT - 0.01, foot / height, _LEGEND_COLUMNS, figure.axes[0])
        add_title(figure, f"Time by stage, by {line.heading} and interface", *lines)
        source_line(figure, *line.made_by())
    return figure


def costs_of(line: Line) -> list[list[Cost]]:
    """Return ns per GiB of guest memory by interface and value of the axis; nothing where a point was not run."""
    names = labels(line.dataset, "stage")
    low, total, high = (np.nan_to_num(side) for side in line.band("ns_total", "ns"))
    stages = np.nan_to_num(line.values("ns_by_stage"))
    gib = np.broadcast_to(line.memory_gib, len(line.labels))

    def cost(row: int, column: int) -> Cost:
        whole, least, most = (float(side[row, column] / gib[row]) for side in (total, low, high))
        return Cost(whole, least, most, dict(zip(names, (stages[row, column] / gib[row]).tolist(), strict=True)))

    return [[cost(row, column) for row in range(len(line.labels))] for column in range(len(line.interfaces))]


def _draw_time(axes: Axes, costs: Sequence[Cost], parts: Sequence[Part], unit: TimeUnit) -> None:
    stack(axes, parts, [[unit.of_ns(part.of(cost.by_stage)) for cost in costs] for part in parts])
    low, total, high = ([unit.of_ns(getattr(cost, end)) for cost in costs] for end in ("low", "total", "high"))
    error_bars(axes, low, total, high)
    for y, cost in enumerate(costs):
        name_bar(axes, y, amount(low[y], total[y], high[y], unit.name) if cost.total else "nothing")


def _draw_shares(axes: Axes, costs: Sequence[Cost], parts: Sequence[Part], least: float) -> None:
    shares = [[100 * part.of(cost.by_stage) / cost.total if cost.total else 0.0 for cost in costs] for part in parts]
    name_segments(stack(axes, parts, shares), least)
