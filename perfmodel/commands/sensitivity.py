"""``perfmodel sensitivity``: which prices matter, and what to measure next."""

from typing import Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json
from perfmodel.errors import InputError


@click.command("sensitivity")
@add_options(PARAMETER_OPTIONS)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of everything drawn.")
@click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout.")
def sensitivity_command(seed: int, json_path: str | None, **given: Any) -> None:
    """Say which prices matter for which result, and which measurement would narrow the answers most.

    Morris screening and Sobol indices over the prices' distributions; then the value of each measurement that a user
    with TDX hardware could make.
    """
    check_writable(json_path)
    if not 0 <= seed < 1 << 32:
        raise InputError(f"seed {seed}: accepted is a whole number from 0 to 4294967295")
    from perfmodel.calibration.report import to_json
    from perfmodel.calibration.sensitivity_report import print_sensitivity, sensitivity

    parameters = build_parameters(given)
    with progress_bar("questions counted", lambda: announce_compilation("convert.convert_region", 40)) as progress:
        result = sensitivity(parameters, seed, progress)
    if json_path != "-":
        print_sensitivity(result)
    write_json(json_path, to_json(result))
