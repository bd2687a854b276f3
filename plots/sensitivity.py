"""Which prices matter for which result, as a map of total Sobol indices; and what to measure next, as bars."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.calibration.sensitivity_report import ResultIndices, Sensitivity
from plots.style import INK, add_title, priced_by, source_line, style

SHOWN_INDEX = 0.04
"""A price whose total index stays below this for every result is left out of the map."""

_WIDTH, _ROW_HEIGHT, _EDGE_HEIGHT = 13.0, 0.27, 2.05
_DARK = 0.3


def shown_prices(results: Sequence[ResultIndices]) -> list[str]:
    """Return the prices that matter for any result, the most important first."""
    largest: dict[str, float] = {}
    for result in results:
        for index in result.indices:
            largest[index.parameter] = max(largest.get(index.parameter, 0.0), index.total_order)
    return sorted((name for name, most in largest.items() if most >= SHOWN_INDEX), key=lambda name: -largest[name])


def plot_sensitivity(result: Sensitivity) -> Figure:
    """Draw the map and the bars.

    Parameters
    ----------
    result : Sensitivity

    Returns
    -------
    Figure
        Two axes: total Sobol indices by price and result, and mean gain by measurement.
    """
    prices = shown_prices(result.results)
    with style():
        height = _EDGE_HEIGHT + _ROW_HEIGHT * max(len(prices), len(result.measurements))
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            1, 2, left=0.155, right=0.985, bottom=0.65 / height, top=1 - 1.35 / height, width_ratios=(1.35, 1),
            wspace=0.42,
        )  # fmt: skip
        _draw_map(figure.add_subplot(grid[0]), result.results, prices)
        _draw_gains(figure.add_subplot(grid[1]), result)
        add_title(figure, "Which prices matter, and what to measure next")
        source_line(
            figure, priced_by(result.version, result.parameters), f"seed {result.seed}",
            f"prices below a total index of {SHOWN_INDEX:g} everywhere are left out",
        )  # fmt: skip
    return figure


def _draw_map(axes: Axes, results: Sequence[ResultIndices], prices: Sequence[str]) -> None:
    total = np.array([[_of(result, price) for result in results] for price in prices])
    axes.imshow(total, cmap="Blues", vmin=0, vmax=max(0.6, float(total.max())), aspect="auto")
    for i, row in enumerate(total):
        for j, share in enumerate(row):
            if share >= 0.005:
                axes.text(
                    j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                    color="white" if share > _DARK else INK,
                )  # fmt: skip
    axes.set_xticks(
        range(len(results)), [result.id for result in results], rotation=35, ha="left", rotation_mode="anchor"
    )
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(prices)), prices)
    axes.tick_params(length=0, labelsize=8.5)
    axes.grid(visible=False)
    axes.set_xlabel("total Sobol index: share of the result's variance, %")


def _of(result: ResultIndices, price: str) -> float:
    return max((index.total_order for index in result.indices if index.parameter == price), default=0.0)


def _draw_gains(axes: Axes, result: Sensitivity) -> None:
    names = [one.id for one in result.measurements]
    gains = [100 * one.mean_gain for one in result.measurements]
    axes.barh(range(len(names)), gains, 0.62, color="#56b4e9", edgecolor=INK, linewidth=0.4)
    for y, gain in enumerate(gains):
        axes.text(gain + 0.3, y, f"{gain:.0f} %", va="center", fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * max(gains))
    axes.set_title("What one measurement would say", fontweight="bold")
    axes.set_xlabel("standard deviation taken from the other answers, %")
