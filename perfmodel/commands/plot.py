"""``perfmodel plot``: a figure from a result."""

from importlib.util import find_spec
from pathlib import Path

import click

from perfmodel.commands.output import check_writable
from perfmodel.errors import InputError

_FORMATS = (".png", ".svg", ".pdf")


@click.command("plot")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="FILE", help="Figure to write: .png, .svg or .pdf.")
def plot_command(result: Path, output: str) -> None:
    """Draw time and throughput by interface, stacked by stage, from RESULT, a file that 'compare --json' wrote."""
    if Path(output).suffix.lower() not in _FORMATS:
        raise InputError(f"output {output!r}: accepted are {', '.join(_FORMATS)}")
    check_writable(output)
    if find_spec("matplotlib") is None:
        raise InputError("plot needs matplotlib: install perfmodel[plot]")
    from perfmodel.files import write_whole
    from perfmodel.result import load_comparison
    from plots.interfaces import plot_interfaces
    from plots.style import render

    comparison = load_comparison(result)
    write_whole(Path(output), render(plot_interfaces(comparison), Path(output).suffix[1:].lower()))
    print(output)
