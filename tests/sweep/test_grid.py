"""Does a grid hold what its file and options say, and refuse what cannot be?"""

from pathlib import Path

import pytest

from perfmodel.errors import InputError
from perfmodel.life.scenario_file import load_story
from perfmodel.life.story import live
from perfmodel.sweep.dataset import labels, layout_of
from perfmodel.sweep.grid import Asked, build_grid, read_grid
from perfmodel.sweep.sweep import sweep

LIFE = """
schema = "perfmodel/scenario/1"
[guest]
memory = "1GiB"
vcpus = 4
[[phase]]
kind = "build"
[[phase]]
kind = "boot"
[[phase]]
kind = "convert"
count = 3
[[phase]]
name = "again"
kind = "convert"
count = 2
placement = "scattered"
[[phase]]
kind = "teardown"
"""


def written(folder: Path, text: str, name: str = "grid.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_and_options(tmp_path):
    written(tmp_path, 'name = "mine"\n[parameters]\nflush_line = 4\n', "mine.toml")
    path = written(
        tmp_path,
        'schema = "perfmodel/grid/1"\ntitle = "T"\n[grid]\nmemory = ["1GiB", 4096]\nshattered = 0.5\n'
        'preset = ["spr-8480p", "mine.toml"]\ninterface = "pfn"\nlevels = [4, 5]\nset = ["dram_read=120"]\n',
    )
    asked = read_grid(path)
    grid = build_grid(asked)
    assert grid.title == "T"
    assert [(axis.name, axis.labels) for axis in grid.axes if len(axis.labels) > 1] == [
        ("memory", ("1GiB", "4KiB")), ("levels", ("4", "5")), ("preset", ("spr-8480p", "mine")),
    ]  # fmt: skip
    assert [one["flush_line"].value == 4 for one in grid.sets] == [False, True]
    assert {one["dram_read"].value for one in grid.sets} == {120}
    assert [(p.point.scenario.memory, p.point.scenario.levels) for p in grid.points] == [
        (1 << 30, 4), (1 << 30, 5), (4096, 4), (4096, 5),
    ]  # fmt: skip
    over = build_grid(asked.under(Asked({"memory": (8192,)}, overrides=("flush_line=5", "dram_read=130"))))
    assert [p.point.scenario.memory for p in over.points] == [8192, 8192]
    assert {(one["flush_line"].value, one["dram_read"].value) for one in over.sets} == {(5, 130)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "schema"),
        ('schema = "perfmodel/grid/2"\n[grid]\n', "perfmodel/grid/1"),
        ('schema = "perfmodel/grid/1"\n[grid]\nmemry = 1\n', "memory"),
        ('schema = "perfmodel/grid/1"\n[grid]\nmemory = []\n', "one or more"),
        ('schema = "perfmodel/grid/1"\n[grid]\nmemory = ["1GiB", 1073741824]\n', "twice"),
        ('schema = "perfmodel/grid/1"\n[grid]\nmemory = "1"\n', "4 KiB"),
        ('schema = "perfmodel/grid/1"\n[grid]\nvcpus = 1.5\n', "whole number"),
        ('schema = "perfmodel/grid/1"\n[grid]\nshattered = "much"\n', "a number"),
        ('schema = "perfmodel/grid/1"\n[grid]\nshattered = 2\n', "0 to 1"),
        ('schema = "perfmodel/grid/1"\n[grid]\ninterface = ["pfn", "folio"]\n', "folio-strict"),
        ('schema = "perfmodel/grid/1"\n[grid]\nbacking = [["thp"]]\n', "backing"),
        ('schema = "perfmodel/grid/1"\n[grid]\nflush_line = [1e9]\n', "flush_line"),
        ('schema = "perfmodel/grid/1"\n[grid]\npreset = "icelake"\n', "spr-8480p"),
        ('schema = "perfmodel/grid/1"\n[grid]\nscenario = "none.toml"\n', "none.toml"),
        ('schema = "perfmodel/grid/1"\n[grid]\nscenario = "../x.toml"\n', "folder of the grid"),
        ('schema = "perfmodel/grid/1"\n[grid]\nhost = "/etc/passwd"\nbacking = "host"\n', "folder of the grid"),
        ('schema = "perfmodel/grid/1"\n[grid]\nbacking = "host"\n', "host FILE"),
        ('schema = "perfmodel/grid/1"\n[grid]\nparams = 3\n', "a file"),
        ('schema = "perfmodel/grid/1"\n[grid]\nset = "flush_line=3"\n', "list"),
        ('schema = "perfmodel/grid/1"\n[grid]\nblock_shares = 3\n', "block_shares"),
        ('schema = "perfmodel/grid/1"\n[grid]\nblock_shares = { x = 1 }\n', "block_shares"),
        ('schema = "perfmodel/grid/1"\n[grid]\nseed = [' + ",".join(map(str, range(1001))) + "]\nvcpus = ["
         + ",".join(map(str, range(1, 1001))) + "]\n", "at most"),
        ('schema = "perfmodel/grid/1"\n[grid]\nbacking = "pfnmap"\ninterface = "page-4k"\n', "no struct page"),
    ],
)  # fmt: skip
def test_what_cannot_be(tmp_path, text, said):
    with pytest.raises(InputError) as raised:
        build_grid(read_grid(written(tmp_path, text)))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_together_is_recorded(tmp_path):
    dataset = sweep(build_grid(Asked({"backing": ("thp", "pfnmap"), "memory": (1 << 30,)})), samples=16)
    done = dataset["status"].isel(memory=0, scenario=0, guest=0, shattered=0, vcpus=0, preset=0).values
    assert done.tolist() == [[0, 0, 0, 0], [1, 1, 1, 0]]
    assert "no struct page" in dataset["reason"].values[0, 0, 1, 0, 0, 0, 0, 0]
    assert dataset["seconds"].isnull().values.ravel().tolist() == (done.ravel() == 1).tolist()
    assert (dataset["td_exits"].values.ravel() == -1).tolist() == (done.ravel() == 1).tolist()


def test_lives(tmp_path):
    path = written(tmp_path, LIFE, "life.toml")
    grid = build_grid(Asked({"scenario": (path,), "shattered": (0.0, 1.0)}))
    dataset = sweep(grid)
    assert labels(dataset, "scenario") == ["life"]
    assert labels(dataset, "memory") == ["1GiB"]
    assert labels(dataset, "phase") == ["build", "boot", "convert", "teardown"]
    story = load_story(path)
    [described] = layout_of(dataset).lives.values()
    assert [phase["kind"] for phase in described["phases"]] == [phase.kind for phase in story.phases]
    assert described["phases"][2]["count"] == 3
    for row, number in zip(live(story).rows, range(4), strict=True):
        one = dataset.isel(scenario=0, guest=0, backing=0, shattered=0, memory=0, vcpus=0, preset=0, interface=number)
        assert one["ns_total"].item() == pytest.approx(row.ns.total, rel=1e-12)
        assert (one["ns_low"].item(), one["ns_high"].item()) == pytest.approx((row.ns.low, row.ns.high), rel=1e-12)
        by_kind = [sum(p.ns.total for p in row.phases if p.kind == kind) for kind in labels(dataset, "phase")]
        assert one["ns_by_phase"].values.tolist() == pytest.approx(by_kind, rel=1e-12)
        calls = dict(zip(labels(dataset, "seamcall"), one["seamcalls"].values.tolist(), strict=True))
        total = {name: sum(p.counters[name] for p in row.phases) for name in row.phases[0].counters}
        assert calls["TDH.MEM.PAGE.REMOVE"] == total["remove_4k"] + total["remove_2m"]
        assert calls["TDH.MR.EXTEND"] == total["mr_extend"]
        assert calls["TDH.VP.ENTER"] == total["vp_enter"] + total["map_gpa"]
        before = row.phases[-2].after
        assert (one["leaves_4k"].item(), one["leaves_2m"].item()) == (before.leaves.size_4k, before.leaves.size_2m)
        assert np_nan(one["gib_per_s"].item())


def np_nan(value: float) -> bool:
    return value != value


def test_lives_beside_populating_need_a_common_guest(tmp_path):
    path = written(tmp_path, LIFE, "life.toml")
    with pytest.raises(InputError, match="differ in memory"):
        build_grid(Asked({"scenario": ("populate", path)}))
    grid = build_grid(Asked({"scenario": ("populate", path), "memory": (1 << 30,), "vcpus": (1,)}))
    dataset = sweep(grid, samples=16)
    populated = dataset["ns_by_phase"].isel(scenario=0).sel(phase=labels(dataset, "phase").index("teardown"))
    assert populated.isnull().all()
