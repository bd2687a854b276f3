"""Does the modelled module agree with the real one, record by record, count by count, table by table?"""

import gzip
import json
from pathlib import Path

import pytest

from perfmodel.conform import conform_files
from perfmodel.replay import replay_vectors

RECORDS = 124_709


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    """The vector files."""
    return sorted((shared / "vectors").glob("*.jsonl.gz"))


def test_every_record_of_every_file_agrees(files: list[Path]) -> None:
    report = conform_files(files, replay_vectors)
    assert list(report.differences) == []
    assert (report.records, report.differing, report.final_differing) == (RECORDS, 0, 0)
    assert report.agrees


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        (40, ("out", "rax"), "0x8000020000000092"),
        (40, ("se", 1), "0x80e0000000000000"),
        (40, ("ev", 0), 18),
        (40, ("ev", 3), 20),
        (40, ("in", "rcx"), "0x0"),
        (-1, ("tds", 0, "chldcnt"), 1),
        (-1, ("pamt", "runs", 0, 3), "0x1000"),
    ],
)
def test_a_changed_file_does_not_agree(
    files: list[Path], tmp_path: Path, record: int, path: tuple[str | int, ...], value: object
) -> None:
    source = next(f for f in files if f.name.startswith("boot_a"))
    with gzip.open(source, "rt", encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    at = record + 1 if record >= 0 else len(lines) - 1
    document = json.loads(lines[at])
    place = document
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != value
    place[path[-1]] = value
    lines[at] = json.dumps(document)
    changed = tmp_path / "boot_a.jsonl.gz"
    changed.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 1))
    assert not conform_files([changed], replay_vectors).agrees
