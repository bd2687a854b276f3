"""How fast the model itself populates a region, by policy: 4K leaves, 2M leaves, and what lies between."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmodel.memory import GuestMemory
from perfmodel.policies import POLICIES
from perfmodel.populate import RegionRunner
from perfmodel.recognition import RegionTurn
from perfmodel.scenario import Scenario

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_PAGES = 1 << 18


@pytest.fixture
def record(benchmark: Any) -> Callable[..., None]:
    """Return a function that stores what a round processes, and the THP setting."""

    def store(items: int, unit: str) -> None:
        thp = _THP.read_text().strip() if _THP.exists() else "unknown"
        benchmark.extra_info.update(items=items, unit=unit, thp=thp)

    return store


@pytest.mark.parametrize("interface", POLICIES)
def test_populate_region(benchmark: Any, record: Callable[..., None], interface: str) -> None:
    """One GiB with one shared page: facts, policy, populate, census; tables allocated and touched before."""
    memory = GuestMemory.build(Scenario(memory="1GiB", shattered=1.0))
    runner = RegionRunner(memory, [POLICIES[interface]])
    turn = RegionTurn(0, None)
    runner.run(turn)
    record(_PAGES, "4K pages")
    benchmark(runner.run, turn)
    assert runner.tallies[0].mapped % (_PAGES - 1) == 0
