"""Memory that a run needs, held against what this machine has left before any of it is taken."""

import resource
from collections.abc import Iterator
from gzip import GzipFile
from pathlib import Path
from typing import BinaryIO

from perfmodel.errors import TooLargeError

_NEGLIGIBLE_BYTES = 64 << 20
_GIB = 1 << 30
_NO_LIMIT = 1 << 62


def require_memory(need_bytes: int, what: str, instead: str) -> None:
    """Refuse a run that would not fit.

    Parameters
    ----------
    need_bytes : int
        An estimate, good to about half of itself either way.
    what : str
        What takes the memory.
    instead : str
        What would be accepted, such as ``"a smaller count"``.

    Raises
    ------
    TooLargeError
        One line with both figures.
    """
    if need_bytes <= _NEGLIGIBLE_BYTES:
        return
    available = available_bytes()
    if need_bytes > available:
        raise TooLargeError(
            f"memory: this run needs about {need_bytes / _GIB:,.1f} GiB for {what}, {available / _GIB:,.1f} GiB are "
            f"available: accepted is {instead}"
        )


def read_within_memory(file: BinaryIO | GzipFile, name: str, factor: int) -> bytes:
    """Return the content of ``file``, whatever it claims to hold, where ``factor`` times its bytes fit in memory.

    Raises
    ------
    TooLargeError
        They do not.
    """
    most = available_bytes() // factor
    content = file.read(most + 1)
    if len(content) > most:
        require_memory(factor * len(content), f"the content of {name}, so far", "a smaller file")
    return content


def available_bytes() -> int:
    """Return what this process can still take: the least of free memory, its cgroups' limits and RLIMIT_AS."""
    return max(0, min([_NO_LIMIT, *_limits()]))


def _limits() -> Iterator[int]:
    if (free := _field(Path("/proc/meminfo"), "MemAvailable:")) is not None:
        yield free << 10
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft - ((_field(Path("/proc/self/status"), "VmSize:") or 0) << 10)
    for folder in _cgroups():
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            # page cache counts as used and is given back where memory is short
            yield limit - used + (_field(folder / "memory.stat", "inactive_file") or 0)


def _cgroups() -> Iterator[Path]:
    """Yield this process's memory cgroup and those above it, of version 2 and 1."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
        folder = root / name.lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(root))


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int | None:
    words = next((words for line in _text(path).splitlines() if (words := line.split())[:1] == [name]), [])
    return int(words[1]) if len(words) > 1 else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
