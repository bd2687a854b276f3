"""Does ``perfmodel report`` write all its files, and nothing where it cannot?"""

import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from perfmodel.__main__ import main
from perfmodel.commands import report as command
from perfmodel.commands.report import report_command
from perfmodel.report import build, questions

QUICK = ("--memory", "1GiB", "--interface", "folio-strict", "--interface", "pfn")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*words: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["report", *words])
        return stopped.value.code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def two_questions(monkeypatch):
    monkeypatch.setattr(build, "QUESTIONS", questions.QUESTIONS[:2])


def test_files(call, tmp_path):
    status, out, err = call(*QUICK, "-o", str(tmp_path / "new"), "--json", str(tmp_path / "report.json"))
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "report.json").read_text())
    names = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.*")}
    stems = [stem for answer in document["answers"] for stem in answer["figures"]]
    assert names == {"report.md", "report.html", *(f"figures/{stem}.png" for stem in stems)}
    assert stems == ["01-wrapper", "02-populate", "02-populate-more"]
    assert document["scenario"]["shattered"] == 0.1
    assert out.splitlines()[0] == document["headline"]
    for answer in document["answers"]:
        assert answer["headline"] in (tmp_path / "new" / "report.html").read_text().replace("&amp;", "&")


def test_json_on_stdout(call, tmp_path):
    status, out, _ = call(*QUICK, "--set", "flush_line=4", "-o", str(tmp_path), "--json", "-")
    assert status == 0
    assert json.loads(out)["answers"][1]["command"].endswith("--shattered 0.1 --set flush_line=4")


@pytest.mark.parametrize(
    ("words", "named", "accepted"),
    [
        ((), "--output", "Missing"),
        (("-o", "/nowhere/deep/report"), "'/nowhere/deep'", "does not exist"),
        (("-o", __file__), "is a file", "folder"),
        (("-o", "new", "--threads", "0"), "threads 0", "1 to 1024"),
        (("-o", "new", "--json", "/nowhere/x.json"), "'/nowhere'", "does not exist"),
        (("-o", "new", "--shattered", "2"), "shattered 2.0", "0 to 1"),
        (("-o", "new", "--backing", "pfnmap", "--interface", "page-4k"), "'page-4k' cannot map", "pfn"),
        (("-o", "new", "--set", "flush_lines=1"), "flush_lines", "flush_line"),
    ],
)
def test_bad_input(call, tmp_path, monkeypatch, words, named, accepted):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert named in err
    assert accepted in err
    assert list(tmp_path.iterdir()) == []


def test_missing_libraries_are_named(call, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    status, _, err = call("-o", str(tmp_path / "new"))
    assert (status, err) == (2, "perfmodel: report needs matplotlib: install perfmodel[report]\n")
    assert not (tmp_path / "new").exists()


def test_help_tells_the_defaults_of_a_report():
    text = report_command.get_help(click.Context(report_command, **report_command.context_settings))
    text = " ".join(text.split())
    assert "[default: 512GiB; with --backing host" in text
    assert "hold shared 4K pages, 0 to 1. [default: 0.1]" in text
