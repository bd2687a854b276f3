"""Where are compiled kernels kept, and what if that place cannot be written?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "from kernels.jit import cache_folder; print(cache_folder())"


def folder(**environment: str) -> Path:
    """Return the folder that a new process picks."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return Path(done.stdout.strip())


def test_the_environment_decides(tmp_path: Path) -> None:
    assert folder(NUMBA_CACHE_DIR=str(tmp_path)).parent == tmp_path


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_place_that_cannot_be_made_gives_way_to_the_temporary_folder(tmp_path: Path, name: str) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    spare = tmp_path / "spare"
    spare.mkdir()
    environment = {"NUMBA_CACHE_DIR": "", name: str(in_the_way / "below"), "TMPDIR": str(spare)}
    assert folder(**environment).parent == spare / f"perfmodel-{os.getuid()}"


def test_a_folder_that_everybody_may_write_is_not_used(tmp_path: Path) -> None:
    base = tmp_path / "shared"
    base.mkdir()
    base.chmod(0o707)
    assert base not in folder(NUMBA_CACHE_DIR=str(base), TMPDIR=str(tmp_path)).parents
