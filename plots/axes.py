"""Logarithmic axes, names beside the ends of curves, and other things that figures of curves share."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator


def plain_log_ticks(axis: Axis) -> None:
    """Give a logarithmic axis ticks at 1, 2 and 5 times the powers of ten, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
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
        Its y axis is logarithmic and has its final limits.
    ends : sequence of (float, str)
        Height of each end in the axes' units, and the text.
    height : float
        Of a text, as share of the axes.
    right : float
        Where texts begin, as share of the axes.
    """
    low, high = (math.log10(y) for y in axes.get_ylim())
    placed = sorted(((math.log10(y) - low) / (high - low), text) for y, text in ends)
    centres = spread_out([y for y, _ in placed], [height] * len(placed))
    for (_, text), y in zip(placed, centres, strict=True):
        axes.text(right, y, text, transform=axes.transAxes, va="center", fontsize=8.5, gid="end")
