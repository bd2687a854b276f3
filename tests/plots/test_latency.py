"""Does the figure of latencies show every percentile of its result?"""

import msgspec
import pytest

from perfmodel.errors import InputError
from perfmodel.scaling.result import ScaleResult, load_scale, to_json
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.scenario import Scenario
from plots.latency import LINES, MOST_CURVES, UNITS, percentiles_us, plot_latency
from plots.style import INTERFACE_LOOKS, render
from tests.support.drawn import all_fits, corners_of, line_of, source_of


@pytest.fixture(scope="module")
def simulated() -> ScaleResult:
    return scale(Scenario(memory="64MiB"), options=ScaleOptions(vcpus=(1, 4, 64), samples=0))


@pytest.fixture(scope="module", params=["as run", "one curve", "three curves", "one count", "states"])
def result(request, simulated) -> ScaleResult:
    curves = simulated.curves
    match request.param:
        case "one curve":
            curves = curves[:1]
        case "three curves":
            curves = curves[1:]
        case "one count":
            curves = [msgspec.structs.replace(curve, points=curve.points[2:]) for curve in curves]
        case "states":
            curves = [
                msgspec.structs.replace(curve, workload=workload, state=state)
                for curve in curves[::3]
                for workload, state in (("convert", "inside"), ("convert", "halted"), ("teardown", "ticking"))
            ]
    return msgspec.structs.replace(simulated, curves=curves)


@pytest.fixture(scope="module")
def figure(result):
    return plot_latency(result)


def test_lines_are_the_percentiles(result, figure):
    assert len(figure.axes) == len(result.curves)
    for axes, curve in zip(figure.axes, result.curves, strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        names = [name for name in ("p50", "p90", "p99", "p99.9") if name in curve.points[0].latency_ns]
        assert list(percentiles_us(curve)) == names
        for name in names:
            line = line_of(axes, name)
            assert list(line.get_xdata()) == [point.vcpus for point in curve.points]
            assert list(line.get_ydata() * 1e3) == pytest.approx([p.latency_ns[name] for p in curve.points])
            assert line.get_color() == INTERFACE_LOOKS[curve.interface].colour
        ends = {(p.vcpus, p.latency_ns[name] / 1e3) for p in curve.points for name in (names[0], names[-1])}
        assert ends <= corners_of(axes, "percentiles")
        texts = [text.get_text() for text in axes.texts if text.get_gid() == "end"]
        assert [text.split()[0] for text in texts] == names


def test_panels_share_a_range_and_are_named(result, figure):
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(set(titles)) == len(titles)
    for axes, curve in zip(figure.axes, result.curves, strict=True):
        assert curve.interface in axes.get_title(loc="left")
        low, high = axes.get_ylim()
        assert all(low < ns / 1e3 < high for point in curve.points for ns in point.latency_ns.values())
    assert figure.axes[0].get_ylabel() == f"time of a {UNITS[result.curves[0].workload]}, µs"
    assert result.parameters.sha256[:12] in source_of(figure)


def test_nothing_is_cut_or_overlaps(figure):
    all_fits(figure)


def test_percentiles_differ_without_colour():
    styles = [(str(look["linestyle"]), look["linewidth"]) for look in LINES]
    assert len(set(styles)) == len(styles)


def test_same_bytes_twice(simulated):
    assert render(plot_latency(simulated), "svg") == render(plot_latency(simulated), "svg")


def test_too_many_curves_are_refused(simulated):
    many = msgspec.structs.replace(simulated, curves=simulated.curves * MOST_CURVES)
    with pytest.raises(ValueError, match=f"at most {MOST_CURVES} can be drawn"):
        plot_latency(many)


@pytest.mark.parametrize("latency", [{}, {"p50": 0.0}, {"median": 1.0}, {"p50": 1.0}])
def test_points_without_the_same_percentiles_are_refused(simulated, tmp_path, latency):
    first = simulated.curves[0]
    points = [msgspec.structs.replace(first.points[0], latency_ns=latency), *first.points[1:]]
    damaged = msgspec.structs.replace(simulated, curves=[msgspec.structs.replace(first, points=points)])
    path = tmp_path / "scale.json"
    path.write_bytes(to_json(damaged))
    with pytest.raises(InputError, match="a curve that is none"):
        load_scale(path)
