"""Validation and calibration as tables on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from perfmodel.calibration.report import CalibrationReport, Errors, Summary, ValidatedRow, Validation

_WIDTH = 150
_SHOWN_CORRELATION = 0.3


def _console() -> Console:
    return Console(width=None if Console().is_terminal else _WIDTH)


def print_validation(result: Validation, sources: bool = False) -> None:
    """Print rows, what cannot be expressed, and the summary."""
    console = _console()
    console.print(_rows([r for r in result.rows if r.role != "not scored"], "Observations against the model"))
    others = [row for row in result.rows if row.role == "not scored"]
    if others:
        console.print(_others(others))
    if result.not_expressed:
        table = Table(title="Not scenarios of the model")
        for title in ("id", "why"):
            table.add_column(title)
        for one in result.not_expressed:
            table.add_row(one.id, one.reason)
        console.print(table)
    if sources:
        for row in result.rows:
            console.print(f"{row.id}: {row.source}, {row.date}, {row.url}. {row.note}", highlight=False)
    _print_summary(console, result.summary)
    verdict = (
        f"no scored row is further off than a factor of {result.max_ratio:g}"
        if result.passed
        else f"further off than a factor of {result.max_ratio:g}: {', '.join(result.beyond)}"
    )
    console.print(verdict, highlight=False)
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]})",
        highlight=False,
    )


def print_calibration(report: CalibrationReport) -> None:
    """Print fitted parameters, correlations, residuals and the summary."""
    console = _console()
    table = Table(title="Fitted parameters: width is that of the posterior over that of the prior")
    for title in ("name", "unit"):
        table.add_column(title)
    for title in ("prior", "fitted", "5 % to 95 %", "std. error of log", "width"):
        table.add_column(title, justify="right")
    table.add_column("")
    for one in report.fitted:
        table.add_row(
            one.name, one.unit, _number(one.prior), _number(one.value), f"{_number(one.low)} to {_number(one.high)}",
            f"{one.standard_error:.2f}", f"{one.width:.2f}", "" if one.constrained else "not constrained by the data",
        )  # fmt: skip
    console.print(table)
    strong = [one for one in report.correlations if abs(one.value) >= _SHOWN_CORRELATION]
    listed = "; ".join(f"{one.first} and {one.second} {one.value:+.2f}" for one in strong)
    console.print(f"Correlations beyond {_SHOWN_CORRELATION:g}: {listed or 'none'}", highlight=False)
    console.print(_rows(report.rows, "Residuals"))
    _print_summary(console, report.summary)
    console.print(
        f"perfmodel {report.version}, prior {report.prior.name} ({report.prior.sha256[:12]}), "
        f"calibrated set {report.parameters.name} ({report.parameters.sha256[:12]})",
        highlight=False,
    )


def _rows(rows: Sequence[ValidatedRow], title: str) -> Table:
    table = Table(title=title)
    for name in ("id", "what", "role"):
        table.add_column(name)
    for name in ("measured", "predicted", "ratio", "left out", "  interval", "per page", "per call"):
        table.add_column(name, justify="right")
    for row in rows:
        left = row.left_out
        low, high = (left.low, left.high) if left else (row.low, row.high)
        table.add_row(
            f"{row.id} - {row.minus}" if row.minus else row.id, f"{row.operation}, {row.quantity}", row.role,
            f"{_number(row.measured)} {row.unit}", f"{_number(row.predicted)} {row.unit}", _ratio(row.ratio),
            _ratio(left.ratio if left else None), f"{_number(low)} to {_number(high)}",
            _ratio(left.per_page_ratio if left else None), _ratio(left.per_call_ratio if left else None),
        )  # fmt: skip
    return table


def _others(rows: Sequence[ValidatedRow]) -> Table:
    table = Table(title="Reported, not scored")
    for name in ("id", "what"):
        table.add_column(name)
    for name in ("measured", "predicted", "interval", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("why")
    for row in rows:
        table.add_row(
            row.id, f"{row.operation}, {row.quantity}", f"{_number(row.measured)} {row.unit}",
            f"{_number(row.predicted)} {row.unit}", f"{_number(row.low)} to {_number(row.high)}",
            _ratio(row.ratio) or f"{row.difference:+.2g} {row.unit}", row.note,
        )  # fmt: skip
    return table


def _print_summary(console: Console, summary: Summary) -> None:
    moved = (
        f"{summary.free_parameters} free parameters and {summary.host_scales} host scales, all with priors, of which "
        f"the data take up {summary.effective_parameters:.1f}"
        if summary.free_parameters
        else "nothing fitted"
    )
    console.print(f"{summary.rows} rows in {summary.folds} folds; {moved}", highlight=False)
    for name, errors in (
        ("in sample", summary.in_sample),
        ("left out", summary.left_out),
        ("held out", summary.held_out),
        ("  one cost per 4K page, left out", summary.per_page),
        ("  one cost per call, left out", summary.per_call),
    ):
        if errors is not None:
            console.print(f"{name}: {_errors(errors)}", highlight=False)
    coverage = summary.coverage
    for name, share in (
        ("left out", coverage.left_out),
        ("left out, with the scatter chosen without the fold", coverage.left_out_twice),
        ("held out", coverage.held_out),
    ):
        if share is not None:
            console.print(
                f"within their {100 * coverage.level:.0f} % intervals, {name}: {100 * share:.0f} %", highlight=False
            )


def _errors(errors: Errors) -> str:
    return (
        f"geometric-mean error {100 * errors.geometric_mean_error:.1f} %, largest ratio {errors.maximum_ratio:.2f} "
        f"over {errors.rows} rows"
    )


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:.4g}"
