"""Calls of the command line under malformed input, and what every answer has to be."""

import contextlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, settings

from perfmodel.__main__ import main

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How many times the usual number of examples: 10 for a thorough run."""

_LONGEST_ERROR = 1000


def examples(number: int) -> settings:
    """Return Hypothesis settings for ``number`` examples, as fit for calls that take their time."""
    return settings(
        max_examples=number * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
        phases=[Phase.generate],  # to shrink takes minutes; what is printed is small enough
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


class Answer(NamedTuple):
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


def call(words: Iterable[str]) -> Answer:
    """Run ``perfmodel`` in this process; any exception but SystemExit comes through."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    status: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as stopped:
            status = stopped.code
    texts = []
    for stream in (out, err):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode())
    assert isinstance(status, int), f"exit status {status!r} of {words}"
    return Answer(status, *texts)


def call_checked(words: Iterable[str], folder: Path, outputs: Iterable[str] = (), failing: bool = False) -> Answer:
    """Run ``perfmodel`` and hold the answer to the law: good, or refused in one line with nothing written.

    Parameters
    ----------
    words : iterable of str
    folder : Path
        Where nothing may appear; the working directory is looked at too.
    outputs : iterable of str
        Files that a good call may leave there.
    failing : bool
        Exit status 1 is an answer too: a check that the input did not pass.
    """
    words = list(words)
    before = _files(folder)
    answer = call(words)
    about = f"{words}: {answer}"[:3000]
    assert answer.status in ((0, 1, 2) if failing else (0, 2)), about
    left = {name for name, content in _files(folder).items() if before.get(name) != content}
    if answer.status == 2:
        assert answer.out == "", about
        assert answer.err.startswith("perfmodel: "), about
        assert answer.err.endswith("\n"), about
        assert answer.err.count("\n") == 1, about
        assert len(answer.err) < _LONGEST_ERROR, about
        assert not left, about
    assert left <= set(outputs), about
    for text in (answer.out, answer.err):
        assert all(c.isprintable() or c in "\n\t" for c in text), about
    return answer


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what lies in ``folder`` and in the working directory: inode and time of change, by name."""
    found = {}
    for place in {folder, Path.cwd()}:
        for entry in os.scandir(place):
            about = entry.stat(follow_symlinks=False)
            found[entry.name] = (about.st_ino, about.st_mtime_ns)
    return found
