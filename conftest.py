"""Which half of the suite a call means: ``pytest`` the tests, ``pytest --benchmark-only`` the benchmarks."""

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the benchmarks' sizes; pytest takes options from the root's conftest only."""
    parser.addoption(
        "--bench-size",
        choices=["small", "full"],
        default="small",
        help="guests of up to 64 GiB, or of up to 512 GiB (minutes, and 5 GiB of memory)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the half that was not asked for, unless its path was given."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return None
    unwanted = "tests" if config.getoption("benchmark_only", default=False) else "bench"
    return True if _ROOT / unwanted in (collection_path, *collection_path.parents) else None
