"""Small sweeps that several tests look at."""

import pytest

from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.sweep import sweep

GIB = 1 << 30


@pytest.fixture(scope="session")
def small_grid():
    return build_grid(
        Asked(
            {
                "backing": ("hugetlb-1g", "thp"),
                "shattered": (0.0, 1.0),
                "memory": (GIB, 2 * GIB),
                "preset": ("spr-8480p", "gnr-6980p"),
                "flush_line": (4.0, 8.0),
            },
            title="small",
        )
    )


@pytest.fixture(scope="session")
def small(small_grid):
    return sweep(small_grid, samples=512)
