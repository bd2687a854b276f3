"""Does the figure of populating with many vCPUs show the numbers of its result, each bound where it belongs?"""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb

from perfmodel.names import INTERFACES
from perfmodel.scaling.result import ScaleResult, load_scale, to_json
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.scenario import Scenario
from plots.axes import spread_out
from plots.scaling import (
    PART_LOOKS,
    PARTS,
    SAME_BOUND,
    SHOWN_BOUNDS,
    group_bounds,
    ideal_per_vcpu,
    parts_of,
    plot_scaling,
)
from plots.style import INTERFACE_LOOKS, render
from tests.support.figure_texts import draw, nothing_is_cut_or_overlaps, shown_ticks


@pytest.fixture(scope="module")
def simulated() -> ScaleResult:
    return scale(Scenario(memory="1GiB"), options=ScaleOptions(vcpus=(1, 4, 128), samples=3))


@pytest.fixture(scope="module", params=["as run", "one curve", "few vCPUs", "one count", "waiting too", "wide mix"])
def result(request, simulated) -> ScaleResult:
    curves = simulated.curves
    match request.param:
        case "one curve":
            curves = curves[:1]
        case "few vCPUs":
            curves = [msgspec.structs.replace(curve, points=curve.points[:2]) for curve in curves]
        case "one count":
            curves = [msgspec.structs.replace(curve, points=curve.points[2:]) for curve in curves]
        case "waiting too":
            alone = msgspec.structs.replace(curves[3], state="halted", points=[curves[3].points[0]] * 1)
            curves = [*curves, alone]
        case "wide mix":
            longest = {"tds": 4, "nodes": 8, "placement": "interleave", "shattered": 0.1, "shared_pages": 262143}
            options = {"dynamic_pamt": "global-lock", "guest_lock": "held"}
            return msgspec.structs.replace(
                simulated, scenario=simulated.scenario | longest, options=simulated.options | options
            )
    return msgspec.structs.replace(simulated, curves=curves)


@pytest.fixture(scope="module")
def figure(result):
    return plot_scaling(result)


def name_of(curve, result):
    return curve.interface if len({one.state for one in result.curves}) == 1 else f"{curve.interface}, {curve.state}"


def line_of(axes, label):
    (line,) = (line for line in axes.get_lines() if line.get_label() == label)
    return line


def drawn(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def test_curves_and_their_intervals_are_those_of_the_result(result, figure):
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for curve in result.curves:
        name = name_of(curve, result)
        line = line_of(axes, name)
        assert list(line.get_xdata()) == [point.vcpus for point in curve.points]
        assert list(line.get_ydata()) == [point.gib_per_s.value for point in curve.points]
        assert line.get_marker() == INTERFACE_LOOKS[curve.interface].marker
        (band,) = (one for one in axes.collections if one.get_label() == f"{name} interval")
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
        assert {(p.vcpus, p.gib_per_s.low) for p in curve.points} <= corners
        assert {(p.vcpus, p.gib_per_s.high) for p in curve.points} <= corners
        assert np.all(axes.get_ylim()[0] < line.get_ydata())
        assert np.all(axes.get_ylim()[1] > line.get_ydata())


def test_ideal_lines_are_one_vcpu_times_their_number(result, figure):
    axes = figure.axes[0]
    for curve in result.curves:
        if curve.state != "working":
            assert not [line for line in axes.get_lines() if line.get_label() == f"{name_of(curve, result)} ideal"]
            continue
        line = line_of(axes, f"{name_of(curve, result)} ideal")
        alone_gib_per_s = curve.pages_per_unit / curve.points[-1].service_ns * 1e9 / (1 << 18)
        np.testing.assert_allclose(line.get_ydata() / line.get_xdata(), alone_gib_per_s, rtol=5e-3)
        for point in curve.points:
            assert point.gib_per_s.value <= 1.02 * point.vcpus * ideal_per_vcpu(curve)


def test_bounds_are_limits_and_begin_at_their_own_ideal_line(result, figure):
    axes = figure.axes[0]
    left, right = axes.get_xlim()
    lines = drawn(axes, "bound")
    colours = {to_hex(INTERFACE_LOOKS[curve.interface].colour): curve for curve in result.curves}
    for line in lines:
        curve = colours[to_hex(line.get_color())]
        (begin, end), (y, same) = line.get_xdata(), line.get_ydata()
        assert y == same
        assert end == right
        limits = [limit for limit in curve.limits if y <= limit.gib_per_s <= y * SAME_BOUND]
        assert line.get_label() == "; ".join(limit.resource for limit in limits)
        assert y == pytest.approx(limits[0].gib_per_s, rel=SAME_BOUND - 1)
        if curve.state == "working" and left < begin < right:
            assert begin * ideal_per_vcpu(curve) == pytest.approx(y, rel=1e-9)
    for colour, curve in colours.items():
        own = [line.get_ydata()[0] for line in lines if to_hex(line.get_color()) == colour]
        alike = sum(one.interface == curve.interface for one in result.curves)
        assert len(own) <= SHOWN_BOUNDS * alike
        if curve.knee_vcpus < right and curve.state == "working":
            assert min(own) == pytest.approx(curve.limits[0].gib_per_s, rel=SAME_BOUND - 1)


def test_each_bound_is_named_once_with_its_interfaces(result, figure):
    axes = figure.axes[0]
    names = [text for text in axes.texts if text.get_gid() == "bound name"]
    shown = {(line.get_label(), line.get_ydata()[0]) for line in drawn(axes, "bound")}
    assert len(names) == len(shown) == len(drawn(axes, "leader"))
    bounds = {bound.gib_per_s: bound for bound in group_bounds(result.curves)}
    for text in names:
        said = text.get_text().replace("\n", " ")
        value = float(said.split(" GiB/s ")[0].replace(",", ""))
        bound = min(bounds.values(), key=lambda one: (abs(one.gib_per_s - value), one.resources))
        assert value == pytest.approx(bound.gib_per_s, rel=6e-3)
    for resources, _ in shown:
        assert any(resources in text.get_text().replace("\n", " ") for text in names)
    for leader, text in zip(drawn(axes, "leader"), names, strict=True):
        assert leader.get_ydata()[1] == text.get_position()[1]


def test_knees_are_where_the_tightest_limit_meets_the_ideal_line(result, figure):
    axes = figure.axes[0]
    expected = [
        (curve.knee_vcpus, curve.limits[0].gib_per_s)
        for curve in result.curves
        if curve.state == "working" and curve.knee_vcpus <= axes.get_xlim()[1]
    ]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in drawn(axes, "knee")] == expected
    for curve in result.curves:
        assert curve.knee_vcpus * ideal_per_vcpu(curve) == pytest.approx(curve.limits[0].gib_per_s, rel=1e-9) or (
            curve.state != "working" or len(curve.points) < 3
        )
    numbers = {text.get_text() for text in axes.texts if text.get_gid() != "bound name"}
    assert numbers == {f"{knee:.0f}" for knee, _ in expected}


def test_parts_sum_to_the_time_of_a_fault(simulated):
    for curve in simulated.curves:
        for point in curve.points:
            parts = parts_of(point)
            assert tuple(parts) == PARTS
            assert math.fsum(parts.values()) == pytest.approx(point.cycle_ns, rel=1e-3)
    crowded = parts_of(simulated.curves[0].points[-1])
    assert crowded["blocked by locks"] == simulated.curves[0].points[-1].waits_ns["folio lock"].blocked
    assert crowded["memory bandwidth"] == 0
    wide = simulated.curves[3].points[-1]
    assert parts_of(wide)["memory bandwidth"] == wide.waits_ns["memory bandwidth"].queue > 0


def test_bars_are_the_shares_of_the_parts(result, figure):
    curves = result.curves if len(result.curves) == 1 else [result.curves[0], result.curves[-1]]
    assert len(figure.axes) == 1 + len(curves)
    for axes, curve in zip(figure.axes[1:], curves, strict=True):
        assert [bars.get_label() for bars in axes.containers] == list(PARTS)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(point.vcpus) for point in curve.points]
        said = axes.get_title(loc="left")
        assert name_of(curve, result) in said
        assert said.endswith("4K leaves" if curve.interface == "page-4k" else "2M leaves")
        for number, point in enumerate(curve.points):
            parts, below = parts_of(point), 0.0
            for bars in axes.containers:
                bar, part = bars[number], bars.get_label()
                assert bar.get_y() == pytest.approx(below)
                assert bar.get_height() == pytest.approx(100 * parts[part] / math.fsum(parts.values()), rel=1e-9)
                assert bar.get_hatch() == (PART_LOOKS[part].hatch or None)
                below += bar.get_height()
            assert below == pytest.approx(100)
        totals = [text.get_text() for text in axes.texts if text.get_text().endswith("s")]
        assert len(totals) == len(curve.points)


def test_a_mix_of_leaves_is_named(simulated):
    mixed = msgspec.structs.replace(simulated.curves[1], leaves_2m_share=0.9)
    figure = plot_scaling(msgspec.structs.replace(simulated, curves=[mixed]))
    assert figure.axes[1].get_title(loc="left").endswith("folio-strict, 90 % of the memory in 2M leaves")


def test_words(simulated):
    figure = plot_scaling(simulated)
    throughput, *parts = figure.axes
    assert throughput.get_xlabel() == "vCPUs of a TD"
    assert throughput.get_ylabel() == "throughput of all TDs together, GiB/s"
    assert [tick.get_text() for tick in throughput.get_xticklabels()] == ["1", "4", "128"]
    assert [axes.get_ylabel() for axes in parts] == ["share of the time, %"] * 2
    assert "1 GiB" in figure.get_suptitle()
    source = next(text for text in figure.texts if text.get_gid() == "source").get_text()
    for word in (simulated.version, "spr-8480p", simulated.parameters.sha256[:12], "seed 0", "TDX_1.5.01"):
        assert word in source
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:4] == list(INTERFACES)
    assert [text.get_text() for text in figure.legends[1].get_texts()] == list(PARTS)


def test_nothing_is_cut_or_overlaps(figure):
    draw(figure)
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title, *shown_ticks(axes.xaxis)]
        texts += shown_ticks(axes.yaxis)
    texts += [text for text in figure.axes[0].texts if text.get_gid() == "bound name"]
    for axes in figure.axes[1:]:
        texts += [text for text in axes.texts if text.get_text().endswith("s")]
    nothing_is_cut_or_overlaps(figure, texts)


def test_bytes_depend_on_the_result_alone(simulated, tmp_path):
    (tmp_path / "scale.json").write_bytes(to_json(simulated))
    again = load_scale(tmp_path / "scale.json")
    assert again == simulated
    for fmt in ("png", "svg", "pdf"):
        assert render(plot_scaling(again), fmt) == render(plot_scaling(simulated), fmt)


def test_without_populating_there_is_nothing_to_draw(simulated):
    curves = [msgspec.structs.replace(curve, workload="convert") for curve in simulated.curves]
    with pytest.raises(ValueError, match="no curve of workload populate"):
        plot_scaling(msgspec.structs.replace(simulated, curves=curves))


def test_looks_tell_curves_and_parts_apart_without_colour():
    assert tuple(INTERFACE_LOOKS) == INTERFACES
    for one, other in itertools.combinations(INTERFACE_LOOKS.values(), 2):
        assert one.marker != other.marker
    for one, other in itertools.combinations(PART_LOOKS.values(), 2):
        greys = [np.dot((0.299, 0.587, 0.114), to_rgb(look.colour)) for look in (one, other)]
        assert one.hatch != other.hatch or abs(greys[0] - greys[1]) > 0.12


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.12)), max_size=8))
def test_names_keep_their_order_and_distance(boxes):
    boxes.sort()
    wanted, heights = [y for y, _ in boxes], [height for _, height in boxes]
    placed = spread_out(wanted, heights)
    assert placed == sorted(placed)
    for (y, height), (above, its) in itertools.pairwise(zip(placed, heights, strict=True)):
        assert above - y >= (height + its) / 2 - 1e-9
    for y, height in zip(placed, heights, strict=True):
        assert y - height / 2 >= -1e-9
        assert y + height / 2 <= 1 + 1e-9
    apart = all(b - a > (g + h) / 2 for (a, g), (b, h) in itertools.pairwise(boxes))
    if apart and all(h / 2 <= y <= 1 - h / 2 for y, h in boxes):
        assert placed == pytest.approx(wanted)
