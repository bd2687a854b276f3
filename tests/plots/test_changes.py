"""Does the figure of conversions, splits and tear-down show the numbers of its result?"""

import itertools
import math

import msgspec
import numpy as np
import pytest

from perfmodel.scaling.result import ScaleResult
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.scenario import Scenario
from plots.changes import NEAR_END, STATES, TITLES, leaf_of, near_ends, page_us, plot_changes
from plots.style import INTERFACE_LOOKS, render
from tests.support.figure_texts import draw, nothing_is_cut_or_overlaps, shown_ticks


@pytest.fixture(scope="module")
def simulated() -> ScaleResult:
    options = ScaleOptions(
        vcpus=(1, 8), workloads=("convert", "split", "teardown"), states=("inside", "halted", "ticking"), samples=2
    )
    return scale(Scenario(memory="1GiB", interfaces=("page-4k", "pfn")), options=options)


@pytest.fixture(scope="module", params=["as run", "one workload", "two workloads", "one count", "all interfaces"])
def result(request, simulated) -> ScaleResult:
    curves = simulated.curves
    match request.param:
        case "one workload":
            curves = [curve for curve in curves if curve.workload == "convert"]
        case "two workloads":
            curves = [curve for curve in curves if curve.workload != "split"]
        case "one count":
            curves = [msgspec.structs.replace(curve, points=curve.points[1:]) for curve in curves]
        case "all interfaces":
            wide = [curve for curve in curves if curve.interface == "pfn"]
            names = ("folio-strict", "folio-lenient")
            curves = [*curves, *(msgspec.structs.replace(one, interface=name) for name in names for one in wide)]
    return msgspec.structs.replace(simulated, curves=curves)


@pytest.fixture(scope="module")
def figure(result):
    return plot_changes(result)


def by_workload(result):
    return [
        [curve for curve in result.curves if curve.workload == workload]
        for workload in TITLES
        if any(curve.workload == workload for curve in result.curves)
    ]


def test_one_panel_a_workload_with_every_curve_in_it(result, figure):
    panels = by_workload(result)
    assert len(figure.axes) == len(panels)
    for axes, curves in zip(figure.axes, panels, strict=True):
        assert axes.get_title(loc="left") == TITLES[curves[0].workload]
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert set(lines) == {f"{curve.interface}, {curve.state}" for curve in curves}
        for curve in curves:
            name = f"{curve.interface}, {curve.state}"
            assert list(lines[name].get_xdata()) == [point.vcpus for point in curve.points]
            seconds_per_gib = [1 / point.gib_per_s.value for point in curve.points]
            np.testing.assert_allclose(lines[name].get_ydata() * (1 << 18) / 1e6, seconds_per_gib, rtol=1e-12)
            assert lines[name].get_marker() == INTERFACE_LOOKS[curve.interface].marker
            (band,) = (one for one in axes.collections if one.get_label() == f"{name} interval")
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
            for point in curve.points:
                low, _, high = page_us(point)
                assert {(point.vcpus, low), (point.vcpus, high)} <= corners
                assert low == pytest.approx(1e6 / (1 << 18) / point.gib_per_s.high)


def test_time_of_a_page_is_that_of_a_leaf_over_its_pages(simulated):
    for curve in simulated.curves:
        for point in curve.points:
            low, value, high = page_us(point)
            assert low <= value <= high
            assert value * curve.pages_per_unit == pytest.approx(point.cycle_ns / 1e3, rel=1e-9)
    assert {curve.interface: leaf_of(curve) for curve in simulated.curves} == {"page-4k": "4K", "pfn": "2M"}


def test_panels_share_a_range_that_holds_everything(result, figure):
    limits = {axes.get_ylim() for axes in figure.axes}
    assert len(limits) == 1
    ((low, high),) = limits
    for curve in result.curves:
        for point in curve.points:
            assert low < page_us(point)[0]
            assert page_us(point)[2] < high


def test_second_scale_is_seconds_a_gib(figure):
    (per_gib,) = figure.axes[-1].child_axes
    assert per_gib.get_ylabel() == "time per GiB, s"
    draw(figure)
    factor = (1 << 18) / 1e6
    np.testing.assert_allclose(per_gib.get_ylim(), np.array(figure.axes[-1].get_ylim()) * factor, rtol=1e-9)
    assert figure.axes[0].get_ylabel() == "time per page of 4 KiB, µs"
    assert {axes.get_xlabel() for axes in figure.axes} == {"vCPUs of a TD"}


def test_last_points_are_named_with_the_time_of_a_leaf(result, figure):
    for axes, curves in zip(figure.axes, by_workload(result), strict=True):
        groups = near_ends(curves)
        assert sorted(map(id, itertools.chain(*groups))) == sorted(map(id, curves))
        texts = [text.get_text() for text in axes.texts if text.get_gid() == "end"]
        assert len(texts) == len(groups)
        for group, text in zip(groups, texts, strict=True):
            states, times = text.split(":\n")
            assert set(states.split(", ")) == {curve.state for curve in group}
            assert times.endswith(f" a {leaf_of(group[0])} leaf")
            assert {leaf_of(curve) for curve in group} == {leaf_of(group[0])}
            ends = [page_us(curve.points[-1])[1] for curve in group]
            assert max(ends) <= min(ends) * NEAR_END
            number = float(times.split()[0])
            unit = {"ns": 1e3, "µs": 1.0, "ms": 1e-3, "s": 1e-6}[times.split(" a ")[0].split()[-1]]
            assert number == pytest.approx(min(ends) * group[0].pages_per_unit * unit, rel=6e-3)


def test_nothing_is_cut_or_overlaps(figure):
    draw(figure)
    texts = list(figure.legends[0].get_texts())
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes._left_title, *shown_ticks(axes.xaxis)]
    texts += [figure.axes[0].yaxis.label, *shown_ticks(figure.axes[0].yaxis)]
    nothing_is_cut_or_overlaps(figure, texts, [figure.axes[-1].child_axes[0].yaxis.label])


def test_same_bytes_twice(simulated):
    for fmt in ("png", "svg"):
        assert render(plot_changes(simulated), fmt) == render(plot_changes(simulated), fmt)


def test_populating_alone_is_nothing_to_draw(simulated):
    curves = [msgspec.structs.replace(curve, workload="populate") for curve in simulated.curves]
    with pytest.raises(ValueError, match="no curve of workload convert, split or teardown"):
        plot_changes(msgspec.structs.replace(simulated, curves=curves))


def test_states_differ_in_line_and_marker():
    looks = [
        (str(look["linestyle"]), look.get("fillstyle"), look.get("markerfacecolor")) for _, look in STATES.values()
    ]
    for one, other in itertools.combinations(looks, 2):
        assert one[0] != other[0]
        assert one[1:] != other[1:]


def test_a_stopped_curve_takes_for_ever(simulated):
    point = simulated.curves[0].points[0]
    stopped = msgspec.structs.replace(point, gib_per_s=msgspec.structs.replace(point.gib_per_s, low=0.0))
    assert page_us(stopped)[2] == math.inf
