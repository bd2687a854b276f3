"""``perfmodel report``."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfmodel import accepted
from perfmodel.commands.options import (
    PARAMETER_OPTIONS,
    SCENARIO_OPTIONS,
    add_options,
    build_parameters,
    build_scenario,
)
from perfmodel.commands.output import announce_compilation, check_writable, progress_bar, write_json
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

    from perfmodel.report.answer import Report
    from perfmodel.report.build import Drawn
    from perfmodel.workers import Progress

_MEMORY = "512GiB"

REPORT_OPTIONS = [
    click.option("-o", "--output", required=True, metavar="DIR",
                 help="Folder for report.md, report.html and figures/; made if it is missing."),
    click.option("--threads", metavar="N", type=int, help="Threads; no result depends on it. [default: one a core]"),
    click.option("--json", "json_path", metavar="FILE", help="Write all numbers as JSON; - for stdout."),
]  # fmt: skip


@click.command("report", context_settings={"default_map": {"shattered": 0.1}})
@add_options(REPORT_OPTIONS, SCENARIO_OPTIONS, PARAMETER_OPTIONS)
def report_command(**given: Any) -> None:
    """Answer eleven questions about one guest, with intervals and what each number hangs on most, as Markdown and as
    one HTML file.

    They are about the wrapper's interface, populating, conversions, 2M faults, sanity checks, the write lock, Dynamic
    PAMT, tear-down, steady state, prefaulting and scaling with vCPUs; docs/report.md says how each is computed.
    """
    folder, json_path, threads = Path(given.pop("output")), given.pop("json_path"), given.pop("threads")
    accepted.threads(threads)
    check_writable(json_path)
    _check_folder(folder)
    for needed, name in (("matplotlib", "matplotlib"), ("markdown_it", "markdown-it-py")):
        if find_spec(needed) is None:
            raise InputError(f"report needs {name}: install perfmodel[report]")
    if given["memory"] is None and given["backing"] != "host":
        given["memory"] = _MEMORY
    words = _parameter_words(given)
    scenario, parameters = build_scenario(given), build_parameters(given)
    from perfmodel.report.answer import to_json
    from perfmodel.report.build import make_report

    done = make_report(scenario, parameters, threads=threads, watch=_watch, words=words)
    _write(folder, done.report, {stem: _draw(done.report, drawn) for stem, drawn in done.figures.items()})
    write_json(json_path, to_json(done.report))
    if json_path != "-":
        click.echo(f"{done.report.headline}\n{folder / 'report.md'}\n{folder / 'report.html'}")


def _watch(what: str) -> "AbstractContextManager[Progress]":
    return progress_bar(what, lambda: announce_compilation("convert.convert_region", 150))


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {str(folder)!r} is a file: accepted is a folder")
    if not folder.exists() and not folder.parent.is_dir():
        raise InputError(f"output {str(folder)!r}: the folder {str(folder.parent)!r} does not exist")


def _parameter_words(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the options that choose the parameters, as answers quote them; a file by its name."""
    words = ["--preset", given["preset"]] if given["preset"] else []
    words += ["--params", Path(given["params"]).name] if given["params"] else []
    words += ["--uncalibrated"] if given["uncalibrated"] else []
    return (*words, *(word for one in given["overrides"] for word in ("--set", one)))


def _draw(report: "Report", drawn: "Drawn") -> bytes:
    from plots.style import render_small

    return render_small(_figure(report, drawn))


def _figure(report: "Report", drawn: "Drawn") -> "Figure":
    from perfmodel.result import Comparison
    from perfmodel.scaling.result import ScaleResult

    if isinstance(drawn, Comparison):
        from plots.interfaces import plot_interfaces

        return plot_interfaces(drawn)
    if isinstance(drawn, ScaleResult):
        from plots.changes import plot_changes
        from plots.scaling import plot_scaling

        return plot_scaling(drawn) if drawn.curves[0].workload == "populate" else plot_changes(drawn)
    from plots.answers import plot_answer

    return plot_answer(drawn, report)


def _write(folder: Path, report: "Report", figures: dict[str, bytes]) -> None:
    """Write every file whole, the Markdown last: where it is, all of it is."""
    from perfmodel.files import write_whole
    from perfmodel.report.html import to_html
    from perfmodel.report.markdown import FIGURES, to_markdown

    markdown = to_markdown(report)
    page = to_html(markdown, figures, report.headline)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for stem, png in figures.items():
        write_whole(folder / FIGURES / f"{stem}.png", png)
    write_whole(folder / "report.html", page.encode())
    write_whole(folder / "report.md", markdown.encode())


for _option in report_command.params:  # the guest of a report is larger than that of other commands
    if isinstance(_option, click.Option) and _option.name == "memory" and _option.help:
        _option.help = _option.help.replace("64GiB;", f"{_MEMORY};")
