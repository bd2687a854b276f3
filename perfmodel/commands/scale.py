"""``perfmodel scale``."""

from typing import Any

import click

from perfmodel import accepted, names
from perfmodel.commands.options import (
    PARAMETER_OPTIONS,
    SCENARIO_OPTIONS,
    add_options,
    build_parameters,
    build_scenario,
)
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json
from perfmodel.errors import InputError

SCALE_OPTIONS = [
    click.option("--counts", default="1,2,4,8,16,32,64,128,256", show_default=True, metavar="N,N,...",
                 help="Numbers of vCPUs of each TD."),
    click.option("--workload", "workloads", multiple=True, metavar="NAME",
                 help="What the vCPUs do: populate, convert (one converts private memory to shared, 2 MiB a MapGPA), "
                 "split (one splits 2M leaves), teardown (by removal). Repeatable. [default: populate]"),
    click.option("--state", "states", multiple=True, metavar="NAME",
                 help=f"What the vCPUs beside the first do meanwhile: {', '.join(names.VCPU_STATES)}. Repeatable. "
                 "[default: working; inside and halted for convert and split]"),
    click.option("--dynamic-pamt", default="none", show_default=True, metavar="NAME",
                 help="Dynamic PAMT: none, fast-path, global-lock."),
    click.option("--guest-lock", default="dropped", show_default=True, metavar="NAME",
                 help="Whether the guest keeps unaccepted_memory_lock while it accepts: dropped, held."),
    click.option("--clear", default="mapping", show_default=True, metavar="NAME",
                 help="What guest_memfd clears of a 1G folio at a time: mapping, or the whole folio under its lock."),
    click.option("--same-rip", is_flag=True,
                 help="Guest touch-first: one instruction touches all pages, so that the zero-step filter acts."),
    click.option("--reset-pages", is_flag=True,
                 help="The host clears removed pages by MOVDIR64B (X86_BUG_TDX_PW_MCE)."),
    click.option("--samples", default=16, show_default=True, metavar="N",
                 help="Samples of the parameters behind each interval; 0 for none."),
    click.option("--threads", metavar="N", type=int, help="Threads; no result depends on it. [default: one a core]"),
    click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout."),
]  # fmt: skip


@click.command("scale")
@add_options(SCALE_OPTIONS, SCENARIO_OPTIONS, PARAMETER_OPTIONS)
def scale_command(**given: Any) -> None:
    """Simulate many vCPUs that meet at cache lines, locks, memory and IPIs: throughput by their number, where the
    time goes, what is BUSY, and which resource stops it, for populating, conversions, splits and tear-down."""
    json_path, threads = given.pop("json_path"), given.pop("threads")
    accepted.threads(threads)
    check_writable(json_path)
    from perfmodel.scaling.result import to_json
    from perfmodel.scaling.scale import ScaleOptions, scale
    from perfmodel.scaling.table import print_scale

    counts = _counts(given.pop("counts"))
    own = {name: given.pop(name) for name in ScaleOptions.__dataclass_fields__ if name in given and name != "vcpus"}
    own["workloads"] = tuple(own["workloads"]) or ("populate",)
    options = ScaleOptions(vcpus=counts, **own)
    _refuse_single(given)
    scenario = build_scenario(given | {"vcpus": counts[-1]})  # the most decide what topology is possible
    parameters = build_parameters(given)
    with progress_bar("points", _announce) as progress:
        result = scale(scenario, parameters, options, threads=threads, progress=progress)
    if json_path != "-":
        print_scale(result)
    write_json(json_path, to_json(result))


def _refuse_single(given: dict[str, Any]) -> None:
    context = click.get_current_context()
    for option, instead in (("vcpus", "counts"), ("vcpu_state", "state")):
        if context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT:
            raise InputError(f"{option.replace('_', '-')} {given[option]!r}: accepted with scale is --{instead}")


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(item) for item in text.split(","))
    except ValueError:
        raise InputError(f"counts {text!r}: accepted are whole numbers such as 1,2,4,8") from None


def _announce() -> None:
    announce_compilation("engine.advance", 40)
