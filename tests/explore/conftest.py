"""A small page, made once, and a browser that shows it."""

from pathlib import Path
from typing import Any

import pytest

from perfmodel.explore.guests import Guests, read_guests
from perfmodel.explore.page import make_page
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.sweep import sweep
from tests.support.browser import CHROMIUM, chromium

GIB = 1 << 30
GRIDS = (
    {"shattered": (0.0, 0.5), "memory": (GIB, 2 * GIB), "guest": ("linux-lazy", "prefault")},
    {"backing": ("order0",), "memory": (GIB,), "guest": ("linux-lazy",)},
)
"""Not every backing has every memory and share."""


@pytest.fixture(scope="session")
def datasets() -> list[Any]:
    return [sweep(build_grid(Asked(dict(values))), samples=1) for values in GRIDS]


@pytest.fixture(scope="session")
def guests(datasets: list[Any]) -> Guests:
    return read_guests(datasets)


@pytest.fixture(scope="session")
def parameters() -> ParameterSet:
    return load_parameters()


@pytest.fixture(scope="session")
def page_file(guests: Guests, parameters: ParameterSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explore") / "page.html"
    path.write_bytes(make_page(guests, parameters))
    return path


@pytest.fixture(scope="session")
def browser() -> Any:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with chromium() as started:
        yield started
