"""``perfmodel validate``: the model against what others measured."""

from pathlib import Path
from typing import Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json

FAILED = 1


@click.command("validate")
@click.option(
    "--observations",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV of observations to hold the model against instead of the public ones; docs/costs.md has the columns.",
)
@add_options(PARAMETER_OPTIONS)
@click.option(
    "--max-ratio",
    default=2.0,
    show_default=True,
    metavar="X",
    help="A scored row further off than this, either way, fails the check: exit status 1.",
)
@click.option("--sources", is_flag=True, help="Also print where each row comes from.")
@click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout.")
def validate_command(
    observations: Path | None, max_ratio: float, sources: bool, json_path: str | None, **given: Any
) -> int:
    """Hold the model against every observation: measured, predicted, interval, ratio.

    Prices are fitted to the public observations, and each of those is also predicted without itself and what derives
    from it. Two trivial baselines are judged on the same folds: one cost a 4K page and one cost a call. With --preset,
    --params or --set that set is held against the observations as it is.
    """
    check_writable(json_path)
    from perfmodel.calibration.observations import load_observations
    from perfmodel.calibration.report import to_json
    from perfmodel.calibration.table import print_validation
    from perfmodel.calibration.validate import validate

    parameters = build_parameters(given) if any(given.values()) else None
    rows = load_observations(observations) if observations else None
    with progress_bar("observations counted", lambda: announce_compilation("convert.convert_region", 40)) as progress:
        result = validate(rows, parameters, max_ratio, progress)
    if json_path != "-":
        print_validation(result, sources)
    write_json(json_path, to_json(result))
    return 0 if result.passed else FAILED
