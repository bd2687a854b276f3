"""What all questions are about: one guest on one host under one parameter set; runs that several need are made once."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np

from perfmodel.comparison import Outcome, execute
from perfmodel.costs import Ledger, sample_costs, unit_matrix
from perfmodel.life.phases import AnyPhase
from perfmodel.life.plan import LifeTally, Plan
from perfmodel.life.pricing import NAMES, life_ledgers
from perfmodel.life.runner import run_life
from perfmodel.life.scenario_file import Story, WhatIf
from perfmodel.memory import GuestMemory
from perfmodel.parameters import ParameterSet
from perfmodel.policies import POLICIES
from perfmodel.report.causes import Causes
from perfmodel.report.sampled import Sampled
from perfmodel.scaling.services import counters_of_a_gib
from perfmodel.scenario import Scenario, able_interfaces
from perfmodel.workers import Progress

Key = TypeVar("Key", bound=Hashable)

SAMPLES = 4096
NO_STRUCT_PAGE = "the memory has no struct page, so only pfn can map it"


class NotApplicableError(Exception):
    """A question that has no meaning for this guest; the message says why."""


@dataclass(frozen=True)
class Life:
    """A story that has been run under several interfaces: exact counts, to be priced with any knob that only prices."""

    plan: Plan
    tallies: dict[str, LifeTally]

    def ledgers(self, interface: str, **knobs: Any) -> list[Ledger]:
        """Return the units of work of each phase, with knobs of ``perfmodel.life.savings.PRICED`` set otherwise."""
        story = self.plan.story
        what_if = msgspec.structs.replace(story.what_if, **knobs)
        plan = self.plan._replace(story=msgspec.structs.replace(story, what_if=what_if))
        return life_ledgers(plan, POLICIES[interface], self.tallies[interface])

    def count(self, interface: str, phase: int, counter: str) -> int:
        """Return how often an event happened in a phase."""
        return int(self.tallies[interface].counts[phase, NAMES[counter]])


@dataclass
class Situation:
    """The guest that is asked about, and what has been found out about it.

    Attributes
    ----------
    scenario : Scenario
        With its memory resolved.
    parameters : ParameterSet
    threads : int or None
    words : tuple of str
        Options of the command line that choose the parameters, for the commands that answers quote.
    """

    scenario: Scenario
    parameters: ParameterSet
    threads: int | None = None
    words: tuple[str, ...] = ()
    _runs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scenario: Scenario, parameters: ParameterSet, threads: int | None = None, words: tuple[str, ...] = ()
    ) -> "Situation":
        """Resolve the scenario: a host decides the memory that nobody named."""
        return cls(GuestMemory.build(scenario).scenario, parameters, threads, words)

    @cached_property
    def memory(self) -> GuestMemory:
        """The guest's memory."""
        return GuestMemory.build(self.scenario)

    @cached_property
    def causes(self) -> Causes:
        """What every cost hangs on, in the draws that price it."""
        return Causes.of(self.parameters, SAMPLES, self.scenario.seed)

    @cached_property
    def interfaces(self) -> tuple[str, ...]:
        """Interfaces that are compared."""
        return able_interfaces(self.scenario.interfaces, self.memory.backing.has_struct_page, self.scenario.backing)

    @property
    def reference(self) -> str:
        """The interface that the others are held against: ``pfn`` unless it was left out."""
        return "pfn" if "pfn" in self.interfaces else self.interfaces[-1]

    @cached_property
    def whole_folios(self) -> int:
        """Whole GiB of guest memory, each of which may be shattered."""
        layout = self.memory.layout
        return sum(layout.is_whole(region) for region in layout.regions())

    @property
    def shattered_folios(self) -> int:
        """How many of them are."""
        return len(self.memory.shattering.regions)

    @cached_property
    def alone(self) -> Scenario:
        """The scenario with one vCPU of one TD: its ledger is the work of all."""
        return replace(self.scenario, vcpus=1, tds=1, nodes=1, placement="own", vcpu_state="working")

    def populate(self, scenario: Scenario, progress: Progress | None = None) -> Outcome:
        """Populate a guest, once."""
        key = repr(scenario)
        if key not in self._runs:
            self._runs[key] = execute(scenario, self.parameters, threads=self.threads, progress=progress)
        return self._runs[key]  # type: ignore[no-any-return]

    def live(
        self, scenario: Scenario, phases: Sequence[AnyPhase], progress: Progress | None = None, **knobs: Any
    ) -> Life:
        """Take a guest through phases, once; lives have the module's lines at their constant price."""
        story = self.story(scenario, phases, **knobs)
        key = repr(story)
        if key not in self._runs:
            plan = Plan.of(story)
            policies = [POLICIES[name] for name in self.interfaces]
            tallies = run_life(plan, policies, self.threads, progress)
            self._runs[key] = Life(plan, dict(zip(self.interfaces, tallies, strict=True)))
        return self._runs[key]  # type: ignore[no-any-return]

    def story(self, scenario: Scenario, phases: Sequence[AnyPhase], **knobs: Any) -> Story:
        """Return phases of a guest; what a scenario says of flushing is a knob of a story."""
        if scenario.flush_first_page_only:
            knobs = {"flush": "first-page"} | knobs
        guest = replace(scenario, flush_first_page_only=False, memory_model="constant")
        return Story(name="report", scenario=guest, what_if=WhatIf(**knobs), phases=tuple(phases))

    def price(self, ledgers: Sequence[Ledger]) -> list[Sampled]:
        """Return costs in seconds, all under the same samples."""
        counts = unit_matrix(ledgers, self.parameters.names).sum(axis=1)
        values = counts @ self.parameters.values_ns() / 1e9
        costs = sample_costs(ledgers, self.parameters, SAMPLES, self.scenario.seed) / 1e9
        return [Sampled(float(value), np.asarray(costs[:, k])) for k, value in enumerate(values)]

    def price_each(self, ledgers: Mapping[Key, Ledger]) -> dict[Key, Sampled]:
        """Return costs in seconds under the names of their ledgers; many at once take little longer than one."""
        return dict(zip(ledgers, self.price(list(ledgers.values())), strict=True)) if ledgers else {}

    def a_gib(self, level: int) -> dict[str, int]:
        """Return the counters of 1 GiB that this guest takes up at level 0 or 1, by ``page-4k`` or ``pfn``."""
        guest = self.scenario
        return counters_of_a_gib(guest.guest, level, guest.levels, guest.flush_first_page_only)

    def a_gib_of_folio(self) -> Scenario:
        """Return a guest of 1 GiB, like this one but whole: what one folio of the backing goes through."""
        return replace(self.alone, memory=1 << 30, shattered=0.0)


def part(ledger: Ledger, *stages: str) -> Ledger:
    """Return the units of ``stages`` alone."""
    return Ledger({key: count for key, count in ledger.units.items() if key[0] in stages})


def of_unit(ledger: Ledger, unit: str) -> Ledger:
    """Return the units of one kind alone."""
    return Ledger({key: count for key, count in ledger.units.items() if key[1] == unit})
