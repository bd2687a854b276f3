"""Do the commands that answers quote mean the same guest?"""

import shlex

import pytest

from perfmodel import Scenario
from perfmodel.commands.compare import compare_command
from perfmodel.commands.options import build_scenario
from perfmodel.commands.scale import scale_command
from perfmodel.life.phases import AcceptMismatch, Boot, Build, Convert, PunchHole, Teardown
from perfmodel.life.scenario_file import Story, WhatIf, load_story
from perfmodel.report.reproduce import command, story_command

GUESTS = (
    Scenario(),
    Scenario(memory="512GiB", shattered=0.1, seed=7),
    Scenario(memory=4096, levels=5, layout="q35", guest="prefault", order="striped", vcpus=3, nodes=2, tds=2),
    Scenario(memory="1.5TiB", backing="thp", thp_share=0.0, block_shares={10: 0.75, 0: 0.25}, keyholes="exact"),
    Scenario(interfaces=("pfn", "page-4k"), features_off=("ENHANCED_DEMOTE_INTERRUPTIBILITY",)),
    Scenario(flush_first_page_only=True, shared_pages=3, shatter_layout="clustered", vcpus=2, vcpu_state="halted"),
)


@pytest.mark.parametrize("scenario", GUESTS, ids=range(len(GUESTS)))
def test_options_give_the_scenario(scenario):
    program, name, *words = shlex.split(command("compare", scenario, ("--set", "flush_line=4")))
    assert (program, name) == ("perfmodel", "compare")
    given = compare_command.make_context("compare", words).params
    assert given["overrides"] == ("flush_line=4",)
    assert build_scenario(given) == scenario


def test_other_words_come_before():
    words = shlex.split(command("scale", Scenario(), (), "--counts", "1,8"))[2:]
    assert scale_command.make_context("scale", words).params["counts"] == "1,8"


def test_files_are_named_without_their_folders(tmp_path):
    (tmp_path / "my extents.csv").write_text("gfn,pfn,pages,folio_order,has_struct_page\n0,512,1,0,1\n")
    scenario = Scenario(memory=4096, backing="extents", extents=tmp_path / "my extents.csv")
    assert command("run", scenario).endswith("--extents 'my extents.csv'")


@pytest.mark.parametrize("scenario", [one for one in GUESTS if not one.flush_first_page_only])
def test_scenario_files_give_the_story(scenario, tmp_path):
    phases = (
        Build(image="2MiB"), AcceptMismatch(prefault=False), Boot(name="up"),
        Convert(count=3, pages=2, placement="scattered", back=False), PunchHole(), Teardown(how="reclaim"),
    )  # fmt: skip
    story = Story(name="story", scenario=scenario, what_if=WhatIf(flush="none", dynamic_pamt=True), phases=phases)
    first, *lines, end, last = story_command(story, ("--preset", "gnr-6980p"), "--what-if").split("\n")
    assert (first, end) == ("cat > life.toml <<'END'", "END")
    assert last == "perfmodel run life.toml --what-if --preset gnr-6980p"
    (tmp_path / "story.toml").write_text("\n".join(lines))
    if scenario.memory_bytes > 1 << 30:  # a page has no room for these phases
        assert load_story(tmp_path / "story.toml") == story
