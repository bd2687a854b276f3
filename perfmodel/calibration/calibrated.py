"""A calibration: fit, folds and scatter together, and the parameter file that comes out of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from perfmodel._version import __version__
from perfmodel.calibration.design import Design, build_design
from perfmodel.calibration.fit import Posterior, Problem, fit
from perfmodel.calibration.folds import LeftOut, leave_one_out
from perfmodel.calibration.intervals import choose_stage_scatter
from perfmodel.calibration.observations import Observation
from perfmodel.calibration.settings import settings
from perfmodel.joint import Joint
from perfmodel.parameters import Parameter, ParameterSet, load_parameters
from perfmodel.workers import Progress

CONSTRAINED = 0.8
"""A posterior narrower than this share of its prior counts as constrained by the data."""


@dataclass(frozen=True)
class Calibration:
    """What a fit to observations came to.

    Attributes
    ----------
    problem : Problem
        All times among the observations, whatever their role.
    prior : ParameterSet
    rows : tuple of int
        Rows of ``problem.design`` that were fitted.
    posterior : Posterior
    left_out : LeftOut
    stage_scatter : float
    """

    problem: Problem
    prior: ParameterSet
    rows: tuple[int, ...]
    posterior: Posterior
    left_out: LeftOut
    stage_scatter: float

    @property
    def design(self) -> Design:
        """All rows."""
        return self.problem.design

    def parameters(self) -> ParameterSet:
        """Return the prior with the fitted prices in it, for a host of scale 1."""
        found = zip(self.posterior.mean.tolist(), self.posterior.deviation.tolist(), strict=True)
        fitted = dict(zip(self.posterior.free, found, strict=False))  # hosts' scales stand behind
        names = [name for name in self.posterior.free if name in self.prior.names]
        index = [self.posterior.free.index(name) for name in names]
        correlation = self.posterior.correlation[np.ix_(index, index)]
        joint = Joint(
            tuple(names), tuple(tuple(round(x, 6) for x in row) for row in correlation.tolist()),
            settings().host_scale, round(self.stage_scatter, 6),
        )  # fmt: skip
        prices = [_fitted(p, fitted[p.name], self.prior.name) if p.name in fitted else p for p in self.prior.parameters]
        return msgspec.structs.replace(
            self.prior, name=f"{self.prior.name}+calibrated", parameters=tuple(prices), joint=joint
        )


def _fitted(price: Parameter, found: tuple[float, float], prior: str) -> Parameter:
    value, sigma = float(f"{math.exp(found[0]):.5g}"), float(f"{found[1]:.4g}")
    source = (
        f"perfmodel calibrate; before: {price.value:g} {price.unit}, {price.distribution} ({prior}): {price.source}"
    )
    return msgspec.structs.replace(
        price, value=min(max(value, price.low), price.high), distribution="lognormal", sigma=sigma,
        confidence="F", source=source,
    )  # fmt: skip


def calibrate(
    observations: Sequence[Observation],
    prior: ParameterSet,
    free: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Fit free prices to the rows of role ``fit`` among ``observations``.

    Parameters
    ----------
    observations : sequence of Observation
        Ids are unique.
    prior : ParameterSet
        Values, ranges and distributions before the fit.
    free : sequence of str, optional
        Prices and extras that may move. Default: those of ``data/calibration.toml``.
    progress : callable, optional
        Called with rows counted and in all.

    Raises
    ------
    InputError
        Too few rows for the free prices, also with any one fold left out; an unknown name.
    """
    problem = Problem.of(build_design(observations, prior.parameters, progress), prior, free)
    rows = tuple(i for i, one in enumerate(problem.design.rows) if one.role == "fit")
    posterior = fit(problem, rows)
    left_out = leave_one_out(problem, rows)
    return Calibration(problem, prior, rows, posterior, left_out, choose_stage_scatter(problem, left_out))


def take_as_it_is(
    observations: Sequence[Observation], parameters: ParameterSet, progress: Progress | None = None
) -> Calibration:
    """Return what ``calibrate`` would if its fit had come to ``parameters``, without any row in it."""
    problem = Problem.of(build_design(observations, parameters.parameters, progress), parameters, ())
    joint = parameters.joint
    names = tuple(n for n in joint.names if parameters[n].distribution == "lognormal") if joint else ()
    mean = np.log([parameters[name].value for name in names])
    sigma = np.array([parameters[name].sigma for name in names], dtype=np.float64)
    index = [joint.names.index(name) for name in names] if joint else []
    correlation = np.array(joint.correlation)[np.ix_(index, index)] if joint else np.zeros((0, 0))
    posterior = Posterior(names, (), mean, mean, sigma, correlation * np.outer(sigma, sigma), 0.0)
    nothing = LeftOut((), (), np.zeros(0), np.zeros((2, 0)))
    scatter = joint.stage_scatter if joint else _public_scatter()
    return Calibration(problem, parameters, (), posterior, nothing, scatter)


def _public_scatter() -> float:
    """Return the stage scatter of the shipped calibration."""
    joint = load_parameters().joint
    return joint.stage_scatter if joint else 0.0


def calibration_toml(done: Calibration) -> str:
    """Return a file for ``--params``: the fitted prices, how they hang together, and where they come from."""
    found, lines = done.parameters(), []
    used = [done.design.rows[i] for i in done.rows]
    provenance: dict[str, Any] = {
        "made_by": f"perfmodel {__version__} calibrate",
        "prior": done.prior.name,
        "prior_sha256": done.prior.sha256,
        "observations": [one.id for one in used],
        "sources": sorted({f"{one.source}, {one.date}, {one.url}" for one in used}),
        "host_scales": {
            host: float(f"{done.posterior.scale_of(host):.4g}") for host in done.posterior.hosts
        },
    }  # fmt: skip
    lines += [f"name = {_toml(found.name)}", "", "[provenance]"]
    lines += [f"{key} = {_toml(value)}" for key, value in provenance.items()]
    for p in found.parameters:
        if found.joint and p.name in found.joint.names:
            lines += ["", f"[parameters.{p.name}]"]
            keys = ("value", "low", "high", "unit", "distribution", "sigma", "confidence", "source")
            lines += [f"{key} = {_toml(getattr(p, key))}" for key in keys]
    lines += ["", "[joint]"]
    lines += [f"{key} = {_toml(value)}" for key, value in msgspec.to_builtins(found.joint).items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return ``value`` as TOML writes it; JSON does for text, numbers and lists of them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(one)}' for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return msgspec.json.encode(value).decode()
