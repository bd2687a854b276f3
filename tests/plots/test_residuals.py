"""Do the figures of validate and sensitivity show the numbers of their results?"""

import warnings

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from perfmodel.calibration.report import Validation
from perfmodel.calibration.sensitivity_report import Sensitivity, sensitivity
from perfmodel.calibration.validate import validate
from perfmodel.parameters import load_parameters
from plots.residuals import PREDICTED_LABEL, plot_residuals, points_of
from plots.sensitivity import SHOWN_INDEX, plot_sensitivity, shown_prices
from plots.style import render


@pytest.fixture(scope="module")
def validation() -> Validation:
    return validate()


@pytest.fixture(scope="module")
def indices() -> Sensitivity:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return sensitivity(load_parameters())


def test_points_are_the_scored_rows_without_their_folds(validation: Validation) -> None:
    points = points_of(validation)
    assert [p.row.id for p in points] == [r.id for r in validation.rows if r.role == "fitted"]
    for point in points:
        left = point.row.left_out
        assert left is not None
        assert point.ratio == left.ratio
        assert point.low * point.row.measured == pytest.approx(left.low)
        assert point.high * point.row.measured == pytest.approx(left.high)


def test_ratios_and_their_intervals_are_drawn(validation: Validation) -> None:
    points, figure = points_of(validation), plot_residuals(validation)
    axes = figure.axes[1]
    bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    assert len(bars) == len(points)
    for y, (bar, point) in enumerate(zip(bars, points, strict=True)):
        assert (bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0]) == (point.ratio, y)
        (ends,) = bar.lines[2][0].get_segments()
        np.testing.assert_allclose(ends[:, 0], [point.low, point.high])
    assert [label.get_text().split()[0] for label in axes.get_yticklabels()] == [p.row.id for p in points]
    assert PREDICTED_LABEL in [text.get_text() for text in axes.get_legend().get_texts()]


def test_everything_is_on_the_diagonal_plot(validation: Validation) -> None:
    points, axes = points_of(validation), plot_residuals(validation).axes[0]
    drawn = {
        (x, y)
        for bar in axes.containers
        for x, y in zip(bar.lines[0].get_xdata(), bar.lines[0].get_ydata(), strict=True)
    }
    assert drawn == {(p.seconds, p.seconds * p.ratio) for p in points}
    low, high = axes.get_xlim()
    assert low < min(p.seconds * p.low for p in points)
    assert high > max(p.seconds * p.high for p in points)


def test_nothing_to_draw_is_an_error(validation: Validation) -> None:
    import msgspec

    with pytest.raises(ValueError, match="no scored row"):
        plot_residuals(msgspec.structs.replace(validation, rows=[]))


def test_the_map_shows_total_indices(indices: Sensitivity) -> None:
    axes = plot_sensitivity(indices).axes[0]
    prices = [label.get_text() for label in axes.get_yticklabels()]
    results = [label.get_text() for label in axes.get_xticklabels()]
    assert prices == shown_prices(indices.results)
    assert results == [one.id for one in indices.results]
    image = np.asarray(axes.images[0].get_array())
    for j, result in enumerate(indices.results):
        total = {index.parameter: index.total_order for index in result.indices}
        np.testing.assert_allclose(image[:, j], [total.get(price, 0.0) for price in prices])
        assert max(v for k, v in total.items() if k not in prices) < SHOWN_INDEX


def test_the_bars_show_gains(indices: Sensitivity) -> None:
    axes = plot_sensitivity(indices).axes[1]
    assert [bar.get_width() for bar in axes.patches] == [100 * one.mean_gain for one in indices.measurements]
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.id for one in indices.measurements]


@pytest.mark.parametrize("fmt", ["png", "svg"])
def test_files_are_the_same_twice(validation: Validation, indices: Sensitivity, fmt: str) -> None:
    assert render(plot_residuals(validation), fmt) == render(plot_residuals(validation), fmt)
    assert render(plot_sensitivity(indices), fmt) == render(plot_sensitivity(indices), fmt)
