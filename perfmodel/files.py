"""Files written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from perfmodel.errors import InputError


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
    """Do what :func:`write_whole` does with what is written to the yielded file, once the block has ended well."""
    partial: str | None = None
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            # mkstemp makes the file private; a plain open() would have obeyed the umask
            os.fchmod(handle, 0o666 & ~_umask())
            yield file
            file.flush()
            os.fsync(handle)
        Path(partial).replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); a writable path is needed") from None
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
