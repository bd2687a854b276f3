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
from perfmodel.errors import InputError
from perfmodel.joint import Joint
from perfmodel.parameters import CLOCK_NAMES, Parameter, ParameterSet, load_parameters
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

    def parameters(self, host: str | None = None) -> ParameterSet:
        """Return the prior with the fitted prices in it, for a host of scale 1 or for one of those fitted.

        For a host all prices are times its scale, its clock is taken over, and what hosts differ by is what the fit
        leaves open of that scale.

        Raises
        ------
        InputError
            No fitted row is of that host.
        """
        posterior = self.posterior
        found = zip(posterior.mean.tolist(), posterior.deviation.tolist(), strict=True)
        fitted = dict(zip(posterior.free, found, strict=False))  # hosts' scales stand behind
        names = [name for name in posterior.free if name in self.prior.names]
        index = [posterior.free.index(name) for name in names]
        correlation = posterior.correlation[np.ix_(index, index)]
        rounded = tuple(tuple(round(x, 6) for x in row) for row in correlation.tolist())
        prices = [_fitted(p, fitted[p.name], self.prior.name) if p.name in fitted else p for p in self.prior.parameters]
        joint = Joint(tuple(names), rounded, settings().host_scale, round(self.stage_scatter, 6))
        done = msgspec.structs.replace(
            self.prior, name=f"{self.prior.name}+calibrated", parameters=tuple(prices), joint=joint
        )
        return done if host is None else self._on(done, host)

    def _on(self, done: ParameterSet, host: str) -> ParameterSet:
        if host not in self.posterior.hosts:
            raise InputError(f"host {host!r}: accepted are those of fitted rows, {', '.join(self.posterior.hosts)}")
        scale = float(f"{self.posterior.scale_of(host):.5g}")
        left = self.posterior.deviation[len(self.posterior.free) + self.posterior.hosts.index(host)]
        row = next(self.design.rows[i] for i in self.rows if self.design.rows[i].host == host)
        prices = [
            msgspec.structs.replace(
                p, value=p.value * scale, low=p.low * scale, high=p.high * scale,
                source=f"times {scale:g}, the scale of host {host}; {p.source}",
            )
            for p in done.parameters
        ]  # fmt: skip
        assert done.joint is not None
        joint = msgspec.structs.replace(done.joint, host_scale=round(float(left), 6))
        return msgspec.structs.replace(
            done, name=f"{done.name} for {host}", core_ghz=row.core_ghz, tsc_ghz=row.tsc_ghz or done.tsc_ghz,
            parameters=tuple(prices), joint=joint,
        )  # fmt: skip


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


def calibration_toml(done: Calibration, host: str | None = None) -> str:
    """Return a file for ``--params``: the fitted prices, how they hang together, and where they come from.

    For a ``host`` all prices are in it, and its clocks; see :meth:`Calibration.parameters`.
    """
    found, lines = done.parameters(host), []
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
    lines += [f"name = {_toml(found.name)}"]
    lines += [f"{key} = {_toml(getattr(found, key))}" for key in CLOCK_NAMES] if host else []
    lines += ["", "[provenance]"]
    lines += [f"{key} = {_toml(value)}" for key, value in provenance.items()]
    for p in found.parameters:
        if host or (found.joint and p.name in found.joint.names):
            lines += ["", f"[parameters.{p.name}]"]
            keys = ("value", "low", "high", "unit", "distribution", "sigma", "confidence", "source")
            lines += [f"{key} = {_toml(getattr(p, key))}" for key in keys if getattr(p, key) is not None]
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
