"""Spoilt files of every kind: read if they happen to be good, else refused in one line, and nothing is written."""

import gzip
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_fuzz import call, call_checked, examples
from fuzz_rows import FILES, FileRow
from hypothesis import given
from hypothesis import strategies as st
from mutations import as_json, as_toml, spoiled_bytes, spoiled_csv, spoiled_tree

OUTPUTS = ("out.json", "out.toml", "out.svg", "out.html")

Fill = Callable[..., list[str]]


@st.composite
def spoiled_recording(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a recording with one line spoilt, or a damaged gzip file."""
    lines = gzip.decompress(whole).rstrip(b"\n").split(b"\n")
    at = draw(st.sampled_from([0, 1, len(lines) // 2, len(lines) - 1]))
    match draw(st.integers(0, 4)):
        case 0:
            return draw(spoiled_bytes(whole))
        case 1:
            lines[at] = draw(spoiled_bytes(lines[at]))
        case 2:
            lines.insert(at, lines[draw(st.integers(0, len(lines) - 1))])
        case _:
            lines[at] = as_json(draw(spoiled_tree(json.loads(lines[at]))))
    return gzip.compress(b"\n".join(lines), 1)


@st.composite
def spoiled(draw: st.DrawFn, form: str, whole: bytes) -> bytes:
    """Return a spoilt copy of a file of the given form."""
    if form == "recording":
        return draw(spoiled_recording(whole))
    if form == "bytes" or draw(st.integers(0, 2)) == 0:
        return draw(spoiled_bytes(whole))
    if form == "csv":
        return draw(spoiled_csv(whole))
    tree: Any = tomllib.loads(whole.decode()) if form == "toml" else json.loads(whole)
    return (as_toml if form == "toml" else as_json)(draw(spoiled_tree(tree)))


@pytest.mark.parametrize("kind", FILES)
def test_seeds_are_good(kind: str, seeds: Mapping[str, Path], room: Path, fill_in: Fill) -> None:
    row = FILES[kind]
    for seed in row.seeds:
        for words in row.calls:
            answer = call(fill_in(words, file=seeds[seed]))
            assert answer.status == 0 or (row.failing and answer.status == 1), (words, answer)


@pytest.mark.parametrize("kind", FILES)
def test_spoilt_files(kind: str, seeds: Mapping[str, Path], room: Path, fill_in: Fill) -> None:
    row = FILES[kind]
    whole = {seed: seeds[seed].read_bytes() for seed in row.seeds}
    (room / "faults.csv").write_bytes(seeds["faults.csv"].read_bytes())  # which a scenario may name

    @examples(row.number)
    @given(st.data())
    def look(data: st.DataObject) -> None:
        seed = data.draw(st.sampled_from(row.seeds))
        file = room / seed
        file.write_bytes(data.draw(spoiled(row.form, whole[seed])))
        words = fill_in(data.draw(st.sampled_from(row.calls)), file=seed)
        call_checked(words, room, OUTPUTS, row.failing)
        _clear(room)

    look()


def _clear(room: Path) -> None:
    for name in OUTPUTS:
        (room / name).unlink(missing_ok=True)


def _special(folder: Path) -> dict[str, Path]:
    """Return paths that are no readable file, by what they are."""
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "to-fifo").symlink_to(folder / "fifo")
    (folder / "closed").write_text("x")
    (folder / "closed").chmod(0)
    (folder / "empty").write_bytes(b"")
    (folder / "bom").write_bytes(b"\xef\xbb\xbf")
    (folder / "zeros").write_bytes(bytes(4096))
    (folder / "new\nline \x1b[31m").write_text("x")
    return {
        "missing": folder / "missing", "folder": folder, "fifo": folder / "fifo", "endless": Path("/dev/zero"),
        "device": Path("/dev/null"), "loop": folder / "loop", "linked fifo": folder / "to-fifo",
        "closed": folder / "closed", "empty": folder / "empty", "BOM": folder / "bom", "zeros": folder / "zeros",
        "name of two lines": folder / "new\nline \x1b[31m", "long name": folder / ("x" * 300),
        "below a file": folder / "empty" / "x", "no name": Path(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_file(kind: str, tmp_path: Path, room: Path, fill_in: Fill) -> None:
    row: FileRow = FILES[kind]
    for what, path in _special(tmp_path).items():
        for words in row.calls:
            answer = call_checked(fill_in(words, file=path), room, OUTPUTS)
            _clear(room)
            good = kind == "parameters" and what == "empty"  # which changes none
            assert answer.status == (0 if good else 2), (what, words, answer)


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"recordings"}))
def test_a_file_too_large_for_memory_is_not_read(kind: str, room: Path, fill_in: Fill) -> None:
    """Sparse, so that it takes no room; what is left of memory is said."""
    with (room / "large").open("wb") as file:
        file.truncate(1 << 42)
    for words in FILES[kind].calls:
        answer = call_checked(fill_in(words, file="large"), room)
        assert answer.status == 2
        assert "1.0 GiB are available" in answer.err, answer
