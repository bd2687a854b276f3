"""What every reader takes and gives back, and what it counts on the way.

A reader is a module with ``KIND``, ``ACCEPTS`` (what the file is, for help and refusals), ``recognises`` (whether the
first lines look like it) and ``read``.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from perfmodel.errors import InputError
from perfmodel.ingest.lines import Lines
from perfmodel.ingest.report import Report

MASK_52 = (1 << 52) - 1
LEVELS = {1: "4K", 2: "2M", 3: "1G"}
"""KVM's numbering, one above the module's."""

FaultSink = Callable[[int, int | None, str | None, int, int], None]
"""Called with GFN, PFN, level, vCPU and time in ns of each private fault, in the order of their ends."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a file does not say and the user can.

    Attributes
    ----------
    function : str, optional
        Function that was timed, for tools that do not print it.
    vcpus : int, optional
        vCPUs that a selftest ran with.
    bytes_per_vcpu : int
        Memory that a selftest gave each vCPU.
    on_fault : callable, optional
        Takes private faults one by one.
    """

    function: str | None = None
    vcpus: int | None = None
    bytes_per_vcpu: int = 1 << 30
    on_fault: FaultSink | None = None


@dataclass
class Spread:
    """Count, mean and ends of a duration in ns, by one pass in constant memory."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, ns: float) -> None:
        """Take up one duration."""
        self.count += 1
        self.total += ns
        self.squares += ns * ns
        if ns < self.low:
            self.low = ns
        if ns > self.high:
            self.high = ns

    @property
    def mean(self) -> float:
        """Mean in ns."""
        return self.total / self.count

    @property
    def error(self) -> float:
        """Standard error of the mean over the mean."""
        variance = max(self.squares / self.count - self.mean**2, 0.0)
        return math.sqrt(variance / self.count) / self.mean if self.mean > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A duration that a file tells.

    Attributes
    ----------
    what : str
        ``private fault``, ``shared fault``, a function's name, or the file's own name for it.
    level : {"4K", "2M", "1G"} or None
        Of the mapping, where known.
    count : int
    mean_ns : float
    low_ns, high_ns : float or None
        Ends, where told; a histogram's are those of its buckets.
    self_ns : float or None
        Mean without the direct children that were traced.
    error : float
        Of the mean, as a share of it: standard error, or what a histogram's buckets leave open.
    tracer : {"none", "service", "addresses"}
        What ran inside the interval, as observations name it.
    pages : int
        4K pages that all calls together were about; 0 where unknown.
    """

    what: str
    level: str | None
    count: int
    mean_ns: float
    low_ns: float | None = None
    high_ns: float | None = None
    self_ns: float | None = None
    error: float = 0.0
    tracer: str = "none"
    pages: int = 0

    @classmethod
    def of(cls, what: str, level: str | None, spread: Spread, **more: Any) -> "Measurement":
        """Return what ``spread`` has come to."""
        return cls(
            what=what, level=level, count=spread.count, mean_ns=spread.mean, low_ns=spread.low, high_ns=spread.high,
            error=spread.error, **more,
        )  # fmt: skip


@dataclass
class Reading:
    """What a reader found.

    Attributes
    ----------
    report : Report
    measurements : list of Measurement
    facts : dict
        What else the file says, JSON-able; keys are the reader's own.
    host : dict or None
        Fields of :class:`perfmodel.host.model.Host` that the file tells.
    """

    report: Report
    measurements: list[Measurement] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] | None = None


class Reader(Protocol):
    """One format."""

    KIND: str
    ACCEPTS: str

    def recognises(self, head: str) -> bool:
        """Whether ``head``, the first lines of a file, looks like this format."""

    def read(self, lines: Lines, options: Options) -> Reading:
        """Read ``lines`` to their end."""


def split_gpa(gpa: int) -> tuple[int, int | None]:
    """Return the GFN without the shared bit, and that bit's number or None for a private GPA.

    The bit is 51 with a GPA width of 52 bits and 47 with one of 48; no guest has private memory that high.
    """
    for bit in (51, 47):
        if gpa >> bit & 1:
            return (gpa & ((1 << bit) - 1)) >> 12, bit
    return (gpa & MASK_52) >> 12, None


def bucket_mean(buckets: list[tuple[float, float | None, int]]) -> tuple[float, float]:
    """Return mean and its error as a share, of a histogram of ``(low, high, count)``.

    Within a bucket values may lie anywhere; an open last bucket counts as its start, twice it at most. The mean is the
    geometric middle of what that allows, the error that of a uniform logarithm in between.

    Raises
    ------
    InputError
        Nothing is counted.
    """
    count = sum(n for _, _, n in buckets)
    if count == 0:
        raise InputError("no event is counted")
    least = sum(max(low, 0.0) * n for low, _, n in buckets) / count
    most = sum((2 * max(low, 0.5) if high is None else max(high, 0.0)) * n for low, high, n in buckets) / count
    least, most = max(least, most / 4, 1e-3), max(most, 1e-3)
    return math.sqrt(least * most), math.log(most / least) / math.sqrt(12)


def drops(dropped: "Counter[str]") -> str:
    """Return reasons and counts as one phrase."""
    return ", ".join(f"{n:,} {why}" for why, n in dropped.most_common())
