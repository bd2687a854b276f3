"""``perfmodel conform``: replay conformance vectors and compare with what the TDX module gave."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from perfmodel.conform import Agreement, ConformReport, RecordDifference

_LIMIT = 10_000


@click.command("conform")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "json_path", metavar="FILE", help="Write the report as JSON; - for stdout.")
@click.option("--differences", default=5, show_default=True, metavar="N",
              help="Differing records, and differing places of each final state, to print in full.")  # fmt: skip
@click.option("--by-status", is_flag=True, help="List every status of every call, also where all agree.")
def conform_command(files: tuple[Path, ...], json_path: str | None, differences: int, by_status: bool) -> None:
    """Replay conformance vectors and compare exactly: status, registers, S-EPT entry, event counts, final state.

    FILE is a gzip file of JSON lines, such as vectors/boot_a.jsonl.gz. Exit status 1 on any difference.
    """
    if not 0 <= differences <= _LIMIT:
        raise InputError(f"differences {differences}: accepted is a whole number from 0 to {_LIMIT}")
    check_writable(json_path)
    from perfmodel.conform import conform_files, to_json
    from perfmodel.replay import replay_vectors

    with progress_bar("vector files", _announce) as progress:
        report = conform_files(files, replay_vectors, differences=differences, progress=progress)
    if json_path != "-":
        _print_report(report, by_status)
    write_json(json_path, to_json(report))
    if not report.agrees:
        raise click.exceptions.Exit(1)


def _announce() -> None:
    announce_compilation("replay.replay_records", 100)


def _print_report(report: "ConformReport", by_status: bool) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False, emoji=False)
    _print_calls(console, report, by_status)
    for difference in report.differences:
        _print_difference(console, difference)
    if len(report.differences) < report.differing:
        hidden = report.differing - len(report.differences)
        console.print(f"{hidden:,} more records differ; --differences N shows more", soft_wrap=True)
    for file in report.files:
        for place in file.final_shown:
            values = f"expected {place.expected or 'none'}, got {place.got or 'none'}"
            console.print(f"{file.file}: final state: {place.place}: {values}", soft_wrap=True)
        if len(file.final_shown) < file.final:
            console.print(f"{file.file}: final state: {file.final - len(file.final_shown):,} more places differ",
                          soft_wrap=True)  # fmt: skip
    wrong = sum(file.final > 0 for file in report.files)
    console.print(
        f"{len(report.files)} files, {report.records:,} records: "
        f"{report.differing:,} records and {wrong} final states differ",
        soft_wrap=True,
    )
    if report.not_in_files:
        console.print(f"not in these files: {', '.join(report.not_in_files)}", soft_wrap=True)
    console.print(f"not covered by any vectors: {', '.join(report.not_covered)}", soft_wrap=True)


def _print_calls(console: "Console", report: "ConformReport", by_status: bool) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("call and observed status")
    for title in ("records", "status", "registers", "exit, epoch", "S-EPT entry", "event counts"):
        table.add_column(title, justify="right")
    for call, total in report.by_call().items():
        table.add_row(call, *_cells(total))
        for row in report.calls:
            if row.call == call and (by_status or row.agreement.agree < row.agreement.records):
                table.add_row(f"  {row.status}", *_cells(row.agreement))
    console.print(table)


def _cells(agreement: "Agreement") -> list[str]:
    from perfmodel.conform import ASPECTS

    cells = [f"{agreement.records:,}"]
    for aspect in ASPECTS:
        share = getattr(agreement, aspect)
        if not share.compared:
            cells.append("-")
        elif share.agree == share.compared:
            cells.append(f"all {share.compared:,}")
        else:
            cells.append(f"{share.agree:,} of {share.compared:,}")
    return cells


def _print_difference(console: "Console", difference: "RecordDifference") -> None:
    flags = [f"note {difference.note!r}"] * bool(difference.note) + ["stubbed"] * difference.stubbed
    head = ", ".join((f"{difference.file}: record {difference.record}: {difference.call}", *flags))
    console.print(head, soft_wrap=True)
    console.print(f"  differs in {', '.join(difference.differs)}", soft_wrap=True)
    for title, values in (("input", difference.input), ("expected", difference.expected), ("got", difference.got)):
        console.print(f"  {title:<9}" + " ".join(f"{key}={value}" for key, value in values.items()), soft_wrap=True)
