"""Steady state: what TLB misses cost a TD whose memory is mapped with 4K or 2M S-EPT leaves.

The accesses of one vCPU run through simulated TLBs, paging-structure caches and caches; what was found where is counted
and then priced. Each kind of leaf sees the same accesses, and each runs three times: with all structures at their
values, at the low and at the high ends of their ranges.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kernels import two_dimensional_walk as kernel
from perfmodel._version import __version__
from perfmodel.accounting import MemoryUse, memory_use, sept_pages_of
from perfmodel.costs import INTERVAL
from perfmodel.errors import InputError
from perfmodel.interrupts import interrupts_held
from perfmodel.memory_need import require_memory
from perfmodel.parameters import DEFAULT_PRESET, ParameterSet, load_parameters
from perfmodel.result import ParametersId
from perfmodel.sizes import parse_size
from perfmodel.steady_result import Interval, Loads, Speedup, SteadyResult, SteadyRow, Structure
from perfmodel.walk_hardware import LATENCIES, SIZES, Size, WalkHardware, load_walk_hardware

ACCESS = ("uniform", "zipf", "sequential")
GUEST_PAGES = ("4k", "2m")

_CHUNK = 1 << 18
_STREAM_BYTES = 8 * 4 * _CHUNK
_SAMPLES = 4096
_LARGEST_WORKING_SET = 1 << 46
_ZIPF_STRIDE = 0x9E3779B

Array = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SteadyScenario:
    """One vCPU's accesses to a guest's memory; the defaults are those of the command line.

    Attributes
    ----------
    memory, working_set : int or str
        Guest memory, and the part that is accessed; kept as bytes. No working set: an eighth of memory.
    access : {"uniform", "zipf", "sequential"}
        64-byte lines at random; pages by Zipf's law, lines in them at random; or line after line, around and around.
    zipf_exponent : float
    rate : float
        Accesses a second.
    guest_pages : {"4k", "2m"}
        Size of the guest's own pages.
    guest_levels, levels : {4, 5}
        Levels of the guest's page table and of the S-EPT.
    share_2m : float, optional
        A third row: this share of the 2M ranges mapped at 2M, drawn from the seed, the others at 4K.
    accesses : int
        How many are counted; as many go before to fill the structures.
    host_memory : int or str, optional
        Memory of the host, as one TDMR; without it that of the guest. Rounded up to 1 GiB.
    folio_order : int
        Order of the folios behind the guest.
    dynamic_pamt, hvo : bool
    seed : int
    """

    memory: int | str = "64GiB"
    working_set: int | str | None = None
    access: str = "uniform"
    zipf_exponent: float = 0.99
    rate: float = 1e8
    guest_pages: str = "4k"
    guest_levels: int = 4
    levels: int = 4
    share_2m: float | None = None
    accesses: int = 1 << 20
    host_memory: int | str | None = None
    folio_order: int = 18
    dynamic_pamt: bool = False
    hvo: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field and settle sizes."""
        memory = parse_size(self.memory)
        working_set = _an_eighth(memory) if self.working_set is None else parse_size(self.working_set, "working-set")
        host = memory if self.host_memory is None else parse_size(self.host_memory, "host-memory")
        for name, value in (("memory", memory), ("working_set", working_set), ("host_memory", host)):
            object.__setattr__(self, name, value)
        _one_of("access", self.access, ACCESS)
        _one_of("guest-pages", self.guest_pages, GUEST_PAGES)
        _between("memory", memory, 4096, 1 << {4: 47, 5: 51}.get(self.levels, 47))
        _between("working-set", working_set, 4096, min(memory, _LARGEST_WORKING_SET))
        _between("host-memory", host, memory, 1 << 52)
        _between("levels", self.levels, 4, 5)
        _between("guest-levels", self.guest_levels, 4, 5)
        _between("zipf-exponent", self.zipf_exponent, 0.01, 10.0)
        _between("rate", self.rate, 1.0, 1e12)
        _between("accesses", self.accesses, 1000, 10**11)
        _between("folio-order", self.folio_order, 0, 18)
        _between("seed", self.seed, 0, (1 << 63) - 1)
        if self.share_2m is not None:
            _between("share-2m", self.share_2m, 0.0, 1.0)

    @property
    def guest_leaf(self) -> int:
        """Level of the guest's own leaves."""
        return GUEST_PAGES.index(self.guest_pages)

    def describe(self) -> dict[str, Any]:
        """Return the fields for a result."""
        fields = asdict(self)
        sizes = {f"{name}_bytes": fields.pop(name) for name in ("memory", "working_set", "host_memory")}
        return sizes | fields


def run_steady(
    scenario: SteadyScenario,
    parameters: ParameterSet | None = None,
    hardware: WalkHardware | None = None,
    progress: Progress | None = None,
) -> SteadyResult:
    """Simulate and price.

    Parameters
    ----------
    scenario : SteadyScenario
    parameters : ParameterSet, optional
        Prices ``dram_read`` and ``memory_encryption_read``; gives the core clock.
    hardware : WalkHardware, optional
        Sizes and latencies of everything above memory.
    progress : callable, optional
        Called with accesses done and in all.

    Returns
    -------
    SteadyResult
        The same for the same scenario, parameters and hardware, whatever the number of threads.
    """
    parameters = parameters or load_parameters(DEFAULT_PRESET)
    hardware = hardware or load_walk_hardware(DEFAULT_PRESET)
    shares = {"4K": 0.0, "2M": 1.0} | ({} if scenario.share_2m is None else {"mixed": scenario.share_2m})
    jobs = [(share, size) for share in shares.values() for size in SIZES]
    together = min(len(jobs), os.cpu_count() or 1)
    tags = max(sum(g.sets * g.ways for g in hardware.geometry(size).values()) for size in SIZES)
    require_memory(
        together * (8 * tags + 3 * (_bytes(scenario.working_set) >> 21) + _STREAM_BYTES),
        f"{together} simulations side by side", "--hardware with fewer entries, or a smaller --working-set",
    )  # fmt: skip
    with interrupts_held() as came, ThreadPoolExecutor(together) as pool:
        tell = _Sum(progress, 2 * scenario.accesses * len(jobs), came)
        counts = list(pool.map(lambda job: simulate(scenario, hardware, job[0], job[1], tell.add), jobs))
    by_leaf = {leaf: np.array(counts[3 * i : 3 * i + 3]) for i, leaf in enumerate(shares)}
    prices = prices_of(parameters, hardware)
    central, sampled = prices.values_ns(), prices.sample_ns(_SAMPLES, scenario.seed)
    rows = [
        _row(scenario, hardware, leaf, share, by_leaf[leaf], central, sampled, parameters.core_ghz)
        for leaf, share in shares.items()
    ]
    speedups = [_speedup(leaf, by_leaf, central, sampled) for leaf in shares if leaf != "4K"]
    return SteadyResult(
        version=__version__,
        seed=scenario.seed,
        parameters=ParametersId(parameters.name, parameters.sha256),
        hardware={name: Structure(g.sets * g.ways, g.ways) for name, g in hardware.geometry().items()},
        hardware_sha256=hardware.sha256,
        scenario=scenario.describe(),
        rows=rows,
        speedups=speedups,
    )


def simulate(
    scenario: SteadyScenario,
    hardware: WalkHardware,
    share_2m: float,
    size: Size,
    tell: Callable[[int], None] = lambda done: None,
) -> Array:
    """Run the accesses twice, to fill the structures and to count.

    Returns
    -------
    ndarray of int64, shape (kernels.two_dimensional_walk.COUNTS,)
    """
    places, tags = hardware.empty(size)
    layout, pages = page_table_layout(_bytes(scenario.working_set) >> 12)
    leaf = _leaves(-(-pages // 512), share_2m, scenario.seed)
    walk = (scenario.guest_leaf, scenario.guest_levels, scenario.levels)
    stream = access_stream(scenario)
    for _ in range(2):
        counts = np.zeros(kernel.COUNTS, np.int64)
        for done in range(0, scenario.accesses, _CHUNK):
            lines = stream(min(_CHUNK, scenario.accesses - done))
            kernel.access_lines(lines, tags, places, layout, leaf, *walk, counts)
            tell(lines.size)
    return counts


def page_table_layout(pages: int) -> tuple[Array, int]:
    """Return where the tables of ``pages`` guest pages lie, each kind in one piece, and the guest pages in all.

    The data come first, then the guest's tables level by level; S-EPT pages lie behind all that the guest has.
    """
    layout = np.zeros((2, 5), np.int64)
    end = pages
    for level in range(5):
        layout[kernel.GUEST_TABLES, level] = end
        end += ((pages - 1) >> 9 * (level + 1)) + 1
    line = end * 64
    for level in range(5):
        layout[kernel.SEPT_LINES, level] = line
        line += ((end - 1) >> 9 * (level + 1)) * 64 + 64
    return layout, end


def access_stream(scenario: SteadyScenario) -> Callable[[int], Array]:
    """Return a function that gives the next accesses as virtual addresses >> 6."""
    rng = np.random.default_rng(scenario.seed)
    pages = _bytes(scenario.working_set) >> 12
    lines = pages * 64
    position = 0

    def sequential(n: int) -> Array:
        nonlocal position
        found = (position + np.arange(n, dtype=np.int64)) % lines
        position = (position + n) % lines
        return found

    def uniform(n: int) -> Array:
        return rng.integers(0, lines, n)

    def zipf(n: int) -> Array:
        rank = zipf_ranks(rng.random(n), pages, scenario.zipf_exponent)
        return np.asarray(rank * stride % pages * 64 + rng.integers(0, 64, n))

    stride = next(s for s in range(_ZIPF_STRIDE, 2 * _ZIPF_STRIDE) if math.gcd(s, pages) == 1)
    return {"uniform": uniform, "zipf": zipf, "sequential": sequential}[scenario.access]


def zipf_ranks(u: npt.NDArray[np.float64], pages: int, exponent: float) -> Array:
    """Return ranks from 0 with density ``(rank + 1) ** -exponent``, the continuous law cut down to whole numbers."""
    if exponent == 1.0:
        x = np.power(pages + 1.0, u)
    else:
        power = 1.0 - exponent
        x = np.power(1.0 + u * ((pages + 1.0) ** power - 1.0), 1.0 / power)
    return np.asarray(np.minimum(x.astype(np.int64) - 1, pages - 1))


def uncached_references(guest_leaf: int, sept_leaf: int, guest_levels: int = 4, sept_levels: int = 4) -> int:
    """Return what one walk reads when nothing is cached: (n + 1)(m + 1) - 1; a large page saves one level."""
    return (guest_levels - guest_leaf + 1) * (sept_levels - sept_leaf + 1) - 1


class _Sum:
    """Adds up the progress of several threads; stops them once ``stopped`` says so."""

    def __init__(self, progress: Progress | None, total: int, stopped: Callable[[], bool]) -> None:
        self._progress, self._total, self._done, self._lock, self._stopped = progress, total, 0, Lock(), stopped

    def add(self, done: int) -> None:
        if self._stopped():
            raise KeyboardInterrupt
        with self._lock:
            self._done += done
            if self._progress:
                self._progress(self._done, self._total)


def _leaves(ranges: int, share_2m: float, seed: int) -> npt.NDArray[np.uint8]:
    leaf = np.zeros(ranges, np.uint8)
    leaf[: math.floor(share_2m * ranges + 0.5)] = 1
    return np.random.default_rng((seed, 1)).permutation(leaf)


def prices_of(parameters: ParameterSet, hardware: WalkHardware) -> ParameterSet:
    """Return what loads cost by where they end: the latencies of ``hardware``, then a read of encrypted memory."""
    memory = (parameters["dram_read"], parameters["memory_encryption_read"])
    return msgspec.structs.replace(parameters, parameters=hardware.latencies + memory, joint=None)


def _units(counts: Array, *kinds: int) -> npt.NDArray[np.float64]:
    """Return units of each price by simulation, shape (sizes, prices), per access; no kinds of loads: all."""
    units = np.zeros((len(counts), len(LATENCIES) + 2))
    for kind in kinds:
        units[:, :3] += counts[:, kind : kind + 3]
        units[:, 4:] += counts[:, kind + 3 : kind + 4]
    if kernel.DATA_LOADS in kinds:
        units[:, 3] = counts[:, kernel.DTLB_MISSES]
    return units / counts[:, kernel.ACCESSES : kernel.ACCESSES + 1]


_WALK = (kernel.GUEST_LOADS, kernel.SEPT_LOADS)
_ACCESS = (*_WALK, kernel.DATA_LOADS)


def _interval(value: float, sampled: npt.NDArray[np.float64]) -> Interval:
    """Return the interval over samples, shape (samples, sizes): the widest over the sizes."""
    bounds = np.quantile(sampled, INTERVAL, axis=0)
    return Interval(value, min(value, float(bounds[0].min())), max(value, float(bounds[1].max())))


def _times(one: Interval, factor: float) -> Interval:
    return Interval(one.value * factor, one.low * factor, one.high * factor)


def _row(
    scenario: SteadyScenario,
    hardware: WalkHardware,
    leaf: str,
    share_2m: float,
    counts: Array,
    central: npt.NDArray[np.float64],
    sampled: npt.NDArray[np.float64],
    core_ghz: float,
) -> SteadyRow:
    walk_ns, access_ns = (
        _interval(float(units[0] @ central), sampled @ units.T)
        for units in (_units(counts, *_WALK), _units(counts, *_ACCESS))
    )
    one = counts[0].tolist()
    guest, sept, data = (Loads(*one[kind : kind + 4]) for kind in _ACCESS)
    walks = one[kernel.WALKS]
    memory = _memory(scenario, share_2m)
    sept_leaf = 1 if share_2m == 1 else 0
    return SteadyRow(
        leaf=leaf,
        share_2m=share_2m,
        reach_bytes=hardware.reach_bytes(share_2m if scenario.guest_leaf else 0.0),
        uncached_references=uncached_references(scenario.guest_leaf, sept_leaf, scenario.guest_levels, scenario.levels),
        dtlb_misses=one[kernel.DTLB_MISSES],
        walks=walks,
        guest_loads=guest,
        sept_loads=sept,
        data_loads=data,
        misses_per_access=walks / one[kernel.ACCESSES],
        sept_loads_per_walk=sept.total / walks if walks else 0.0,
        loads_per_walk=(guest.total + sept.total) / walks if walks else 0.0,
        walk_ns=walk_ns,
        access_ns=access_ns,
        walk_cycles=_times(walk_ns, core_ghz),
        access_cycles=_times(access_ns, core_ghz),
        busy_walkers=_times(walk_ns, scenario.rate / 1e9),
        memory=memory,
        memory_total=memory.total,
    )


def _speedup(
    leaf: str,
    by_leaf: dict[str, Array],
    central: npt.NDArray[np.float64],
    sampled: npt.NDArray[np.float64],
) -> Speedup:
    slow, fast = (_units(by_leaf[name], *_ACCESS) for name in ("4K", leaf))
    before, after = sampled @ slow.T, sampled @ fast.T
    value, saved = float(slow[0] @ central), float((slow - fast)[0] @ central)
    return Speedup(leaf, "4K", _interval(value / (value - saved), before / after), _interval(saved, before - after))


def _memory(scenario: SteadyScenario, share_2m: float) -> MemoryUse:
    memory, host = _bytes(scenario.memory), _bytes(scenario.host_memory)
    ranges = -(-memory // (1 << 21))
    frames_4k = ranges - math.floor(share_2m * ranges + 0.5)
    return memory_use(
        guest_bytes=memory,
        tdmr_bytes=[host],
        sept_pages=sept_pages_of(memory, frames_4k, scenario.levels),
        frames_4k=frames_4k,
        folio_order=scenario.folio_order,
        dynamic_pamt=scenario.dynamic_pamt,
        hvo=scenario.hvo,
    )


def _bytes(size: int | str | None) -> int:
    assert isinstance(size, int), "SteadyScenario keeps sizes as bytes"
    return size


def _an_eighth(memory: int) -> int:
    return max(memory // 8 >> 12, 1) << 12


def _one_of(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise InputError(f"{key} {value!r}: accepted are {', '.join(accepted)}")


def _between(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{key} {value}: accepted is {least} to {most}")
