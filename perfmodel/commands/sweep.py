"""``perfmodel sweep``: a grid of guests, interfaces and prices."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfmodel import accepted
from perfmodel.commands.options import (
    PARAMETER_OPTIONS,
    SCENARIO_OPTIONS,
    add_options,
    parse_block_shares,
    parse_feature_off,
)
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, warn, write_json
from perfmodel.errors import InputError, Interrupted

if TYPE_CHECKING:
    import xarray as xr

    from perfmodel.sweep.grid import Asked
    from perfmodel.sweep.parts import Parts
    from perfmodel.sweep.sweep import Tally
    from perfmodel.workers import Progress

FAILED = 1

SWEEP_OPTIONS = [
    click.option("--axis", "axes", multiple=True, metavar="NAME=V,V,...",
                 help="Values of one axis: memory, interface, backing, shattered, vcpus, guest, scenario (files, or "
                 "populate), preset (names, or parameter files), any other option of the guest, or any parameter. "
                 "Repeatable; takes the place of the same axis in GRID."),
    click.option("--samples", default=4096, show_default=True, metavar="N",
                 help="Samples of the parameters behind each interval."),
    click.option("-o", "--output", metavar="FILE", help="Write the whole result as netCDF 4."),
    click.option("--parts", "parts_path", metavar="DIR", type=click.Path(path_type=Path),
                 help="Keep each point in a file of its own there, and take from there what is known. "
                 "[default: FILE with .parts for its suffix]"),
    click.option("--json", "json_path", metavar="FILE", help="Write the points as rows of JSON; - for stdout."),
    click.option("--workers", type=int, metavar="N", help="Count on N worker processes of this machine."),
    click.option("--scheduler", metavar="ADDRESS", help="Count on the workers of a dask scheduler, such as "
                 "tcp://10.0.0.1:8786."),
    click.option("--threads", metavar="N", type=int, help="Threads; no result depends on it. [default: one a core]"),
]  # fmt: skip


@click.command("sweep")
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@add_options(SWEEP_OPTIONS, SCENARIO_OPTIONS, PARAMETER_OPTIONS)
def sweep_command(grid: Path | None, axes: tuple[str, ...], **given: Any) -> int:
    """Count and price a grid: GRID is a TOML file of axes and their values; docs/sweeps.md describes it.

    What has been counted is kept in parts: a sweep that was interrupted goes on where it was, and new prices only
    price anew. 'perfmodel plot' and 'perfmodel explore' read FILE and DIR.
    """
    output, json_path, parts_path = given.pop("output"), given.pop("json_path"), given.pop("parts_path")
    how = {name: given.pop(name) for name in ("samples", "threads", "workers", "scheduler")}
    for path in (output, json_path):
        check_writable(path)
    _check(how)
    from perfmodel.sweep.stored import require_xarray

    require_xarray()
    from perfmodel.sweep.grid import build_grid, read_grid
    from perfmodel.sweep.parts import Parts
    from perfmodel.sweep.sweep import Tally
    from perfmodel.sweep.table import print_sweep, to_json

    asked = _asked(axes, given)
    laid_out = build_grid(read_grid(grid).under(asked) if grid else asked)
    parts, tally = Parts(_parts_folder(output, parts_path)), Tally()
    try:
        dataset = _run(laid_out, parts, tally, **how)
    except KeyboardInterrupt:
        kept = f"what was counted is kept in {parts.folder}: the same command goes on from there"
        raise Interrupted(f"interrupted; {kept if parts.folder else 'nothing was written'}") from None
    if json_path != "-":
        print_sweep(dataset)
    if output:
        from perfmodel.files import write_whole
        from perfmodel.sweep.stored import to_netcdf

        write_whole(Path(output), to_netcdf(dataset))
    write_json(json_path, to_json(dataset))
    return _say_how_it_went(dataset, parts, tally)


def _parts_folder(output: str | None, given: Path | None) -> Path | None:
    """Return where parts are kept: as given, or beside the output; nowhere if neither is named."""
    folder = given or (Path(output).with_suffix(".parts") if output else None)
    if output and folder == Path(output):
        raise InputError(f"output {output!r}: the folder of the parts has that name; accepted is another, such as x.nc")
    return folder


def _run(grid: Any, parts: "Parts", tally: "Tally", samples: int, threads: int | None, **where: Any) -> "xr.Dataset":
    import contextlib

    from perfmodel.sweep.schedule import connect
    from perfmodel.sweep.sweep import sweep

    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(where["scheduler"], where["workers"]))

        def progress(what: str) -> "Progress":
            return stack.enter_context(progress_bar(what, None if client else _announce))

        return sweep(grid, parts, samples=samples, threads=threads, client=client, progress=progress, tally=tally)


def _announce() -> None:
    announce_compilation("populate.populate_region", 20)


def _check(how: dict[str, Any]) -> None:
    accepted.threads(how["threads"])
    accepted.whole_number("samples", how["samples"], 1, 1 << 20)
    if how["workers"] is not None:
        accepted.whole_number("workers", how["workers"], 1, accepted.MOST_THREADS)
    if how["workers"] and how["scheduler"]:
        raise InputError("workers and scheduler: accepted is one of them")


def _asked(axes: tuple[str, ...], given: dict[str, Any]) -> "Asked":
    """Return what the command line says: axes, and options that were given."""
    from perfmodel.sweep.axes import check_name, read_values
    from perfmodel.sweep.grid import Asked

    context = click.get_current_context()
    named = {
        name for name in given if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }  # fmt: skip
    preset, params, overrides = given.pop("preset"), given.pop("params"), tuple(given.pop("overrides"))
    calibrated = not given.pop("uncalibrated")
    fixed: dict[str, Any] = {}
    if shares := parse_block_shares(given.pop("block_shares")):
        fixed["block_shares"] = shares
    if features := given.pop("features"):
        fixed["features_off"] = tuple(parse_feature_off(text) for text in features)
    interfaces = given.pop("interfaces")
    values: dict[str, tuple[Any, ...]] = {}
    for name in sorted(named & given.keys()):
        values[name] = read_values(name, str(given[name]) if isinstance(given[name], Path) else given[name])
    if interfaces:
        values["interface"] = read_values("interface", interfaces)
    if preset:
        values["preset"] = read_values("preset", preset)
    for text in axes:
        name, equals, listed = text.partition("=")
        if not equals:
            raise InputError(f"axis {text!r}: accepted is NAME=VALUE,VALUE,...")
        values[check_name(name)] = read_values(check_name(name), [item.strip() for item in listed.split(",")])
    return Asked(values, fixed, params, overrides, calibrated)


def _say_how_it_went(dataset: "xr.Dataset", parts: "Parts", tally: "Tally") -> int:
    """Report on stderr, and return the exit status: 1 where a point failed that no input explains."""
    kept = f", kept in {parts.folder}" if parts.folder else ""
    warn(f"{tally.counted} points counted, {tally.simulated} simulated, {tally.found} found{kept}")
    for path in dict.fromkeys(parts.damaged):
        warn(f"{path}: damaged, computed again")
    reasons = sorted({reason for reason in dataset["reason"].values.ravel().tolist() if reason})
    for reason in reasons[:5]:
        points = int((dataset["reason"].values == reason).sum())
        warn(f"{points} of {dataset['status'].size} points failed: {reason}")
    if len(reasons) > 5:
        warn(f"... and for {len(reasons) - 5} more reasons, which the result names")
    return FAILED if tally.failed else 0
