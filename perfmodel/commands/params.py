"""``perfmodel params``: every parameter with its range, confidence and source."""

from typing import Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import check_writable, write_json


@click.command("params")
@add_options(PARAMETER_OPTIONS)
@click.option("--sources", is_flag=True, help="Also print where each value comes from.")
@click.option("--toml", "toml_path", metavar="FILE", help="Write the set as a file for --params; - for stdout.")
@click.option("--json", "json_path", metavar="FILE", help="Write the set as JSON; - for stdout.")
def params_command(sources: bool, toml_path: str | None, json_path: str | None, **given: Any) -> None:
    """List the parameters of the cost model, as a preset, a file and --set leave them.

    Presets are spr-8480p, emr-8592p and gnr-6980p.
    """
    check_writable(toml_path)
    check_writable(json_path)
    parameters = build_parameters(given)
    import msgspec

    from perfmodel.parameters import parameters_toml
    from perfmodel.show import print_parameters

    if "-" not in (toml_path, json_path):
        print_parameters(parameters, sources)
    write_json(toml_path, parameters_toml(parameters).encode())
    document = msgspec.to_builtins(parameters) | {"sha256": parameters.sha256}
    write_json(json_path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
