"""``perfmodel plot``: a figure from a result."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from perfmodel.commands.output import check_writable
from perfmodel.errors import InputError
from plots.figures import FIGURES, KINDS, figures_of, find_figure
from plots.results import is_sweep, read_result

_FORMATS = (".png", ".svg", ".pdf")


class _PlotCommand(click.Command):
    """Lists the figures at the end of its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line a figure."""
        with formatter.section("Figures, by result; the first one is drawn where none is named"):
            for kind, written_by in KINDS.items():
                names = ", ".join(one.name for one in FIGURES if kind in one.kinds)
                formatter.write_dl([(written_by.strip("'"), names)])
        with formatter.section("What they show"):
            formatter.write_dl([(one.name, one.shows) for one in FIGURES])


@click.command("plot", cls=_PlotCommand)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", help="Figure to write: .png, .svg or .pdf.")
@click.option("--figure", "name", metavar="NAME", help="Which figure. [default: the first that RESULT gives]")
@click.option(
    "--at", metavar="AXIS=LABEL", multiple=True,
    help="Sweep: where along an axis that is not drawn. Repeatable. [default: its first entry]",
)  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="Print the figures that RESULT gives, the default first.")
def plot_command(result: Path, output: str | None, name: str | None, at: tuple[str, ...], listing: bool) -> None:
    """Draw RESULT: a file that another command wrote with --json, a file or folder of 'sweep', or benchmarks in JSON.

    A sweep of several axes is drawn along one of them: memory, the share of shattered folios or the number of vCPUs, as
    the figure's name says, or the first that --at leaves open.
    """
    if output is None and not listing:
        raise InputError("no output: accepted is -o FILE, a figure to write (.png, .svg or .pdf), or --list")
    if output is not None and Path(output).suffix.lower() not in _FORMATS:
        raise InputError(f"output {output!r}: accepted are {', '.join(_FORMATS)}")
    check_writable(output)
    kind, read = _read(result, at)
    if listing:
        for figure in figures_of(kind, read):
            print(f"{figure.name:<12} {figure.shows}")
    if output is not None:
        _draw(result, kind, read, name, output)


def _draw(path: Path, kind: str, read: Any, name: str | None, output: str) -> None:
    figure = find_figure(path, kind, read, name)
    if find_spec("matplotlib") is None:
        raise InputError("plot needs matplotlib: install perfmodel[plot]")
    from perfmodel.files import write_whole
    from plots.style import render

    try:
        drawn = render(figure.draw(read), Path(output).suffix[1:].lower())
    except ValueError as error:
        raise InputError(f"{path}: figure {figure.name!r}: {error}") from None
    write_whole(Path(output), drawn)
    print(output)


def _read(path: Path, at: Sequence[str]) -> tuple[str, Any]:
    if is_sweep(path):
        from plots.swept import read_sweep

        return "sweep", read_sweep(path, at)
    if at:
        raise InputError(f"at {at[0]!r}: accepted with a sweep; {path} is none")
    return read_result(path)
