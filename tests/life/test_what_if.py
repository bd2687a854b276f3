"""What if: does each knob change the counts that follow by hand, and nothing else, and is its saving the difference?"""

import json
from collections.abc import Callable
from pathlib import Path

import bridge
import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from life_pair import LifePair, by_name
from three import Three
from twin_life import ASKED, NONE, REGION

from kernels.counters import COUNTERS
from kernels.fault import LINES, fault
from kernels.sept_entry import LEAF, LOCK
from kernels.status import SUCCESS
from kernels.walk import walk
from perfmodel.errors import InputError
from perfmodel.life.phases import Boot, Build, Convert, PunchHole, Teardown
from perfmodel.life.scenario_file import Story, WhatIf, load_story
from perfmodel.life.story import LifeResult, PhaseRow, live, to_json
from perfmodel.scenario import Scenario
from perfmodel.schemas import load_schema

FIRST = bridge.FIRST_BLOCK << 18
GIB_PAGES = 1 << 18


def story(
    *phases: object, memory: str = "1GiB", interfaces: tuple[str, ...] = ("pfn",), what_if: WhatIf | None = None,
    **guest: object,
) -> Story:  # fmt: skip
    scenario = Scenario(memory=memory, interfaces=interfaces, **guest)  # type: ignore[arg-type]
    return Story(name="story", scenario=scenario, what_if=what_if or WhatIf(), phases=phases or (Boot(),))  # type: ignore[arg-type]


def run(one: Story, **knobs: object) -> LifeResult:
    return live(msgspec.structs.replace(one, what_if=msgspec.structs.replace(one.what_if, **knobs)))


def phase(one: Story, number: int = 0, **knobs: object) -> PhaseRow:
    return run(one, **knobs).rows[0].phases[number]


# --- PROMOTE: the step in bulk against the exact call and the twin


def table_of_4k(pfn: Callable[[int], int], accepted: Callable[[int], bool]) -> Three:
    """Return a TD with 512 pages at 4K from GPA 0 on, a table that is not blocked, and an epoch of 1."""
    held = bridge.make_tables(4, 2)
    lines, counts = np.full(LINES, -1, np.int64), np.zeros(COUNTERS, np.int64)
    for i in range(512):
        assert fault(held.tables, i, pfn(i), 0, lines, counts) == SUCCESS
    three = Three(held)
    for i in range(512):
        if accepted(i):
            assert three.accept(i << 12, 0) == 0
    return three


def table_of(three: Three) -> int:
    """Return the HPA of the table that is below the 2M entry of GPA 0."""
    return three.twin.raw(three.twin.at(0, 1)) & ((1 << 52) - 4096)


def in_place(i: int) -> int:
    return FIRST + 512 + i


PROMOTES = {
    "accepted": (in_place, lambda i: True, 0),
    "pending": (in_place, lambda i: False, 0),
    "one pending": (in_place, lambda i: i != 300, 0xC000_0B09_0000_0001),
    "the last elsewhere": (lambda i: in_place(i) if i < 511 else FIRST, lambda i: True, 0xC000_0B09_0000_0001),
    "not aligned": (lambda i: in_place(i) + 1, lambda i: True, 0xC000_0B09_0000_0001),
}


@pytest.mark.parametrize("name", PROMOTES)
def test_promote_is_the_exact_call(name: str) -> None:
    pfn, accepted, expected = PROMOTES[name]
    three = table_of_4k(pfn, accepted)
    assert three.promote(0, 1) == 0xC000_0B06_0000_0001  # not blocked
    assert three.block(0, 1) == 0
    assert three.promote(0, 1) == 0xC000_0B08_0000_0001  # not tracked
    three.set_epoch(2, True)
    assert three.promote(0, 1) == 0xC000_0B08_0000_0001
    three.set_epoch(2, False)
    before, table = three.held.tables.td.copy(), table_of(three)
    assert three.promote(0, 1) == expected
    if expected == 0:
        three.module.sept[(table >> 12) - three.module.sept_pfn] &= ~LOCK  # locks of entries in a page given back
    three.assert_equal()
    if expected == 0:
        tables = three.held.tables
        reached, _, _, entry = walk(tables, 0, 0)
        assert reached == 1
        assert entry & LEAF
        assert (before - tables.td).sum() == 1  # CHLDCNT, by the table
        assert three.promote(0, 1) != 0


@pytest.mark.parametrize("place", ["parent", "child", "page", "table"])
def test_promote_meets_locks_as_the_exact_call(place: str) -> None:
    three = table_of_4k(in_place, lambda i: True)
    table = table_of(three)
    assert three.block(0, 1) == 0
    three.set_epoch(2, False)
    if place == "parent":
        three.set_raw(0, 1, three.twin.raw(three.twin.at(0, 1)) | int(LOCK))
    elif place == "child":
        child = three.twin.pages[table][17] | int(LOCK)
        three.twin.pages[table][17] = child
        for side in (three.held.tables, three.module):
            side.sept[(table >> 12) - side.sept_pfn, 17] = child
    elif place == "page":
        three.set_pamt(in_place(0) << 12, 1, lock=1)
    else:
        three.set_pamt(table, 0, lock=1)
    assert three.promote(0, 1) == 0x8000_0200_0000_0001
    three.assert_equal()


@pytest.mark.parametrize("level", [0, -1, 3])
def test_promote_refuses_other_levels(level: int) -> None:
    three = table_of_4k(in_place, lambda i: True)
    assert three.kernels.promote(0, level) == three.twin.promote(0, level) == 0xC000_0100_0000_0001


def test_nothing_to_promote() -> None:
    three = table_of_4k(in_place, lambda i: True)
    for gpa in (512 << 12, 1 << 39):  # a free entry, a table that is missing above it
        assert three.promote(gpa, 1) != 0
    three.assert_equal()


# --- a life that promotes


def pair(interface: str, ranges: int = 4, **knobs: bool) -> LifePair:
    use, pfn = np.full(REGION, NONE, np.uint8), np.full(REGION, -1, np.int64)
    use[: ranges * 512] = ASKED
    pfn[: ranges * 512] = FIRST + np.arange(ranges * 512)
    map_2m = np.arange(512) < (0 if interface == "page-4k" else ranges)
    one = LifePair(use, map_2m, np.full(512, 18), interface, pfn=pfn, promote=True, **knobs)
    assert one.populate(range(256), False) == 0
    return one


FLAGS = [{}, {"batch_track": True}, {"dynamic_pamt": True, "reset_pages": True}]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_folio_strict_merges_what_the_folio_had_split(flags: dict[str, bool]) -> None:
    """Golden: of four ranges three come back; the one whose page was converted is inhibited."""
    one = pair("folio-strict", **flags)
    for turn in range(3):  # the tables that come back are given again
        before = by_name(one.life.counts)
        assert one.convert(5, 1, True) == 0
        between = by_name(one.life.counts)
        assert one.convert(5, 1, False) == 0
        after = by_name(one.life.counts)
        split = {n: between.get(n, 0) - before.get(n, 0) for n in after}
        back = {n: after[n] - between.get(n, 0) for n in after}
        assert split["DEMOTE"] == (4 if turn == 0 else 3)
        assert (back["PROMOTE"], back["BLOCK_TABLE"]) == (3, 3)
        assert back["MEM_TRACK"] == back["KICK"] == (1 if flags.get("batch_track") else 3)
        assert back["PAGE_WBINVD"] == 3
        assert back["WRITE_LOCK"] == (3 if turn == 0 else 2)  # attributes, merging, and GUEST_INHIBIT once
        if flags.get("dynamic_pamt"):
            assert (back["PAMT_PUT"], back["RESET_PAGE"]) == (3, 3 + 3 * 2)  # the tables' pages, and three pairs
    assert one.life.tables.td[4] - bridge.FIRST_ROW == 2 + 4  # the pool gave four tables in all
    assert one.teardown(False) == 0


@pytest.mark.parametrize("interface", ["page-4k", "folio-lenient", "pfn"])
def test_others_have_nothing_to_merge(interface: str) -> None:
    """The only range that a conversion splits there is the one that the guest accepts at 4K."""
    one = pair(interface)
    for first, pages in ((5, 1), (512, 512), (700, 600)):
        assert one.convert(first, pages, True) == 0
        assert one.convert(first, pages, False) == 0
    assert "PROMOTE" not in by_name(one.life.counts)


def test_a_range_that_is_not_wholly_accepted_stays() -> None:
    one = pair("folio-strict")
    assert one.convert(5, 1, True) == 0
    assert one.punch(1100, 1101) == 0  # a hole in a range that the folio's split took to 4K
    assert one.convert(5, 1, False) == 0
    assert by_name(one.life.counts)["PROMOTE"] == 2


@pytest.mark.parametrize("batch", [False, True])
def test_a_table_is_taken_from_those_given_back(batch: bool) -> None:
    """A 2M range goes whole and comes back by halves: its new table is one that PROMOTE gave back."""
    one = pair("folio-strict", batch_track=batch)
    for request in ((5, 1, True), (5, 1, False), (1024, 512, True), (1024, 256, False), (1280, 256, False)):
        assert one.convert(*request) == 0
    assert one.life.tables.td[4] - bridge.FIRST_ROW == 2 + 4
    assert one.teardown(True) == 0


def test_promotion_lets_2m_leaves_survive() -> None:
    one = story(Boot(), Convert(count=3, placement="scattered"), Teardown(), interfaces=("folio-strict",))
    split, merged = run(one).rows[0], run(one, promote=True).rows[0]
    ranges = merged.phases[1].counters["guest_inhibit"]
    assert (split.surviving_2m_share, merged.surviving_2m_share) == (0, (512 - ranges) / 512)
    n = merged.phases[1].counters
    assert merged.phases[1].after.sept_pages == 2 + n["demote"] - n["promote"]
    assert n["page_wbinvd"] == n["remove_4k"] + n["promote"]


# --- knobs that only change prices

FULL = story(Boot(), Convert(count=2, back=True), PunchHole(), Teardown(), interfaces=("folio-strict", "pfn"), vcpus=4)
PRICED = [{"flush": "first-page"}, {"flush": "none"}, {"host_clear": False}, {"pfn_check": "pfn-valid"},
          {"pfn_check": "convertible"}]  # fmt: skip
CHANGED = {"flush_pages", "flush_absent_pages", "clear_pages", "pfn_valid_checks", "convertible_checks"}


@pytest.mark.parametrize("knobs", PRICED, ids=str)
def test_priced_knobs_change_no_execution(knobs: dict[str, object]) -> None:
    for before, after in zip(run(FULL).rows, run(FULL, **knobs).rows, strict=True):
        for one, other in zip(before.phases, after.phases, strict=True):
            assert one.after == other.after
            assert {n: c for n, c in one.counters.items() if n not in CHANGED} == {
                n: c for n, c in other.counters.items() if n not in CHANGED
            }
        assert before.ns.total != after.ns.total


@pytest.mark.parametrize(("interface", "leaves"), [("page-4k", GIB_PAGES), ("pfn", 512)])
@pytest.mark.parametrize(("flush", "a_leaf", "tables"), [("every-page", None, 1), ("first-page", 1, 1), ("none", 0, 0)])
def test_flush(interface: str, leaves: int, flush: str, a_leaf: int | None, tables: int) -> None:
    n = phase(story(interfaces=(interface,)), flush=flush).counters
    of_leaves = GIB_PAGES if a_leaf is None else a_leaf * leaves
    assert n["flush_pages"] == of_leaves + tables * (2 + 512 * (interface == "page-4k"))


def test_host_clear() -> None:
    one = story(Boot(), Convert())
    assert phase(one).counters["clear_pages"] == GIB_PAGES
    assert phase(one, host_clear=False).counters["clear_pages"] == 0
    assert phase(one, 1, host_clear=False).counters == phase(one, 1).counters  # nothing was cleared there


@pytest.mark.parametrize(
    ("check", "counter"), [("pfn-valid", "pfn_valid_checks"), ("convertible", "convertible_checks")]
)
def test_a_check_for_each_4k_that_is_mapped(check: str, counter: str) -> None:
    one = story(Build(image="1MiB", measured=False), Boot(), Convert(count=1), Teardown())
    phases = run(one, pfn_check=check).rows[0].phases
    assert [p.counters[counter] for p in phases] == [256, GIB_PAGES - 256, 1, 0]
    assert sum(p.counters[n] for p in phases for n in ("pfn_valid_checks", "convertible_checks") if n != counter) == 0


# --- AUG and ACCEPT at 1G


@pytest.mark.parametrize("levels", [4, 5])
def test_a_gib_by_one_aug(levels: int) -> None:
    """Golden: per region one exit, one AUG, two ACCEPTs; of tables only those above the 1G entries, once."""
    one = story(Boot(), Teardown(), memory="2GiB", levels=levels, vcpus=3, what_if=WhatIf(reset_pages=True))
    booted, torn = run(one, aug_1g=True).rows[0].phases
    upper = levels - 3
    n = {name: count for name, count in booted.counters.items() if count}
    assert n == {
        **dict.fromkeys(("td_exit", "vp_enter", "fault", "accept_exit", "aug_1g", "accept_1g", "gmem_lookups"), 2),
        **dict.fromkeys(("sept_lines", "pamt_lines", "folio_allocs"), 2), "sept_add": upper, "mirror_tables": upper,
        "mirror_installs": 2 + upper, "flush_pages": 2 * GIB_PAGES + upper, "clear_pages": 2 * GIB_PAGES,
        "walk_reads_host": sum(range(1, upper + 1)) + 2 * (levels - 2),
        "walk_reads_guest": 1 + (levels - 2) + 2 * (levels - 2),
    }  # fmt: skip
    assert (booted.after.leaves_1g, booted.after.leaves.size_2m, booted.after.sept_pages) == (2, 0, upper)
    n = {name: count for name, count in torn.counters.items() if count}
    assert n == {
        **dict.fromkeys(("block_1g", "mem_track", "remove_1g", "write_lock", "sept_lines", "pamt_lines"), 2),
        "page_wbinvd": 2 * GIB_PAGES, "reclaim_4k": upper, "reset_page": 2 * GIB_PAGES + upper,
        "walk_reads_host": 4 * (levels - 2), "folio_frees": 2, "kick_looks": 2 * 3,
    }  # fmt: skip
    assert torn.after.leaves_1g == torn.after.sept_pages == 0


def test_upper_tables_are_those_of_executed_regions() -> None:
    one = story(Boot(), Teardown(how="reclaim"), memory="514GiB", what_if=WhatIf(dynamic_pamt=True))
    at_2m, at_1g = (run(one, aug_1g=flag).rows[0].phases for flag in (False, True))
    for before, after in zip(at_2m, at_1g, strict=True):
        for name in ("sept_add", "pamt_get", "pamt_put"):
            assert before.counters[name] - after.counters[name] in (0, 514)  # a table of 2M entries each
        assert before.counters["reclaim_4k"] - after.counters["reclaim_4k"] in (0, 514)
    assert (at_1g[1].counters["reclaim_1g"], at_1g[0].counters["sept_add"]) == (514, 2)


def test_1g_saves_calls_and_no_bytes() -> None:
    """What is left of a boot at 1G is the data: 512 times what a 2M range has."""
    two, giant = phase(story()), phase(story(), aug_1g=True)
    for stage in ("host_clear", "guest_zero"):
        assert giant.ns.by_stage[stage] == pytest.approx(two.ns.by_stage[stage], rel=1e-12)
    for stage in ("exit", "entry", "seamcall"):
        assert giant.ns.by_stage[stage] < two.ns.by_stage[stage] / 200
    assert giant.ns.total < two.ns.total


@pytest.mark.parametrize(("changed", "giant"), [
    ({"interfaces": ("page-4k",)}, 0), ({"interfaces": ("folio-strict",)}, 3), ({"shattered": 1.0}, 0),
    ({"backing": "hugetlb-2m", "interfaces": ("folio-lenient",)}, 0), ({"guest": "prefault"}, 3),
    ({"guest": "touch-first"}, 0), ({"features_off": ("ENHANCED_DEMOTE_INTERRUPTIBILITY",)}, 0),
])  # fmt: skip
def test_which_regions_a_1g_leaf_can_map(changed: dict[str, object], giant: int) -> None:
    try:
        one = story(**{"memory": "3.5GiB", **changed})  # type: ignore[arg-type]
    except InputError:
        pytest.skip("not a guest of this version")
    booted = phase(one, aug_1g=True)
    assert booted.after.leaves_1g == booted.counters["aug_1g"] == giant
    assert booted.counters["prefault"] >= giant * (changed.get("guest") == "prefault")


def test_a_phase_that_changes_a_1g_region_is_refused() -> None:
    built = Build(image="1025MiB", measured=False)  # GiB 0 and 1 are in use before the boot
    window = Convert(name="swiotlb", count=4)  # in the middle, GiB 1
    assert phase(story(built, Boot(), window, memory="3GiB"), 2, aug_1g=True).after.leaves_1g == 1
    with pytest.raises(InputError, match=r"aug_1g.*phase\[1\] 'swiotlb' changes GiB 1.*accepted") as caught:
        run(story(Boot(), window, memory="3GiB"), aug_1g=True)
    assert "\n" not in str(caught.value)
    run(story(Boot(), window, memory="3GiB", interfaces=("page-4k",)), aug_1g=True)  # nothing there is at 1G


def test_the_exact_calls_refuse_1g() -> None:
    three = table_of_4k(in_place, lambda i: True)
    for gpa in (0, 1 << 30):
        assert three.page_aug(gpa, 2, FIRST << 12) == 0xC000_0100_0000_0001
        assert three.accept(gpa, 2) == 0xC000_0100_0000_0001


# --- savings


@pytest.fixture(scope="module")
def saved() -> LifeResult:
    return live(FULL, savings=True)


def test_each_knob_is_changed_alone(saved: LifeResult) -> None:
    for row in saved.rows:
        assert [(s.knob, s.now, s.instead) for s in row.savings] == [
            ("flush", "every-page", "first-page"), ("flush", "every-page", "none"), ("host_clear", True, False),
            ("pfn_check", "none", "pfn-valid"), ("pfn_check", "none", "convertible"), ("dynamic_pamt", False, True),
            ("reset_pages", False, True), ("batch_track", False, True), ("promote", False, True),
            ("aug_1g", False, True),
        ]  # fmt: skip


def test_a_saving_is_the_difference_of_two_runs(saved: LifeResult) -> None:
    for at, row in enumerate(saved.rows):
        for one in row.savings:
            if one.ns is None:
                assert one.knob == "aug_1g"
                assert "accepted" in str(one.refused)
                continue
            other = run(FULL, **{one.knob: one.instead}).rows[at]
            assert one.ns.value == pytest.approx(row.ns.total - other.ns.total, rel=1e-6, abs=1e-3)
            assert one.share == pytest.approx(one.ns.value / row.ns.total)
            assert one.ns.low <= one.ns.value <= one.ns.high
            assert one.refused is None


def test_signs(saved: LifeResult) -> None:
    """Less work saves under all parameters, more work costs under all; the interval says so too."""
    for row in saved.rows:
        for one in row.savings:
            if one.ns is not None and one.knob in ("flush", "host_clear", "batch_track"):
                assert one.ns.low > 0
            if one.ns is not None and one.knob in ("pfn_check", "reset_pages", "dynamic_pamt"):
                assert one.ns.high < 0


def test_savings_change_nothing_else(saved: LifeResult) -> None:
    plain = live(FULL)
    assert [row.savings for row in plain.rows] == [[], []]
    for one, other in zip(plain.rows, saved.rows, strict=True):
        changed = {"savings": other.savings, "model_seconds": other.model_seconds}
        assert msgspec.structs.replace(one, **changed) == other


def test_savings_are_valid_json(saved: LifeResult) -> None:
    document = json.loads(to_json(saved))
    assert [e.message for e in Draft202012Validator(load_schema("life-1")).iter_errors(document)] == []


def test_progress_counts_every_run() -> None:
    seen: list[tuple[int, int]] = []
    one = story(Boot(), Convert(), memory="2GiB")  # of which the last run, aug_1g, is refused
    live(one, savings=True, progress=lambda done, total: seen.append((done, total)))
    runs = 1 + 5  # batch_track, promote, aug_1g, dynamic_pamt, reset_pages
    assert {total for _, total in seen} == {2 * runs}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 2 * runs


# --- the file and the command


@pytest.mark.parametrize(("text", "word"), [
    ("[what_if]\nflush = 'sometimes'\n", "first-page"), ("[what_if]\npfn_check = true\n", "convertible"),
    ("[what_if]\npromote = 'yes'\n", "true | false"), ("flush_first_page_only = true\n", "first-page"),
])  # fmt: skip
def test_bad_knobs_are_one_line(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "story.toml"
    path.write_text(
        f'schema = "perfmodel/scenario/1"\n[guest]\nmemory = "1GiB"\n{text}[[phase]]\nkind = "boot"\n'
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        load_story(path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_knobs_come_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "story.toml"
    path.write_text(
        'schema = "perfmodel/scenario/1"\n[guest]\nmemory = "1GiB"\n[what_if]\nflush = "none"\nhost_clear = false\n'
        'pfn_check = "convertible"\npromote = true\naug_1g = true\n[[phase]]\nkind = "boot"\n'
    )
    assert load_story(path).what_if == WhatIf(
        flush="none", host_clear=False, pfn_check="convertible", promote=True, aug_1g=True
    )


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from perfmodel.__main__ import main

    path = tmp_path / "story.toml"
    path.write_text(
        'schema = "perfmodel/scenario/1"\n[guest]\nmemory = "1GiB"\ninterfaces = ["pfn"]\n[[phase]]\nkind = "boot"\n'
        '[[phase]]\nkind = "convert"\n'
    )
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(path), "--what-if"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "what each knob alone would save" in printed
    assert "aug_1g refused: what_if.aug_1g true: phase[1] 'convert' changes GiB 0" in " ".join(printed.split())
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--what-if"])
    assert stopped.value.code == 2
    assert "--what-if: accepted with a scenario file" in capsys.readouterr().err
