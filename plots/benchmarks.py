"""Results of ``pytest --benchmark-only --benchmark-json=FILE``, as far as figures need them."""

import math
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from perfmodel.errors import InputError

ACCEPTED = "accepted is what 'pytest --benchmark-only --benchmark-json' writes of this project's bench/"
MOST = 1000
_Positive = Annotated[float, msgspec.Meta(gt=1e-15, lt=1e15)]
_Text = Annotated[str, msgspec.Meta(max_length=200)]


class Extra(msgspec.Struct, frozen=True):
    """What a benchmark of this project stores beside its times; see ``bench/ratio.py``."""

    items: _Positive
    unit: _Text
    thp: _Text
    roofline_ratio: _Positive | None = None
    peer: _Text = ""
    peer_ratio: _Positive | None = None


class Stats(msgspec.Struct, frozen=True):
    """Seconds a round."""

    median: _Positive


class Benchmark(msgspec.Struct, frozen=True):
    """One case of one benchmark."""

    fullname: _Text
    stats: Stats
    extra_info: Extra
    group: _Text | None = None

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.extra_info.items / self.stats.median

    @property
    def roofline_rate(self) -> float:
        """Items a second that the roofline of this case allows; infinite where there is none."""
        ratio = self.extra_info.roofline_ratio
        return self.rate / ratio if ratio else math.inf

    @property
    def function(self) -> str:
        """The benchmark's function in words; cases with other parameters have the same."""
        return self.fullname.rpartition("::")[2].partition("[")[0].removeprefix("test_").replace("_", " ")

    @property
    def question(self) -> str:
        """Group and function in words, once where they are the same."""
        if not self.group:
            return self.function
        return self.group if self.function.lower() == self.group.lower() else f"{self.group}: {self.function}"


class Cpu(msgspec.Struct, frozen=True):
    """The processor, as py-cpuinfo sees it."""

    count: int
    brand_raw: _Text = ""


class Machine(msgspec.Struct, frozen=True):
    """The machine, its name left out."""

    cpu: Cpu
    python_version: _Text = ""


class Benchmarks(msgspec.Struct, frozen=True):
    """All of a file."""

    machine_info: Machine
    datetime: _Text
    benchmarks: list[Benchmark]


class Group(NamedTuple):
    """The cases of one question."""

    name: str
    cases: tuple[Benchmark, ...]


def load_benchmarks(path: Path) -> Benchmarks:
    """Read a file of pytest-benchmark.

    Raises
    ------
    InputError
        The file is not one, or none of its benchmarks has a roofline or a peer.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Benchmarks)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}: {ACCEPTED}") from None
    texts = [text for one in found.benchmarks for text in (one.question, one.extra_info.unit, one.extra_info.peer)]
    if not all(text.isprintable() for text in (*texts, found.datetime, found.machine_info.cpu.brand_raw)):
        raise InputError(f"{path}: a name that is no line of printable characters: {ACCEPTED}")
    if not 0 < len(found.benchmarks) <= MOST:
        raise InputError(f"{path}: {len(found.benchmarks)} benchmarks: accepted are 1 to {MOST}")
    return found


def by_question(benchmarks: list[Benchmark]) -> list[Group]:
    """Return the cases by what they ask, in the order of the file."""
    groups: dict[str, list[Benchmark]] = {}
    for one in benchmarks:
        groups.setdefault(one.question, []).append(one)
    return [Group(name, tuple(cases)) for name, cases in groups.items()]
