"""Is every damaged result either refused with one line, or drawn?"""

import copy
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel import Scenario, compare
from perfmodel.comparison import run
from perfmodel.errors import InputError
from perfmodel.life.scenario_file import load_story
from perfmodel.life.story import live
from perfmodel.life.story import to_json as life_to_json
from perfmodel.result import to_json
from perfmodel.scaling.result import to_json as scale_to_json
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.steady import SteadyScenario, run_steady
from perfmodel.steady_result import to_json as steady_to_json
from plots.figures import figures_of
from plots.results import read_result
from plots.style import render
from tests.plots.test_life import STORY
from tests.support.benchmark_file import every_kind

SMALL = Scenario(memory="4MiB", interfaces=("page-4k", "pfn"))
KINDS = ("compare", "many vCPUs", "run", "life", "steady", "populate", "changes", "benchmarks")


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> dict[str, Any]:
    """A result of each kind that is quick to make."""
    story = tmp_path_factory.mktemp("life") / "small.toml"
    story.write_text(STORY.replace("64MiB", "16MiB"))
    changes = ScaleOptions(vcpus=(1, 2), workloads=("convert", "teardown"), samples=0)
    made = {
        "compare": to_json(compare(SMALL)),
        "many vCPUs": to_json(compare(Scenario(memory="4MiB", interfaces=("page-4k", "pfn"), vcpus=2))),
        "run": to_json(run(SMALL)),
        "life": life_to_json(live(load_story(story))),
        "steady": steady_to_json(run_steady(SteadyScenario(memory="4MiB", accesses=1024))),
        "populate": scale_to_json(scale(SMALL, options=ScaleOptions(vcpus=(1, 2), samples=0))),
        "changes": scale_to_json(scale(SMALL, options=changes)),
        "benchmarks": json.dumps(every_kind()),
    }
    assert set(made) == set(KINDS)
    return {kind: json.loads(document) for kind, document in made.items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "result.json"


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children: Any = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 1, 1e29, 1e300, "", "x", "pfn", "$\\frac{", "a\nb", "日本", [], {}, [1], {"a": 1}]),
    st.text(max_size=300),
)  # fmt: skip
FACTORS = st.sampled_from([-1.0, 0.0, 1e-6, 0.5, 2.0, 1e6, 1e20])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_result_is_refused_or_drawn(documents: dict[str, Any], file: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    document = copy.deepcopy(documents[kind])
    *inner, last = data.draw(st.sampled_from(sorted(places(document), key=str)))
    holder = document
    for step in inner:
        holder = holder[step]
    match data.draw(st.sampled_from(["other value", "scaled", "gone"])):
        case "gone":
            del holder[last]
        case "scaled" if isinstance(holder[last], int | float):
            holder[last] *= data.draw(FACTORS)
        case _:
            holder[last] = data.draw(ODD)
    try:
        file.write_text(json.dumps(document))
    except UnicodeEncodeError:  # half of a pair of surrogates: no file can hold it
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found, result = read_result(file)
        except InputError:
            return
        for figure in figures_of(found, result)[-1:]:
            assert render(figure.draw(result), "svg")


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("compare", ("rows", 0, "interface"), "folio", "interface: 'folio': accepted are page-4k"),
        ("compare", ("scenario", "memory_bytes"), "4G", "memory_bytes '4G': accepted is one such as 4096"),
        ("compare", ("scenario", "module_features"), [3], "module_features [3]"),
        ("compare", ("version",), "1\n2", "accepted is a line of at most"),
        ("compare", ("rows", 0, "pages", "mapped"), -1, "rows[0].pages.mapped: -1: accepted is a number from 0"),
        ("compare", ("rows", 0, "seconds"), 1e300, "rows[0].seconds: 1e+300"),
        ("compare", ("ratios", 0, "low"), 2.0, "ratios[0]: 2 to 1: accepted is an interval around 1"),
        ("many vCPUs", ("rows", 0, "gib_per_s"), 1e-9, "a row whose costs do not add up"),
        ("run", ("runs",), [], "a row whose costs do not add up"),
        ("life", ("rows", 0, "phases"), [], "interfaces without the same phases"),
        ("life", ("rows", 0, "phases", 0, "ns", "low"), -1.0, "a phase whose costs do not add up"),
        ("steady", ("rows",), [], "no rows or sizes"),
        ("populate", ("curves", 0, "points", 0, "efficiency"), 0.0, "a curve that is none"),
        ("populate", ("curves", 0, "points"), [], "a curve that is none"),
        ("populate", ("curves", 0, "workload"), "sleep", "a curve that is none"),
    ],
)
def test_what_is_wrong_is_named(documents, file, kind, path, value, said):
    document = copy.deepcopy(documents[kind])
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(InputError) as refused:
        read_result(file)
    assert said in str(refused.value)
