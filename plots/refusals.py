"""Why 2M ranges stay 4K: shares of the ranges by the first cause that applies, for each interface."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.refusals import CAUSES
from perfmodel.result import Comparison, Run
from perfmodel.sizes import format_size
from plots.interfaces import describe, rows_of
from plots.stacks import Part, add_legend, dress, name_bar, name_rows, name_segments, stack
from plots.style import LINE_HEIGHT, Look, add_title, module_of, priced_by, source_line, style
from plots.words import cut

if TYPE_CHECKING:
    from plots.swept import Swept

MOST_ROWS = 24
MOST_NAMED = 4
MOST_LETTERS = 15
MAPPED = "mapped at 2M"
CAUSE_TITLES = {
    "policy": "policy: the interface maps 4K only",
    "module": "module: without interruptible DEMOTE",
    "partial": "partial: not all of the range is the guest's",
    "mixed": "mixed: some pages are shared",
    "alignment": "alignment: GFN and PFN differ by no multiple of 2M",
    "discontiguous": "discontiguous: PFNs in pieces",
    "folio": "folio: not in one folio",
    "not-convertible": "not-convertible: outside the TDMRs",
    "accept-level": "accept-level: the guest accepts at 4K",
    "existing-table": "existing-table: 4K entries are there",
}
LOOKS = {
    MAPPED: Look("#ffffff", ""),
    "policy": Look("#d55e00", "\\\\\\\\"),
    "module": Look("#40b696", "...."),
    "partial": Look("#f0e442", "oo"),
    "mixed": Look("#56b4e9", "////"),
    "alignment": Look("#cc79a7", "xx"),
    "discontiguous": Look("#7fceb9", "||||"),
    "folio": Look("#0072b2", "++"),
    "not-convertible": Look("#5f6b78", "--"),
    "accept-level": Look("#e69f00", "**"),
    "existing-table": Look("#222222", ""),
}
"""No two share a hatch unless their greys are far apart."""

_WIDTH, _ROW_HEIGHT, _HEAD, _AXIS = 13.0, 0.55, 0.85, 0.65
_LEGEND_COLUMNS, _LEGEND_ROW, _SOURCE = 3, 0.22, 0.42
_LEFT, _RIGHT = 0.095, 0.985
_NAMED_PER_CENT = {1: 2.5, 2: 5.0, 3: 8.0}


class Bar(NamedTuple):
    """The 2M ranges of one run: leaves mapped at 2M, and ranges that stayed 4K by cause."""

    name: str
    mapped: int
    refused: Mapping[str, int]

    @property
    def ranges(self) -> int:
        """All of them."""
        return self.mapped + sum(self.refused.values())


class Panel(NamedTuple):
    """Bars that belong together."""

    title: str
    bars: Sequence[Bar]


def plot_refusals(result: "Comparison | Run | Swept") -> Figure:
    """Draw which share of the 2M ranges stayed 4K under each interface, by cause.

    Parameters
    ----------
    result : Comparison, Run or Swept

    Returns
    -------
    Figure
        Bars from 0 to 100 % of the ranges that were asked for: one axes with a bar an interface, or of a sweep an axes
        an interface with a bar a value of the first axis that is free, at most :data:`MOST_ROWS`.

    Raises
    ------
    ValueError
        Nothing was counted at any of the sweep's points.
    """
    if not isinstance(result, Comparison | Run):
        return _plot_sweep(result)
    bars = [Bar(row.interface, row.leaves.size_2m, row.refused_hugepages) for row in rows_of(result)]
    figure = draw_refusals([Panel("Shares of the 2M ranges", bars)])
    size = format_size(result.scenario["memory_bytes"])
    with style():
        add_title(figure, f"2M ranges that stayed 4K in a {size} TD guest, by cause", describe(result.scenario))
        made_by = priced_by(result.version, result.parameters)
        source_line(figure, made_by, f"seed {result.seed}", module_of(result.scenario))
    return figure


def _plot_sweep(swept: "Swept") -> Figure:
    from perfmodel.sweep.dataset import labels

    line = swept.along_any(MOST_ROWS)
    mapped, refused = np.nan_to_num(line.values("leaves_2m")), np.nan_to_num(line.values("refused_hugepages"))
    causes = labels(line.dataset, "cause")
    if not (mapped.sum() + refused.sum()):
        raise ValueError(f"no 2M range was asked for at any point along {line.axis}")

    def bar(row: int, column: int) -> Bar:
        by_cause = dict(zip(causes, map(int, refused[row, column]), strict=True))
        return Bar(cut(line.labels[row], MOST_LETTERS), int(mapped[row, column]), by_cause)

    panels = [
        Panel(interface, [bar(row, column) for row in range(len(line.labels))])
        for column, interface in enumerate(line.interfaces)
    ]
    lines = line.lines()
    figure = draw_refusals(panels, len(lines))
    with style():
        add_title(figure, f"2M ranges that stayed 4K, by {line.heading} and cause", *lines)
        source_line(figure, *line.made_by())
    return figure


def draw_refusals(panels: Sequence[Panel], lines: int = 1) -> Figure:
    """Draw panels side by side, all with the same rows; the title, with ``lines``, and the source are the caller's."""
    bars = [bar for panel in panels for bar in panel.bars]
    causes = [cause for cause in CAUSES if any(bar.refused.get(cause) for bar in bars)]
    parts = [Part(CAUSE_TITLES[cause], (cause,), LOOKS[cause]) for cause in causes]
    if any(bar.mapped for bar in bars):
        parts.append(Part(MAPPED, (MAPPED,), LOOKS[MAPPED]))
    with style():
        foot = _AXIS + _LEGEND_ROW * -(-len(parts) // _LEGEND_COLUMNS) + _SOURCE
        head = _HEAD + LINE_HEIGHT * lines
        height = head + _ROW_HEIGHT * max(len(panel.bars) for panel in panels) + foot
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            1, len(panels), left=_LEFT, right=_RIGHT, bottom=foot / height, top=1 - head / height, wspace=0.12
        )
        least = _NAMED_PER_CENT.get(len(panels), 10.0)
        drawn = [figure.add_subplot(grid[number]) for number in range(len(panels))]
        for axes, panel in zip(drawn, panels, strict=True):
            _draw_panel(axes, panel, parts, least)
        name_rows(drawn[0], [bar.name for bar in panels[0].bars])
        for axes in drawn[1:]:
            axes.set_yticks(drawn[0].get_yticks())
            axes.set_ylim(drawn[0].get_ylim())
        add_legend(figure, parts, _LEFT - 0.01, (foot - _AXIS) / height, _LEGEND_COLUMNS)
    return figure


def _draw_panel(axes: Axes, panel: Panel, parts: Sequence[Part], least: float) -> None:
    shares = [
        [100 * part.of({**bar.refused, MAPPED: bar.mapped}) / bar.ranges if bar.ranges else 0.0 for bar in panel.bars]
        for part in parts
    ]
    name_segments(stack(axes, parts, shares), least)
    for y, bar in enumerate(panel.bars):
        name_bar(axes, y, _counts(bar, by_cause=least == _NAMED_PER_CENT[1]))
    dress(axes, panel.title, "share of the 2M ranges asked for, %", 100.4)


def _counts(bar: Bar, by_cause: bool) -> str:
    if not bar.ranges:
        return "no 2M range asked for"
    stayed = f"{bar.ranges - bar.mapped:,} of {bar.ranges:,} stayed 4K"
    causes = sorted((cause for cause in bar.refused if bar.refused[cause]), key=lambda cause: -bar.refused[cause])
    if not by_cause or not causes:
        return stayed
    named = [f"{cause} {bar.refused[cause]:,}" for cause in causes[:MOST_NAMED]]
    return f"{stayed}: {', '.join(named)}" + (f" and {len(causes) - MOST_NAMED} more" if causes[MOST_NAMED:] else "")
