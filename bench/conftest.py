"""Sizes and helper modules of all benchmarks."""

import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # large_guest.py, ratio.py and gather.py, which several files share

_GIB = {"small": [1, 16, 64], "full": [1, 16, 64, 256, 512]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each benchmark that asks for ``gib`` the guest sizes of ``--bench-size``."""
    if "gib" in metafunc.fixturenames:
        metafunc.parametrize("gib", _GIB[metafunc.config.getoption("bench_size")], scope="module")


@pytest.fixture(autouse=True)
def _free_what_came_before() -> None:
    """A guest's tables take GiBs: let none wait for the collector while the next ones are made."""
    gc.collect()
