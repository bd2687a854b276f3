"""Does ``perfmodel plot`` give every figure of every result, and say what it can give?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.stored import to_netcdf
from perfmodel.sweep.sweep import sweep
from plots.figures import FIGURES, KINDS
from tests.support.benchmark_file import every_kind

Call = Callable[..., Any]

STORY = """
schema = "perfmodel/scenario/1"
[guest]
memory = "4MiB"
[[phase]]
kind = "boot"
[[phase]]
kind = "teardown"
how = "removal"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def results(call: Call, folder: Path) -> dict[str, Path]:
    """A small result of each kind that is quick to make."""
    (folder / "life.toml").write_text(STORY)
    (folder / "benchmarks.json").write_text(json.dumps(every_kind()))
    small = ("--memory", "4M")
    commands = {
        "compare": ("compare", *small),
        "run": ("run", *small),
        "life": ("run", str(folder / "life.toml")),
        "steady": ("steady", *small, "--accesses", "1024"),
        "scale": ("scale", *small, "--counts", "1,2", "--samples", "0"),
    }
    files = {kind: folder / f"{kind}.json" for kind in (*commands, "benchmarks")}
    for kind, words in commands.items():
        if not files[kind].exists():
            assert call(*words, "--json", str(files[kind])).status == 0
    files["sweep"], files["parts"] = folder / "sweep.nc", folder / "sweep.parts"
    if not files["sweep"].exists():
        values = {"memory": (4 << 20, 8 << 20), "vcpus": (1, 2), "interface": ("page-4k", "pfn")}
        dataset = sweep(build_grid(Asked(values)), Parts(files["parts"]), samples=16)
        files["sweep"].write_bytes(to_netcdf(dataset))
    return files


def test_every_figure_of_every_result_is_drawn(call: Call, results: dict[str, Path], tmp_path: Path) -> None:
    for kind, path in results.items():
        if kind == "parts":  # below
            continue
        listed = call("plot", str(path), "--list")
        assert (listed.status, listed.err) == (0, "")
        names = [line.split()[0] for line in listed.out.splitlines()]
        assert names
        assert set(names) <= {one.name for one in FIGURES if kind in one.kinds}
        for name in names:
            out = tmp_path / f"{path.name}-{name}.svg"
            called = call("plot", str(path), "--figure", name, "-o", str(out))
            assert (called.status, called.out, called.err) == (0, f"{out}\n", "")


def test_the_first_figure_that_is_listed_is_the_default(call: Call, results: dict[str, Path], tmp_path: Path) -> None:
    for kind, name in (("compare", "interfaces"), ("sweep", "throughput")):
        first, default = tmp_path / f"{name}.svg", tmp_path / f"{kind}.svg"
        assert call("plot", str(results[kind]), "--list").out.split()[0] == name
        assert call("plot", str(results[kind]), "--figure", name, "-o", str(first)).status == 0
        assert call("plot", str(results[kind]), "-o", str(default)).status == 0
        assert first.read_bytes() == default.read_bytes()


def test_a_folder_of_parts_gives_the_figure_of_the_file(call: Call, results: dict[str, Path], tmp_path: Path) -> None:
    for name in ("sweep", "parts"):
        assert call("plot", str(results[name]), "--figure", "refusals", "-o", str(tmp_path / f"{name}.svg")).status == 0
    assert (tmp_path / "sweep.svg").read_bytes() == (tmp_path / "parts.svg").read_bytes()


@pytest.mark.parametrize("suffix", ["png", "PDF"])
def test_formats(call: Call, results: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"figure.{suffix}"
    assert call("plot", str(results["compare"]), "-o", str(out)).status == 0
    assert out.read_bytes()[1:4] in (b"PNG", b"PDF")


def test_places_along_other_axes(call: Call, results: dict[str, Path], tmp_path: Path) -> None:
    files = [tmp_path / "first.svg", tmp_path / "second.svg"]
    for path, vcpus in zip(files, ("1", "2"), strict=True):
        words = ("plot", str(results["sweep"]), "--figure", "throughput", "--at", f"vcpus={vcpus}", "-o", str(path))
        assert call(*words).status == 0
        assert f"vcpus {vcpus}".encode() in path.read_bytes()
    fixed = call("plot", str(results["sweep"]), "--at", "vcpus=2", "--at", "memory=4MiB", "--list")
    assert [line.split()[0] for line in fixed.out.splitlines()] == ["stages", "refusals"]


BAD = {
    "unknown figure": ("compare", ["--figure", "bogus"], "figure 'bogus'", "gives interfaces, refusals"),
    "figure of another result": ("compare", ["--figure", "latency"], "is of 'scale --json'", "interfaces, refusals"),
    "figure that is not in it": ("scale", ["--figure", "changes"], "no curve of workload convert", "scaling, latency"),
    "one of two interfaces": (
        "sweep",
        ["--figure", "speedup", "--at", "interface=pfn"],
        "interfaces pfn: pfn and",
        "vcpus",
    ),
    "axis that is not swept": ("sweep", ["--figure", "vcpus", "--at", "vcpus=1"], "no axis vcpus", "throughput"),
    "axis that is not there": ("sweep", ["--at", "colour=red"], "at 'colour=red'", "scenario, guest, backing"),
    "label that is not there": ("sweep", ["--at", "memory=1TiB"], "at 'memory=1TiB'", "memory=4MiB, memory=8MiB"),
    "place in no sweep": ("compare", ["--at", "memory=4MiB"], "at 'memory=4MiB'", "accepted with a sweep"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_drawn_is_one_line(call: Call, results: dict[str, Path], tmp_path: Path, case: str) -> None:
    kind, words, named, accepted = BAD[case]
    out = tmp_path / "x.png"
    called = call("plot", str(results[kind]), *words, "-o", str(out))
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert named in called.err
    assert accepted in called.err
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89HDF\r\n\x1a\n", b'{"benchmarks": 3, "machine_info": {}}'])
@pytest.mark.parametrize("name", ["x.json", "x.nc"])
def test_files_that_are_no_result(call: Call, tmp_path: Path, content: bytes, name: str) -> None:
    path, out = tmp_path / name, tmp_path / "x.png"
    path.write_bytes(content)
    called = call("plot", str(path), "-o", str(out))
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert called.err.startswith(f"perfmodel: {path}: ")
    assert not out.exists()


def test_no_output_and_no_file(call: Call, results: dict[str, Path], tmp_path: Path) -> None:
    for words in ([str(results["compare"])], [str(tmp_path / "none.json"), "-o", str(tmp_path / "x.png")],
                  [str(tmp_path), "-o", str(tmp_path / "x.png")]):  # fmt: skip
        called = call("plot", *words)
        assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
        assert "accepted is" in called.err


def test_help_names_every_figure_and_kind(call: Call) -> None:
    called = call("plot", "--help")
    assert called.status == 0
    for one in FIGURES:
        assert one.name in called.out
        assert set(one.kinds) <= set(KINDS)
    for written_by in KINDS.values():
        assert written_by.strip("'") in called.out


def test_docs_name_every_figure() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "figures.md").read_text()
    for one in FIGURES:
        assert f"## {one.name}" in text, one.name
