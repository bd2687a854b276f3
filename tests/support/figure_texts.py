"""Texts of figures: do they fit, and does each have a place of its own?"""

import itertools
from collections.abc import Iterable, Sequence

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from plots.style import style


def draw(figure: Figure) -> None:
    """Settle the ticks of all axes."""
    with style():
        FigureCanvasAgg(figure).draw()


def shown_ticks(axis: Axis) -> list[Text]:
    """Return the labels of the ticks that lie within the axis, once the figure has been drawn."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def nothing_is_cut_or_overlaps(figure: Figure, texts: Iterable[Text], margin: Sequence[Text] = ()) -> None:
    """Fail unless all texts, and the figure's own, are inside it and apart; those of ``margin`` only inside."""
    named = [one for one in dict.fromkeys((*figure.texts, *texts)) if one.get_text()]
    with style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in (*named, *margin)}
    inside = figure.bbox
    for text, box in boxes.items():
        assert inside.x0 <= box.x0, text
        assert box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0, text
        assert box.y1 <= inside.y1, text
    for one, other in itertools.combinations(named, 2):
        assert not boxes[one].overlaps(boxes[other]), (one, other)
