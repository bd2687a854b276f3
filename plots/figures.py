"""Every figure by its name: which results it can be drawn from, and what it shows.

The command line, its help and its errors read this list; nothing here needs matplotlib until a figure is drawn.
"""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from perfmodel.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {
    "compare": "'compare --json'",
    "run": "'run --json'",
    "life": "'run STORY.toml --json'",
    "steady": "'steady --json'",
    "scale": "'scale --json'",
    "validate": "'validate --json'",
    "sensitivity": "'sensitivity --json'",
    "benchmarks": "'pytest --benchmark-json'",
    "sweep": "'sweep'",
}
"""Kinds of results, and what writes them."""


def _always(_: Any) -> str:
    return ""


def _needs_populating(result: Any) -> str:
    return "" if any(curve.workload == "populate" for curve in result.curves) else "no curve of workload populate"


def _needs_changes(result: Any) -> str:
    if all(curve.workload == "populate" for curve in result.curves):
        return "no curve of workload convert, split or teardown"
    return ""


def _needs_time(result: Any) -> str:
    return "" if any(row.ns.total for row in result.rows) else "no phase takes any time"


def _needs_scores(result: Any) -> str:
    from plots.residuals import points_of

    return "" if points_of(result) else "no scored time: a validation with one or more is needed"


def _needs_prices(result: Any) -> str:
    return "" if result.results and result.measurements else "no results or no measurements"


def _needs_roofs(result: Any) -> str:
    if any(one.extra_info.roofline_ratio or one.extra_info.peer_ratio for one in result.benchmarks):
        return ""
    return "no benchmark with a roofline or a peer"


def _needs_axis(*only: str) -> Callable[[Any], str]:
    """Return a check that a sweep has an axis of numbers to draw over: one of ``only``, where given."""
    return lambda sweep: str(sweep.lacks_numbers(only))


def _needs_pair(sweep: Any) -> str:
    """Return why a sweep gives no speed-up: it needs an axis of numbers, pfn and another interface."""
    if "pfn" not in sweep.interfaces or len(sweep.interfaces) < 2:
        return f"interfaces {', '.join(sweep.interfaces)}: pfn and another one are needed"
    return str(sweep.lacks_numbers())


class Drawing(NamedTuple):
    """One figure.

    Attributes
    ----------
    name : str
    kinds : tuple of str
        Of :data:`KINDS`.
    drawn_by : str
        Module and function.
    shows : str
        One line.
    lacks : callable
        Says why a result of its kinds cannot be drawn; "" where it can.
    axis : str
        What it is drawn along where that is swept: it is then the default.
    """

    name: str
    kinds: tuple[str, ...]
    drawn_by: str
    shows: str
    lacks: Callable[[Any], str] = _always
    axis: str = ""

    def draw(self, result: Any) -> "Figure":
        """Return the figure of ``result``, one of its kinds."""
        module, _, function = self.drawn_by.rpartition(".")
        figure: Figure = getattr(import_module(module), function)(result)
        return figure


FIGURES = (
    Drawing("interfaces", ("compare", "run"), "plots.interfaces.plot_interfaces",
            "time and throughput by interface, stacked by stage"),
    Drawing("life", ("life",), "plots.life.plot_life",
            "a TD's life: time of each phase, and of all of it by stage", _needs_time),
    Drawing("walks", ("steady",), "plots.walks.plot_walks",
            "page walks, accesses and table memory by size of the leaves"),
    Drawing("scaling", ("scale",), "plots.scaling.plot_scaling",
            "populating by number of vCPUs: throughput, bounds, where time goes", _needs_populating),
    Drawing("changes", ("scale",), "plots.changes.plot_changes",
            "conversion, splits and tear-down by number of vCPUs", _needs_changes),
    Drawing("latency", ("scale",), "plots.latency.plot_latency",
            "percentiles of the time of a fault, or of a change, by number of vCPUs"),
    Drawing("residuals", ("validate",), "plots.residuals.plot_residuals",
            "predicted against measured", _needs_scores),
    Drawing("sensitivity", ("sensitivity",), "plots.sensitivity.plot_sensitivity",
            "which prices matter, and what to measure", _needs_prices),
    Drawing("roofline", ("benchmarks",), "plots.roofline.plot_roofline",
            "rates of the kernels against rooflines and peers", _needs_roofs),
    Drawing("throughput", ("sweep",), "plots.throughput.plot_throughput",
            "GiB/s by guest memory (or another swept number), with intervals", _needs_axis(), "memory"),
    Drawing("speedup", ("sweep",), "plots.speedup.plot_speedup",
            "pfn over the other interfaces by share of shattered folios (or another swept number)", _needs_pair,
            "shattered"),
    Drawing("vcpus", ("sweep",), "plots.vcpus.plot_vcpus",
            "throughput by number of vCPUs, with intervals and knees", _needs_axis("vcpus"), "vcpus"),
    Drawing("stages", ("sweep",), "plots.stages.plot_stages",
            "time of a GiB stacked by stage, along any swept axis"),
    Drawing("refusals", ("compare", "run", "sweep"), "plots.refusals.plot_refusals",
            "2M ranges that stayed 4K, by cause"),
)  # fmt: skip
"""In the order in which they are tried where none is named; of a sweep those first whose axis is swept."""


def figures_of(kind: str, result: Any) -> list[Drawing]:
    """Return the figures that ``result`` can give, the default first."""
    able = [one for one in FIGURES if kind in one.kinds and not one.lacks(result)]
    return sorted(able, key=lambda one: one.axis not in result.free) if kind == "sweep" else able


def find_figure(path: object, kind: str, result: Any, name: str | None) -> Drawing:
    """Return the figure ``name`` of a result, or its default.

    Raises
    ------
    InputError
        There is no such figure, or the result does not give it; the line says which ones it gives.
    """
    able = figures_of(kind, result)
    wanted = next((one for one in (FIGURES if name else able) if name in (None, one.name)), None)
    given = f"this result, of {KINDS[kind]}, gives {_listed(able)}"
    if wanted is None:
        why = f"figure {name!r}" if name else next(o.lacks(result) for o in FIGURES if kind in o.kinds)
        raise InputError(f"{path}: {why}: {given if able else 'nothing can be drawn'}")
    if kind not in wanted.kinds:
        raise InputError(f"{path}: figure {name!r} is of {_listed_kinds(wanted.kinds)}: {given}")
    if why := wanted.lacks(result):
        raise InputError(f"{path}: figure {name!r}: {why}: {given}")
    return wanted


def _listed(figures: Collection[Drawing]) -> str:
    return ", ".join(one.name for one in figures) or "none"


def _listed_kinds(kinds: Sequence[str]) -> str:
    return " or ".join(KINDS[kind] for kind in kinds)
