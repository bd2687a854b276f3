"""What commands print: tables on stdout, progress and warnings on stderr, JSON whole or not at all."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from perfmodel.errors import InputError, one_line
from perfmodel.files import refuse_special, write_whole

if TYPE_CHECKING:
    from perfmodel.workers import Progress

_QUIET_SECONDS = 2.0


def warn(message: str) -> None:
    """Print one line of warning or news to stderr."""
    print(f"perfmodel: {one_line(message)}", file=sys.stderr, flush=True)


def check_writable(path: str | None) -> None:
    """Refuse a file that could not be written at the end, before any work is done."""
    if path in (None, "-"):
        return
    target = Path(str(path))
    if not str(path).isprintable():
        raise InputError(f"output {path!r}: accepted is a name that can be printed")
    refuse_special(target)
    if not target.parent.is_dir():
        raise InputError(f"output {path!r}: the folder {str(target.parent)!r} does not exist")
    try:
        with TemporaryFile(dir=target.parent):  # which has no name at any time
            pass
    except OSError as error:
        raise InputError(
            f"output {path!r}: cannot be written ({error.strerror}): accepted is a writable file"
        ) from None


def write_json(path: str | None, document: bytes) -> None:
    """Write ``document`` to ``path``, to stdout for ``-``, nowhere for None."""
    if path == "-":
        sys.stdout.write(document.decode())
    elif path is not None:
        write_whole(Path(path), document)


@contextmanager
def progress_bar(what: str, at_start: Callable[[], None] | None = None) -> "Iterator[Progress]":
    """Show a bar on stderr for work that takes longer than two seconds.

    ``at_start`` is called with the first report: when the input has been found good and the work begins.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    started = time.monotonic()
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=console.is_terminal,
    )
    task = bar.add_task(what, total=None)
    begun = False

    def report(done: int, total: int) -> None:
        nonlocal begun
        if at_start and not begun:
            at_start()
        begun = True
        bar.update(task, completed=done, total=total)  # before the bar shows: it cannot without a total
        if time.monotonic() - started > _QUIET_SECONDS and not bar.live.is_started:
            bar.start()

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()


def announce_compilation(kernel: str, seconds: int) -> None:
    """Say so when ``kernel`` and those below it have yet to be compiled, once a version and machine.

    Parameters
    ----------
    kernel : str
        As :func:`kernels.jit.is_cached` takes it.
    seconds : int
        About how long it takes.
    """
    from kernels.jit import cache_folder, is_cached

    if not is_cached(kernel):
        warn(f"first run of this version: compiling kernels, about {seconds} s, into {cache_folder()}")
