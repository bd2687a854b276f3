"""What figures have drawn: bars, lines, bands, and the texts that must not overlap."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from tests.support.figure_texts import draw, nothing_is_cut_or_overlaps, shown_ticks


def bars(axes: Axes) -> list[BarContainer]:
    """Return the stacks of bars, a container a segment."""
    return [one for one in axes.containers if isinstance(one, BarContainer)]


def line_of(axes: Axes, label: str) -> Line2D:
    """Return the one line of that label."""
    (line,) = (line for line in axes.get_lines() if line.get_label() == label)
    return line


def points_of(line: Line2D) -> list[tuple[float, float]]:
    """Return where a line has markers."""
    step: Any = line.get_markevery() or 1
    return list(zip(line.get_xdata()[::step], line.get_ydata()[::step], strict=True))


def corners_of(axes: Axes, label: str) -> set[tuple[float, float]]:
    """Return the corners of the one band of that label."""
    (band,) = (one for one in axes.collections if one.get_label() == label)
    return {tuple(corner) for path in band.get_paths() for corner in path.vertices}


def texts_of(figure: Figure) -> list[Text]:
    """Return every text of the figure's axes and legends, ticks within their axes among them."""
    draw(figure)
    texts: list[Text] = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label, *shown_ticks(axes.xaxis)]
        texts += shown_ticks(axes.yaxis) if axes.yaxis.get_tick_params()["labelleft"] else []
    return texts


def all_fits(figure: Figure) -> None:
    """Fail where any text is cut or covers another."""
    nothing_is_cut_or_overlaps(figure, texts_of(figure))


def source_of(figure: Figure) -> str:
    """Return the line that says what made a figure."""
    (line,) = (text.get_text() for text in figure.texts if text.get_gid() == "source")
    return str(line)


def grey(colour: str) -> float:
    """Return what a colour becomes without hue, 0 to 1."""
    from matplotlib.colors import to_rgb

    return sum(weight * part for weight, part in zip((0.299, 0.587, 0.114), to_rgb(colour), strict=True))
