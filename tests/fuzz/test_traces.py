"""Spoilt traces: every sample, read as every kind, for everything that ``ingest`` can make of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_fuzz import call, call_checked, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import WORDS, spoiled_bytes

from perfmodel.commands.ingest_file import KINDS, WHAT

OUTPUTS = ("out", "out.json")

Fill = Callable[..., list[str]]


@pytest.fixture(scope="module")
def samples(shared: Path) -> dict[str, list[bytes]]:
    """The samples by the kind that ``auto`` finds them to be."""
    found: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for path in sorted((shared / "facts" / "samples").rglob("*")):
        if path.is_file():
            for kind in KINDS:
                if kind == "auto" or call(["ingest", kind, str(path)]).status == 0:
                    found[kind].append(path.read_bytes()[:20_000])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_traces(kind: str, samples: dict[str, list[bytes]], room: Path, fill_in: Fill) -> None:
    own, every = samples[kind] or samples["auto"], samples["auto"]

    @examples(60)
    @given(st.data())
    def look(data: st.DataObject) -> None:
        whole = data.draw(st.sampled_from(own if data.draw(st.integers(0, 3)) else every))
        (room / "file").write_bytes(data.draw(spoiled_bytes(whole)))
        what = data.draw(st.sampled_from([*WHAT, None]))
        words = ["ingest", kind, "file", *(["--what", what, "-o", "out"] if what else ["--json", "out.json"])]
        words += data.draw(st.sampled_from([[], ["--vcpus", "4"], ["--function", data.draw(st.sampled_from(WORDS))]]))
        call_checked(words, room, OUTPUTS)
        for name in OUTPUTS:
            (room / name).unlink(missing_ok=True)

    look()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/", "missing", "fifo", "loop", "nul\0", "x" * 300])
def test_what_is_no_trace(path: str, room: Path) -> None:
    import os

    os.mkfifo(room / "fifo")
    (room / "loop").symlink_to(room / "loop")
    for kind in KINDS:
        assert call_checked(["ingest", kind, path, "-o", "out"], room).status == 2, kind
