"""Logarithmic axes, names beside the ends of curves, and other things that figures of curves share."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

_WIDE = 20
"""Values that span this factor are drawn on a logarithmic axis."""
_SHORT = 6
_MARGIN = 1.12
_LETTER, _SPACE = 0.078, 0.12  # inches


def plain_log_ticks(axis: Axis) -> None:
    """Give a logarithmic axis ticks in plain numbers: at 1, 2, 5 and their tens, or even steps where it is short."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if high > _SHORT * low else MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.12g}"))
    axis.set_minor_formatter(NullFormatter())


def vcpu_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Make x a logarithmic axis with a tick at each number of vCPUs."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(counts[0] / 1.12, counts[-1] * 1.12 if counts[-1] > counts[0] else counts[0] * 2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("vCPUs of a TD")


def spread_out(wanted: Sequence[float], heights: Sequence[float], floor: float = 0.0) -> list[float]:
    """Return ascending centres as near to ``wanted`` as keeps boxes of ``heights`` apart and from ``floor`` to 1.

    Boxes that would overlap form a block, which is centred on what its boxes want.
    """

    def edges(block: Sequence[int]) -> tuple[float, float]:
        total = math.fsum(heights[number] for number in block)
        middle = math.fsum(wanted[number] for number in block) / len(block)
        low = min(max(middle - total / 2, floor), max(1.0 - total, floor))
        return low, low + total

    blocks: list[list[int]] = []
    for number in range(len(wanted)):
        blocks.append([number])
        while len(blocks) > 1 and edges(blocks[-2])[1] > edges(blocks[-1])[0]:
            last = blocks.pop()
            blocks[-1] += last
    centres = []
    for block in blocks:
        edge, _ = edges(block)
        for number in block:
            centres.append(edge + heights[number] / 2)
            edge += heights[number]
    return centres


def name_ends(axes: Axes, ends: Sequence[tuple[float, str]], height: float, right: float = 1.01) -> None:
    """Write beside the right edge what the curves that end at these heights are.

    Parameters
    ----------
    axes : Axes
        Its y axis has its final scale and limits.
    ends : sequence of (float, str)
        Height of each end in the axes' units, and the text.
    height : float
        Of a text, as share of the axes.
    right : float
        Where texts begin, as share of the axes.
    """
    x = axes.get_xlim()[0]
    to_share = axes.transScale + axes.transLimits
    placed = sorted((float(to_share.transform((x, y))[1]), text) for y, text in ends)
    centres = spread_out([y for y, _ in placed], [height] * len(placed))
    for (_, text), y in zip(placed, centres, strict=True):
        axes.text(right, y, text, transform=axes.transAxes, va="center", fontsize=8.5, gid="end")


def number_axis(
    axes: Axes, width: float, numbers: npt.NDArray[np.float64], labels: Sequence[str], title: str
) -> None:  # fmt: skip
    """Make x an axis of the values of a sweep: logarithmic where they span much, with as many ticks as there is room.

    Parameters
    ----------
    axes : Axes
    width : float
        Of the axes, in inches.
    numbers : ndarray of float64
        Ascending.
    labels : sequence of str
        What each is called.
    title : str
    """
    positive = numbers[numbers > 0]
    wide = positive.size > 1 and positive[-1] >= _WIDE * positive[0]
    if wide and numbers[0] > 0:
        axes.set_xscale("log")
        axes.set_xlim(numbers[0] / _MARGIN, numbers[-1] * _MARGIN)
    elif wide and numbers[0] == 0:
        axes.set_xscale("symlog", linthresh=float(positive[0]), linscale=0.5)
        axes.set_xlim(-0.1 * positive[0], numbers[-1] * _MARGIN)
    else:
        room = 0.03 * (numbers[-1] - numbers[0])
        axes.set_xlim(numbers[0] - room, numbers[-1] + room)
    to_share = axes.transScale + axes.transLimits
    places = [float(to_share.transform((x, axes.get_ylim()[1]))[0]) * width for x in numbers]
    kept = _apart(places, [_LETTER * len(label) + _SPACE for label in labels])
    axes.set_xticks(numbers[kept], [labels[number] for number in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(title)


def _apart(places: Sequence[float], widths: Sequence[float]) -> list[int]:
    """Return which texts to show so that none overlaps another: the last, and those that fit before it."""
    kept = [len(places) - 1]
    for number in reversed(range(len(places) - 1)):
        if places[kept[-1]] - places[number] >= (widths[number] + widths[kept[-1]]) / 2:
            kept.append(number)
    return kept[::-1]
