"""``perfmodel run FILE``: a story on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STORY = """schema = "perfmodel/scenario/1"
[guest]
memory = "64MiB"
interfaces = ["pfn"]
[[phase]]
kind = "boot"
[[phase]]
kind = "teardown"
"""


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STORY)
    return path


def test_tables_and_json(call: Callable[..., Any], story: Path, tmp_path: Path) -> None:
    target = tmp_path / "life.json"
    called = call("run", str(story), "--json", str(target))
    assert called.status == 0
    assert "TDH.MEM.PAGE.REMOVE" in called.out
    document = json.loads(target.read_text())
    assert (document["schema"], document["name"]) == ("perfmodel/life/1", "small")
    assert json.loads(call("run", str(story), "--json", "-").out)["rows"][0]["interface"] == "pfn"


def test_parameters_apply(call: Callable[..., Any], story: Path) -> None:
    cheap = json.loads(call("run", str(story), "--set", "flush_line=4", "--json", "-").out)
    dear = json.loads(call("run", str(story), "--json", "-").out)
    assert cheap["rows"][0]["seconds"] < dear["rows"][0]["seconds"]
    assert cheap["rows"][0]["phases"][0]["counters"] == dear["rows"][0]["phases"][0]["counters"]


@pytest.mark.parametrize(
    ("words", "named", "accepted"),
    [
        (["--memory", "1G"], "memory", "one or the other"),
        (["--interface", "pfn"], "interface", "one or the other"),
        (["--module-feature", "ENHANCED_DEMOTE_INTERRUPTIBILITY=off"], "features", "one or the other"),
        (["--threads", "0"], "threads 0", "1024"),
        (["--set", "no_such=1"], "no_such", ""),
        (["--json", "/nowhere/x.json"], "/nowhere", "does not exist"),
    ],
)
def test_what_does_not_go_with_a_file(
    call: Callable[..., Any], story: Path, words: list[str], named: str, accepted: str
) -> None:
    called = call("run", str(story), *words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert named in called.err
    assert accepted in called.err


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"[", b"schema = 3", STORY.replace("64MiB", "64QiB").encode()]
)
def test_bad_files_are_one_line(call: Callable[..., Any], tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    called = call("run", str(path), "--json", str(tmp_path / "out.json"))
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert "bad.toml" in called.err
    assert not (tmp_path / "out.json").exists()
