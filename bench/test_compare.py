"""How long the comparison of the four interfaces takes, every region run, from the scenario to the intervals."""

from typing import Any

import pytest
from ratio import thp

from perfmodel import Scenario, compare
from perfmodel.policies import POLICIES


@pytest.mark.benchmark(group="end-to-end compare")
@pytest.mark.parametrize("shattered", [0.0, 0.1])
def test_compare(benchmark: Any, gib: int, shattered: float) -> None:
    compare(Scenario(memory="1GiB"))
    scenario = Scenario(memory=f"{gib}GiB", shattered=shattered)
    benchmark.extra_info.update(items=len(POLICIES) * gib << 18, unit="4K pages", thp=thp())
    result = benchmark.pedantic(compare, (scenario,), {"every_region": True}, rounds=1 if gib > 16 else 3)
    assert [row.interface for row in result.rows] == list(POLICIES)
