"""Bad input: one line that names key, value and what is accepted, exit status 2, nothing written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CASES = {
    "memory 0": (["--memory", "0"], "memory '0'", "multiple of 4 KiB"),
    "memory no multiple": (["--memory", "4097"], "memory '4097'", "multiple of 4 KiB"),
    "memory no size": (["--memory", "lots"], "memory 'lots'", "64GiB"),
    "memory above 4 levels": (["--memory", "129T"], "memory '129T'", "--levels 5 holds more"),
    "memory above q35": (["--memory", "128T", "--layout", "q35"], "memory '128T'", "2 GiB hole"),
    "interface": (["--interface", "folio"], "interface 'folio'", "folio-strict"),
    "interface twice": (["--interface", "pfn", "--interface", "pfn"], "interface pfn, pfn", "once"),
    "backing": (["--backing", "hugetlb"], "backing 'hugetlb'", "hugetlb-1g"),
    "guest": (["--guest", "windows"], "guest 'windows'", "linux-lazy"),
    "order": (["--order", "backwards"], "order 'backwards'", "striped"),
    "layout": (["--layout", "pc"], "layout 'pc'", "q35"),
    "levels": (["--levels", "3"], "levels 3", "4 to 5"),
    "levels no number": (["--levels", "four"], "'--levels': 'four'", "integer"),
    "shattered above 1": (["--shattered", "1.5"], "shattered 1.5", "0 to 1"),
    "shattered below 0": (["--shattered", "-0.1"], "shattered -0.1", "0 to 1"),
    "shattered nan": (["--shattered", "nan"], "shattered nan", "0 to 1"),
    "shattered inf": (["--shattered", "inf"], "shattered inf", "0 to 1"),
    "shared pages 0": (["--shared-pages", "0"], "shared-pages 0", "1 to 262144"),
    "shared pages too many": (["--shared-pages", "262145"], "shared-pages 262145", "1 to 262144"),
    "shatter layout": (["--shatter-layout", "even"], "shatter-layout 'even'", "clustered"),
    "seed": (["--seed", "-1"], "seed -1", "from 0"),
    "vcpus": (["--vcpus", "0"], "vcpus 0", "1 to 1024"),
    "threads": (["--threads", "0"], "threads 0", "1 to 1024"),
    "pfnmap with a page": (["--backing", "pfnmap", "--interface", "page-4k"], "'page-4k' cannot map", "pfn"),
    "pfnmap with a folio": (
        ["--backing", "pfnmap", "--interface", "folio-lenient"], "'folio-lenient' cannot map", "pfn"),
    "thp share elsewhere": (["--thp-share", "0.5"], "thp-share has no meaning", "thp"),
    "thp share": (["--backing", "thp", "--thp-share", "2"], "thp-share 2.0", "0 to 1"),
    "block shares elsewhere": (["--block-shares", "0=1"], "block-shares has no meaning", "order0, thp"),
    "block shares sum": (["--backing", "order0", "--block-shares", "0=0.5"], "block-shares sum to 0.5", "sum of 1"),
    "block shares order": (["--backing", "order0", "--block-shares", "11=1"], "block-shares order 11", "0 to 10"),
    "block shares text": (["--backing", "order0", "--block-shares", "x"], "block-shares 'x'", "ORDER=SHARE"),
    "block shares twice": (["--backing", "order0", "--block-shares", "0=0.5,0=0.5"], "order 0", "once"),
    "extents missing": (["--backing", "extents"], "extents FILE", "both or neither"),
    "extents elsewhere": (["--extents", "x.csv"], "extents FILE", "both or neither"),
    "extents unreadable": (["--backing", "extents", "--extents", "/nowhere/x.csv"], "/nowhere/x.csv", ""),
    "host elsewhere": (["--host", "h.json"], "host has no meaning", "host"),
    "host unreadable": (["--backing", "host", "--host", "/nowhere/h.json"], "/nowhere/h.json", ""),
    "scale host elsewhere": (["--scale-host"], "scale-host has no meaning", "host"),
    "max folio order": (["--backing", "host", "--max-folio-order", "11"], "max-folio-order 11", "0 to 10"),
    "module feature": (["--module-feature", "X=off"], "module-feature 'X'", "ENHANCED_DEMOTE_INTERRUPTIBILITY"),
    "module feature on": (["--module-feature", "X"], "module-feature 'X'", "NAME=off"),
    "preset": (["--preset", "icelake"], "icelake", "spr-8480p"),
    "params unreadable": (["--params", "/nowhere/p.toml"], "/nowhere/p.toml", ""),
    "set unknown": (["--set", "flush_lines=1"], "flush_lines", "flush_line"),
    "set without value": (["--set", "flush_line"], "flush_line", "="),
    "set nan": (["--set", "flush_line=nan"], "flush_line", "nan"),
    "set inf": (["--set", "flush_line=inf"], "flush_line", "inf"),
    "set out of range": (["--set", "flush_line=1e9"], "flush_line", "3"),
    "json folder": (["--json", "/"], "output '/' is a folder", "file"),
    "json nowhere": (["--json", "/nowhere/x.json"], "'/nowhere'", "does not exist"),
    "unknown option": (["--memroy", "1G"], "--memroy", "--memory"),
    "stray word": (["1G"], "1G", ""),
}  # fmt: skip


@pytest.mark.parametrize("command", ["compare", "run"])
@pytest.mark.parametrize("case", CASES)
def test_one_line_status_2_nothing_written(call: Callable[..., Any], tmp_path: Path, command: str, case: str) -> None:
    words, named, accepted = CASES[case]
    target = tmp_path / "result.json"
    given = words if "--json" in words else [*words, "--json", str(target)]
    called = call(command, *given)
    assert called.status == 2
    assert called.out == ""
    assert called.err.startswith("perfmodel: ")
    assert called.err.count("\n") == 1
    assert named in called.err
    assert accepted in called.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b'{"schema": "perfmodel/compare/2"}'])
def test_plot_of_a_damaged_result(call: Callable[..., Any], tmp_path: Path, content: bytes) -> None:
    result = tmp_path / "compare.json"
    result.write_bytes(content)
    called = call("plot", str(result), "-o", str(tmp_path / "figure.png"))
    assert (called.status, called.out) == (2, "")
    assert called.err.count("\n") == 1
    assert "perfmodel/compare/1" in called.err
    assert not (tmp_path / "figure.png").exists()


def test_plot_of_a_result_that_does_not_add_up(call: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "compare.json"
    assert call("compare", "--memory", "4M", "--json", str(source)).status == 0
    whole = source.read_text()
    changes = {
        "scenario lacks 'vcpus'": lambda d: d["scenario"].pop("vcpus"),
        "add up": lambda d: d["rows"][0]["ns"].update(high=0),
        "add up ": lambda d: d["rows"][0]["ns"]["by_stage"].update(exit=-1.0),
        "unknown field": lambda d: d["rows"][0].update(colour="red"),
    }
    for said, change in changes.items():
        change(document := json.loads(whole))
        source.write_text(json.dumps(document))
        called = call("plot", str(source), "-o", str(tmp_path / "figure.png"))
        assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
        assert said.strip() in called.err
    assert not (tmp_path / "figure.png").exists()


def test_plot_to_an_unknown_format(call: Callable[..., Any], tmp_path: Path) -> None:
    called = call("plot", "x.json", "-o", str(tmp_path / "figure.gif"))
    assert (called.status, called.err.count("\n")) == (2, 1)
    assert ".png, .svg, .pdf" in called.err


@pytest.mark.parametrize(
    "words", [["ingest", "host", "-o", "-"], ["ingest", "host", "--proc", "/nowhere", "-o", "h.json"]]
)
def test_ingest_host(call: Callable[..., Any], words: list[str]) -> None:
    called = call(*words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert not Path("h.json").exists()
