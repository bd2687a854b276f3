"""Runs of the command line in a process of their own that are stopped at some moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import perfmodel

BEGUN = "_multiarray_umath"
"""A library that commands load when they begin to work, and not the command line before."""


_FOR_EVER_SECONDS = 120
"""A run of a second that does not end in this time never does."""


def run_and_stop(
    words: Sequence[str], folder: Path, sent: signal.Signals, after_seconds: float
) -> "subprocess.CompletedProcess[str]":
    """Run ``perfmodel`` in ``folder`` and send ``sent`` so long after it has begun to work, if it still runs then."""
    command = [sys.executable, "-m", "perfmodel", *words]
    here = os.environ | {"PYTHONPATH": str(Path(perfmodel.__file__).parents[1])}
    with subprocess.Popen(
        command, cwd=folder, env=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and BEGUN not in _maps(process.pid):
            time.sleep(0.002)
        time.sleep(after_seconds)
        process.send_signal(sent)
        try:
            out, err = process.communicate(timeout=_FOR_EVER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def check_stopped(
    done: "subprocess.CompletedProcess[str]", folder: Path, before: dict[str, bytes], whole: Callable[[Path], bool],
    killed: bool,
) -> None:  # fmt: skip
    """Hold a stopped run to the law: each file is as it was, or whole; nothing else is there; one line says so.

    Parameters
    ----------
    done : CompletedProcess
    folder : Path
        Where it ran.
    before : dict of str to bytes
        Its files before.
    whole : callable
        Whether a file that is not as it was is a whole result.
    killed : bool
        By SIGKILL, which lets a file without a result's name behind.
    """
    about = (done.returncode, done.stderr)
    if killed:
        assert done.returncode in (0, -signal.SIGKILL), about
    else:
        # a shell calls both 130; CPython ends the second way where it was in exec() then, or all but gone
        assert done.returncode in (0, 130, -signal.SIGINT), about
        assert not any(word in done.stderr for word in ("Traceback", "Exception", "KeyboardInterrupt")), about
        if done.returncode == 130:
            assert done.stderr.splitlines()[-1].startswith("perfmodel: interrupted"), about
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if killed and path.name.startswith(".perfmodel-") and path.name.endswith(".partial"):
            path.unlink()
        else:
            assert path.read_bytes() == before.get(path.name) or whole(path), (path, about)
    assert all((folder / name).exists() for name in before)


def without_clock(document: Any) -> Any:
    """Return a result without the ``model_seconds`` in it, which no two runs share."""
    if isinstance(document, dict):
        return {key: without_clock(value) for key, value in document.items() if key != "model_seconds"}
    return [without_clock(one) for one in document] if isinstance(document, list) else document


def read_result(path: Path) -> Any:
    """Return what a result says, but for the time that it took."""
    if path.suffix == ".nc":
        from perfmodel.sweep.stored import load_sweep

        dataset = load_sweep(path)
        return repr(dataset.drop_vars([name for name in dataset.data_vars if "model_seconds" in str(name)]).to_dict())
    text = path.read_text()
    return without_clock(json.loads(text)) if path.suffix == ".json" else text
