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
    """Draw RESULT, a file that 'compare', 'scale', 'validate' or 'sensitivity' wrote with --json.

    compare: time and throughput by interface, stacked by stage. scale: by number of vCPUs, throughput of populating and
    what bounds it, or the time of conversions, splits and tear-down. validate: predicted against measured. sensitivity:
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
    from perfmodel.scaling.result import SCHEMA as SCALE_SCHEMA

    schema = schema_of(path, (COMPARE_SCHEMA, SCALE_SCHEMA, VALIDATE_SCHEMA, SENSITIVITY_SCHEMA))
    if schema == SCALE_SCHEMA:
        return _draw_scale(path)
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


def _draw_scale(path: Path) -> "Figure":
    from perfmodel.scaling.result import load_scale
    from plots.changes import plot_changes
    from plots.scaling import plot_scaling

    result = load_scale(path)
    workloads = list(dict.fromkeys(curve.workload for curve in result.curves))
    if workloads == ["populate"]:
        return plot_scaling(result)
    if "populate" in workloads:
        raise InputError(
            f"{path}: workloads {', '.join(workloads)}: accepted are populate alone, or convert, split and teardown, "
            "which are another figure"
        )
    return plot_changes(result)
