"""Which measurement would narrow the answers most, if someone made it: the value of information.

To first order in logarithms everything that may be wrong is Gaussian: fitted prices as the calibration left them, other
prices by their priors, the scale of the host, and what each stage is off by. A measurement on a user's own machine ties
them together; what it leaves of an answer's variance on the same machine is a matter of linear algebra, before anything
is measured.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmodel.calibration.design import Design
from perfmodel.calibration.questions import RATIO_OF
from perfmodel.calibration.settings import settings
from perfmodel.draws import log_deviation
from perfmodel.joint import Joint
from perfmodel.parameters import ParameterSet

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Information:
    """Standard deviations of the logarithms of answers, before and after each possible measurement.

    Attributes
    ----------
    answers : tuple of str
        The last is the ratio of populating at 4K and at 2M.
    measurements : tuple of str
    before : ndarray of float64, shape (answers,)
    after : ndarray of float64, shape (measurements, answers)
    """

    answers: tuple[str, ...]
    measurements: tuple[str, ...]
    before: Floats
    after: Floats

    @property
    def gain(self) -> Floats:
        """Share of an answer's standard deviation that a measurement takes away, shape (measurements, answers)."""
        return 1 - self.after / self.before

    @property
    def mean_gain(self) -> Floats:
        """Mean gain of each measurement over the answers that it does not measure itself, shape (measurements,)."""
        itself = np.array([[name == answer for answer in self.answers] for name in self.measurements])
        return np.asarray(np.where(itself, 0.0, self.gain).sum(axis=1) / (~itself).sum(axis=1))

    def ranking(self) -> list[int]:
        """Return the measurements, the one that narrows the other answers most first."""
        return [int(k) for k in np.argsort(-self.mean_gain, kind="stable")]


def value_of_information(parameters: ParameterSet, design: Design, ratio: str) -> Information:
    """Weigh every row of ``design`` as a measurement, against those of role ``both`` as answers.

    Parameters
    ----------
    parameters : ParameterSet
        A calibrated set, or one without `joint`, whose hosts and stages then count as exact.
    design : Design
        Of :func:`perfmodel.calibration.questions.questions`.
    ratio : str
        Name of the ratio.
    """
    slopes = _slopes(parameters, design)
    covariance = _covariance(parameters, slopes.shape[1])
    names = [one.id for one in design.rows]
    asked = [i for i, one in enumerate(design.rows) if one.role == "both"]
    above, below = (slopes[names.index(name)] for name in RATIO_OF)
    targets = np.vstack([slopes[asked], above - below])
    shared = targets @ covariance
    before = np.einsum("ai,ai->a", shared, targets)
    seen = np.einsum("mi,ij,mj->m", slopes, covariance, slopes) + design.errors**2
    taken = (shared @ slopes.T) ** 2 / seen
    after = np.sqrt(np.maximum(before[:, None] - taken, 0)).T
    return Information((*(names[i] for i in asked), ratio), tuple(names), np.sqrt(before), after)


def _slopes(parameters: ParameterSet, design: Design) -> Floats:
    """Return derivatives of the rows' logarithms: prices and extras, the host's scale, stages."""
    prices = np.array([p.value for p in parameters.parameters] + [one.value for one in settings().extra])
    parts = design.units * prices
    share = parts / parts.sum(axis=(1, 2), keepdims=True)
    return np.hstack([share.sum(axis=1), np.ones((len(design.rows), 1)), share.sum(axis=2)])


def _covariance(parameters: ParameterSet, size: int) -> Floats:
    joint = parameters.joint or Joint((), (), 0.0, 0.0)
    deviation = [log_deviation(p) for p in parameters.parameters] + [one.deviation for one in settings().extra]
    stages = size - len(deviation) - 1
    spread = np.array([*deviation, joint.host_scale, *[joint.stage_scatter] * stages])
    correlation = np.eye(size)
    if joint.names:
        index = [parameters.names.index(name) for name in joint.names]
        correlation[np.ix_(index, index)] = joint.correlation
    return np.asarray(correlation * np.outer(spread, spread))
