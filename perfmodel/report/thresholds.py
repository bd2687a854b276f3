"""At which share of shattered folios two interfaces differ by so much.

Cost is linear in the number of shattered folios, so two runs give the number at which a ratio is reached. Which pages
of a folio are shared moves a count here and there; so the number is run, and the one below it, and moved until they
agree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from perfmodel.report.sampled import Floats, Sampled
from perfmodel.report.situation import Situation
from perfmodel.scenario import Scenario
from perfmodel.workers import Progress

_MOST_STEPS = 16
_SURELY_NEVER = 1.1
"""A line that crosses beyond this share of the folios is not run to be sure."""

Pair = tuple[Sampled, Sampled]


@dataclass(frozen=True)
class Threshold:
    """Where one interface first takes ``ratio`` times as long as another.

    Attributes
    ----------
    ratio : float
    folios : int or None
        The least number of shattered folios; None where all of them do not suffice.
    share : Sampled
        Where the straight line crosses, as a share of the folios: 0 where the two differ by more from the start,
        infinite where it never does.
    """

    ratio: float
    folios: int | None
    share: Sampled


def find_threshold(ratio: float, whole: Pair, shattered: Pair, folios: int, run: Callable[[int], float]) -> Threshold:
    """Find where the first of two costs is ``ratio`` times the second.

    Parameters
    ----------
    ratio : float
    whole, shattered : pair of Sampled
        Both costs with no folio shattered, and with all of ``folios``, by the line through two runs.
    folios : int
    run : callable
        Returns the ratio at the parameters' values with so many shattered folios.
    """
    four = (*whole, *shattered)
    share = Sampled(
        float(crossing(ratio, *(np.array(one.value) for one in four))), crossing(ratio, *(one.samples for one in four))
    )
    if share.value > _SURELY_NEVER:
        return Threshold(ratio, None, share)
    number = min(math.ceil(share.value * folios), folios)
    for _ in range(_MOST_STEPS):
        if run(number) < ratio:
            if number == folios:
                break
            number += 1
        elif number and run(number - 1) >= ratio:
            number -= 1
        else:
            return Threshold(ratio, number, share)
    return Threshold(ratio, None, share)


def crossing(ratio: float, above: Floats, below: Floats, above_all: Floats, below_all: Floats) -> Floats:
    """Return the share at which ``above`` is ``ratio`` times ``below`` on the lines from none to all."""
    gap = ratio * below - above
    slope = (above_all - above) - ratio * (below_all - below)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(slope > 0, gap / slope, np.inf)
    return np.where(gap <= 0, 0.0, share)


class Shares:
    """Costs of a guest by its number of shattered folios, under one interface and under the reference."""

    def __init__(self, situation: Situation, interface: str, progress: Progress | None = None) -> None:
        self._situation, self._interface, self._progress = situation, interface, progress

    def run(self, folios: int) -> Pair:
        """Run with exactly ``folios`` of them shattered."""
        s = self._situation
        done = s.populate(with_shattered(s, folios), self._progress)
        names = [row.interface for row in done.rows]
        first, second = s.price([done.ledgers[names.index(name)] for name in (self._interface, s.reference)])
        return first, second

    def ratio(self, folios: int) -> float:
        """Return the ratio of the two at the parameters' values."""
        first, second = self.run(folios)
        return first.value / second.value

    def line(self) -> tuple[Pair, Pair]:
        """Return costs with no folio and with all of them shattered, by the line through 0 and the guest's own."""
        s = self._situation
        probe = s.shattered_folios or max(s.whole_folios // 10, 1)
        whole, some = self.run(0), self.run(probe)
        steps = s.whole_folios / probe
        return whole, (extend(whole[0], some[0], steps), extend(whole[1], some[1], steps))


def extend(start: Sampled, end: Sampled, steps: float) -> Sampled:
    """Return where the line from ``start`` to ``end`` is after ``steps`` of that length."""
    return start + (end - start).times(steps)


def with_shattered(situation: Situation, folios: int) -> Scenario:
    """Return the guest with exactly ``folios`` of its whole folios shattered."""
    if folios == situation.shattered_folios:
        return situation.alone
    return replace(situation.alone, shattered=folios / situation.whole_folios)
