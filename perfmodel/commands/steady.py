"""``perfmodel steady``."""

from typing import Any

import click

from perfmodel.commands.options import PARAMETER_OPTIONS, add_options, build_parameters
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, warn, write_json

STEADY_OPTIONS = [
    click.option("--memory", default="64GiB", show_default=True, metavar="SIZE",
                 help="Guest memory, such as 64GiB or 1.5T (binary units)."),
    click.option("--working-set", metavar="SIZE", help="Part of it that is accessed. [default: an eighth]"),
    click.option("--access", default="uniform", show_default=True, metavar="NAME",
                 help="Order of the accesses: uniform, zipf, sequential."),
    click.option("--zipf-exponent", default=0.99, show_default=True, metavar="X", help="Access zipf: its exponent."),
    click.option("--rate", default=1e8, show_default=True, metavar="N", help="Accesses a second of one vCPU."),
    click.option("--guest-pages", default="4k", show_default=True, metavar="4k|2m", help="The guest's own page size."),
    click.option("--guest-levels", default=4, show_default=True, metavar="N",
                 help="Levels of the guest's page table, 4 or 5."),
    click.option("--levels", default=4, show_default=True, metavar="N", help="S-EPT levels, 4 or 5."),
    click.option("--share-2m", type=float, metavar="SHARE",
                 help="One more row: this share of the 2M ranges mapped at 2M, the others at 4K."),
    click.option("--accesses", default=1 << 20, show_default=True, metavar="N",
                 help="Accesses to count; as many go before to fill the structures."),
    click.option("--host-memory", metavar="SIZE", help="The host's memory, for PAMT and struct pages. "
                 "[default: as the guest's]"),
    click.option("--folio-order", default=18, show_default=True, metavar="N", help="Order of the folios, 0 to 18."),
    click.option("--dynamic-pamt", is_flag=True, help="Account for Dynamic PAMT."),
    click.option("--hvo", is_flag=True, help="Account for the HugeTLB vmemmap optimisation."),
    click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of everything drawn."),
    click.option("--hardware", multiple=True, metavar="NAME=NUMBER",
                 help="Change the entries of a TLB or cache, 0 for none, or a latency. Repeatable."),
    click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout."),
]  # fmt: skip


@click.command("steady")
@add_options(STEADY_OPTIONS, PARAMETER_OPTIONS)
def steady_command(**given: Any) -> None:
    """Simulate page walks on TLB misses with 4K and with 2M S-EPT leaves: misses, references, time, table memory."""
    json_path, overrides = given.pop("json_path"), given.pop("hardware")
    check_writable(json_path)
    from perfmodel.parameters import DEFAULT_PRESET

    preset = given["preset"] or DEFAULT_PRESET
    parameters = build_parameters(given)
    from perfmodel.show import print_steady
    from perfmodel.steady import SteadyScenario, run_steady
    from perfmodel.steady_result import to_json
    from perfmodel.walk_hardware import load_walk_hardware

    hardware = load_walk_hardware(preset, overrides)
    scenario = SteadyScenario(**given)
    with progress_bar("accesses", _announce) as progress:
        result = run_steady(scenario, parameters, hardware, progress)
    if scenario.access == "sequential":
        warn("no prefetching is modelled: of a sequential run use the walks, not the time of an access")
    if json_path != "-":
        print_steady(result)
    write_json(json_path, to_json(result))


def _announce() -> None:
    announce_compilation("two_dimensional_walk.access_lines", 5)
