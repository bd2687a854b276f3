"""What each knob would save: the story with one of them changed, against the story as it stands."""

from collections.abc import Sequence

import msgspec
import numpy as np

from perfmodel.costs import INTERVAL, Ledger, sample_costs, unit_matrix
from perfmodel.errors import InputError
from perfmodel.life.plan import LifeTally, Plan
from perfmodel.life.pricing import life_ledgers, total_ledger
from perfmodel.life.runner import run_life
from perfmodel.parameters import ParameterSet
from perfmodel.policies.contract import Policy
from perfmodel.workers import Progress

PRICED = ("flush", "host_clear", "pfn_check")
"""Knobs that change what a life costs, and nothing that is executed."""


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time at the parameters' values, and its 5 % and 95 % points over their ranges."""

    value: float
    low: float
    high: float


class Saving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one knob would save of a life; negative where it costs.

    Attributes
    ----------
    knob : str
    now, instead : bool or str
        Its value in the story, and the one tried.
    ns : Spread or None
        None where the story cannot be run so.
    share : float or None
        Of the time that the life takes as it stands.
    refused : str or None
        Why the story cannot be run so.
    """

    knob: str
    now: bool | str
    instead: bool | str
    ns: Spread | None
    share: float | None
    refused: str | None


def savings_of(
    plan: Plan, policies: Sequence[Policy], tallies: Sequence[LifeTally], parameters: ParameterSet,
    threads: int | None, progress: Progress | None, every_region: bool,
) -> list[list[Saving]]:  # fmt: skip
    """Change each knob alone and return what it saves, for each policy.

    Parameters
    ----------
    plan : Plan
    policies : sequence of Policy
    tallies : sequence of LifeTally
        Of the story as it stands, by policy.
    parameters : ParameterSet
    threads, progress, every_region
        As for :func:`perfmodel.life.runner.run_life`. Progress counts the first run too.
    """
    changes = plan.story.what_if.alternatives()
    runs = count_runs(plan)
    before = [total_ledger(life_ledgers(plan, *pair)) for pair in zip(policies, tallies, strict=True)]
    found: list[list[Saving]] = [[] for _ in policies]
    regions, run = sum(1 for _ in plan.memory.layout.regions()), 0
    for knob, value in changes:
        now = getattr(plan.story.what_if, knob)
        what_if = msgspec.structs.replace(plan.story.what_if, **{knob: value})
        changed = plan._replace(story=msgspec.structs.replace(plan.story, what_if=what_if))
        other = list(tallies)
        if knob not in PRICED:
            run += 1
            part = nth_of(progress, run, runs)
            try:
                other = run_life(changed, policies, threads, part, every_region)
            except InputError as error:
                if part:
                    part(regions, regions)
                for savings in found:
                    savings.append(Saving(knob, now, value, None, None, str(error)))
                continue
        for at, (policy, savings) in enumerate(zip(policies, found, strict=True)):
            after = total_ledger(life_ledgers(changed, policy, other[at]))
            spread, share = _saved(before[at], after, parameters, plan.memory.scenario.seed)
            savings.append(Saving(knob, now, value, spread, share, None))
    return found


def count_runs(plan: Plan) -> int:
    """Return how often the story runs: as it stands, and for each change that executes something else."""
    return 1 + sum(knob not in PRICED for knob, _ in plan.story.what_if.alternatives())


def nth_of(progress: Progress | None, run: int, runs: int) -> Progress | None:
    """Return the progress of one run as a part of that of several."""
    return progress and (lambda done, total: progress(run * total + done, runs * total))


def _saved(before: Ledger, after: Ledger, parameters: ParameterSet, seed: int) -> tuple[Spread, float]:
    central = unit_matrix([before, after], parameters.names).sum(axis=1) @ parameters.values_ns()
    value = float(central[0] - central[1])
    costs = sample_costs([before, after], parameters, seed=seed)
    low, high = np.quantile(costs[:, 0] - costs[:, 1], INTERVAL).tolist()
    return Spread(value, min(low, value), max(high, value)), value / float(central[0])
