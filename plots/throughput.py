"""Throughput of populating against the guest's memory, or another number that a sweep varies, with intervals."""

from matplotlib.figure import Figure

from plots.curves import add_legend, draw_curves, of_interface
from plots.style import INTERFACE_LOOKS, style
from plots.swept import Swept


def plot_throughput(swept: Swept) -> Figure:
    """Draw GiB/s of every interface along an axis of numbers: memory, if it is swept.

    Parameters
    ----------
    swept : Swept

    Returns
    -------
    Figure
        One axes: a curve and a band an interface, its last value named.

    Raises
    ------
    ValueError
        The sweep has no such axis, or nothing was mapped on it.
    """
    line = swept.along_numbers("memory")
    curves = [
        of_interface(line, place, "gib_per_s", INTERFACE_LOOKS[name]) for place, name in enumerate(line.interfaces)
    ]
    title = f"Throughput by {line.heading}"
    with style():
        figure, axes = draw_curves(line, curves, title, "throughput", "GiB/s")
        add_legend(figure, axes, curves)
    return figure
