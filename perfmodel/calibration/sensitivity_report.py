"""The result of ``sensitivity``: as a document and as tables."""

import msgspec
from rich.console import Console
from rich.table import Table

from perfmodel._version import __version__
from perfmodel.calibration import sensitivity as indices
from perfmodel.calibration.design import Design
from perfmodel.calibration.information import Information, value_of_information
from perfmodel.calibration.questions import RATIO
from perfmodel.parameters import ParameterSet
from perfmodel.result import ParametersId
from perfmodel.workers import Progress

SENSITIVITY_SCHEMA = "perfmodel/sensitivity/1"

_SHOWN = 6
_WIDTH = 150


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one price matters for one result.

    Attributes
    ----------
    parameter : str
    mu_star, sigma : float
        Morris: mean absolute effect of the price over the middle nine tenths of its distribution, and the standard
        deviation of the effects, as shares of the result.
    first_order, total_order : float
        Sobol indices: shares of the result's variance.
    """

    parameter: str
    mu_star: float
    sigma: float
    first_order: float
    total_order: float


class ResultIndices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One result with its spread over all prices, and the prices in the order of their total index."""

    id: str
    what: str
    unit: str
    value: float
    low: float
    high: float
    indices: list[Index]


class Gain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a measurement leaves of one answer's standard deviation, that of the logarithm."""

    answer: str
    before: float
    after: float


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to measure on a machine with TDX, with an error as assumed here.

    `mean_gain` is the mean share of standard deviation that it takes from the answers which it does not measure itself.
    """

    id: str
    what: str
    error: float
    mean_gain: float
    gains: list[Gain]


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which prices matter for which result, and which measurement would say most."""

    schema: str = SENSITIVITY_SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    results: list[ResultIndices]
    measurements: list[Measurement]


def sensitivity(parameters: ParameterSet, seed: int = 0, progress: Progress | None = None) -> Sensitivity:
    """Screen, decompose and weigh; see :mod:`perfmodel.calibration.sensitivity` and ``information``.

    Raises
    ------
    InputError
        SALib is not installed, or no price has a range.
    """
    results, design = indices.results_of(parameters, progress)
    mu_star, sigma = indices.morris(results, seed)
    first, total = indices.sobol(results, seed)
    spread = indices.spread(results, seed)
    titles = {one.id: (one.note, one.unit) for one in design.rows} | {
        RATIO: ("time of a byte populated at 4K over that of one at 2M", "")
    }
    found = []
    for k, name in enumerate(results.names):
        per_unit = 1e3 if titles[name][1] == "us" else 1.0
        rows = [
            Index(results.varied[j].name, *(float(x[k, j]) for x in (mu_star, sigma, first, total)))
            for j in indices.ranked(total[k].tolist())
        ]
        value, low, high = (x / per_unit for x in spread[k])
        found.append(ResultIndices(name, *titles[name], value, low, high, rows))
    information = value_of_information(parameters, design, RATIO)
    return Sensitivity(
        version=__version__, seed=seed, parameters=ParametersId(parameters.name, parameters.sha256), results=found,
        measurements=_measurements(information, design),
    )  # fmt: skip


def _measurements(information: Information, design: Design) -> list[Measurement]:
    return [
        Measurement(
            information.measurements[k], design.rows[k].note, design.rows[k].error, float(information.mean_gain[k]),
            [Gain(*one) for one in zip(information.answers, information.before.tolist(),
                                       information.after[k].tolist(), strict=True)],
        )
        for k in information.ranking()
    ]  # fmt: skip


def print_sensitivity(result: Sensitivity) -> None:
    """Print the leading prices of each result, and the measurements in the order of what they would say."""
    console = Console(width=None if Console().is_terminal else _WIDTH)
    for one in result.results:
        title = f"{one.id}: {one.value:.4g} {one.unit} ({one.low:.3g} to {one.high:.3g} over the prices). {one.what}"
        table = Table(title=title, title_justify="left")
        table.add_column("price")
        for name in ("total index", "first order", "effect over its range", "its deviation"):
            table.add_column(name, justify="right")
        for index in one.indices[:_SHOWN]:
            table.add_row(
                index.parameter, f"{index.total_order:.2f}", f"{index.first_order:.2f}",
                f"{100 * index.mu_star:.0f} %", f"{100 * index.sigma:.1f} %",
            )  # fmt: skip
        rest = sum(index.first_order for index in one.indices[_SHOWN:])
        table.add_row(f"{max(len(one.indices) - _SHOWN, 0)} others", "", f"{rest:.2f}", "", "")
        console.print(table)
    console.print(_measured(result))
    for measurement in result.measurements:
        console.print(f"{measurement.id}: {measurement.what}", highlight=False)
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]}), "
        f"seed {result.seed}",
        highlight=False,
    )


def _measured(result: Sensitivity) -> Table:
    answers = [gain.answer for gain in result.measurements[0].gains]
    table = Table(
        title="What to measure on a machine with TDX: share of each answer's standard deviation that it takes away "
        "there; mean over the answers that it does not measure itself"
    )
    table.add_column("measure")
    table.add_column("mean", justify="right")
    for answer in answers:
        table.add_column(answer, justify="right")
    for one in result.measurements:
        cells = [f"{100 * (1 - gain.after / gain.before):.0f} %" if gain.before else "" for gain in one.gains]
        table.add_row(one.id, f"{100 * one.mean_gain:.0f} %", *cells)
    return table
