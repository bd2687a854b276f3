"""Does a cluster give what one process gives, whoever dies in between?"""

import os
import signal

import pytest

from perfmodel.errors import InputError
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.schedule import connect
from perfmodel.sweep.sweep import Tally, sweep

GIB = 1 << 30
ASKED = {"memory": (GIB, 2 * GIB), "shattered": (0.0, 1.0), "vcpus": (1, 2), "interface": ("page-4k", "pfn")}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets of workers that were killed


def same(one, other):
    return one.drop_vars("model_seconds").identical(other.drop_vars("model_seconds"))


@pytest.fixture(scope="module")
def client():
    with connect(None, 2) as found:
        yield found


@pytest.fixture(scope="module")
def grid():
    return build_grid(Asked(ASKED))


@pytest.fixture(scope="module")
def serial(grid):
    return sweep(grid, samples=64)


def test_workers_count_what_one_process_counts(client, grid, serial):
    tally = Tally()
    assert same(sweep(grid, samples=64, client=client, tally=tally), serial)
    assert (tally.counted, tally.failed) == (16, {})


def test_a_worker_killed_in_the_middle(client, serial):
    """Another seed counts the same here, under keys that no worker has seen."""
    grid = build_grid(Asked({**ASKED, "seed": (1,)}))
    first, *_ = client.run(os.getpid).values()
    kept: list[str] = []

    class Counting(Parts):
        def keep(self, part):
            super().keep(part)
            kept.append(part.key)
            if len(kept) == 3:
                os.kill(first, signal.SIGKILL)

    tally = Tally()
    dataset = sweep(grid, Counting(), samples=64, client=client, tally=tally)
    assert same(dataset, sweep(grid, samples=64))
    assert len(kept) == len(set(kept)) == tally.counted + tally.simulated
    assert not tally.failed
    assert (dataset["td_exits"].values.ravel() == serial["td_exits"].values.ravel()).all()


def test_a_worker_of_other_source_is_refused(client, grid, monkeypatch):
    import perfmodel.sweep.schedule as schedule

    monkeypatch.setattr(schedule, "model_fingerprint", lambda: "0" * 16)
    other = build_grid(Asked({"memory": (GIB,), "seed": (7,)}))
    with pytest.raises(InputError, match="worker runs perfmodel of source"):
        sweep(other, samples=16, client=client)


def test_nobody_at_the_address():
    with pytest.raises(InputError, match="accepted is the address"), connect("nonsense", None):
        pass
