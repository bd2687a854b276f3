"""``perfmodel compare`` and ``perfmodel run``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfmodel import accepted
from perfmodel.commands.options import (
    PARAMETER_OPTIONS,
    RUN_OPTIONS,
    SCENARIO_NAMES,
    SCENARIO_OPTIONS,
    add_options,
    build_parameters,
    build_scenario,
)
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, warn, write_json
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from perfmodel.generations import Generation
    from perfmodel.parameters import ParameterSet
    from perfmodel.scenario import Scenario


@click.command("compare")
@add_options(SCENARIO_OPTIONS, PARAMETER_OPTIONS, RUN_OPTIONS)
def compare_command(**given: Any) -> None:
    """Populate a TD's private memory under each interface: counts, time and its interval side by side."""
    scenario, parameters, how, json_path = _prepare(given)
    from perfmodel.comparison import compare
    from perfmodel.result import to_json
    from perfmodel.show import print_comparison

    with progress_bar(_what_goes_on(scenario), _announcement(scenario)) as progress:
        result = compare(scenario, parameters, progress=progress, **how)
    _say_what_is_missing(scenario, result.scenario, [row.interface for row in result.rows], result.notes)
    if json_path != "-":
        print_comparison(result)
    write_json(json_path, to_json(result))


@click.command("run")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--what-if", "savings", is_flag=True, help="With FILE: say what each knob alone would save.")
@add_options(SCENARIO_OPTIONS, PARAMETER_OPTIONS, RUN_OPTIONS)
def run_command(file: Path | None, savings: bool, **given: Any) -> None:
    """Do what compare does and show the whole ledger: units of work and time, stage by stage.

    With FILE, a scenario file in TOML, run the phases that it chains: build, accept-mismatch, boot, convert,
    punch-hole, teardown. The guest is then the file's.
    """
    if file is not None:
        _run_story(file, given, savings)
        return
    if savings:
        raise InputError("--what-if: accepted with a scenario file, such as perfmodel run life.toml --what-if")
    scenario, parameters, how, json_path = _prepare(given)
    from perfmodel.comparison import run
    from perfmodel.result import to_json
    from perfmodel.show import print_run

    with progress_bar(_what_goes_on(scenario), _announcement(scenario)) as progress:
        result = run(scenario, parameters, progress=progress, **how)
    _say_what_is_missing(scenario, result.scenario, [r.row.interface for r in result.runs], result.notes)
    if json_path != "-":
        print_run(result, parameters)
    write_json(json_path, to_json(result))


def _run_story(file: Path, given: dict[str, Any], savings: bool) -> None:
    context = click.get_current_context()
    for option in SCENARIO_NAMES:
        if context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT:
            raise InputError(f"{option.replace('_', '-')}: {file} describes the guest; accepted is one or the other")
    name = given.pop("generation")
    how, json_path = _take_run_options(given)
    from perfmodel.generations import load_generation
    from perfmodel.life.scenario_file import load_story
    from perfmodel.life.story import live, to_json
    from perfmodel.life.table import print_life

    story, parameters = load_story(file), build_parameters(given)
    if name is not None:
        generation = load_generation(name)
        story, parameters = generation.of_story(story), generation.of_parameters(parameters)
        _say_whether_measured(generation)
    with progress_bar("regions of 1 GiB", lambda: announce_compilation("convert.convert_region", 30)) as progress:
        result = live(story, parameters, progress=progress, savings=savings, **how)
    _say_what_is_missing(story.scenario, result.scenario, [row.interface for row in result.rows], result.notes)
    if json_path != "-":
        print_life(result)
    write_json(json_path, to_json(result))


def _what_goes_on(scenario: "Scenario") -> str:
    several = scenario.vcpus * scenario.tds > 1
    return "regions of 1 GiB, then interfaces with their vCPUs" if several else "regions of 1 GiB"


def _announce() -> None:
    announce_compilation("populate.populate_region", 20)


def _announcement(scenario: "Scenario") -> Callable[[], None]:
    def with_caches() -> None:
        _announce()
        announce_compilation("cache_populate.run_chunks", 15)

    return with_caches if scenario.memory_model == "simulated" else _announce


def _prepare(given: dict[str, Any]) -> "tuple[Scenario, ParameterSet, dict[str, Any], str | None]":
    from perfmodel.generations import load_generation

    name = given.pop("generation")
    how, json_path = _take_run_options(given)
    scenario, parameters = build_scenario(given), build_parameters(given)
    if name is not None:
        generation = load_generation(name)
        scenario, parameters = generation.of_scenario(scenario), generation.of_parameters(parameters)
        _say_whether_measured(generation)
    return scenario, parameters, how, json_path


def _say_whether_measured(generation: "Generation") -> None:
    if not generation.is_validated:
        warn(f"generation {generation.name}: {generation.note}")


def _take_run_options(given: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    threads, json_path = given.pop("threads"), given.pop("json_path")
    how = {"threads": threads, "every_region": given.pop("every_region")}
    accepted.threads(threads)
    check_writable(json_path)
    return how, json_path


def _say_what_is_missing(
    scenario: "Scenario", ran: dict[str, Any], interfaces: list[str], notes: dict[str, Any]
) -> None:
    if not scenario.interfaces and interfaces == ["pfn"]:
        warn(
            f"backing {ran['backing']} has no struct page: only pfn can map it; "
            "page-4k, folio-strict and folio-lenient are left out"
        )
    if shares := notes.get("keyholes_estimated_share"):
        listed = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares.items())
        if scenario.guest == "touch-first":
            warn(f"keyhole misses of a guest that touches first are estimated ({listed})")
        else:
            warn(f"keyhole misses of pages that are no run are estimated ({listed}); --keyholes exact counts them")
    if shares := notes.get("lines_estimated_share"):
        listed = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares.items())
        warn(f"where lines are found is estimated from a part of the run ({listed} not run); --keyholes exact runs all")
    for missing in notes.get("missing", ()):
        warn(f"host: {missing['file']}: {missing['reason']}: {missing['costs']}")
