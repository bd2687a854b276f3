"""Sweeps that several tests draw, as small as they can be."""

from pathlib import Path
from typing import Any

import pytest

from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.stored import to_netcdf
from perfmodel.sweep.sweep import sweep

SAMPLES = 64


def swept(**values: Any) -> Any:
    """Return the Dataset of a grid of these axes."""
    return sweep(build_grid(Asked({name: tuple(some) for name, some in values.items()})), samples=SAMPLES)


@pytest.fixture(scope="session")
def memory_and_shares() -> Any:
    """Memory, out of order, by share of shattered folios."""
    return swept(memory=[4 << 30, 1 << 30, 2 << 30], shattered=[0.0, 0.25, 0.5, 1.0])


@pytest.fixture(scope="session")
def vcpus() -> Any:
    """Numbers of vCPUs that meet each other."""
    return swept(memory=[64 << 20], vcpus=[1, 4], interface=["folio-strict", "page-4k", "pfn"])


@pytest.fixture(scope="session")
def prices() -> Any:
    """A parameter by preset."""
    return swept(memory=[64 << 20], preset=["spr-8480p", "gnr-6980p"], flush_line=[4.0, 9.0, 15.0])


@pytest.fixture(scope="session")
def sweep_file(memory_and_shares: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of them as a file."""
    path = tmp_path_factory.mktemp("sweep") / "sweep.nc"
    path.write_bytes(to_netcdf(memory_and_shares))
    return path
