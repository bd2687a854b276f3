"""Are kernel generations checked when they are loaded, and do they run as what they say?"""

from pathlib import Path

import pytest

from perfmodel import Scenario
from perfmodel.calibration.observations import built_in
from perfmodel.errors import InputError
from perfmodel.generations import Generation, generation_names, load_generation, parse_generation
from perfmodel.life.phases import Boot
from perfmodel.life.scenario_file import Story, WhatIf
from perfmodel.parameters import load_parameters

GOOD = """
name = "mine"
title = "T"
interface = "pfn"
observations = []
note = "Not validated: nobody has measured it."
source = "S"
[what_if]
flush = "first-page"
[parameters]
kvm_fault_path = { value = 500.0, low = 300.0, high = 900.0 }
"""


@pytest.mark.parametrize("name", generation_names())
def test_every_file_loads_and_says_whether_it_is_validated(name: str) -> None:
    generation = load_generation(name)
    assert generation.name == name
    assert set(generation.observations) <= {one.id for one in built_in()}
    assert generation.is_validated or generation.note.startswith("Not validated")
    assert generation.source
    assert len(generation.title) > 10


def test_those_asked_for_are_there() -> None:
    assert set(generation_names()) == {
        "mainline-4k", "dynamic-pamt", "dynamic-pamt-locked", "hugepage-v3", "hugepage-rfc-v5",
    }  # fmt: skip
    interfaces = {name: load_generation(name).interface for name in generation_names()}
    assert interfaces["hugepage-v3"] == "folio-strict"
    assert interfaces["hugepage-rfc-v5"] == "pfn"
    assert [load_generation(n).what_if["dynamic_pamt_fast_path"] for n in ("dynamic-pamt", "dynamic-pamt-locked")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("old", "new", "named", "accepted"),
    [
        ('name = "mine"', 'name = "other"', "'other'", "name of its file"),
        ('interface = "pfn"', 'interface = "pte"', "'pte'", "page-4k"),
        ('flush = "first-page"', 'flush = "never"', "'never'", "every-page"),
        ('flush = "first-page"', "dynamic_pamt = 1", "what_if.dynamic_pamt 1", "False, True"),
        ('flush = "first-page"', "turbo = true", "what_if.turbo", "flush"),
        ('title = "T"', "headline = 3", "headline", "title"),
        ("[what_if]", "[what", "mine", "accepted"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(old: str, new: str, named: str, accepted: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_generation(GOOD.replace(old, new).encode(), "mine")
    assert named in str(raised.value)
    assert accepted in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def mine() -> Generation:
    return parse_generation(GOOD.encode(), "mine")


def test_a_scenario_takes_rule_and_flush(mine: Generation) -> None:
    scenario = mine.of_scenario(Scenario(memory="1GiB"))
    assert (scenario.interfaces, scenario.flush_first_page_only) == (("pfn",), True)
    with pytest.raises(InputError, match="'pfn'"):
        mine.of_scenario(Scenario(memory="1GiB", interfaces=("page-4k",)))
    with pytest.raises(InputError, match="run FILE"):
        load_generation("dynamic-pamt").of_scenario(Scenario(memory="1GiB"))


def test_a_story_keeps_what_the_kernel_does_not_decide(mine: Generation) -> None:
    before = WhatIf(reset_pages=True, flush="none")
    story = mine.of_story(Story(name="s", scenario=Scenario(memory="1GiB"), what_if=before, phases=(Boot(),)))
    assert story.what_if == WhatIf(reset_pages=True, flush="first-page")
    assert story.scenario.interfaces == ("pfn",)


def test_prices_that_differ_are_taken_over(mine: Generation) -> None:
    changed = mine.of_parameters(load_parameters())
    assert (changed["kvm_fault_path"].value, changed["kvm_fault_path"].distribution) == (500.0, "loguniform")
    assert changed["wrmsr"] == load_parameters()["wrmsr"]
    with pytest.raises(InputError, match="'kvm_fault'"):
        parse_generation(GOOD.replace("kvm_fault_path =", "kvm_fault =").encode(), "mine").of_parameters(
            load_parameters()
        )


def test_docs_list_them() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text()
    assert [name for name in generation_names() if f"`{name}`" not in docs] == []
