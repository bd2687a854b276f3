"""Lines of a file of any size, in bounded memory."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from perfmodel.errors import InputError
from perfmodel.files import open_regular
from perfmodel.ingest.report import Report

_BLOCK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 1 << 14
"""A longer line is no line of any format but JSON: it is dropped and not kept in memory."""

HEAD_BYTES = 1 << 14

_MAGIC = {
    b"\x1f\x8b": "gzip-compressed: accepted is text, as from gzip -dc FILE | perfmodel ingest KIND -",
    b"\xfd7zXZ": "xz-compressed: accepted is text, as from xz -dc FILE | perfmodel ingest KIND -",
    b"\x28\xb5\x2f\xfd": "zstd-compressed: accepted is text, as from zstd -dc FILE | perfmodel ingest KIND -",
    b"BZh": "bzip2-compressed: accepted is text, as from bzip2 -dc FILE | perfmodel ingest KIND -",
    b"PK\x03\x04": "a zip archive: accepted is the text inside",
    b"PERFILE2": "binary perf.data: accepted is text, as from perf script --ns -i FILE | perfmodel ingest kvm-events -",
    b"\x17\x08\x44tracing": "binary trace.dat: accepted is text, as from trace-cmd report -i FILE",
    b"\x7fELF": "a binary program: accepted is text",
}


class Lines:
    """The lines of one file, each once; counts them, and drops those that are too long or binary.

    Parameters
    ----------
    blocks : iterator of bytes
    report : Report

    Attributes
    ----------
    longest_bytes : int
        Longer lines are dropped; a reader may raise it before it begins.
    """

    def __init__(self, blocks: Iterator[bytes], report: Report) -> None:
        self._blocks = blocks
        self.report = report
        self.longest_bytes = LONGEST_LINE_BYTES

    def __iter__(self) -> Iterator[str]:
        """Yield lines without their ends; undecodable bytes become U+FFFD."""
        rest, lost = b"", False
        for block in self._blocks:
            head, newline, tail = block.rpartition(b"\n")
            if not newline:
                rest += tail
            else:
                yield from self._whole(rest + head, lost)
                rest, lost = tail, False
            if len(rest) > self.longest_bytes:
                rest, lost = b"", True
        if rest or lost:
            yield from self._whole(rest, lost)

    def _whole(self, data: bytes, lost: bool) -> Iterator[str]:
        lines = data.decode("utf-8", "replace").split("\n")
        self.report.lines += len(lines)
        if lost:
            self.report.drop("too long")
            del lines[0]
        binary = b"\0" in data
        # no look at each line where the whole block is shorter than the longest line, or plain
        odd = binary or (len(data) > self.longest_bytes and max(map(len, lines), default=0) > self.longest_bytes)
        if not odd:
            yield from lines
            return
        for line in lines:
            if "\0" in line:
                self.report.drop("binary")
            elif len(line) > self.longest_bytes:
                self.report.drop("too long")
            else:
                yield line


def head_of(path: str) -> bytes:
    """Return the first bytes of the file at ``path``.

    Raises
    ------
    InputError
        It is missing, empty, compressed or another tool's binary.
    """
    with _open(path) as file:
        head = file.read(HEAD_BYTES)
    _check(path, head)
    return head


def read_blocks(path: str, progress: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file, or of standard input for ``-``, block by block.

    ``progress`` is called with bytes done and in all; 0 in all where that is not known.
    """
    done = 0
    with _open(path) as file:
        total = Path(path).stat().st_size if path != "-" else 0
        while block := _read(path, file):
            if not done:
                _check(path, block)
            done += len(block)
            yield block
            if progress:
                progress(done, max(total, done))
    if not done:
        _check(path, b"")


def _read(path: str, file: IO[bytes]) -> bytes:
    try:
        return cast(bytes, file.read1(_BLOCK_BYTES)) if hasattr(file, "read1") else file.read(_BLOCK_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): accepted is a text file") from None


def _open(path: str) -> IO[bytes]:
    if path == "-":
        return cast(IO[bytes], open(sys.stdin.fileno(), "rb", closefd=False))
    try:
        return open_regular(Path(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}): accepted is a text file, or - for a pipe"
        ) from None


def _check(path: str, head: bytes) -> None:
    if not head.strip():
        raise InputError(f"{path}: empty: accepted is a text file with at least one line")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path}: {what}")
