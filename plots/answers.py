"""Numbers of a report's answer: a mark and an interval each, and the number beside it."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group, Report, Row
from plots.style import FAINT, INK, INTERFACE_LOOKS, LineLook, module_of, priced_by, source_line, style

WIDE = 20.0
"""Values that span more than this many times are drawn on a logarithmic axis."""

_WIDTH, _ROW, _GAP = 9.0, 0.25, 0.12
_HEAD, _AXIS, _FOOT = 0.75, 0.7, 0.3
_LEFT, _RIGHT = 0.33, 0.70
_PLAIN = LineLook(INK, "o", "-", 5.5, True)
_SCALES = {"s": (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)), "bytes": (("GiB", 2.0**-30), ("MiB", 2.0**-20))}
_NAMES = {"%": "%", "times": "times", "": "count"}


def plot_answer(answer: Answer, report: Report) -> Figure:
    """Draw the groups of ``answer`` that are to be drawn, one below the other.

    Parameters
    ----------
    answer : Answer
        At least one of its groups is drawn; the rows of a group share a unit.
    report : Report
        Says what made the numbers.

    Returns
    -------
    Figure
        One axes a group: a line a number, exact ones without an interval.

    Raises
    ------
    ValueError
        No group is to be drawn.
    """
    groups = [group for group in answer.groups if group.drawn and group.rows]
    if not groups:
        raise ValueError(f"answer {answer.number} has nothing to draw")
    with style():
        heights = [_AXIS + _GAP + places(group.rows)[-1] for group in groups]
        height = _HEAD * len(groups) + sum(heights) + _FOOT
        figure = Figure(figsize=(_WIDTH, height))
        top = height
        for group, own in zip(groups, heights, strict=True):
            top -= _HEAD
            bottom = top - own + _AXIS
            axes = figure.add_axes((_LEFT, bottom / height, _RIGHT - _LEFT, (top - bottom) / height))
            _draw(axes, group)
            figure.text(0.012, (top + 0.38) / height, group.title, fontsize=11.5, fontweight="bold", va="center")
            top -= own
        source_line(
            figure, priced_by(report.version, report.parameters), f"seed {report.seed}", module_of(report.scenario)
        )
    return figure


def places(rows: Sequence[Row]) -> list[float]:
    """Return how far below the top each row lies, in inches: rows of one label together."""
    found, y = [], _ROW / 2
    for before, row in zip([rows[0], *rows], rows, strict=False):
        y += _GAP if before.label != row.label else 0.0
        found.append(y)
        y += _ROW
    return found


def is_wide(rows: Sequence[Row]) -> bool:
    """Return whether values need a logarithmic axis; never where one is 0 or below."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    return min(ends) > 0 and max(ends) > WIDE * min(ends)


def _draw(axes: Axes, group: Group) -> None:
    rows = [row for label in dict.fromkeys(row.label for row in group.rows) for row in group.rows if row.label == label]
    name, scale = _unit(rows)
    for y, row in zip(places(rows), rows, strict=True):
        look = INTERFACE_LOOKS.get(row.column, _PLAIN)
        if row.low is not None and row.high is not None:
            axes.plot([row.low * scale, row.high * scale], [y, y], color=look.colour, linewidth=2.2, gid="interval")
        axes.plot(row.value * scale, y, clip_on=False, gid="value", **look.of_line() | {"linestyle": ""})
        axes.annotate(
            amount(row), (1.03, y), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8.5, gid="amount"
        )
    _dress(axes, rows, name)


def _unit(rows: Sequence[Row]) -> tuple[str, float]:
    """Return the axis' unit and by what values are multiplied: the largest that the largest value fills."""
    unit = rows[0].unit
    largest = max(abs(row.value) for row in rows)
    fitting = [one for one in _SCALES.get(unit, ()) if largest * one[1] >= 1]
    if fitting:
        return fitting[0]
    return _SCALES[unit][-1] if unit in _SCALES else (_NAMES.get(unit, unit), 1.0)


def _dress(axes: Axes, rows: Sequence[Row], unit: str) -> None:
    spots = places(rows)
    axes.set_ylim(spots[-1] + _ROW / 2 + _GAP / 2, 0)
    axes.set_yticks(spots, [", ".join(filter(None, (row.label, row.column))) for row in rows], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(unit + (", logarithmic" if is_wide(rows) else ""))
    if is_wide(rows):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.0) if min(row.value for row in rows) < 0 else 0.0, high if high > 0 else 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.12g}"))
    axes.axvline(0, color=FAINT, linewidth=0.6) if not is_wide(rows) else None
