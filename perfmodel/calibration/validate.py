"""Every observation against the model: in sample, left out, held out, and beside the baselines."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from perfmodel._version import __version__
from perfmodel.calibration.calibrated import Calibration, calibrate, take_as_it_is
from perfmodel.calibration.design import other_prediction
from perfmodel.calibration.intervals import LEVEL, choose_stage_scatter, covered, interval_ns
from perfmodel.calibration.observations import EXPRESSED, SCORED, Observation, built_in
from perfmodel.calibration.report import (
    Coverage,
    Errors,
    LeftOutRow,
    NotExpressed,
    Summary,
    ValidatedRow,
    Validation,
)
from perfmodel.calibration.settings import settings
from perfmodel.errors import InputError
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.result import ParametersId
from perfmodel.workers import Progress

MAX_RATIO = 2.0


def validate(
    observations: Sequence[Observation] | None = None,
    parameters: ParameterSet | None = None,
    max_ratio: float = MAX_RATIO,
    progress: Progress | None = None,
) -> Validation:
    """Hold the model against observations.

    Parameters
    ----------
    observations : sequence of Observation, optional
        Rows to report instead of the public ones, none of which moves a parameter. A row that repeats a public one
        counts as that.
    parameters : ParameterSet, optional
        Held against all rows as it is; every scored row is then held out, and no host has a scale of its own. Without
        it prices and hosts' scales are fitted to the public observations here.
    max_ratio : float
        How far predicted may be from measured, either way.
    progress : callable, optional

    Raises
    ------
    InputError
        ``max_ratio`` is not above 1, or an id stands for two different rows.
    """
    if not (math.isfinite(max_ratio) and max_ratio > 1):
        raise InputError(f"max-ratio {max_ratio!r}: accepted is a number above 1")
    public = built_in()
    reported = public if observations is None else _held_out(observations, public)
    if parameters is None:
        prior = load_parameters(calibrated=False)
        done = calibrate((*public, *(one for one in reported if one not in public)), prior, progress=progress)
        used = ParametersId(prior.name, done.parameters().sha256)
    else:
        done = take_as_it_is(reported, parameters, progress)
        used = ParametersId(parameters.name, parameters.sha256)
    rows = validated_rows(done, reported)
    scored = [row for row in rows if row.role != "not scored"]
    beyond = [row.id for row in scored if max(_off(r) for r in _ratios(row)) > math.log(max_ratio)]
    return Validation(
        version=__version__, parameters=used, max_ratio=max_ratio, passed=not beyond, beyond=beyond, rows=rows,
        not_expressed=[NotExpressed(o.id, o.role, o.note) for o in reported if o.role not in EXPRESSED],
        summary=summarise(done, rows),
    )  # fmt: skip


def _held_out(observations: Sequence[Observation], public: Sequence[Observation]) -> list[Observation]:
    """Return ``observations`` with the public ones in place of their copies, and no other that may move a parameter."""
    known = {one.id: one for one in public}
    reported = []
    for one in observations:
        same = known.get(one.id)
        if same is not None:
            if msgspec.structs.replace(one, row=same.row, role=same.role, note=same.note) != same:
                raise InputError(
                    f"row {one.row}, column 'id', value {one.id!r}: accepted is a public observation as it stands, "
                    "or another id"
                )
            reported.append(same)
        else:
            reported.append(msgspec.structs.replace(one, role="held-out") if one.role == "fit" else one)
    return reported


def validated_rows(done: Calibration, reported: Sequence[Observation]) -> list[ValidatedRow]:
    """Return each expressed one of ``reported`` against the calibration."""
    place = {one.id: i for i, one in enumerate(done.design.rows)}
    rows = []
    for one in reported:
        if one.role in EXPRESSED:
            rows.append(_time(done, place[one.id]) if one.is_time else _other(one))
    return rows


def _time(done: Calibration, i: int) -> ValidatedRow:
    one = done.design.rows[i]
    predicted = float(done.problem.predict_ns(done.posterior, [i])[0])
    bounds = interval_ns(done.problem, done.posterior, i, done.stage_scatter)
    left_out = None
    if i in done.rows:
        k = done.rows.index(i)
        without = interval_ns(done.problem, done.left_out.posteriors[k], i, done.stage_scatter)
        measured = float(done.design.measured_ns[i])
        ratios = [float(x / measured) for x in done.left_out.baselines_ns[:, k]]
        own = float(done.left_out.predicted_ns[k])
        left_out = LeftOutRow(_own(one, own), *_sorted(one, without), own / measured, *ratios)
    return _row(one, float(done.design.measured_ns[i]), predicted, bounds, left_out)


def _own(one: Observation, time_ns: float) -> float:
    """Return a time in the observation's unit; a bandwidth is what the time moves."""
    return one.memory_bytes / time_ns if one.quantity == "bandwidth" else one.in_own_unit(time_ns)


def _sorted(one: Observation, bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = sorted(_own(one, bound) for bound in bounds)
    return low, high


def _row(
    one: Observation, measured_ns: float, predicted_ns: float, bounds: tuple[float, float], left_out: LeftOutRow | None
) -> ValidatedRow:
    measured = _own(one, measured_ns) if measured_ns else 0.0
    return _describe(one, measured, _own(one, predicted_ns), _sorted(one, bounds), measured_ns, left_out)


def _other(one: Observation) -> ValidatedRow:
    predicted = other_prediction(one)
    return _describe(one, one.value, predicted, (predicted, predicted), None, None)


def _describe(
    one: Observation, measured: float, predicted: float, bounds: tuple[float, float], measured_ns: float | None,
    left_out: LeftOutRow | None,
) -> ValidatedRow:  # fmt: skip
    role = "fitted" if left_out else "held out" if one.role in SCORED else "not scored"
    return ValidatedRow(
        id=one.id, fold=one.fold, host=one.host, operation=one.operation, quantity=one.quantity, unit=one.unit,
        measured=measured, predicted=predicted, low=bounds[0], high=bounds[1],
        ratio=predicted / measured if measured else None, difference=predicted - measured,
        measured_ns=measured_ns, role=role, left_out=left_out, minus=one.minus, note=one.note, source=one.source,
        url=one.url, date=one.date,
    )  # fmt: skip


def _ratios(row: ValidatedRow) -> list[float]:
    """Return the ratios by which a scored row is judged: its own, and the one without its fold."""
    return [r for r in (row.ratio, row.left_out.ratio if row.left_out else None) if r is not None]


def _off(ratio: float) -> float:
    return abs(math.log(ratio))


def errors_of(ratios: Sequence[float]) -> Errors | None:
    """Return what several ratios come to; None for none."""
    if not ratios:
        return None
    off = np.abs(np.log(ratios))
    return Errors(len(ratios), float(np.exp(off.mean()) - 1), float(np.exp(off.max())))


def summarise(done: Calibration, rows: Sequence[ValidatedRow]) -> Summary:
    """Return what ``rows`` say together."""
    fitted = [row for row in rows if row.left_out is not None]
    held = [row for row in rows if row.role == "held out" and row.ratio is not None]
    left = [row.left_out for row in fitted if row.left_out is not None]
    twice = _bounds_left_out_twice(done, [row.id for row in fitted])
    return Summary(
        rows=len(fitted) + len(held), folds=len({row.fold for row in (*fitted, *held)}),
        free_parameters=len(done.posterior.free) if done.rows else 0, host_scales=len(done.posterior.hosts),
        effective_parameters=done.posterior.effective, host_scale=settings().host_scale,
        stage_scatter=done.stage_scatter,
        in_sample=errors_of([row.ratio for row in fitted if row.ratio is not None]),
        left_out=errors_of([one.ratio for one in left]),
        held_out=errors_of([row.ratio for row in held if row.ratio is not None]),
        per_page=errors_of([one.per_page_ratio for one in left]),
        per_call=errors_of([one.per_call_ratio for one in left]),
        coverage=Coverage(
            LEVEL,
            covered([row.measured for row in held], [(row.low, row.high) for row in held]) if held else None,
            covered([row.measured for row in fitted], [(one.low, one.high) for one in left]) if left else None,
            covered([done.design.measured_ns[i] for i, _ in twice], [b for _, b in twice]) if twice else None,
        ),
    )  # fmt: skip


def _bounds_left_out_twice(done: Calibration, ids: Sequence[str]) -> list[tuple[int, tuple[float, float]]]:
    bounds = []
    for k, i in enumerate(done.rows):
        if done.design.rows[i].id in ids:
            scatter = choose_stage_scatter(done.problem, done.left_out, done.design.rows[i].fold)
            bounds.append((i, interval_ns(done.problem, done.left_out.posteriors[k], i, scatter)))
    return bounds
