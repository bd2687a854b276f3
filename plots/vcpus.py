"""Throughput by the number of vCPUs from a sweep; what bounds it is in the figure of ``scale`` results."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plots.curves import Curve, add_legend, draw_curves, of_interface
from plots.scaling import IDEAL_LABEL, KNEE_LABEL, KNEE_LOOK
from plots.style import FAINT, INTERFACE_LOOKS, style
from plots.swept import Line, Swept


def plot_vcpus(swept: Swept) -> Figure:
    """Draw GiB/s of every interface by the number of vCPUs.

    Parameters
    ----------
    swept : Swept

    Returns
    -------
    Figure
        One axes: a curve and a band an interface; the line of one vCPU times their number, and the knee, where the
        sweep has one vCPU too.

    Raises
    ------
    ValueError
        The number of vCPUs is not swept, or nothing was mapped.
    """
    if why := swept.lacks_numbers(("vcpus",)):
        raise ValueError(why)
    line = swept.along_numbers("vcpus")
    curves = [
        of_interface(line, place, "gib_per_s", INTERFACE_LOOKS[name]) for place, name in enumerate(line.interfaces)
    ]
    more = []
    with style():
        figure, axes = draw_curves(
            line, curves, "Throughput by number of vCPUs", "throughput of all TDs together", "GiB/s"
        )
        if line.numbers[0] == 1:
            for place, curve in enumerate(curves):
                _draw_ideal(axes, line, place, curve)
            more = [
                Line2D([], [], color=FAINT, linestyle=":", label=IDEAL_LABEL),
                Line2D([], [], label=KNEE_LABEL.partition(",")[0], **KNEE_LOOK),
            ]
        add_legend(figure, axes, curves, *more)
    return figure


def _draw_ideal(axes: Axes, line: Line, place: int, curve: Curve) -> None:
    """Draw what unhindered vCPUs would reach, and where that meets the tightest bound."""
    alone = curve.value[0]
    if not alone > 0:
        return
    axes.plot(
        line.numbers, alone * line.numbers, color=curve.look.colour, linestyle=":", linewidth=1.0, alpha=0.75,
        label=f"{curve.name} ideal",
    )  # fmt: skip
    knees = line.values("knee_vcpus")[:, place]
    knees = knees[knees > 0]
    if knees.size and knees[-1] <= axes.get_xlim()[1] and alone * knees[-1] < axes.get_ylim()[1]:
        axes.plot(knees[-1], alone * knees[-1], gid="knee", zorder=4, **KNEE_LOOK)
