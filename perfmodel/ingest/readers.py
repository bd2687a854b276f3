"""The readers by name, and which of them a file is for."""

from perfmodel.errors import InputError
from perfmodel.ingest import (
    bpftrace_json,
    bpftrace_text,
    funclatency,
    function_graph,
    kvm_events,
    kvm_stat,
    lscpu,
    mlc,
    numactl,
    page_types,
    perf_ftrace,
    perf_kvm_stat,
    selftests,
    sysfs_cache,
    tdx_dmesg,
)
from perfmodel.ingest.contract import Options, Reader, Reading, drops
from perfmodel.ingest.lines import Lines, head_of, read_blocks
from perfmodel.ingest.report import Report
from perfmodel.workers import Progress

READERS: dict[str, Reader] = {
    reader.KIND: reader
    for reader in (
        bpftrace_json, kvm_events, function_graph, bpftrace_text, perf_kvm_stat, perf_ftrace, funclatency, tdx_dmesg,
        numactl, mlc, lscpu, sysfs_cache, selftests, kvm_stat, page_types,
    )
}  # fmt: skip
"""In the order in which they are asked whether a file is theirs, the least ambiguous first."""


def recognise(path: str) -> str:
    """Return the kind of the file at ``path``.

    Raises
    ------
    InputError
        No reader takes it.
    """
    if path == "-":
        raise InputError("auto '-': accepted is a file; for standard input name the kind")
    head = head_of(path).decode("utf-8", "replace")
    for kind, reader in READERS.items():
        if reader.recognises(head):
            return kind
    raise InputError(f"{path}: not recognised by its first lines: accepted are {', '.join(READERS)}")


def read_file(kind: str, path: str, options: Options | None = None, progress: Progress | None = None) -> Reading:
    """Read the file at ``path`` as ``kind``, or as what it looks like for ``auto``.

    Parameters
    ----------
    kind : str
        A key of :data:`READERS`, or ``auto``.
    path : str
        ``-`` for standard input.
    options : Options, optional
    progress : callable, optional
        Called with bytes read and in all.

    Raises
    ------
    InputError
        The file cannot be read, is compressed, or holds nothing of that kind; one line.
    """
    kind = recognise(path) if kind == "auto" else kind
    if kind not in READERS:
        raise InputError(f"kind {kind!r}: accepted are auto, {', '.join(READERS)}")
    report = Report(kind, path)
    reading = READERS[kind].read(Lines(read_blocks(path, progress), report), options or Options())
    if not report.used:
        why = f"; dropped: {drops(report.dropped)}" if report.dropped else ""
        raise InputError(
            f"{path}: nothing usable as {kind} in {report.lines:,} lines{why}: accepted is {READERS[kind].ACCEPTS}"
        )
    return reading
