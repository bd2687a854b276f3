"""Which assumption a number hangs on most: the one whose draws explain most of its variance over the samples.

The measure is the squared correlation of ranks, so no number needs to be positive and no relation straight. Fitted
prices are drawn correlated; each then counts for what it shares with the others, and shares may sum to more than 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.costs import ALL_STAGES, INTERVAL
from perfmodel.draws import normal_quantile, scatter
from perfmodel.parameters import ParameterSet
from perfmodel.report.answer import HangsOn
from perfmodel.report.sampled import Sampled
from perfmodel.show import STAGE_TITLES

Floats = npt.NDArray[np.float64]

HOST = "the host's scale"
_STILL = 1e-3
"""A number whose interval is narrower than this share of it hangs on nothing."""

_FITTED = "perfmodel calibrate: joint of the parameter set"


@dataclass(frozen=True)
class Cause:
    """An assumption that is drawn: a price, the host's scale, or what one stage is off by."""

    name: str
    meaning: str
    value: float
    low: float
    high: float
    unit: str
    confidence: str
    source: str
    is_price: bool = True


@dataclass(frozen=True)
class Causes:
    """All assumptions that are drawn, and the ranks of their draws, shape (causes, samples), mean 0 and length 1."""

    causes: tuple[Cause, ...]
    ranks: Floats

    @classmethod
    def of(cls, parameters: ParameterSet, samples: int, seed: int) -> "Causes":
        """Draw as :func:`perfmodel.costs.sample_costs` and :meth:`ParameterSet.sample_ns` do with the same seed."""
        prices = parameters.sample_ns(samples, seed)
        moving = [j for j in range(len(parameters.names)) if np.ptp(prices[:, j]) > 0]
        causes = [_of_parameter(parameters, j) for j in moving]
        draws = [prices[:, j] for j in moving]
        if parameters.joint is not None and samples:
            host, stages = scatter(parameters.joint, len(ALL_STAGES), samples, seed)
            scale, off = parameters.joint.host_scale, parameters.joint.stage_scatter
            if scale > 0:
                causes.append(_of_scatter(HOST, "a factor that all costs of one host share", scale))
                draws.append(host[:, 0])
            if off > 0:
                causes += [_of_scatter(*_stage(stage), off) for stage in ALL_STAGES]
                draws += list(stages.T)
        return cls(tuple(causes), np.array([normalised_ranks(one) for one in draws]).reshape(len(draws), samples))

    def shares(self, samples: Floats) -> Floats:
        """Return the share of the variance of ``samples`` that each cause explains, shape (causes,)."""
        return np.asarray((self.ranks @ normalised_ranks(samples)) ** 2, np.float64)

    def most(self, number: str, sampled: Sampled) -> list[HangsOn]:
        """Return the first cause of ``sampled``, and the first price where that is none; none that chance explains."""
        if not self.causes or sampled.samples.size < 2 or not _moves(sampled):
            return []
        shares = self.shares(sampled.samples)
        told = [j for j in np.argsort(-shares, kind="stable").tolist() if shares[j] > self._chance]
        prices = [j for j in told if self.causes[j].is_price]
        return [self._hangs_on(number, j, float(shares[j])) for j in dict.fromkeys([*told[:1], *prices[:1]])]

    @property
    def _chance(self) -> float:
        """A share that in 19 cases of 20 no cause reaches by chance alone."""
        causes, samples = self.ranks.shape
        return float(normal_quantile(np.array(1 - 0.025 / causes)) ** 2 / samples)

    def of_each(self, numbers: Mapping[str, Sampled]) -> list[HangsOn]:
        """Return :meth:`most` of several numbers, by name."""
        return [one for number, sampled in numbers.items() for one in self.most(number, sampled)]

    def _hangs_on(self, number: str, at: int, share: float) -> HangsOn:
        one = self.causes[at]
        return HangsOn(
            number, one.name, one.meaning, share, one.value, one.low, one.high, one.unit, one.confidence, one.source
        )


def _moves(sampled: Sampled) -> bool:
    low, high = sampled.interval
    return high - low > _STILL * abs(sampled.value)


def normalised_ranks(samples: Floats) -> Floats:
    """Return the ranks of ``samples``, ties sharing theirs, shifted and scaled to mean 0 and length 1."""
    from scipy.stats import rankdata

    ranks = rankdata(samples)
    ranks = ranks - ranks.mean()
    length = math.sqrt(float(ranks @ ranks))
    return np.asarray(ranks / length if length else ranks, np.float64)


def _of_parameter(parameters: ParameterSet, number: int) -> Cause:
    p = parameters.parameters[number]
    return Cause(p.name, p.meaning, p.value, p.low, p.high, p.unit, p.confidence, p.source)


def _stage(stage: str) -> tuple[str, str]:
    return f"stage {stage}", f"what the model is off by beyond its prices in: {STAGE_TITLES[stage]}"


def _of_scatter(name: str, meaning: str, deviation: float) -> Cause:
    low, high = np.exp(deviation * normal_quantile(np.array(INTERVAL))).tolist()
    return Cause(name, meaning, 1.0, low, high, "times", "F", _FITTED, is_price=False)
