"""A TD's life by interface: what each phase takes, and where the time of all of it goes."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from perfmodel.life.scenario_file import WhatIf
from perfmodel.life.story import LifeResult, LifeRow
from perfmodel.result import Cost
from perfmodel.show import format_time
from perfmodel.sizes import format_size
from plots.interfaces import describe
from plots.stacks import (
    INTERVAL_LABEL,
    Part,
    add_legend,
    amount,
    dress,
    error_bars,
    group_stages,
    name_bar,
    name_rows,
    stack,
    time_unit,
)
from plots.style import FAINT, INTERFACE_LOOKS, add_title, module_of, priced_by, source_line, style
from plots.words import cut, fold

MOST_PHASES = 40

_WIDTH, _HEAD, _AXIS, _SOURCE = 13.0, 1.25, 0.65, 0.42
_PHASE_HEIGHT, _ROW_HEIGHT, _GAP = 0.62, 0.62, 1.0
_LEFT, _RIGHT = 0.15, 0.985
_LEGEND_COLUMNS, _LEGEND_ROW = 4, 0.22
_SPREAD = 0.62
_NAME = 24
_HEADROOM = 2.5


def plot_life(result: LifeResult) -> Figure:
    """Draw the time of every phase under each interface, and the stages of the whole life.

    Parameters
    ----------
    result : LifeResult

    Returns
    -------
    Figure
        Two axes: seconds by phase with their intervals, to a logarithmic scale, and the whole life by stage, to scale.

    Raises
    ------
    ValueError
        There are more than :data:`MOST_PHASES` phases, or none takes any time.
    """
    rows, phases = result.rows, result.rows[0].phases
    if len(phases) > MOST_PHASES:
        raise ValueError(f"{len(phases)} phases: at most {MOST_PHASES} can be drawn")
    if not any(row.ns.total for row in rows):
        raise ValueError("no phase takes any time")
    parts = group_stages([row.ns for row in rows])
    with style():
        legend = _LEGEND_ROW * (1 + -(-(len(parts) + 1) // _LEGEND_COLUMNS))
        above, below = _PHASE_HEIGHT * len(phases), _ROW_HEIGHT * len(rows)
        height = _HEAD + above + _GAP + below + _AXIS + legend + _SOURCE
        figure = Figure(figsize=(_WIDTH, height))
        times = _panel(figure, 1 - (_HEAD + above) / height, above / height)
        whole = _panel(figure, (_SOURCE + legend + _AXIS) / height, below / height)
        _draw_phases(times, rows)
        _draw_whole(whole, rows, parts)
        _add_legends(figure, rows, parts, whole, height)
        size = format_size(result.scenario["memory_bytes"])
        lines = fold(f"{describe(result.scenario)}; {_what_if(result)}")
        add_title(
            figure, f"The life of a {size} TD guest, by phase and mapping interface: {cut(result.name, _NAME)}", *lines
        )
        made_by = priced_by(result.version, result.parameters)
        source_line(figure, made_by, f"seed {result.seed}", module_of(result.scenario))
    return figure


def _panel(figure: Figure, bottom: float, height: float) -> Axes:
    return figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, height))


def _what_if(result: LifeResult) -> str:
    today = {name: getattr(WhatIf(), name, None) for name in result.what_if}
    changed = [f"{name} {str(given).lower()}" for name, given in result.what_if.items() if given != today[name]]
    return "what if: " + (", ".join(changed) if changed else "nothing")


def _draw_phases(axes: Axes, rows: Sequence[LifeRow]) -> None:
    phases = rows[0].phases
    for number, row in enumerate(rows):
        look = INTERFACE_LOOKS[row.interface]
        shift = _SPREAD * ((number + 0.5) / len(rows) - 0.5)
        known = [(y + shift, phase.ns) for y, phase in enumerate(row.phases) if phase.ns.total]
        if not known:
            continue
        places, costs = zip(*known, strict=True)
        axes.errorbar(
            [ns.total / 1e9 for ns in costs], places, xerr=_both_sides(costs), linestyle="", label=row.interface,
            ecolor=look.colour, elinewidth=1.2, capsize=2.5,
            **{name: value for name, value in look.of_line().items() if name not in ("color", "linestyle")},
        )  # fmt: skip
    ends = [ns / 1e9 for row in rows for phase in row.phases for ns in (phase.ns.low, phase.ns.total, phase.ns.high)]
    seen = [end for end in ends if end]
    axes.set_xscale("log")
    axes.set_xlim(min(seen) / _HEADROOM, max(seen) * _HEADROOM)
    axes.xaxis.set_major_locator(LogLocator(10, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_time(seconds).replace("us", "µs")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    for y in range(1, len(phases)):
        axes.axhline(y - 0.5, color="#dddddd", linewidth=0.6)
    axes.set_yticks(range(len(phases)), [cut(phase.name, _NAME) for phase in phases])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(phases) - 0.5, -0.5)
    axes.set_xlabel("time of the phase, work of all vCPUs; logarithmic")
    axes.set_title("Each phase", fontweight="bold")


def _both_sides(costs: Sequence[Cost]) -> list[list[float]]:
    return [[(ns.total - ns.low) / 1e9 for ns in costs], [(ns.high - ns.total) / 1e9 for ns in costs]]


def _draw_whole(axes: Axes, rows: Sequence[LifeRow], parts: Sequence[Part]) -> None:
    unit = time_unit(max(row.ns.total for row in rows))
    stack(axes, parts, [[unit.of_ns(part.of(row.ns.by_stage)) for row in rows] for part in parts])
    low, total, high = (
        [unit.of_ns(getattr(row.ns, end)) for row in rows] for end in ("low", "total", "high")
    )  # fmt: skip
    error_bars(axes, low, total, high)
    for y in range(len(rows)):
        name_bar(axes, y, amount(low[y], total[y], high[y], unit.name))
    dress(axes, "The whole life, to scale, by stage", f"time, work of all vCPUs, {unit.name}", 1.04 * max(high))
    name_rows(axes, [row.interface for row in rows])


def _add_legends(
    figure: Figure, rows: Sequence[LifeRow], parts: Sequence[Part], whole: Axes, height: float
) -> None:  # fmt: skip
    handles: list[Any] = [
        Line2D([], [], label=row.interface, **INTERFACE_LOOKS[row.interface].of_line() | {"linestyle": ""})
        for row in rows
    ]
    handles.append(Line2D([], [], color=FAINT, label=INTERVAL_LABEL))
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(_RIGHT, 1 - (_HEAD - 0.3) / height), ncols=len(handles),
        fontsize=8.5, borderaxespad=0,
    )  # fmt: skip
    legend = _LEGEND_ROW * (1 + -(-(len(parts) + 1) // _LEGEND_COLUMNS))
    add_legend(figure, parts, _LEFT - 0.06, (_SOURCE + legend) / height, _LEGEND_COLUMNS, whole)
