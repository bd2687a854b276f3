"""Where the lines that the TDX module touches are found: caches simulated on the calls of populating.

A small guest is run whole. Of a larger one, stretches of its order are run, and what a kind of call found there is
taken for all calls of its kind.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from kernels import cache, lru
from kernels import cache_calls as calls
from kernels import cache_populate as populate
from kernels import counters as k
from kernels.cache_populate import Lp, run_chunks, run_touches
from kernels.counters import ALL_COUNTERS
from kernels.populate import PAGES_PER_RANGE
from perfmodel.backings.contract import BLOCK_PAGES
from perfmodel.errors import ModelError
from perfmodel.interrupts import side_by_side
from perfmodel.memory import GuestMemory
from perfmodel.policies.contract import Policy
from perfmodel.populate import NO_REGION, Tally
from perfmodel.stretches import Stretch, is_whole, region_stretches, sampled_stretches, whole_stretches
from perfmodel.visits import Ints, Touches
from perfmodel.walk_hardware import Geometry, WalkHardware

STRUCTURES = ("sept", "pamt", "control", "keyhole", "scan")
"""What lines hold, in the order of :mod:`kernels.cache_calls`; KVM's own come behind and are not reported."""

LEVELS = ("L1", "L2", "L3", "memory")

SIMULATED_CALLS = (
    k.TD_EXIT, k.VP_ENTER, k.SEPT_ADD, k.AUG_4K, k.AUG_2M, k.ACCEPT_4K, k.ACCEPT_2M, k.ACCEPT_EXIT,
    k.ACCEPT_SIZE_MISMATCH, k.VIRTUALIZATION_EXCEPTION, k.BLOCK_2M, k.MEM_TRACK, k.DEMOTE,
)  # fmt: skip
"""Kinds of call that are simulated, KVM's part of faults left out."""

_TDX_PAGES, _VCPU_PAGES = 7, 6  # TDR and TDCX; TDVPR and its TDCX
_ROOT = 4  # TDCS page 3, behind the TDR


class LinesFound(msgspec.Struct, frozen=True):
    """Accesses of one interface's run, by what the line holds and where it was.

    Attributes
    ----------
    lines : ndarray of int64, shape (len(STRUCTURES), len(LEVELS))
    estimated_share : float
        Share of the mapped pages that were not run; 0 where all were.
    """

    lines: Ints
    estimated_share: float

    def by_name(self) -> dict[str, dict[str, int]]:
        """Return the lines by the names of structure and level."""
        rows = self.lines.tolist()
        return {name: dict(zip(LEVELS, row, strict=True)) for name, row in zip(STRUCTURES, rows, strict=True)}

    def counters(self) -> dict[str, int]:
        """Return what ``data/work.toml`` prices: all but first-level hits, and the scans that AUG at 2M has priced."""
        return {
            f"{structure}_{level.lower()}": count
            for structure, levels in self.by_name().items()
            if structure != "scan"
            for level, count in levels.items()
            if level != "L1"
        }


def cache_geometry(hardware: WalkHardware, vcpus: int) -> tuple[Geometry, ...]:
    """Return the three levels that one LP has.

    First and second level are its own. Of the third it has what ``hardware`` gives a processor alone, but not more than
    its part of the upper end of that range, nor less than the lower end.
    """
    found = {structure.name: structure for structure in hardware.structures}
    l3 = found["l3"]
    share = max(min(l3.entries, l3.high // vcpus), min(l3.low, l3.entries))
    sets = 1 << max((share // l3.ways).bit_length() - 1, 0) if l3.entries else 1
    shared = l3.geometry("value")._replace(sets=sets)
    return found["l1d"].geometry("value"), found["l2"].geometry("value"), shared


def make_lp(memory: GuestMemory, levels: Sequence[Geometry], vcpu: int) -> Lp:
    """Return an LP with empty caches, and the addresses of what it works on.

    TDR, TDCX pages, each vCPU's six pages and S-EPT pages, by level, lie behind each other from the control block on;
    PAMT arrays above all memory, 4K, 2M, 1G, as Linux allocates them; KVM's mirror pages above those.
    """
    places = np.zeros((cache.LEVELS, 3), np.int64)
    start = 0
    for row, (sets, ways, _) in zip(places, levels, strict=True):
        row[:] = start, sets - 1, ways
        start += sets * ways
    at = np.zeros(calls.PLACES, np.int64)
    scenario, tdr = memory.scenario, memory.platform.control_block * BLOCK_PAGES
    at[calls.LEVELS], at[calls.TDR] = scenario.levels, tdr
    at[calls.TDVPR] = tdr + _TDX_PAGES + _VCPU_PAGES * vcpu
    at[calls.TABLE_FIRST + scenario.levels - 1] = tdr + _ROOT
    page, end = tdr + _TDX_PAGES + _VCPU_PAGES * scenario.vcpus, memory.layout.end_gfn
    for level in range(scenario.levels - 2, -1, -1):
        at[calls.TABLE_FIRST + level] = page
        page += (end >> 9 * (level + 1)) + 1
    top = page
    for level in range(3):
        at[calls.PAMT_FIRST + level] = page << 6
        page += -(-top >> 9 * level + 8)  # 256 entries a page
    at[calls.KEYHOLES] = page + vcpu << 6
    at[calls.MIRROR] = page + scenario.vcpus - tdr | 1  # an odd distance: tables and mirrors in different sets
    return Lp(
        calls.Stream(np.empty(calls.LONGEST_CALL, np.int64), at),
        np.full(start, lru.EMPTY, np.int64),
        places,
        np.zeros((cache.LEVELS, cache.COUNTS), np.int64),
        np.zeros((populate.SHARES, calls.KINDS, cache.LEVELS + 1), np.int64),
        np.zeros(populate.SHARES, np.int64),
        np.zeros(ALL_COUNTERS, np.int64),
        np.zeros(0, np.int8),
    )


class Sample(NamedTuple):
    """What stretches have found, for how many pages and tables, and in which calls; as in an :class:`Lp`."""

    tally: Ints
    units: Ints
    calls: Ints

    @classmethod
    def nothing(cls) -> "Sample":
        """Return the sample of no stretch."""
        tally = np.zeros((populate.SHARES, calls.KINDS, cache.LEVELS + 1), np.int64)
        return cls(tally, np.zeros(populate.SHARES, np.int64), np.zeros(ALL_COUNTERS, np.int64))

    def plus(self, other: "Sample") -> "Sample":
        """Return both together."""
        return Sample(self.tally + other.tally, self.units + other.units, self.calls + other.calls)


def stretch_count(memory: GuestMemory, policies: Sequence[Policy]) -> int:
    """Return about how many stretches :func:`lines_found` will run: for a display."""
    return 3 * len(policies) if is_whole(memory) else 6 * len(policies)


def lines_found(
    memory: GuestMemory,
    policies: Sequence[Policy],
    tallies: Sequence[Tally],
    hardware: WalkHardware,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[LinesFound]:
    """Simulate the caches of each LP and return where each policy's run found its lines.

    Parameters
    ----------
    memory : GuestMemory
    policies : sequence of Policy
    tallies : sequence of Tally
        Of the same policies: how many calls there are of each kind.
    hardware : WalkHardware
        Gives the caches.
    threads : int
        The result does not depend on it.
    progress : callable, optional
        Called from this thread with stretches done and in all.

    Raises
    ------
    ModelError
        A guest that is run whole makes other calls than its tally counts.
    """
    levels = cache_geometry(hardware, memory.scenario.vcpus)
    whole = is_whole(memory)
    if whole:
        stretches = list(whole_stretches(memory, policies))
    else:
        stretches = list(sampled_stretches(memory, policies, levels[-1].sets * levels[-1].ways))
    tasks = [(p, stretch) for stretch in stretches for p in range(len(policies))]
    samples = _run(memory, levels, tasks, len(policies), threads, progress)
    if not whole:
        more = [
            (p, stretch)
            for p, (tally, sample) in enumerate(zip(tallies, samples, strict=True))
            for region in _regions_of_missing(tally, sample)
            for stretch in region_stretches(memory, policies, region)
        ]
        others = _run(memory, levels, more, len(policies), threads, None)
        samples = [_with_missing(sample, other) for sample, other in zip(samples, others, strict=True)]
    return [_estimate(tally, sample, whole) for tally, sample in zip(tallies, samples, strict=True)]


def _run(
    memory: GuestMemory,
    levels: Sequence[Geometry],
    tasks: Sequence[tuple[int, Stretch]],
    policies: int,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> list[Sample]:
    """Run stretches side by side, each under its policy, and return the sum of each policy's."""
    samples = [Sample.nothing() for _ in range(policies)]
    found = side_by_side(lambda task: _run_stretch(memory, levels, task[1], task[0]), tasks, threads)
    for done, ((policy, _), sample) in enumerate(zip(tasks, found, strict=True), 1):
        samples[policy] = samples[policy].plus(sample)
        if progress:
            progress(done, len(tasks))
    return samples


def _run_stretch(memory: GuestMemory, levels: Sequence[Geometry], stretch: Stretch, policy: int) -> Sample:
    lp = make_lp(memory, levels, stretch.vcpu)
    how = (not memory.scenario.flush_first_page_only, stretch.warm_misses, stretch.warm, stretch.measured)
    for mode, visits in stretch.parts:
        if isinstance(visits, Touches):
            run_touches(lp, visits.gfn, visits.pfn[policy], visits.level[policy], visits.lowest, *how)
        else:
            run_chunks(
                lp, visits.gfn, visits.pfn, visits.use, visits.asked, visits.levels[policy], visits.lowest, mode, *how
            )
    return Sample(lp.tally, lp.units, lp.calls)


def _units_of(tally: Tally) -> tuple[int, ...]:
    """Return how many pages and tables there are of each share."""
    n = tally.counts
    accepted_2m = int(n[k.ACCEPT_2M]) + PAGES_PER_RANGE * int(n[k.DEMOTE])  # split for a guest that accepts at 4K
    return int(n[k.AUG_4K]), int(n[k.AUG_2M]), int(n[k.SEPT_ADD]), int(n[k.AUG_4K]), accepted_2m


def _regions_of_missing(tally: Tally, sample: Sample) -> list[int]:
    """Return regions that hold what ``sample`` lacks: the first with leaves of each size."""
    if all(run or not counted for counted, run in zip(_units_of(tally), sample.units.tolist(), strict=True)):
        return []
    return sorted({tally.first_4k, tally.first_2m} - {NO_REGION})


def _with_missing(sample: Sample, other: Sample) -> Sample:
    """Return ``sample`` with the shares that it lacks from ``other``."""
    lacks = sample.units == 0
    return Sample(
        np.where(lacks[:, None, None], other.tally, sample.tally),
        np.where(lacks, other.units, sample.units),
        sample.calls + other.calls,
    )


def _estimate(tally: Tally, sample: Sample, whole: bool) -> LinesFound:
    """Take what was found for the pages and tables of the sample for all of them."""
    if whole:
        _check_calls(tally, sample)
    lines = np.zeros((len(STRUCTURES), len(LEVELS)), np.int64)
    for share, (counted, run) in enumerate(zip(_units_of(tally), sample.units.tolist(), strict=True)):
        if counted and not run:
            raise ModelError(f"caches: nothing of share {share} in any stretch, {counted} counted")
        lines += _scaled(sample.tally[share, : len(STRUCTURES)], counted, max(run, 1))
    run_pages = int(sample.calls[k.AUG_4K]) + PAGES_PER_RANGE * int(sample.calls[k.AUG_2M])
    return LinesFound(lines, 0.0 if whole or not tally.mapped else max(0.0, 1 - run_pages / tally.mapped))


def _check_calls(tally: Tally, sample: Sample) -> None:
    """Hold the calls of a guest that was run whole against those of its tally."""
    differ = [call for call in SIMULATED_CALLS if tally.counts[call] != sample.calls[call]]
    if differ or _units_of(tally) != tuple(sample.units.tolist()):
        raise ModelError(f"caches: other calls were simulated than counted: {differ}")


def _scaled(found: Ints, counted: int, run: int) -> Ints:
    """Return ``found`` times ``counted / run``, rounded, in exact arithmetic."""
    return np.array([[(n * counted + run // 2) // run for n in row] for row in found.tolist()], np.int64)
