"""``perfmodel explore``: a page to tune prices by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar
from perfmodel.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from perfmodel.parameters import ParameterSet


@click.command("explore")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="FILE", help="Page to write, .html.")
@add_options(PARAMETER_OPTIONS)
def explore_command(sweeps: tuple[Path, ...], output: str, **given: Any) -> None:
    """Write one HTML page with a slider for every price: times, throughput and speed-up change as it moves.

    The page opens offline. It is about the guests of each SWEEP, a file or folder that 'perfmodel sweep' wrote; without
    one it counts guests of 1 GiB to 4 TiB, in about a minute. Its button gives the file for --params.
    """
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output {output!r}: accepted is .html")
    check_writable(output)
    from perfmodel.explore.page import make_page, require_bokeh
    from perfmodel.sweep.stored import require_xarray

    require_bokeh()
    require_xarray()
    from perfmodel.explore.guests import read_guests
    from perfmodel.files import write_whole
    from perfmodel.sweep.stored import load_sweep

    own = build_parameters(dict(given)) if any(given.values()) or not sweeps else None
    datasets = [load_sweep(path) for path in sweeps] if sweeps else _count()
    write_whole(Path(output), make_page(read_guests(datasets), own or _parameters_of(datasets)))
    print(output)


def _count() -> "list[xr.Dataset]":
    """Count the default guests."""
    from perfmodel.explore.grid import count_default_guests

    with progress_bar("GiB counted", lambda: announce_compilation("populate.populate_region", 20)) as progress:
        return count_default_guests(progress)


def _parameters_of(datasets: "list[xr.Dataset]") -> "ParameterSet":
    """Return the one parameter set that the sweeps were priced with."""
    from perfmodel.sweep.dataset import layout_of

    sets = list({one.sha256: one for dataset in datasets for one in layout_of(dataset).sets}.values())
    if len(sets) > 1:
        names = ", ".join(dict.fromkeys(one.name for one in sets))
        raise InputError(
            f"the sweep has {len(sets)} parameter sets ({names}): accepted with --preset, --params or --set, which say "
            "where the sliders begin"
        )
    return sets[0]
