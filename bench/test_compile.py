"""How long the first comparison takes, which compiles the kernels, and how long one takes that finds them compiled."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ratio import thp

_ROOT = Path(__file__).parents[1]


@pytest.mark.benchmark(group="compile time")
@pytest.mark.parametrize("kernels", ["cold", "warm"])
def test_compile(benchmark: Any, tmp_path_factory: pytest.TempPathFactory, kernels: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "compiled"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(_ROOT)}

    def run() -> None:
        command = [sys.executable, "-m", "perfmodel", "compare", "--memory", "1GiB"]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    if kernels == "warm" and not folder.exists():
        run()
    assert folder.exists() == (kernels == "warm")
    benchmark.extra_info.update(items=1, unit="comparisons of 1 GiB", thp=thp())
    benchmark.pedantic(run, rounds=1 if kernels == "cold" else 3)
    assert any(folder.rglob("populate.populate_region-*.nbi"))
