"""Does the figure of page walks show the numbers of its result?"""

import msgspec
import pytest
from matplotlib.container import ErrorbarContainer

from perfmodel.steady import SteadyScenario, run_steady
from perfmodel.steady_result import load_steady, to_json
from plots.style import render
from plots.walks import LOADS, MEMORY, plot_walks
from tests.support.drawn import all_fits, bars, source_of


@pytest.fixture(scope="module")
def simulated():
    return run_steady(SteadyScenario(memory="64MiB", working_set="16MiB", accesses=4096, share_2m=0.5))


@pytest.fixture(scope="module", params=["as run", "one row", "no misses"])
def result(request, simulated):
    rows = simulated.rows
    match request.param:
        case "one row":
            rows = rows[:1]
        case "no misses":
            rows = [msgspec.structs.replace(row, walks=0) for row in rows]
    return msgspec.structs.replace(simulated, rows=rows)


@pytest.fixture(scope="module")
def figure(result):
    return plot_walks(result)


def test_loads_of_a_walk_sum_up(result, figure):
    stacks = bars(figure.axes[0])
    assert [one.get_label() for one in stacks] == [part.label for part in LOADS]
    for y, row in enumerate(result.rows):
        whole = sum(container[y].get_width() for container in stacks)
        assert whole == pytest.approx(row.loads_per_walk if row.walks else 0.0)
        sept = sum(container[y].get_width() for container in stacks[2:])
        assert sept == pytest.approx(row.sept_loads_per_walk if row.walks else 0.0)


@pytest.mark.parametrize(("place", "field"), [(1, "walk_cycles"), (2, "access_cycles")])
def test_cycles_have_their_intervals(result, figure, place, field):
    axes = figure.axes[place]
    (drawn,) = bars(axes)
    (errors,) = (one for one in axes.containers if isinstance(one, ErrorbarContainer))
    for bar, segment, row in zip(drawn, errors.lines[2][0].get_segments(), result.rows, strict=True):
        interval = getattr(row, field)
        assert bar.get_width() == interval.value
        assert tuple(x for x, _ in segment) == pytest.approx((interval.low, interval.high))


def test_memory_is_all_of_it(result, figure):
    stacks = bars(figure.axes[3])
    assert [one.get_label() for one in stacks] == [part.label for part in MEMORY]
    for y, row in enumerate(result.rows):
        mib = sum(container[y].get_width() for container in stacks)
        assert mib * (1 << 20) == pytest.approx(row.memory_total)


def test_nothing_is_cut_or_overlaps(figure):
    all_fits(figure)


def test_words(simulated):
    figure = plot_walks(simulated)
    assert "64 MiB" in figure.get_suptitle()
    for word in (simulated.parameters.sha256[:12], simulated.hardware_sha256[:12]):
        assert word in source_of(figure)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["4K", "2M", "0.5 at 2M"]


def test_same_bytes_twice(simulated, tmp_path):
    path = tmp_path / "steady.json"
    path.write_bytes(to_json(simulated))
    assert render(plot_walks(load_steady(path)), "svg") == render(plot_walks(simulated), "svg")
