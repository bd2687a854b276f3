"""Do the figures of sweeps show the numbers of the Dataset?"""

import math

import numpy as np
import pytest

from perfmodel.costs import sample_costs
from perfmodel.sweep.dataset import labels, ledger_at, parameters_at
from plots.refusals import plot_refusals
from plots.speedup import MARKED, crossing, plot_speedup, speed_up
from plots.stacks import group_stages, time_unit
from plots.stages import MOST_ROWS, costs_of, plot_stages
from plots.style import INTERFACE_LOOKS, render
from plots.swept import Swept
from plots.throughput import plot_throughput
from plots.vcpus import plot_vcpus
from tests.plots.conftest import SAMPLES, swept
from tests.support.drawn import all_fits, bars, corners_of, line_of, points_of, source_of


@pytest.fixture(scope="module", params=["memory", "shares", "a parameter", "one interface", "missing"])
def sweep(request, memory_and_shares, prices) -> Swept:
    match request.param:
        case "shares":
            return Swept(memory_and_shares, {"memory": 0})
        case "a parameter":
            return Swept(prices, {"preset": 1})
        case "one interface":
            return Swept(memory_and_shares, {"interface": 3, "shattered": 3})
        case "missing":
            damaged = memory_and_shares.copy(deep=True)
            for name in ("gib_per_s", "gib_per_s_low", "gib_per_s_high", "seconds", "ns_total", "ns_by_stage"):
                damaged[name][{"memory": 2, "shattered": slice(0, 2)}] = np.nan
            damaged["status"][{"memory": 2, "shattered": slice(0, 2)}] = 1
            damaged["leaves_2m"][{"memory": 2}] = -1
            return Swept(damaged, {})
    return Swept(memory_and_shares, {"shattered": 1})


def test_throughput_is_that_of_the_dataset(sweep):
    figure = plot_throughput(sweep)
    (axes,) = figure.axes
    line = sweep.along_numbers("memory")
    low, value, high = line.band("gib_per_s")
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "throughput, GiB/s")
    for place, name in enumerate(line.interfaces):
        drawn = line_of(axes, name)
        np.testing.assert_array_equal(points_of(drawn), list(zip(line.numbers, value[:, place], strict=True)))
        assert drawn.get_marker() == INTERFACE_LOOKS[name].marker
        known = np.isfinite(value[:, place])
        corners = corners_of(axes, f"{name} interval")
        for side in (low, high):
            assert set(zip(line.numbers[known], side[known, place], strict=True)) <= corners
    ends = [text.get_text().split()[0] for text in axes.texts if text.get_gid() == "end"]
    assert sorted(ends) == sorted(line.interfaces)
    if line.axis == "memory":
        assert axes.get_xlabel() == "guest memory"
        assert "GiB" in axes.get_xticklabels()[-1].get_text()
    assert f"{SAMPLES} samples" in source_of(figure)


def test_nothing_is_cut_or_overlaps(sweep):
    all_fits(plot_throughput(sweep))


@pytest.mark.parametrize("plot", [plot_stages, plot_refusals])
@pytest.mark.parametrize("place", [{"memory": 0}, {"shattered": 1, "memory": 1, "interface": 1}])
def test_no_text_of_bars_is_cut_or_overlaps(memory_and_shares, plot, place):
    all_fits(plot(Swept(memory_and_shares, place)))


def test_stages_are_those_of_the_dataset(sweep):
    figure = plot_stages(sweep)
    line = sweep.along_any(MOST_ROWS)
    costs = costs_of(line)
    every = [cost for own in costs for cost in own]
    parts, unit = group_stages(every), time_unit(max(cost.total for cost in every))
    totals = np.nan_to_num(line.values("ns_total"))
    for column, own in enumerate(costs):
        time, share = figure.axes[2 * column : 2 * column + 2]
        assert [container.get_label() for container in bars(time)] == [part.label for part in parts]
        for row, cost in enumerate(own):
            gib = np.broadcast_to(line.memory_gib, len(own))[row]
            assert cost.total * gib == pytest.approx(totals[row, column])
            width = math.fsum(container[row].get_width() for container in bars(time))
            assert width == pytest.approx(unit.of_ns(totals[row, column] / gib), rel=1e-9)
            whole = math.fsum(container[row].get_width() for container in bars(share))
            assert whole == pytest.approx(100 if cost.total else 0)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == line.labels


def test_refusals_are_those_of_the_dataset(memory_and_shares):
    figure = plot_refusals(Swept(memory_and_shares, {"memory": 0}))
    causes = labels(memory_and_shares, "cause")
    for place, axes in enumerate(figure.axes):
        for row in range(4):
            at = {"memory": 0, "shattered": row, "interface": place}
            refused = memory_and_shares["refused_hugepages"].isel(at).values.ravel()
            mapped = int(memory_and_shares["leaves_2m"].isel(at).values.item())
            text = axes.texts[-4 + row].get_text()
            assert text == f"{refused.sum():,} of {refused.sum() + mapped:,} stayed 4K"
            for container in bars(axes):
                cause = container.get_label().partition(":")[0]
                count = refused[causes.index(cause)] if cause in causes else mapped
                assert container[row].get_width() == pytest.approx(100 * count / (refused.sum() + mapped))


def test_speed_ups_have_joint_intervals(memory_and_shares):
    """Whatever interface is first in the grid, intervals are those of the quotients of the same samples."""
    line = Swept(memory_and_shares, {"memory": 0}).along_numbers("shattered")
    for place, name in enumerate(line.interfaces[:3]):
        low, value, high = speed_up(line, name)
        for row in range(4):
            at = {"memory": 0, "shattered": row}
            ledgers = [ledger_at(memory_and_shares, **at, interface=one) for one in (place, 3)]
            costs = sample_costs(ledgers, parameters_at(memory_and_shares), SAMPLES)
            ends = np.quantile(costs[:, 0] / costs[:, 1], (0.05, 0.95))
            assert value[row] == pytest.approx(line.values("seconds")[row, place] / line.values("seconds")[row, 3])
            rel = 1e-2 if place == 0 else 1e-9  # of the grid's first: points between samples, inverted
            assert low[row] == pytest.approx(min(ends[0], value[row]), rel=rel)
            assert high[row] == pytest.approx(max(ends[1], value[row]), rel=rel)


@pytest.mark.parametrize("order", [["pfn", "page-4k", "folio-strict"], ["folio-strict", "pfn", "page-4k"]])
def test_speed_ups_do_not_depend_on_the_order(memory_and_shares, order):
    line = Swept(memory_and_shares, {"memory": 0}).along_numbers("shattered")
    again = Swept(swept(memory=[4 << 30], shattered=[0.0, 0.25, 0.5, 1.0], interface=order), {})
    for name in ("page-4k", "folio-strict"):
        for one, other in zip(speed_up(line, name), speed_up(again.along_numbers("shattered"), name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2)  # points between samples, inverted


def test_speed_up_figure(memory_and_shares):
    sweep = Swept(memory_and_shares, {"memory": 0})
    figure = plot_speedup(sweep)
    (axes,) = figure.axes
    line = sweep.along_numbers("shattered")
    for name in line.interfaces[:3]:
        low, value, high = speed_up(line, name)
        drawn = line_of(axes, f"over {name}")
        np.testing.assert_allclose(points_of(drawn), list(zip(line.numbers, value, strict=True)))
        corners = corners_of(axes, f"over {name} interval")
        assert {(x, y) for side in (low, high) for x, y in zip(line.numbers, side, strict=True)} <= corners
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    for share in MARKED:
        (mark,) = [one for one in axes.get_lines() if one.get_gid() == f"folio-strict {share:g}"]
        assert mark.get_xdata()[0] == crossing(line, "folio-strict", share)
        assert mark.get_ydata()[0] == 1 + share
        assert any(label.startswith(f"{100 * share:.0f} % faster from about ") for label in labels)
    all_fits(figure)


def test_crossings_lie_on_straight_lines_of_time(memory_and_shares):
    line = Swept(memory_and_shares, {"memory": 0}).along_numbers("shattered")
    strict, pfn = line.values("seconds")[:, 1], line.values("seconds")[:, 3]
    for share in MARKED:
        at = crossing(line, "folio-strict", share)
        times = [np.interp(at, line.numbers, seconds) for seconds in (strict, pfn)]
        assert times[0] == pytest.approx((1 + share) * times[1], rel=1e-9)
    assert crossing(line, "page-4k", 0.1) is None  # everywhere
    assert crossing(line, "folio-lenient", 0.1) is None  # nowhere


def test_vcpus_that_meet_have_no_ledger_to_draw_from(vcpus):
    line = Swept(vcpus, {}).along_numbers("vcpus")
    low, value, high = speed_up(line, "folio-strict")  # the first of the grid
    assert np.all(low <= value)
    assert np.all(value <= high)
    low, value, high = speed_up(line, "page-4k")
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True]
    seconds = line.values("seconds")
    np.testing.assert_allclose(value, seconds[:, 1] / seconds[:, 2])
    figure = plot_speedup(Swept(vcpus, {}))
    assert any("no joint interval" in text.get_text() for text in figure.legends[0].get_texts())
    all_fits(figure)


def test_vcpus_figure(vcpus):
    sweep = Swept(vcpus, {})
    figure = plot_vcpus(sweep)
    (axes,) = figure.axes
    line = sweep.along_numbers("vcpus")
    speed = line.values("gib_per_s")
    for place, name in enumerate(line.interfaces):
        np.testing.assert_allclose(points_of(line_of(axes, name)), list(zip([1, 4], speed[:, place], strict=True)))
        ideal = line_of(axes, f"{name} ideal")
        np.testing.assert_allclose(ideal.get_ydata(), speed[0, place] * line.numbers)
    for knee in (one for one in axes.get_lines() if one.get_gid() == "knee"):
        assert knee.get_xdata()[0] in line.values("knee_vcpus")
    all_fits(figure)


def test_what_cannot_be_drawn_is_refused(memory_and_shares, prices):
    with pytest.raises(ValueError, match="no axis vcpus"):
        plot_vcpus(Swept(memory_and_shares, {}))
    with pytest.raises(ValueError, match="no axis of numbers"):
        plot_throughput(Swept(prices, {"flush_line": 0}))
    with pytest.raises(ValueError, match="interfaces page-4k: pfn and another one are needed"):
        plot_speedup(Swept(memory_and_shares, {"interface": 0}))
    nothing = memory_and_shares.copy(deep=True)
    for name in ("ns_total", "gib_per_s", "gib_per_s_low", "gib_per_s_high", "ns_by_stage"):
        nothing[name][:] = np.nan
    nothing["leaves_2m"][:] = nothing["refused_hugepages"][:] = -1
    for plot, said in ((plot_throughput, "was mapped"), (plot_stages, "was mapped"), (plot_refusals, "no 2M range")):
        with pytest.raises(ValueError, match=said):
            plot(Swept(nothing, {}))


def test_same_bytes_twice(memory_and_shares):
    for plot in (plot_throughput, plot_speedup):
        assert render(plot(Swept(memory_and_shares, {})), "svg") == render(plot(Swept(memory_and_shares, {})), "svg")
