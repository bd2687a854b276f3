"""Results of ``validate`` and ``calibrate`` as documents."""

from typing import Any

import msgspec

from perfmodel.result import ParametersId

VALIDATE_SCHEMA = "perfmodel/validate/1"
CALIBRATE_SCHEMA = "perfmodel/calibrate/1"


class LeftOutRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row predicted without its fold: by the model with its interval, and by the baselines."""

    predicted: float
    low: float
    high: float
    ratio: float
    per_page_ratio: float
    per_call_ratio: float


class ValidatedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One observation against the model.

    Attributes
    ----------
    id, fold, host, operation, quantity, unit : str
    measured, predicted, low, high : float
        In `unit`; less the row that `minus` names. `low` and `high` bound what a measurement may be; for a row that no
        price decides they are the prediction.
    ratio : float or None
        Predicted over measured; None where 0 was measured.
    difference : float
        Predicted less measured.
    measured_ns : float or None
        None where it is no time.
    role : {"fitted", "held out", "not scored"}
    left_out : LeftOutRow or None
        For fitted rows.
    minus : str
    note, source, url, date : str
    """

    id: str
    fold: str
    host: str
    operation: str
    quantity: str
    unit: str
    measured: float
    predicted: float
    low: float
    high: float
    ratio: float | None
    difference: float
    measured_ns: float | None
    role: str
    left_out: LeftOutRow | None
    minus: str
    note: str
    source: str
    url: str
    date: str


class Errors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of several ratios: geometric mean of how far they are from 1, less 1; the largest; and rows they are about."""

    rows: int
    geometric_mean_error: float
    maximum_ratio: float


class Coverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Share of rows within their intervals.

    Attributes
    ----------
    level : float
        What the intervals are made for.
    held_out : float or None
    left_out : float or None
        With the stage scatter of all folds, by which it was chosen.
    left_out_twice : float or None
        With the stage scatter chosen without the fold.
    """

    level: float
    held_out: float | None
    left_out: float | None
    left_out_twice: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the rows say together; parts without rows are None."""

    rows: int
    folds: int
    free_parameters: int
    host_scales: int
    effective_parameters: float
    host_scale: float
    stage_scatter: float
    in_sample: Errors | None
    left_out: Errors | None
    held_out: Errors | None
    per_page: Errors | None
    per_call: Errors | None
    coverage: Coverage


class NotExpressed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An observation that is no scenario of the model, and why."""

    id: str
    role: str
    reason: str


class Validation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Observations against the model."""

    schema: str = VALIDATE_SCHEMA
    version: str
    parameters: ParametersId
    max_ratio: float
    passed: bool
    beyond: list[str]
    rows: list[ValidatedRow]
    not_expressed: list[NotExpressed]
    summary: Summary


class FittedParameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One free price, extra or host scale before and after the fit.

    Attributes
    ----------
    name, kind, unit, meaning : str
        `kind` is ``price``, ``extra`` or ``host``.
    prior, value : float
    low, high : float
        5 % and 95 % points after the fit.
    standard_error, prior_standard_error : float
        Of the logarithm.
    width : float
        `standard_error` over `prior_standard_error`.
    constrained : bool
    """

    name: str
    kind: str
    unit: str
    meaning: str
    prior: float
    value: float
    low: float
    high: float
    standard_error: float
    prior_standard_error: float
    width: float
    constrained: bool


class Correlation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the logarithms of two fitted parameters."""

    first: str
    second: str
    value: float


class CalibrationReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fit found, and how well it holds."""

    schema: str = CALIBRATE_SCHEMA
    version: str
    prior: ParametersId
    parameters: ParametersId
    fitted: list[FittedParameter]
    correlations: list[Correlation]
    rows: list[ValidatedRow]
    summary: Summary


def to_json(document: Any) -> bytes:
    """Return ``document`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
