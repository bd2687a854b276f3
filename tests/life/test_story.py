"""Does a story count, phase by phase, what its kernels do, whole or region by region, and is it read strictly?"""

import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from perfmodel.errors import InputError
from perfmodel.life.phases import KINDS
from perfmodel.life.scenario_file import Story, load_story
from perfmodel.life.story import LifeResult, LifeRow, live, to_json
from perfmodel.schemas import load_schema

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HEAD = 'schema = "perfmodel/scenario/1"\n[guest]\n'


def story(folder: Path, text: str) -> Story:
    path = folder / "story.toml"
    path.write_text(HEAD + text)
    return load_story(path)


def phases(*kinds: str) -> str:
    return "".join(f"[[phase]]\n{kind}\n" for kind in kinds)


def content(result: LifeResult) -> object:
    rows = [msgspec.structs.replace(row, model_seconds=0.0) for row in result.rows]
    return msgspec.to_builtins(msgspec.structs.replace(result, rows=rows))


def conserve(row: LifeRow) -> None:
    """Leaves and tables after each phase are what the calls of all phases so far have made."""
    sums: dict[str, int] = {}
    for phase in row.phases:
        for name, n in phase.counters.items():
            sums[name] = sums.get(name, 0) + n
        after = phase.after
        if phase.kind == "teardown":
            assert (after.leaves.size_4k, after.leaves.size_2m, after.sept_pages) == (0, 0, 0)
            assert after.memory_bytes.pamt_dynamic == 0
            continue
        assert after.leaves.size_2m == sums["aug_2m"] - sums["remove_2m"] - sums["demote"] + sums["promote"]
        assert after.leaves.size_4k == (
            sums["page_add"] + sums["aug_4k"] - sums["remove_4k"] + 512 * (sums["demote"] - sums["promote"])
        )  # fmt: skip
        assert after.sept_pages == sums["sept_add"] + sums["demote"] - sums["promote"]
        assert after.host_table_pages == 2 * after.sept_pages
        assert sums["mem_track"] == sums["remove_4k"] + sums["remove_2m"] + sums["demote"] + sums["promote"]
        assert sums["td_exit"] == sums["vp_enter"] == sums["accept_exit"]
        references = sums["pamt_get"] - sums["pamt_put"]  # the pair of a DEMOTE comes with its references
        if references:
            assert references + 512 * (sums["demote"] - sums["promote"]) == after.leaves.size_4k + after.sept_pages


@pytest.fixture(scope="module")
def example() -> LifeResult:
    return live(load_story(EXAMPLES / "td-16g.toml"))


def test_example_conserves(example: LifeResult) -> None:
    assert [row.interface for row in example.rows] == ["page-4k", "folio-strict", "folio-lenient", "pfn"]
    for row in example.rows:
        conserve(row)
        assert row.ns.total == pytest.approx(sum(phase.ns.total for phase in row.phases))


def test_example_is_valid_json(example: LifeResult) -> None:
    document = json.loads(to_json(example))
    assert [e.message for e in Draft202012Validator(load_schema("life-1")).iter_errors(document)] == []


def test_folio_strict_keeps_no_huge_leaf_and_pfn_most(example: LifeResult) -> None:
    share = {row.interface: row.surviving_2m_share for row in example.rows}
    assert share["folio-strict"] == 0
    assert share["pfn"] == share["folio-lenient"] > 0.7


def test_both_examples_can_be_read() -> None:
    for path in EXAMPLES.glob("td-*.toml"):
        assert {phase.kind for phase in load_story(path).phases} == set(KINDS)


@pytest.mark.parametrize("interface", ["page-4k", "folio-strict", "folio-lenient", "pfn"])
def test_one_conversion_in_a_1g_folio(tmp_path: Path, interface: str) -> None:
    """Golden: 512 splits under folio-strict, one under folio-lenient and pfn, none at 4K; one zap of a 4K leaf."""
    text = f'memory = "1GiB"\ninterfaces = ["{interface}"]\nvcpus = 8\n'
    row = live(story(tmp_path, text + phases('kind = "boot"', 'kind = "convert"\nback = false'))).rows[0]
    n = row.phases[1].counters
    splits = {"page-4k": 0, "folio-strict": 512, "folio-lenient": 1, "pfn": 1}[interface]
    assert n["demote"] == splits
    assert n["mem_track"] == splits + 1
    assert n["kick"] == 7 * (splits + 1)
    assert (n["kick_looks"], n["kick_rounds"]) == (8 * (splits + 1), splits + 1)
    assert (n["remove_4k"], n["page_wbinvd"], n["map_gpa"], n["aug_4k"]) == (1, 1, 1, 0)


LIFE = (
    'memory = "5GiB"\ninterfaces = ["folio-strict", "pfn"]\nshattered = 0.4\nlayout = "q35"\n'
    + "[what_if]\ndynamic_pamt = true\nreset_pages = true\n"
    + phases(
        'kind = "build"\nimage = "3MiB"', 'kind = "accept-mismatch"\nsize = "5MiB"', 'kind = "boot"',
        'kind = "convert"\ncount = 40\npages = 3\nplacement = "scattered"', 'kind = "punch-hole"\ncount = 3',
        'kind = "convert"\ncount = 7\npages = 700\nback = false', 'kind = "teardown"\nhow = "reclaim"',
    )
)  # fmt: skip


def test_regions_that_are_alike_run_once(tmp_path: Path) -> None:
    one = story(tmp_path, LIFE)
    merged = live(one)
    assert content(merged) == content(live(one, every_region=True))
    for row in merged.rows:
        conserve(row)


def test_memory_of_a_guest_at_4k_and_at_2m(tmp_path: Path) -> None:
    """2 GiB: 1027 or 3 S-EPT pages, the upper ones among them; a pair of PAMT pages for each 2 MiB mapped at 4K."""
    text = 'memory = "2GiB"\ninterfaces = ["page-4k", "pfn"]\n[what_if]\ndynamic_pamt = true\n' + phases(
        'kind = "boot"'
    )
    small, huge = (row.phases[0].after.memory_bytes for row in live(story(tmp_path, text)).rows)
    assert (small.sept, huge.sept) == (1027 * 4096, 3 * 4096)
    assert (small.pamt_dynamic, huge.pamt_dynamic) == (8192 * (1024 + 3), 8192)  # and the S-EPT pages' own frames
    assert small.vmemmap == huge.vmemmap == 2 * (1 << 18) * 64
    assert small.vmemmap_with_hvo == 2 * 4096


def test_a_life_that_promotes_conserves(tmp_path: Path) -> None:
    one = story(tmp_path, LIFE.replace("reset_pages = true", "promote = true"))
    strict = live(one).rows[0]
    conserve(strict)
    assert sum(phase.counters["promote"] for phase in strict.phases) > 0


def test_estimated_keyholes_are_said(tmp_path: Path) -> None:
    text = 'memory = "64MiB"\ninterfaces = ["pfn"]\nguest = "{}"\n' + phases('kind = "boot"')
    assert live(story(tmp_path, text.format("linux-lazy"))).notes == {}
    assert live(story(tmp_path, text.format("touch-first"))).notes == {"keyholes_estimated_share": {"pfn": 1.0}}


def test_threads_change_nothing(tmp_path: Path) -> None:
    one = story(tmp_path, LIFE)
    assert content(live(one, threads=1)) == content(live(one, threads=2))


def test_batching_saves_tracks_and_nothing_else(tmp_path: Path) -> None:
    text = 'memory = "1GiB"\ninterfaces = ["pfn"]\n{}' + phases('kind = "boot"', 'kind = "teardown"')
    plain = live(story(tmp_path, text.format(""))).rows[0].phases[1].counters
    batched = live(story(tmp_path, text.format("[what_if]\nbatch_track = true\n"))).rows[0].phases[1].counters
    assert (plain["mem_track"], batched["mem_track"]) == (512, 1)
    lines = {"mem_track", "kick_looks", "sept_lines", "pamt_lines"}  # each leaf is visited twice
    assert {n: c for n, c in plain.items() if n not in lines} == {n: c for n, c in batched.items() if n not in lines}


def test_reclaim_takes_one_call_a_leaf(tmp_path: Path) -> None:
    text = 'memory = "2GiB"\ninterfaces = ["pfn"]\n' + phases('kind = "boot"', 'kind = "teardown"\nhow = "reclaim"')
    n = live(story(tmp_path, text)).rows[0].phases[1].counters
    assert (n["reclaim_2m"], n["reclaim_4k"], n["remove_2m"], n["mem_track"]) == (1024, 3, 0, 0)


BAD = {
    'memory = "1GiB"\n': "phase",
    'memory = "1GiB"\n' + phases('kind = "reboot"'): "build",
    'memory = "1GiB"\n' + phases('kind = "boot"\nimage = 3'): "image",
    'memory = "1GiB"\n' + phases('kind = "teardown"'): "boot",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "build"'): "phase[1]",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "boot"'): "phase[0]",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "teardown"', 'kind = "convert"'): "teardown",
    'memory = "1MiB"\n' + phases('kind = "build"'): "4MiB",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "convert"\npages = 9999'): "window",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "convert"\ncount = 0'): "count",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "convert"\nplacement = "x"'): "scattered",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "punch-hole"\nsize = "2GiB"'): "2GiB",
    'memory = "1GiB"\n' + phases('kind = "boot"', 'kind = "teardown"\nhow = "x"'): "reclaim",
    'memory = "1GiB"\nsize = 3\n' + phases('kind = "boot"'): "guest.size",
    'memory = "1GiB"\nlevels = "four"\n' + phases('kind = "boot"'): "levels",
    'memory = "1GiB"\ninterfaces = "pfn"\n' + phases('kind = "boot"'): "list",
    phases('kind = "boot"'): "memory",
    'memory = "1GiB"\n[what_if]\nmagic = true\n' + phases('kind = "boot"'): "dynamic_pamt",
    "memory = \n": "story.toml",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_stories_are_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        story(tmp_path, text)
    assert BAD[text] in str(caught.value)
    assert "story.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "story.toml"
    path.write_text('schema = "perfmodel/scenario/2"\n[guest]\n[[phase]]\nkind = "boot"\n')
    with pytest.raises(InputError, match="perfmodel/scenario/1"):
        load_story(path)
