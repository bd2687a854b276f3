"""How fast the model runs accesses through TLBs and caches: hardly any walks, and a walk for nearly every access."""

from typing import Any

import numpy as np
import pytest
from ratio import thp

from kernels import two_dimensional_walk as kernel
from perfmodel.steady import SteadyScenario, access_stream, page_table_layout
from perfmodel.walk_hardware import load_walk_hardware

_ACCESSES = 1 << 19


@pytest.mark.benchmark(group="steady state")
@pytest.mark.parametrize("working_set", ["256KiB", "4MiB", "64GiB"])
def test_accesses(benchmark: Any, working_set: str) -> None:
    scenario = SteadyScenario(memory="64GiB", working_set=working_set)
    lines = access_stream(scenario)(_ACCESSES)
    places, tags = load_walk_hardware("spr-8480p").empty("value")
    assert isinstance(scenario.working_set, int)
    layout, pages = page_table_layout(scenario.working_set >> 12)
    leaf, counts = np.zeros(-(-pages // 512), np.uint8), np.zeros(kernel.COUNTS, np.int64)
    benchmark(kernel.access_lines, lines, tags, places, layout, leaf, 0, 4, 4, counts)
    benchmark.extra_info.update(
        items=_ACCESSES, unit="accesses", thp=thp(), walks_per_access=counts[kernel.WALKS] / counts[kernel.ACCESSES]
    )
