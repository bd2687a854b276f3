"""How many times as fast PFN-based mapping is as the other interfaces, by the share of shattered folios.

Both times are priced under the same samples of the parameters: intervals are of the quotient, no quotient of intervals.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from perfmodel.costs import cost_ratio
from plots.curves import Curve, Side, add_legend, draw_curves
from plots.style import FAINT, INK, INTERFACE_LOOKS, style
from plots.swept import Line, Swept

OF = "pfn"
MARKED = (0.01, 0.1)
"""Advantages whose first share is marked."""
MARKERS = ("v", "P")
MARK_LOOK: dict[str, Any] = {"markersize": 9, "color": "white", "markeredgecolor": INK, "linestyle": ""}


def plot_speedup(swept: Swept) -> Figure:
    """Draw the speed-up of pfn over every other interface along an axis of numbers: the shattered share, if swept.

    Parameters
    ----------
    swept : Swept

    Returns
    -------
    Figure
        One axes: a curve and a band an interface; marks where pfn is first 1 % and 10 % faster, with the axis's value
        in the legend.

    Raises
    ------
    ValueError
        The sweep has no such axis, or not pfn and another interface.
    """
    line = swept.along_numbers("shattered")
    if OF not in line.interfaces or len(line.interfaces) < 2:
        raise ValueError(f"interfaces {', '.join(line.interfaces)}: {OF} and another one are needed")
    others = [name for name in line.interfaces if name != OF]
    curves = [Curve(f"over {name}", *speed_up(line, name), INTERFACE_LOOKS[name]) for name in others]
    title = f"Speed-up of {OF} over the other interfaces, by {line.heading}"
    with style():
        figure, axes = draw_curves(line, curves, title, f"time over that of {OF}", "times")
        axes.axhline(1, color=INK, linewidth=0.8, zorder=1, gid="equal")
        marks = []
        for share, marker in zip(MARKED, MARKERS, strict=True):
            found = {name: crossing(line, name, share) for name in others}
            known = {name: place for name, place in found.items() if place is not None}
            look: dict[str, Any] = {
                "marker": marker,
                "markersize": 9,
                "color": "white",
                "markeredgecolor": INK,
                "linestyle": "",
            }
            for name, place in known.items():
                axes.plot(place, 1 + share, zorder=5, gid=f"{name} {share:g}", **look)
            if known:
                marks.append(Line2D([], [], label=_said(line, share, known), **look))
        if any((np.isfinite(curve.value) & np.isnan(curve.low)).any() for curve in curves):
            marks.append(Line2D([], [], color=FAINT, linestyle="", label="no band: no joint interval for many vCPUs"))
        add_legend(figure, axes, curves, *marks)
    return figure


def speed_up(line: Line, over: str) -> tuple[Side, Side, Side]:
    """Return the time of ``over`` over that of pfn along ``line``: low end, value, high end.

    A sweep holds the ratios to its first interface; others are drawn again from the ledgers, which vCPUs that meet
    each other do not have: then the ends are NaN.
    """
    above, below = line.interfaces.index(over), line.interfaces.index(OF)
    seconds = line.values("seconds")
    value = _divide(seconds[:, above], seconds[:, below])
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if line.interface_places[below] == 0:
        low, _, high = (side[:, above] for side in line.band("ratio"))
    elif line.interface_places[above] == 0:
        slow, _, fast = (side[:, below] for side in line.band("ratio"))
        low, high = _divide(np.ones_like(fast), fast), _divide(np.ones_like(slow), slow)
    else:
        for place in np.flatnonzero(np.isfinite(value) & ~line.meets):
            ledgers = line.ledger(int(place), above), line.ledger(int(place), below)
            found = cost_ratio(*ledgers, line.parameters(int(place)), line.samples, line.seed)
            low[place], high[place] = found.low, found.high
    return np.minimum(low, value), value, np.maximum(high, value)


def crossing(line: Line, over: str, share: float) -> float | None:
    """Return where pfn begins to be faster than ``over`` by ``share``; None where it is everywhere or nowhere.

    Between two points times are taken to be linear, as they are in the share of shattered folios.
    """
    seconds = line.values("seconds")
    ahead = seconds[:, line.interfaces.index(over)] - (1 + share) * seconds[:, line.interfaces.index(OF)]
    known = np.flatnonzero(np.isfinite(ahead))
    return _first_root(line.numbers[known], ahead[known])


def _first_root(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float | None:
    rises = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not rises.size:
        return None
    at = int(rises[0])
    return float(x[at] + (x[at + 1] - x[at]) * y[at] / (y[at] - y[at + 1]))


def _divide(above: Side, below: Side) -> Side:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _said(line: Line, share: float, known: dict[str, float]) -> str:
    places: Sequence[str] = [f"{line.say(place)} (over {name})" for name, place in known.items()]
    return f"{100 * share:.0f} % faster from about {', '.join(places)}"
