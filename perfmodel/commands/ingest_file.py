"""``perfmodel ingest KIND FILE``: a user's trace as observations, faults, extents or a host."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from perfmodel.commands.options import add_options
from perfmodel.commands.output import check_writable, progress_bar, warn, write_json
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from perfmodel.ingest.contract import FaultSink, Options, Reading
    from perfmodel.ingest.result import Ingested

KINDS = {
    "auto": "any of these, by its first lines",
    "bpftrace-json": "bpftrace -f json: maps of stats and histograms",
    "bpftrace-text": "bpftrace's text: maps, stats, histograms, EPT_SERVICE records",
    "kvm-events": "KVM tracepoints of tracefs, trace-cmd report or perf script",
    "function-graph": "the function_graph tracer, or perf ftrace -G",
    "perf-kvm-stat": "perf kvm stat report, either layout",
    "perf-ftrace": "perf ftrace latency or profile",
    "bcc": "bcc's funclatency or kvmexit",
    "tdx-dmesg": "a kernel log with virt/tdx: lines",
    "numactl": "numactl -H",
    "mlc": "Intel Memory Latency Checker",
    "lscpu": "lscpu, plain or -C",
    "sysfs-cache": "grep . /sys/devices/system/cpu/cpu0/cache/index*/*",
    "selftests": "KVM selftests",
    "kvm-stat": "kvm_stat, live or CSV log",
    "page-types": "page-types, list or summary",
}
WHAT = ("observations", "faults", "extents", "host")
_GHZ = click.FloatRange(0.1, 10)

OPTIONS = [
    click.option("-o", "--output", metavar="FILE", help="Write what came of it; - for stdout."),
    click.option("--what", type=click.Choice(WHAT), default="observations", show_default=True,
                 help="What -o writes: CSV for calibrate and validate --observations; private faults for run --order; "
                 "CSV for --backing extents; JSON for --host."),
    click.option("--host", default="mine", show_default=True, metavar="NAME",
                 help="Host of the observations; rows of one host share a scale."),
    click.option("--page-size", type=click.Choice(("4K", "2M")), help="Level of mappings, where the file has none. "
                 "[default: 4K, with a warning]"),
    click.option("--function", metavar="NAME", help="Function that was timed, where the file does not name it."),
    click.option("--row", "names", multiple=True, metavar="NAME=ID",
                 help="Take the file's NAME for the observation ID, such as '@svc[48]=host-4k'. Repeatable."),
    click.option("--vcpus", type=click.IntRange(1, 1024), metavar="N", help="vCPUs of the guest."),
    click.option("--inside", type=click.IntRange(0, 1023), metavar="N",
                 help="vCPUs that ran in the TD beside the one that acted."),
    click.option("--bytes-per-vcpu", default="1GiB", show_default=True, metavar="SIZE",
                 help="Memory that a selftest gave each vCPU."),
    click.option("--core-ghz", type=_GHZ, metavar="GHZ", help="Core clock of the host."),
    click.option("--tsc-ghz", type=_GHZ, metavar="GHZ", help="TSC clock of the host."),
    click.option("--tracer", type=click.Choice(("none", "service", "addresses")),
                 help="What ran inside the intervals. [default: the reader's guess]"),
    click.option("--error", type=click.FloatRange(0, 2), default=0.05, show_default=True, metavar="SHARE",
                 help="Standard deviation of the logarithm beyond what the file itself shows."),
    click.option("--base", type=click.Path(path_type=Path), metavar="FILE",
                 help="With --what host: a host to fill the rest from."),
    click.option("--json", "json_path", metavar="FILE", help="Write a report as JSON; - for stdout."),
]  # fmt: skip


def add_file_commands(group: click.Group) -> None:
    """Add one command for each kind to ``perfmodel ingest``."""
    for kind, about in KINDS.items():
        group.add_command(_command(kind, about))


def _command(kind: str, about: str) -> click.Command:
    @click.command(kind, help=f"Read {about}.\n\nFILE may be - for standard input.", short_help=about)
    @click.argument("file")
    @add_options(OPTIONS)
    def command(file: str, **given: Any) -> None:
        _ingest(kind, file, given)

    return command


def _ingest(kind: str, file: str, given: dict[str, Any]) -> None:
    output, json_path, what = given["output"], given["json_path"], given["what"]
    if output == "-" == json_path:
        raise InputError("output '-' and json '-': accepted is one of them on stdout")
    if given["inside"] is not None and given["inside"] >= (given["vcpus"] or 1):
        raise InputError(f"inside {given['inside']}: accepted is less than vcpus {given['vcpus'] or 1}")
    if given["base"] is not None and what != "host":
        raise InputError(f"base {str(given['base'])!r}: accepted with --what host")
    check_writable(output)
    check_writable(json_path)
    from perfmodel.ingest.result import describe
    from perfmodel.ingest.rows import observation_rows, observations_csv

    for key, text in (("host", given["host"]), *(("row", name) for name in given["names"])):
        if not text.isprintable():
            raise InputError(f"{key} {text!r}: accepted is text without control characters")
    machine = _machine(given)
    if output is None or what in ("observations", "host"):
        reading = _read(kind, file, given, None)
        rows, unused = observation_rows(reading, machine)
        if output is not None and what == "observations":
            if not rows:
                reasons = "; ".join(dict.fromkeys(one.why for one in unused)) or f"{reading.report.kind} has no times"
                raise InputError(f"{file}: no observation comes of it: {reasons[:300]}")
            _write(output, observations_csv(rows))
        elif output is not None:
            _write_host(reading, output, given["base"])
    else:
        reading = _write_faults(kind, file, given)
        rows, unused = observation_rows(reading, machine)
    done = describe(reading, rows, unused)
    if "-" not in (output, json_path):
        _print(done, output, what)
    for warning in reading.report.warnings:
        warn(warning)
    if json_path:
        from perfmodel.calibration.report import to_json

        write_json(json_path, to_json(done))


def _machine(given: dict[str, Any]) -> Any:
    from perfmodel.ingest.rows import Machine

    names = {}
    for text in given["names"]:
        name, sign, wanted = text.rpartition("=")
        if not sign or not name:
            raise InputError(f"row {text!r}: accepted is NAME=ID, such as '@svc[48]=host-4k'")
        names[name] = wanted
    known = Machine.__dataclass_fields__.keys() & given.keys() - {"names"}
    return Machine(names=names, **{name: given[name] for name in known})


def _read(kind: str, file: str, given: dict[str, Any], on_fault: "FaultSink | None") -> "Reading":
    from perfmodel.ingest.readers import read_file

    with progress_bar("bytes read") as progress:
        return read_file(kind, file, _options(given, on_fault), progress)


def _options(given: dict[str, Any], on_fault: "FaultSink | None") -> "Options":
    from perfmodel.ingest.contract import Options
    from perfmodel.sizes import parse_size

    return Options(
        function=given["function"], vcpus=given["vcpus"],
        bytes_per_vcpu=parse_size(given["bytes_per_vcpu"], "bytes-per-vcpu"), on_fault=on_fault,
    )  # fmt: skip


def _write(path: str, data: bytes) -> None:
    write_json(path, data)


def _write_host(reading: "Reading", output: str, base: Path | None) -> None:
    from perfmodel.host.storage import save_host
    from perfmodel.ingest.host_file import host_of

    if output == "-":
        raise InputError("output '-': accepted is a file for a host")
    if reading.host is None:
        raise InputError(f"{reading.report.file}: tells nothing of a host: accepted are numactl, lscpu, sysfs, CMRs")
    save_host(host_of(reading.host, base, reading.report.file), Path(output))


def _write_faults(kind: str, file: str, given: dict[str, Any]) -> "Reading":
    from perfmodel.files import whole_file
    from perfmodel.ingest.fault_files import Extents, TraceWriter

    output = given["output"]
    if given["what"] == "extents":
        extents = Extents()
        reading = _read(kind, file, given, extents.add)
        if not len(extents):
            raise InputError(f"{file}: no extent comes of it: accepted are faults with kvm_mmu_spte_requested")
        _write(output, extents.csv())
        return reading
    target: Callable[[Path], AbstractContextManager[IO[bytes]]] = whole_file
    with nullcontext(sys.stdout.buffer) if output == "-" else target(Path(output)) as out:
        writer = TraceWriter(out)
        reading = _read(kind, file, given, writer.add)
        if not writer.faults:
            raise InputError(f"{file}: no private fault with an address in it: accepted are faults with kvm_page_fault")
        writer.flush()
    return reading


def _print(done: "Ingested", output: str | None, what: str) -> None:
    lines = done.lines
    units = f", units {', '.join(done.units)}" if done.units else ""
    print(f"{done.file}: {done.kind}, {done.renderer}{units}")
    dropped = sum(lines.dropped.values())
    print(f"lines: {lines.read:,} read, {lines.used:,} used, {lines.skipped:,} of no use, {dropped:,} dropped")
    for why, count in lines.dropped.items():
        print(f"  dropped: {count:,} {why}")
    if done.measurements:
        _print_measurements(done)
    for key, value in done.facts.items():
        if value not in ({}, [], 0):
            text = str(value)
            print(f"{key}: {text if len(text) <= 200 else text[:197] + '...'}")
    if output:
        print(f"{output}: {what}")


def _print_measurements(done: "Ingested") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "level", "calls", "mean ns", "self ns", "error", "observation")
    by_source = {row["source"].partition(" of ")[2]: row["id"] for row in done.observations}
    shown = sorted(done.measurements, key=lambda one: -one.count * one.mean_ns)[:40]
    for one in shown:
        title = f"{one.what} at {one.level}" if one.level else one.what
        own = "" if one.self_ns is None else f"{one.self_ns:,.0f}"
        cells = (
            f"{one.count:,}",
            f"{one.mean_ns:,.0f}",
            own,
            f"{100 * one.error:.1f} %",
            Text(by_source.get(title, "")),
        )
        table.add_row(Text(one.what), one.level or "", *cells)
    Console(width=None if Console().is_terminal else 150).print(table)
