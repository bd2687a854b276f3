"""Tasks of a sweep, one after the other in this process or on a dask cluster; results come back as they are done."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from perfmodel.errors import InputError
from perfmodel.fingerprint import model_fingerprint
from perfmodel.parameters import ParameterSet
from perfmodel.sweep.point import Point, PointCounts, PointMeeting, count_point, meet_point, meeting_key

if TYPE_CHECKING:
    from distributed import Client

_ADDRESS = "accepted is the address of a running dask scheduler, such as tcp://10.0.0.1:8786"
_CONNECT_SECONDS = 10
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
"""Without dask's MALLOC_TRIM_THRESHOLD_: with it, two workers took 39 s instead of 24 s, in page faults."""


class WrongSourceError(InputError):
    """A worker would count by another model."""


@dataclass(frozen=True)
class Task:
    """A point to count or, with its counts, a meeting to simulate."""

    point: Point
    counts: PointCounts | None = None
    parameters: ParameterSet | None = None

    @property
    def key(self) -> str:
        """Key of the part that it makes."""
        if self.counts is None or self.parameters is None:
            return self.point.key
        return meeting_key(self.counts.key, self.parameters)

    @property
    def size(self) -> int:
        """GiB of the guest, by which the time left is estimated."""
        return max(self.point.scenario.memory_bytes >> 30, 1)

    def run(self, threads: int | None = None) -> PointCounts | PointMeeting:
        """Do it."""
        if self.counts is None or self.parameters is None:
            return count_point(self.point, threads)
        return meet_point(self.point, self.counts, self.parameters, threads)


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its part, or why there is none."""

    task: Task
    part: PointCounts | PointMeeting | None
    failed: str = ""


def run_serially(tasks: Sequence[Task], threads: int | None = None) -> Iterator[Outcome]:
    """Yield outcomes in the order of ``tasks``; a task that fails does not stop the others."""
    for task in tasks:
        try:
            yield Outcome(task, task.run(threads))
        except Exception as error:  # whatever it is: its reason is recorded
            yield Outcome(task, None, _reason(error))


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _run_one(task: Task, model: str) -> PointCounts | PointMeeting:
    """Run a task on a worker, on one thread; refuse to where the worker's source is not the client's."""
    if model != model_fingerprint():
        raise WrongSourceError(f"a worker runs perfmodel of source {model_fingerprint()}, this is {model}")
    return task.run(threads=1)


def run_on_cluster(client: "Client", tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Yield outcomes as workers finish them.

    A task whose worker dies is given to another; one on which four workers have died has failed.

    Raises
    ------
    WrongSourceError
        A worker runs other source than this process.
    """
    from distributed import as_completed

    model = model_fingerprint()
    longest_first = sorted(tasks, key=lambda one: -one.size)  # no worker is left alone at the end
    waiting = {
        client.submit(_run_one, task, model, key=f"perfmodel-{task.key}", pure=True): task for task in longest_first
    }
    for future in as_completed(list(waiting), loop=client.loop):
        task = waiting.pop(future)
        error = future.exception() if future.status != "finished" else None
        if isinstance(error, WrongSourceError):
            raise error
        yield Outcome(task, None, _reason(error)) if error else Outcome(task, future.result())


@contextlib.contextmanager
def connect(scheduler: str | None, workers: int | None) -> "Iterator[Client | None]":
    """Connect to the dask scheduler at an address, or start ``workers`` processes here; None for neither.

    Raises
    ------
    InputError
        distributed is not installed, or nobody answers at the address.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None:
        _check_address(scheduler)
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("a cluster needs dask.distributed: install perfmodel[cluster]") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({
            "distributed.comm.timeouts.connect": _CONNECT_SECONDS,
            "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        }))  # fmt: skip
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters becomes a reason or a result
        if scheduler is not None:
            if scheduler.startswith("tls:") and not dask.config.get("distributed.comm.tls.ca-file"):
                raise InputError(f"scheduler {scheduler!r}: accepted with distributed.comm.tls in dask's configuration")
            try:
                client: Any = stack.enter_context(Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False))
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(f"scheduler {scheduler!r}: {error}: {_ADDRESS}") from None
        else:
            with _deaf_to_interrupts():
                cluster = LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )  # fmt: skip
            client = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError:
            raise InputError(
                f"scheduler {scheduler!r} has no worker: accepted is one that a 'dask worker' has joined"
            ) from None
        yield client


def _check_address(address: str) -> None:
    """Refuse what dask would only find out about while it tries to connect, with threads that it then leaves behind."""
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:  # a port beyond 65535, or none at all
        sound = False
    if not sound or not address.isprintable():
        raise InputError(f"scheduler {address!r}: {_ADDRESS}")


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Have processes that the block starts ignore SIGINT, which a terminal sends to all; this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
