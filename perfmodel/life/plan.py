"""What a run of a life works from, and what it counts."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.counters import ALL_COUNTERS
from kernels.keyhole_populate import COUNTS as KEYHOLE_COUNTS
from kernels.populate import USE_ASKED
from perfmodel.backings.contract import REGION_PAGES
from perfmodel.life.conversions import Requests, draw_conversions, draw_holes, need_of
from perfmodel.life.phases import AcceptMismatch, Build, Convert, PunchHole
from perfmodel.life.scenario_file import Story
from perfmodel.memory import GuestMemory
from perfmodel.memory_need import require_memory
from perfmodel.recognition import RegionTurn, kind_of

LEAVES, HUGE_LEAVES, SEPT_PAGES, FRAMES_4K = range(4)
"""Columns of ``LifeTally.standing``: leaves at 4K and 2M, S-EPT pages without the root, and with Dynamic PAMT the 2 MiB
frames of host memory that hold pages mapped at 4K."""


class LifeTally:
    """Exact counts of one policy's life, by phase.

    Attributes
    ----------
    counts : ndarray of int64, shape (phases, ALL_COUNTERS)
    keyholes : ndarray of int64, shape (phases, KEYHOLE_COUNTS)
        Keyhole maps and misses of the boot.
    standing : ndarray of int64, shape (phases, 4)
        What there is at the end of each phase.
    folios : int
        Folios behind the guest's private pages.
    at_1g : int
        Regions that the boot maps by one leaf at 1G, :mod:`perfmodel.life.at_1g`.
    """

    def __init__(self, phases: int) -> None:
        self.counts = np.zeros((phases, ALL_COUNTERS), np.int64)
        self.keyholes = np.zeros((phases, KEYHOLE_COUNTS), np.int64)
        self.standing = np.zeros((phases, 4), np.int64)
        self.folios = 0
        self.at_1g = 0
        self.model_seconds = 0.0

    def add(self, other: "LifeTally", times: int = 1) -> None:
        """Add another part of the guest, or several that are alike."""
        self.counts += other.counts * times
        self.keyholes += other.keyholes * times
        self.standing += other.standing * times
        self.folios += other.folios * times
        self.at_1g += other.at_1g * times
        self.model_seconds += other.model_seconds


class Plan(NamedTuple):
    """A story with its memory and with its requests drawn: what every thread works from."""

    story: Story
    memory: GuestMemory
    requests: tuple[Requests | None, ...]

    @classmethod
    def of(cls, story: Story) -> "Plan":
        """Resolve the scenario and draw."""
        memory = GuestMemory.build(story.scenario)
        require_memory(
            sum(need_of(phase, memory.layout.pages) for phase in story.phases),
            "the requests of its phases",
            "smaller counts",
        )
        seed = memory.scenario.seed
        requests = [
            draw_conversions(phase, memory.layout, seed, number) if isinstance(phase, Convert)
            else draw_holes(phase, memory.layout, seed, number) if isinstance(phase, PunchHole)
            else None
            for number, phase in enumerate(story.phases)
        ]  # fmt: skip
        return cls(story, memory, tuple(requests))

    def kind(self, turn: RegionTurn) -> Hashable:
        """Return what decides a region's counts, or None where only a run tells."""
        kind = kind_of(self.memory, turn)
        if kind is None:
            return None
        first = turn.region * REGION_PAGES
        early = [int(np.clip(end - first, 0, REGION_PAGES)) for _, end in self.early_spans()]
        asked = [r.of(turn.region).tobytes() if r is not None else b"" for r in self.requests]
        return (kind, *early, *asked)

    def early_spans(self) -> list[tuple[int, int]]:
        """Return the GFNs ``[start, end)`` of the initial image, and of what is accepted at 4K behind it."""
        spans, end = [], 0
        for phase in self.story.phases:
            if isinstance(phase, Build | AcceptMismatch):
                spans.append((end, end + phase.pages))
                end += phase.pages
        return spans

    def early_pages(self, number: int, region: int, use: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the offsets of the private pages in ``region`` that phase ``number`` builds or accepts first."""
        before = [isinstance(p, Build | AcceptMismatch) for p in self.story.phases[:number]]
        start, end = self.early_spans()[sum(before)]
        low, high = (int(np.clip(gfn - region * REGION_PAGES, 0, REGION_PAGES)) for gfn in (start, end))
        return low + np.flatnonzero(use[low:high] == USE_ASKED)
