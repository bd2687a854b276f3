"""``perfmodel calibrate``: prices fitted to observations, as a file for ``--params``."""

from pathlib import Path
from typing import Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json


@click.command("calibrate")
@click.option(
    "--observations",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="CSV of observations to fit beside the public ones; its rows of role fit count. Repeatable.",
)
@click.option("--only", is_flag=True, help="Leave the public observations out.")
@click.option(
    "--free",
    multiple=True,
    metavar="NAME",
    help="A price that may move, instead of the usual ones; docs/costs.md lists these. Repeatable.",
)
@click.option(
    "--host", metavar="NAME", help="Write the set for this host of fitted rows: its scale in all prices, and its clock."
)
@add_options(PARAMETER_OPTIONS)
@click.option("-o", "--output", metavar="FILE", help="Write the fitted set as a file for --params; - for stdout.")
@click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout.")
def calibrate_command(
    files: tuple[Path, ...],
    only: bool,
    free: tuple[str, ...],
    host: str | None,
    output: str | None,
    json_path: str | None,
    **given: Any,
) -> None:
    """Fit the prices that observations can move, within their ranges, and say what the data do not tell.

    --preset, --params and --set describe the priors. The fitted set is for a host of scale 1, or for --host.
    """
    check_writable(json_path)
    check_writable(output)
    from perfmodel.calibration.calibrated import calibrate, calibration_toml
    from perfmodel.calibration.describe import describe_calibration
    from perfmodel.calibration.observations import gather
    from perfmodel.calibration.report import to_json
    from perfmodel.calibration.table import print_calibration

    given["uncalibrated"] = True
    prior, observations = build_parameters(given), gather(files, only)
    with progress_bar("observations counted", lambda: announce_compilation("convert.convert_region", 40)) as progress:
        done = calibrate(observations, prior, free or None, progress)
    fitted = calibration_toml(done, host)
    if "-" not in (json_path, output):
        print_calibration(describe_calibration(done))
    write_json(output, fitted.encode())
    write_json(json_path, to_json(describe_calibration(done)))
