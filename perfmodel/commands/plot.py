"""``perfmodel plot``: a figure from a result."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfmodel.commands.output import check_writable
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS = (".png", ".svg", ".pdf")


@click.command("plot")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="FILE", help="Figure to write: .png, .svg or .pdf.")
def plot_command(result: Path, output: str) -> None:
    """Draw RESULT, a file that 'compare', 'validate' or 'sensitivity' wrote with --json.

    compare: time and throughput by interface, stacked by stage. validate: predicted against measured. sensitivity:
    which prices matter, and what to measure.
    """
    if Path(output).suffix.lower() not in _FORMATS:
        raise InputError(f"output {output!r}: accepted are {', '.join(_FORMATS)}")
    check_writable(output)
    if find_spec("matplotlib") is None:
        raise InputError("plot needs matplotlib: install perfmodel[plot]")
    from perfmodel.files import write_whole
    from plots.style import render

    write_whole(Path(output), render(_draw(result), Path(output).suffix[1:].lower()))
    print(output)


def _draw(path: Path) -> "Figure":
    from perfmodel.calibration.report import VALIDATE_SCHEMA, Validation
    from perfmodel.calibration.sensitivity_report import SENSITIVITY_SCHEMA, Sensitivity
    from perfmodel.result import COMPARE_SCHEMA, load_comparison, load_document, schema_of

    schema = schema_of(path, (COMPARE_SCHEMA, VALIDATE_SCHEMA, SENSITIVITY_SCHEMA))
    if schema == VALIDATE_SCHEMA:
        from plots.residuals import plot_residuals, points_of

        validation = load_document(path, Validation)
        if not points_of(validation):
            raise InputError(f"{path}: no scored time: accepted is a validation with one or more")
        return plot_residuals(validation)
    if schema == SENSITIVITY_SCHEMA:
        from plots.sensitivity import plot_sensitivity

        return plot_sensitivity(load_document(path, Sensitivity))
    from plots.interfaces import plot_interfaces

    return plot_interfaces(load_comparison(path))
