"""Does the figure of a life show every phase's time with its interval, and the whole life by stage?"""

import math

import msgspec
import pytest
from matplotlib.container import ErrorbarContainer

from perfmodel.life.scenario_file import load_story
from perfmodel.life.story import LifeResult, live, load_life, to_json
from plots.life import MOST_PHASES, plot_life
from plots.stacks import group_stages, time_unit
from plots.style import INTERFACE_LOOKS, render
from tests.support.drawn import all_fits, bars, source_of

STORY = """
schema = "perfmodel/scenario/1"
[guest]
memory = "64MiB"
[[phase]]
kind = "build"
[[phase]]
kind = "boot"
[[phase]]
name = "DMA $buffers$"
kind = "convert"
count = 20
pages = 1
placement = "scattered"
[[phase]]
kind = "teardown"
how = "removal"
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> LifeResult:
    path = tmp_path_factory.mktemp("life") / "small.toml"
    path.write_text(STORY)
    return live(load_story(path))


def with_phases(row, phases):
    return msgspec.structs.replace(row, phases=phases)


@pytest.fixture(scope="module", params=["as run", "one interface", "one phase", "a phase of no time", "long names"])
def result(request, lived) -> LifeResult:
    rows = lived.rows
    match request.param:
        case "one interface":
            rows = rows[3:]
        case "one phase":
            rows = [with_phases(row, row.phases[1:2]) for row in rows]
        case "a phase of no time":
            free = msgspec.structs.replace(rows[0].phases[2], ns=rows[0].phases[2].ns.times(0))
            rows = [with_phases(row, [*row.phases[:2], free, row.phases[3]]) for row in rows]
        case "long names":
            rows = [
                with_phases(
                    row, [msgspec.structs.replace(one, name="a long name of a phase " * 4) for one in row.phases]
                )
                for row in rows
            ]
            return msgspec.structs.replace(lived, rows=rows, what_if=lived.what_if | {"dynamic_pamt": True})
    return msgspec.structs.replace(lived, rows=rows)


@pytest.fixture(scope="module")
def figure(result):
    return plot_life(result)


def drawn_phases(axes):
    """Return by interface the drawn (seconds, low, high) of each place."""
    found = {}
    for one in axes.containers:
        if isinstance(one, ErrorbarContainer):
            line, _, (ends,) = one.lines
            sides = [tuple(x for x, _ in segment) for segment in ends.get_segments()]
            found[one.get_label()] = list(zip(line.get_xdata(), *zip(*sides, strict=True), strict=True))
            assert line.get_marker() == INTERFACE_LOOKS[one.get_label()].marker
    return found


def test_phases_are_those_of_the_result(result, figure):
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    found = drawn_phases(axes)
    for row in result.rows:
        expected = [(p.ns.total / 1e9, p.ns.low / 1e9, p.ns.high / 1e9) for p in row.phases if p.ns.total]
        assert [pytest.approx(one) for one in expected] == found[row.interface]
    low, high = axes.get_xlim()
    assert all(low < end < high for points in found.values() for point in points for end in point)
    names = [text.get_text() for text in axes.get_yticklabels()]
    for name, phase in zip(names, result.rows[0].phases, strict=True):
        assert phase.name.startswith(name.rstrip("…"))


def test_whole_life_is_stacked_to_scale(result, figure):
    axes = figure.axes[1]
    unit = time_unit(max(row.ns.total for row in result.rows))
    parts = group_stages([row.ns for row in result.rows])
    assert [container.get_label() for container in bars(axes)] == [part.label for part in parts]
    for y, row in enumerate(result.rows):
        width = math.fsum(container[y].get_width() for container in bars(axes))
        assert width == pytest.approx(unit.of_ns(row.ns.total), rel=1e-9)
    assert axes.get_xlabel() == f"time, work of all vCPUs, {unit.name}"


def test_nothing_is_cut_or_overlaps(figure):
    all_fits(figure)


def test_words(lived):
    figure = plot_life(lived)
    assert "64 MiB" in figure.get_suptitle()
    assert "small" in figure.get_suptitle()
    assert lived.parameters.sha256[:12] in source_of(figure)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert "DMA $buffers$" in labels


def test_same_bytes_twice(lived):
    assert render(plot_life(lived), "svg") == render(plot_life(lived), "svg")
    assert render(plot_life(lived), "pdf") == render(plot_life(lived), "pdf")


def test_what_cannot_be_drawn_is_refused(lived):
    row = lived.rows[0]
    with pytest.raises(ValueError, match=f"at most {MOST_PHASES}"):
        plot_life(msgspec.structs.replace(lived, rows=[with_phases(row, row.phases * MOST_PHASES)]))
    nothing = msgspec.structs.replace(row, ns=row.ns.times(0))
    with pytest.raises(ValueError, match="no phase takes any time"):
        plot_life(msgspec.structs.replace(lived, rows=[nothing]))


def test_a_life_survives_its_file(lived, tmp_path):
    path = tmp_path / "life.json"
    path.write_bytes(to_json(lived))
    assert load_life(path) == lived
