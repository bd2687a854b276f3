"""Does the figure of benchmarks put every case below its own roof, and beside its peer?"""

import itertools
import json

import msgspec
import pytest

from perfmodel.errors import InputError
from plots.benchmarks import Benchmarks, by_question, load_benchmarks
from plots.roofline import by_peer, look_of, plot_roofline, scaled
from plots.style import render
from tests.support.benchmark_file import PEERS, ROOFLINES, benchmark, document, every_kind
from tests.support.drawn import all_fits, line_of, points_of, source_of


def read(made: dict) -> Benchmarks:
    return msgspec.convert(made, Benchmarks)


@pytest.fixture(scope="module", params=["both", "rooflines", "peers", "one", "many questions"])
def result(request) -> Benchmarks:
    made = every_kind()["benchmarks"]
    match request.param:
        case "rooflines":
            made = [one for one in made if "peer" not in one["extra_info"]]
        case "peers":
            made = [one for one in made if "peer" in one["extra_info"]]
        case "one":
            made = made[:1]
        case "many questions":
            made += [
                benchmark(f"group {n}", f"test_question_{n}", 10.0**n, unit="4K pages", roofline_ratio=0.5 + n / 30)
                for n in range(3, 16)
            ]
    return read(document(made))


@pytest.fixture(scope="module")
def figure(result):
    return plot_roofline(result)


def test_cases_lie_below_their_roofs_by_their_ratios(result, figure):
    cases = [one for one in result.benchmarks if one.extra_info.roofline_ratio]
    if not cases:
        assert len(figure.axes) == 1
        return
    diagonal, shares = figure.axes[:2]
    assert (diagonal.get_xscale(), diagonal.get_yscale()) == ("log", "log")
    assert diagonal.get_xlim() == diagonal.get_ylim()
    for y, group in enumerate(by_question(cases)):
        for (roof, rate), case in zip(points_of(line_of(diagonal, group.name)), group.cases, strict=True):
            assert rate == pytest.approx(case.extra_info.items / case.stats.median)
            assert rate / roof == pytest.approx(case.extra_info.roofline_ratio)
        (points,) = [line for line in shares.get_lines() if line.get_marker() == look_of(y)["marker"]
                     and set(line.get_ydata()) == {y}]  # fmt: skip
        assert list(points.get_xdata()) == pytest.approx([100 * c.extra_info.roofline_ratio for c in group.cases])
    roofs = [line for line in diagonal.get_lines() if line.get_gid() == "roof"]
    assert [line.get_ydata()[0] / line.get_xdata()[0] for line in roofs] == pytest.approx([1, 0.5, 0.25])


def test_peers_are_those_of_the_file(result, figure):
    groups = by_peer([one for one in result.benchmarks if one.extra_info.peer])
    if not groups:
        return
    axes = figure.axes[-1]
    names = [text.get_text() for text in axes.get_yticklabels()]
    for y, (group, name) in enumerate(zip(groups, names, strict=True)):
        (points,) = [line for line in axes.get_lines() if line.get_marker() == "o" and set(line.get_ydata()) == {y}]
        assert list(points.get_xdata()) == [case.extra_info.peer_ratio for case in group.cases]
        assert name.startswith(group.name[:30])
        assert group.cases[0].extra_info.peer in group.name
    assert len(groups) == len(PEERS)


def test_nothing_is_cut_or_overlaps(figure):
    all_fits(figure)


def test_words_of_the_machine(result, figure):
    line = source_of(figure)
    for word in ("2026-11-22", "A processor", "2 cores", "THP madvise", "Python 3.11.2"):
        assert word in line


def test_questions_are_named_once(result):
    names = [group.name for group in by_question(result.benchmarks)]
    assert len(set(names)) == len(names)
    assert {"walk", "PAMT lookup", "4K region, contiguous: 4k calls"} <= {
        group.name for group in by_question(read(every_kind()).benchmarks)
    }
    assert len(ROOFLINES) == 4


def test_looks_differ_in_marker_or_filling():
    for one, other in itertools.combinations([look_of(number) for number in range(14)], 2):
        assert (one["marker"], one["markerfacecolor"]) != (other["marker"], other["markerfacecolor"])


@pytest.mark.parametrize(
    ("rate", "text"), [(2.5e9, "2.5 G"), (1e6, "1 M"), (999.6e3, "1 M"), (1500.0, "1.5 k"), (7, "7")]
)
def test_rates_have_prefixes(rate, text):
    assert scaled(rate) == text


def test_same_bytes_twice(result):
    assert render(plot_roofline(result), "svg") == render(plot_roofline(result), "svg")


def test_neither_roof_nor_peer_is_refused():
    bare = read(document([benchmark("walk", "test_walk", 1e6, unit="walks")]))
    with pytest.raises(ValueError, match="no benchmark with a roofline or a peer"):
        plot_roofline(bare)


def damaged(change):
    made = every_kind()
    change(made, made["benchmarks"][0])
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda made, one: made.update(benchmarks=[]),
        lambda made, one: made.update(benchmarks={}),
        lambda made, one: made["machine_info"].pop("cpu"),
        lambda made, one: one["stats"].update(median=0),
        lambda made, one: one["stats"].update(median="soon"),
        lambda made, one: one["extra_info"].update(items=-5),
        lambda made, one: one["extra_info"].update(items=1e300),
        lambda made, one: one["extra_info"].pop("unit"),
        lambda made, one: one["extra_info"].update(roofline_ratio=0),
        lambda made, one: one.update(fullname="a\nb"),
        lambda made, one: one.update(group="x" * 300),
    ],
)
def test_damaged_files_are_refused(tmp_path, change):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(damaged(change)))
    with pytest.raises(InputError, match=r"bench\.json: .*accepted"):
        load_benchmarks(path)
