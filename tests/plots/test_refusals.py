"""Does the figure of refused hugepages account for every 2M range of its result?"""

import itertools

import msgspec
import pytest

from perfmodel import Scenario, compare
from perfmodel.comparison import run
from perfmodel.refusals import CAUSES
from plots.refusals import CAUSE_TITLES, LOOKS, MAPPED, MOST_NAMED, plot_refusals
from plots.style import render
from tests.support.drawn import all_fits, bars, grey, source_of

SHATTERED = Scenario(memory="4GiB", shattered=0.5, shared_pages=40)


@pytest.fixture(scope="module")
def compared():
    return compare(SHATTERED)


@pytest.fixture(scope="module", params=["as run", "one row", "nothing asked", "every cause"])
def result(request, compared):
    rows = compared.rows
    match request.param:
        case "one row":
            rows = rows[:1]
        case "nothing asked":
            none = {"leaves": msgspec.structs.replace(rows[0].leaves, size_2m=0)}
            rows = [msgspec.structs.replace(rows[1], refused_hugepages=dict.fromkeys(CAUSES, 0), **none), *rows[2:]]
        case "every cause":
            refused = {cause: 10**number for number, cause in enumerate(CAUSES)}
            rows = [msgspec.structs.replace(row, refused_hugepages=refused) for row in rows]
    return msgspec.structs.replace(compared, rows=rows)


@pytest.fixture(scope="module")
def figure(result):
    return plot_refusals(result)


def test_shares_are_those_of_the_ranges(result, figure):
    (axes,) = figure.axes
    by_label = {container.get_label(): container for container in bars(axes)}
    for y, row in enumerate(result.rows):
        ranges = row.leaves.size_2m + sum(row.refused_hugepages.values())
        shares = {CAUSE_TITLES[cause]: count for cause, count in row.refused_hugepages.items()}
        shares[MAPPED] = row.leaves.size_2m
        for label, container in by_label.items():
            expected = 100 * shares[label] / ranges if ranges else 0
            assert container[y].get_width() == pytest.approx(expected)
        assert not any(count for label, count in shares.items() if label not in by_label)
        whole = sum(container[y].get_width() for container in by_label.values())
        assert whole == pytest.approx(100 if ranges else 0)
        text = axes.texts[-len(result.rows) + y].get_text()
        if ranges:
            assert text.startswith(f"{ranges - row.leaves.size_2m:,} of {ranges:,} stayed 4K")
            largest = sorted(row.refused_hugepages.items(), key=lambda item: -item[1])[:MOST_NAMED]
            assert all(f"{cause} {count:,}" in text for cause, count in largest if count)
        else:
            assert text == "no 2M range asked for"


def test_nothing_is_cut_or_overlaps(figure):
    all_fits(figure)


def test_a_run_gives_the_same_figure(compared):
    ran = run(SHATTERED)
    assert render(plot_refusals(ran), "svg") == render(plot_refusals(compared), "svg")
    assert compared.parameters.sha256[:12] in source_of(plot_refusals(ran))


def test_a_share_that_is_not_all_is_not_called_100(compared):
    row = compared.rows[0]
    nearly = msgspec.structs.replace(
        row, leaves=msgspec.structs.replace(row.leaves, size_2m=99_999),
        refused_hugepages=dict.fromkeys(CAUSES, 0) | {"mixed": 1},
    )  # fmt: skip
    texts = [text.get_text() for text in plot_refusals(msgspec.structs.replace(compared, rows=[nearly])).axes[0].texts]
    assert texts == ["> 99 %", "1 of 100,000 stayed 4K: mixed 1"]


def test_causes_differ_in_grey_or_hatch():
    assert set(LOOKS) == {*CAUSES, MAPPED}
    assert set(CAUSE_TITLES) == set(CAUSES)
    for one, other in itertools.combinations(LOOKS.values(), 2):
        assert one.hatch != other.hatch or abs(grey(one.colour) - grey(other.colour)) > 0.12, (one, other)
