"""Ctrl-C and SIGKILL at any moment: files are whole or as they were, and a second run gives the undisturbed result.

Moments are drawn from a seed. Whichever one a signal meets, before the work, in it or behind it, the law is the same.
"""

import json
import random
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_fuzz import TIMES, call
from interrupting import check_stopped, read_result, run_and_stop

MOMENTS = 2 * TIMES
LONGEST_SECONDS = 1.2
OLD = b"what was there before\n"

RUNS = {
    "compare": (("compare", "--memory", "4GiB", "--backing", "order0", "--json", "out.json"), ("out.json",)),
    "run FILE": (("run", "life.toml", "--json", "out.json"), ("out.json",)),
    "calibrate": (("calibrate", "-o", "out.toml", "--json", "out.json"), ("out.toml", "out.json")),
    "sweep": (
        (
            "sweep",
            "--axis",
            "memory=1GiB,2GiB",
            "--axis",
            "backing=order0",
            "--samples",
            "64",
            "--threads",
            "1",
            "-o",
            "out.nc",
        ),
        ("out.nc",),
    ),
    "ingest": (("ingest", "auto", "trace.txt", "--what", "faults", "-o", "out.csv"), ("out.csv",)),
}
"""Calls of about a second, and the files that they write."""

STORY = """schema = "perfmodel/scenario/1"
guest = { memory = "3GiB", backing = "thp" }
phase = [{ kind = "boot" }, { kind = "convert", count = 200, placement = "scattered" }, { kind = "teardown" }]
"""


@pytest.fixture
def place(tmp_path: Path, shared: Path) -> Path:
    (tmp_path / "life.toml").write_text(STORY)
    sample = shared / "facts" / "samples" / "tracepoints" / "tracefs_5flags_gen3.txt"
    (tmp_path / "trace.txt").write_text(sample.read_text() * 2000)
    return tmp_path


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("name", RUNS)
def test_stopped_at_any_moment(name: str, sent: signal.Signals, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, outputs = RUNS[name]
    wanted = _undisturbed(words, outputs, place, monkeypatch)
    shutil.rmtree(place / "out.parts", ignore_errors=True)  # a stopped sweep goes on from its own
    draw = random.Random(f"{name} {sent}")
    for moment in range(MOMENTS):
        for output in outputs:
            (place / output).unlink(missing_ok=True)
            if moment % 2:
                (place / output).write_bytes(OLD)
        before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
        done = run_and_stop(words, place, sent, draw.uniform(0, LONGEST_SECONDS))
        check_stopped(done, place, before, lambda path: _is_whole(path, wanted), sent == signal.SIGKILL)
    assert _undisturbed(words, outputs, place, monkeypatch) == wanted


def _is_whole(path: Path, wanted: dict[str, object]) -> bool:
    if path.parent.name in ("out.parts", "counts", "meetings"):  # what a sweep goes on from
        return bool(json.loads(path.read_bytes()))
    return path.name in wanted and read_result(path) == wanted[path.name]


def _undisturbed(
    words: Sequence[str], outputs: Sequence[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    monkeypatch.chdir(place)
    answer = call(words)
    assert answer.status == 0, answer
    return {output: read_result(place / output) for output in outputs}
