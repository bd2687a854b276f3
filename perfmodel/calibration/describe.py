"""A calibration as a document: what was fitted, how it hangs together, what is left."""

import math

from perfmodel._version import __version__
from perfmodel.calibration.calibrated import CONSTRAINED, Calibration
from perfmodel.calibration.intervals import REACH
from perfmodel.calibration.report import CalibrationReport, Correlation, FittedParameter
from perfmodel.calibration.settings import settings
from perfmodel.calibration.validate import summarise, validated_rows
from perfmodel.result import ParametersId


def describe_calibration(done: Calibration) -> CalibrationReport:
    """Return the document of ``perfmodel calibrate --json``; its rows are those of the fit."""
    posterior, found = done.posterior, done.parameters()
    names = (*posterior.free, *posterior.hosts)
    fitted = [_fitted(done, k, name) for k, name in enumerate(names)]
    correlation = posterior.correlation
    pairs = [
        Correlation(names[i], names[j], float(correlation[i, j])) for i in range(len(names)) for j in range(i)
    ]  # fmt: skip
    rows = validated_rows(done, [done.design.rows[i] for i in done.rows])
    return CalibrationReport(
        version=__version__, prior=ParametersId(done.prior.name, done.prior.sha256),
        parameters=ParametersId(found.name, found.sha256), fitted=fitted,
        correlations=sorted(pairs, key=lambda one: -abs(one.value)), rows=rows, summary=summarise(done, rows),
    )  # fmt: skip


def _fitted(done: Calibration, k: int, name: str) -> FittedParameter:
    posterior = done.posterior
    mean, error = float(posterior.mean[k]), float(posterior.deviation[k])
    kind, unit, meaning = "host", "", "scale of all costs on this host"
    if k < len(posterior.free):
        extra = {one.name: one for one in settings().extra}
        kind, unit, meaning = ("extra", "ns", extra[name].meaning) if name in extra else ("price", "", "")
        if kind == "price":
            price = done.prior[name]
            unit, meaning = price.unit, price.meaning
    return FittedParameter(
        name=name, kind=kind, unit=unit, meaning=meaning, prior=math.exp(posterior.prior_mean[k]), value=math.exp(mean),
        low=math.exp(mean - REACH * error), high=math.exp(mean + REACH * error), standard_error=error,
        prior_standard_error=float(posterior.prior_deviation[k]), width=float(posterior.width[k]),
        constrained=bool(posterior.width[k] < CONSTRAINED),
    )  # fmt: skip
