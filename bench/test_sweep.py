"""How fast stored ledgers are priced, beside the matrix products alone that pricing cannot do without."""

import time
from typing import Any

import numpy as np
import pytest
from ratio import measure_ratio, record
from threadpoolctl import threadpool_limits

from perfmodel.costs import stages_of, unit_matrix
from perfmodel.sweep.dataset import ready_point
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.layout import lay_out
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.pricing import Ready, price_points
from perfmodel.sweep.sweep import sweep

_SAMPLES = 2000


@pytest.mark.benchmark(group="sweep")
def test_pricing(benchmark: Any, request: pytest.FixtureRequest) -> None:
    """200 ledgers, 50 parameter sets and 2,000 samples at full size; 40 and 10 at small."""
    shares, sets = (50, 50) if request.config.getoption("bench_size") == "full" else (10, 10)
    guests = {"memory": (16 << 30,), "shattered": tuple(np.linspace(0, 1, shares).tolist())}
    grid = build_grid(Asked({**guests, "flush_line": tuple(np.linspace(3, 12, sets).tolist())}))
    parts = Parts()
    sweep(build_grid(Asked(guests)), parts, samples=16)
    layout = lay_out(grid, _SAMPLES)
    ready = ready_points(layout, parts)
    units = unit_matrix([one.total for one in ready], layout.sets[0].names)
    factors = np.ones((_SAMPLES, units.shape[2]))
    points = len(ready) * sets

    def ours() -> None:
        price_points(layout, ready, stages_of([one.total for one in ready]), ["boot"], threads=1)

    def products() -> None:
        with threadpool_limits(1):
            for _ in range(sets):
                for one in units:
                    factors @ one.T

    record(benchmark, points, "points", measure_ratio(ours, [products], pairs=3, clock=time.perf_counter))
    benchmark.pedantic(ours, rounds=3)


def ready_points(layout: Any, parts: Parts) -> list[Ready]:
    """Return the points of ``layout`` as pricing takes them."""
    return [
        ready_point(layout, place, counts, parts)
        for place, planned in enumerate(layout.points)
        if (counts := parts.counts(planned.key)) is not None
    ]
