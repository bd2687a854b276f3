"""How the tests call the command line: in this process, as a user's shell would see it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from perfmodel.__main__ import main


class Called(NamedTuple):
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Return a function that runs ``perfmodel`` with the given words."""

    def run(*words: str) -> Called:
        with pytest.raises(SystemExit) as stopped:
            main(list(words))
        assert isinstance(stopped.value.code, int)
        return Called(stopped.value.code, *capsys.readouterr())

    return run
