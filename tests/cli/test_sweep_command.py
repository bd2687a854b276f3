"""perfmodel sweep as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmodel.sweep.stored import load_sweep

SMALL = ["--axis", "memory=2MiB,4MiB", "--axis", "interface=page-4k,pfn", "--samples", "16"]


def test_whole_parts_and_rows(call: Callable[..., Any], tmp_path: Path) -> None:
    target, rows = tmp_path / "grid.nc", tmp_path / "rows.json"
    called = call("sweep", *SMALL, "-o", str(target), "--json", str(rows))
    assert called.status == 0
    assert "4 of 4 points done" in called.out
    assert f"4 points counted, 0 simulated, 0 found, kept in {tmp_path / 'grid.parts'}" in called.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.nc", "grid.parts", "rows.json"]
    assert load_sweep(tmp_path / "grid.parts").identical(load_sweep(target))
    assert [row["counts"]["td_exits"] for row in json.loads(rows.read_text())["rows"]] == [512, 1, 1024, 2]
    again = call("sweep", *SMALL, "-o", str(target), "--json", "-", "--set", "flush_line=4")
    assert "0 points counted, 0 simulated, 4 found" in again.err
    assert json.loads(again.out)["rows"][0]["axes"]["preset"] == "spr-8480p"


def test_a_grid_file_under_options(call: Callable[..., Any], tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text('schema = "perfmodel/grid/1"\n[grid]\nmemory = ["2MiB", "4MiB"]\nbacking = ["thp", "pfnmap"]\n')
    called = call("sweep", str(grid), "--samples", "16", "--memory", "2MiB", "--json", "-")
    assert called.status == 0
    rows = json.loads(called.out)["rows"]
    assert {row["axes"]["memory"] for row in rows} == {"2MiB"}
    assert [row["status"] for row in rows] == ["done"] * 4 + ["failed"] * 3 + ["done"]
    assert "points failed" in called.err
    assert "no struct page" in called.err
    assert list(tmp_path.iterdir()) == [grid]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--axis", "memory"], "NAME=VALUE"),
        (["--axis", "memory="], "multiple of 4 KiB"),
        (["--axis", "mem=1GiB"], "memory"),
        (["--axis", "vcpus=1,1"], "once"),
        (["--samples", "0"], "samples 0"),
        (["--workers", "0"], "workers 0"),
        (["--threads", "9999"], "threads 9999"),
        (["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"], "one of them"),
        *(
            (["--scheduler", address], "tcp://10.0.0.1:8786")
            for address in (
                "",
                "nonsense",
                "tcp://",
                "tcp://x",
                "http://x:1",
                "tcp://x:99999",
                "tcp://x:1\n",
                "tcp://[x:1",
            )
        ),
        (["--scheduler", "tls://127.0.0.1:1"], "distributed.comm.tls"),
        (["-o", "/nowhere/x.nc"], "does not exist"),
        (["--parts", "/proc/x"], "accepted is a folder"),
        (["--axis", "seed=1,2", "--axis", "tds=1025"], "1 to 1024"),
        (["-o", "x.parts"], "another, such as x.nc"),
        (["-o", "x.nc", "--parts", "x.nc"], "another, such as x.nc"),
        (["nowhere.toml"], "No such file"),
    ],
)
def test_bad_input(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    called = call("sweep", *words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert said in called.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"CDF\x01", b"\x89HDF\r\n\x1a\n", b"{}"])
def test_plot_and_explore_of_what_is_no_sweep(call: Callable[..., Any], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.nc"
    path.write_bytes(content)
    from perfmodel.errors import InputError

    with pytest.raises(InputError, match="perfmodel sweep -o"):
        load_sweep(path)
