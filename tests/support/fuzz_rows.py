"""What the fuzz suite knows of each command: a call that is quick and good, and each file that it reads.

A new command needs a row in :data:`COMMANDS`, and one in :data:`FILES` for each kind of file that it takes.
"""

from typing import NamedTuple


class CommandRow(NamedTuple):
    """A quick call, to which options are added.

    ``dear`` options take long where a number is large and accepted; those that are ``left_out`` start processes or
    connections.
    """

    words: tuple[str, ...] = ()
    dear: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    failing: bool = False


_GUEST = ("--memory", "4M", "--interface", "pfn")
_RUN_DEAR = ("memory", "vcpus", "tds", "counts", "samples")

COMMANDS = {
    "compare": CommandRow(_GUEST, _RUN_DEAR),
    "run": CommandRow(_GUEST, _RUN_DEAR),
    "scale": CommandRow((*_GUEST, "--counts", "1,2", "--samples", "0"), _RUN_DEAR),
    "steady": CommandRow(("--memory", "4M", "--accesses", "1000"), ("accesses",)),
    "sweep": CommandRow(
        ("--axis", "memory=4M", "--axis", "interface=pfn", "--samples", "8"), _RUN_DEAR, ("workers", "scheduler"), True
    ),
    "explore": CommandRow(("{small.nc}", "-o", "{out}.html")),
    "report": CommandRow(  # of a guest that is refused: a good one takes half a minute
        ("--memory", "1G", "--shattered", "1", "--shared-pages", "262144", "-o", "{out}"), _RUN_DEAR
    ),
    "params": CommandRow(),
    "plot": CommandRow(("{compare.json}", "-o", "{out}.svg")),
    "calibrate": CommandRow(),
    "validate": CommandRow(failing=True),
    "sensitivity": CommandRow(),
    "conform": CommandRow(("{small.jsonl.gz}",), failing=True),
    "doctor": CommandRow(),
    "ingest host": CommandRow(("--proc", "{proc}", "--sys", "{proc}", "-o", "{out}.json")),
    "ingest": CommandRow(("auto", "{trace.txt}")),
}
"""By the words that name a command; ``{name}`` is a seed. ``ingest`` stands for all its kinds of trace."""


class FileRow(NamedTuple):
    """A kind of file: its seeds by name, how they can be spoilt, and the calls that read it as ``{file}``."""

    seeds: tuple[str, ...]
    form: str
    calls: tuple[tuple[str, ...], ...]
    number: int = 100
    failing: bool = False


FILES = {
    "scenario": FileRow(
        ("life.toml",), "toml", (("run", "{file}"), ("run", "{file}", "--what-if", "--json", "{out}.json")), 300
    ),
    "parameters": FileRow(
        ("params.toml", "own.toml"),
        "toml",
        (
            ("params", "--params", "{file}", "--sources"),
            ("params", "--params", "{file}", "--toml", "{out}.toml"),
            ("compare", *_GUEST, "--params", "{file}"),
            ("steady", "--memory", "4M", "--accesses", "1000", "--params", "{file}"),
        ),
        300,
    ),
    "grid": FileRow(
        ("grid.toml",),
        "toml",
        (("sweep", "{file}", "--samples", "8"), ("sweep", "{file}", "--samples", "8", "--json", "-")),
        100,
        failing=True,
    ),
    "host": FileRow(
        ("host.json",),
        "json",
        (
            ("compare", *_GUEST, "--backing", "host", "--host", "{file}"),
            (
                "run",
                "--memory",
                "300M",
                "--interface",
                "pfn",
                "--backing",
                "host",
                "--scale-host",
                "--max-folio-order",
                "0",
                "--host",
                "{file}",
            ),
            ("compare", *_GUEST, "--backing", "extents", "--extents", "{extents.csv}", "--host", "{file}"),
            ("ingest", "lscpu", "{lscpu.txt}", "--what", "host", "--base", "{file}", "-o", "{out}.json"),
        ),
        300,
    ),
    "extents": FileRow(
        ("extents.csv",), "csv", (("compare", *_GUEST, "--backing", "extents", "--extents", "{file}"),), 200
    ),
    "faults": FileRow(
        ("faults.csv",), "csv", (("compare", *_GUEST, "--order", "{file}"), ("run", *_GUEST, "--order", "{file}")), 100
    ),
    "observations": FileRow(
        ("observations.csv",),
        "csv",
        (
            ("validate", "--observations", "{file}"),
            ("calibrate", "--observations", "{file}", "-o", "{out}.toml"),
            ("calibrate", "--only", "--free", "flush_line", "--observations", "{file}", "--json", "-"),
        ),
        200,
        failing=True,
    ),
    "results": FileRow(
        ("compare.json", "scale.json", "changes.json", "validate.json", "sensitivity.json"),
        "json",
        (("plot", "{file}", "-o", "{out}.svg"),),
        100,
    ),
    "sweeps": FileRow(
        ("small.nc",), "bytes", (("plot", "{file}", "-o", "{out}.svg"), ("explore", "{file}", "-o", "{out}.html")), 100
    ),
    "recordings": FileRow(
        ("small.jsonl.gz",),
        "recording",
        (("conform", "{file}"), ("conform", "{file}", "--json", "-", "--by-status")),
        300,
        failing=True,
    ),
}
"""By kind. Traces are not here: their seeds are the samples, each read as every kind of trace."""
