"""Does the figure of an answer show its numbers, with their intervals, where they are?"""

import io

import numpy as np
import pytest
from figure_texts import nothing_is_cut_or_overlaps
from matplotlib.lines import Line2D
from PIL import Image

from perfmodel.report.answer import Answer, Group, Report, Row
from perfmodel.result import ParametersId
from plots.answers import is_wide, places, plot_answer
from plots.style import INTERFACE_LOOKS, render, render_small

REPORT = Report(
    version="1.2.3", seed=7, parameters=ParametersId("mine", "ab" * 32), headline="", answers=[],
    scenario={"module": "TDX_1.5.01", "module_features": []},
)  # fmt: skip
ROWS = [
    Row("removal", "page-4k", 0.04, 0.02, 0.08, "s"),
    Row("reclaim", "page-4k", 0.01, 0.005, 0.02, "s"),
    Row("removal", "pfn", 0.02, 0.01, 0.05, "s"),
    Row("none", "", 0.03, None, None, "s"),
]


def drawn(rows, drawn=True):
    return plot_answer(Answer(number=1, groups=[Group("Time", rows, drawn), Group("Left out", rows)]), REPORT)


def all_texts(figure):
    (axes,) = figure.axes
    return [*axes.texts, *axes.get_yticklabels(), axes.xaxis.label]


def lines(figure, gid):
    return [line for line in figure.axes[0].get_lines() if line.get_gid() == gid]


def test_every_number_has_a_mark_its_interval_and_its_text():
    figure = drawn(ROWS)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "ms"
    assert sorted(line.get_xdata()[0] for line in lines(figure, "value")) == pytest.approx([10, 20, 30, 40])
    ends = sorted(tuple(line.get_xdata()) for line in lines(figure, "interval"))
    assert ends == [pytest.approx(pair) for pair in ((5, 20), (10, 50), (20, 80))]
    written = [text.get_text() for text in (*figure.texts, *all_texts(figure))]
    assert {"40.0 (20.0 to 80.0) ms", "30.0 ms", "removal, page-4k", "none", "Time"} <= set(written)
    assert any("mine (abababababab)" in text and "1.2.3" in text and "seed 7" in text for text in written)
    assert "Left out" not in written


def test_nothing_is_cut():
    long = [
        Row("of them with a split, others inside", name, 1234.5, 0.001, 123456.0, "GiB/s")
        for name in ("pfn", "page-4k")
    ]
    for rows in (ROWS, long):
        figure = drawn(rows)
        nothing_is_cut_or_overlaps(figure, all_texts(figure))


def test_rows_of_one_label_lie_together():
    labels = [label.get_text() for label in drawn(ROWS).axes[0].get_yticklabels()]
    assert labels == ["removal, page-4k", "removal, pfn", "reclaim, page-4k", "none"]


def test_marks_stand_at_their_labels():
    figure = drawn(ROWS)
    marks = [line.get_ydata()[0] for line in lines(figure, "value")]
    assert marks == list(figure.axes[0].get_yticks())
    assert all(isinstance(line, Line2D) for line in figure.axes[0].get_lines())


@pytest.mark.parametrize(
    ("values", "wide"), [((1.0, 100.0), True), ((1.0, 10.0), False), ((0.0, 100.0), False), ((-1.0, 100.0), False)]
)
def test_logarithmic_where_values_are_wide_apart(values, wide):
    rows = [Row("x", str(value), value, value, value, "%") for value in values]
    assert is_wide(rows) is wide
    axes = drawn(rows).axes[0]
    assert (axes.get_xscale() == "log") is wide
    low, high = axes.get_xlim()
    assert low <= min(values) < max(values) <= high
    assert wide or low <= 0


def test_places_descend_with_a_gap_between_labels():
    one, two, three = places([ROWS[0], ROWS[2], ROWS[1]])
    assert 0 < one < two < three
    assert three - two > two - one


def test_zeros_can_be_drawn():
    figure = drawn([Row("x", "", 0.0, 0.0, 0.0, "s"), Row("y", "", 0.0, None, None, "s")])
    assert render(figure, "png").startswith(b"\x89PNG")


def test_small_files_are_small_and_the_same_again():
    assert render_small(drawn(ROWS)) == render_small(drawn(ROWS))
    assert 3 * len(render_small(drawn(ROWS))) < len(render(drawn(ROWS), "png"))


def test_small_files_keep_the_colours_of_interfaces():
    rows = [Row("x", name, 2.0, 1.0, 3.0, "s") for name in INTERFACE_LOOKS]
    with Image.open(io.BytesIO(render_small(drawn(rows)))) as image:
        pixels = np.unique(np.asarray(image.convert("RGB"), np.int64).reshape(-1, 3), axis=0)
    for name, look in INTERFACE_LOOKS.items():
        colour = np.array([int(look.colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(pixels - colour).max(axis=1).min() <= 4, name


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw"):
        drawn(ROWS, drawn=False)
