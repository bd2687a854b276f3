"""``perfmodel doctor``: what of the environment and of the host's files is usable."""

import json
import sys

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool) -> None:
    """Say what of this environment the model can use: versions, threads, THP, kernel cache, host files."""
    from perfmodel.doctor import examine

    findings = examine()
    if as_json:
        json.dump([finding._asdict() for finding in findings], sys.stdout, indent=2)
        print()
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in ("what", "usable", "found", "what follows"):
        table.add_column(title)
    for finding in findings:
        cells = (finding.what, "yes" if finding.usable else "no", finding.found, finding.follows)
        table.add_row(*map(Text, cells))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
