"""Files: read only where reading ends, written whole or not at all."""

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from perfmodel.errors import InputError
from perfmodel.memory_need import require_memory

_DECODED = 16
"""Bytes in memory for a byte of a file that is read whole: its text, and what is made of it."""


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading bytes; unlike ``open`` it never waits, as a FIFO lets one, and never reads without end.

    Raises
    ------
    OSError
        The file cannot be opened, or is a folder, FIFO, socket or device.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a folder, pipe or device and no regular file", str(path))
    return path.open("rb", buffering)


def read_whole(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    OSError
        As :func:`open_regular`.
    InputError
        It is larger than memory allows.
    """
    with open_regular(path) as file:
        require_memory(_DECODED * os.fstat(file.fileno()).st_size, f"reading {path}", "a smaller file")
        return file.read()


@contextmanager
def open_csv(path: Path) -> Iterator[TextIO]:
    """Open a regular file of UTF-8 text whose rows will be kept in memory, with what :func:`read_whole` raises."""
    with open_regular(path) as file:
        require_memory(_DECODED * os.fstat(file.fileno()).st_size, f"reading {path}", "a smaller file")
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield text


def lies_within(path: Path, folder: Path) -> bool:
    """Whether ``path`` lies in ``folder`` or below it, wherever links lead: what an untrusted file may name."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a reader sees the old file or the new one, never a part.

    Raises
    ------
    InputError
        The directory is missing or cannot be written; nothing is left behind.
    """
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Do what :func:`write_whole` does with what is written to the yielded file, once the block has ended well.

    Until then it is called ``.perfmodel-….partial``, which is all that a killed process can leave behind.
    """
    refuse_special(path)
    partial = path.with_name(f".perfmodel-{secrets.token_hex(8)}.partial")  # named before it is made
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); a writable path is needed") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def refuse_special(path: Path) -> None:
    """Raise :class:`InputError` where no file can be, or one would take the place of a folder, a device or a pipe."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be written ({reason}); a writable path is needed") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise InputError(f"output {str(path)!r} is {what} and cannot be written: accepted is a file")
