"""Reads a Linux host from its /proc and /sys."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from perfmodel.errors import InputError
from perfmodel.host import flags, text
from perfmodel.host.blocks import Pfns, Runs, runs_to_blocks, split_at
from perfmodel.host.generate import place_blocks, reserve_top, without
from perfmodel.host.machine import read_caches, read_cpu
from perfmodel.host.model import SCHEMA, Host, Missing, Zone, check_host
from perfmodel.host.storage import as_host

_T = TypeVar("_T")
_MIB_PAGES = 1 << 8
_SECTION_PAGES = 1 << 15
_LEAST_INFERRED_PAGES = 1 << 13
"""32 MiB, eight of the largest buddy blocks: a run of plain allocations is not taken for free memory."""

_GENERATED_COSTS = (
    "addresses are generated: the number of blocks by order is the host's, but which of them are neighbours "
    "is not, nor is contiguity beyond one block"
)


class _Found(NamedTuple):
    free_pfns: list[Pfns]
    inferred: Runs
    addresses: str


class _Reader:
    """The files of one host, and the list of what they did not tell."""

    def __init__(self, proc: Path, sys: Path) -> None:
        self.proc = proc
        self.sys = sys
        self.missing: list[Missing] = []

    def required(self, name: str, parse: Callable[[str], _T]) -> _T:
        path = self.proc / name
        try:
            content = text.read_text(path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}): accepted is a Linux /proc with meminfo, "
                "buddyinfo and zoneinfo"
            ) from None
        try:
            return parse(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def optional(self, name: str, parse: Callable[[str], _T], costs: str) -> _T | None:
        try:
            return parse(text.read_text(self.proc / name))
        except OSError as error:
            self.lacks(f"/proc/{name}", f"cannot be read ({error.strerror})", costs)
        except InputError as error:
            self.lacks(f"/proc/{name}", str(error), costs)
        return None

    def lacks(self, file: str, reason: str, costs: str) -> None:
        self.missing.append(Missing(file, reason, costs))


def read_host(
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
    seed: int = 0,
    progress: flags.Progress | None = None,
) -> Host:
    """Read the memory layout of a Linux host.

    With root, the free blocks are the real ones: pages that /proc/kpageflags marks KPF_BUDDY, cut into
    maximal naturally aligned blocks within each zone. Since 4.10 the kernel sets the flag on every page of a
    free block, before on the first page only; the number of flagged pages decides, by whether it is nearer to
    the pages or to the blocks of /proc/buddyinfo. Flags that show less than half or more than twice the pages
    of buddyinfo are not believed. Memory that MemFree counts and no free list shows goes to the longest
    flagless runs of System RAM, from 32 MiB on, and never exceeds the gap.

    Without root, the blocks of buddyinfo get addresses drawn from ``seed`` inside their zones.

    Parameters
    ----------
    proc, sys : Path
        Roots of procfs and sysfs.
    seed : int
        Seed of generated addresses.
    progress : callable, optional
        Called with pages done and pages in all while kpageflags is read.

    Raises
    ------
    InputError
        buddyinfo, zoneinfo or meminfo is missing, damaged or contradicts the others; one line.
    """
    if seed < 0:
        raise InputError(f"seed: {seed}: accepted is 0 or more")
    files = _Reader(proc, sys)
    memory = files.required("meminfo", text.meminfo)
    buddy = files.required("buddyinfo", text.buddyinfo)
    zones = _zones(files, buddy, memory["MemTotal"])
    ram_bytes = _ram_of_iomem(files, zones)
    ram = _ram_pages(ram_bytes) if ram_bytes else _ram_without_iomem(files, zones)
    free_pages = memory["MemFree"] // 4
    found = None
    if ram_bytes:
        found = _real(files, zones, ram, free_pages, progress)
    if found is None:
        if not ram_bytes:
            files.lacks("/proc/kpageflags", "not used without the addresses of System RAM", _GENERATED_COSTS)
        found = _generated(files, zones, ram, free_pages, seed)
    counted = _total_counts(zones)
    caches, cpu = read_caches(sys), read_cpu(proc, sys)
    if not caches:
        folder = "/sys/devices/system/cpu/cpu0/cache"
        files.lacks(folder, "no cache described", "cache sizes come from the preset")
    if cpu.tsc_mhz is None:
        files.lacks("/proc/cpuinfo", "no TSC frequency", "the TSC's frequency comes from the preset")
    release = files.optional("sys/kernel/osrelease", str.strip, "the result does not name the kernel")
    host = as_host(
        {
            "schema": SCHEMA,
            "kernel": (release or "unknown")[:200],
            "mem_total_kib": memory["MemTotal"],
            "mem_free_kib": memory["MemFree"],
            "system_ram": ram_bytes or [(start << 12, end << 12) for start, end in ram.pairs()],
            "zones": msgspec.to_builtins(zones),
            "free_pfns": [pfns.tolist() for pfns in found.free_pfns],
            "inferred": [(start, end - start) for start, end in found.inferred.pairs()],
            "addresses": found.addresses,
            "histogram_difference": [len(p) - n for p, n in zip(found.free_pfns, counted, strict=True)],
            "caches": msgspec.to_builtins(caches),
            "cpu": msgspec.to_builtins(cpu),
            "missing": msgspec.to_builtins(files.missing),
            "seed": seed,
        },
        str(proc),
    )
    check_host(host, str(proc))
    return host


def _total_counts(zones: list[Zone]) -> list[int]:
    return [sum(column) for column in zip(*(zone.free_blocks for zone in zones), strict=True)]


def _pages(counts: list[int]) -> int:
    return sum(count << order for order, count in enumerate(counts))


def _zones(files: _Reader, buddy: dict[tuple[int, str], list[int]], mem_total_kib: int) -> list[Zone]:
    info = files.required("zoneinfo", text.zoneinfo)
    costs = "free blocks are not told apart by migratetype; no result depends on it"
    by_type = files.optional("pagetypeinfo", text.pagetypeinfo, costs)
    orders = len(next(iter(buddy.values())))
    zones = []
    for (node, name), row in sorted(info.items(), key=lambda item: (item[0][0], item[1].start_pfn)):
        counts = buddy.get((node, name), [0] * orders)
        if _pages(counts) > row.present:
            raise InputError(
                f"{files.proc}/buddyinfo: node {node}, zone {name}: {_pages(counts)} free pages: accepted is "
                f"{row.present} or less, the pages present"
            )
        sizes = (row.start_pfn, row.spanned, row.present, row.managed, row.free)
        marks = (row.min, row.low, row.high, row.promo)
        zones.append(Zone(node, name, *sizes, *marks, counts, (by_type or {}).get((node, name), {})))
    unknown = sorted(key for key in buddy if key not in info and any(buddy[key]))
    if unknown:
        raise InputError(f"{files.proc}/buddyinfo: zone {unknown[0]}: accepted are the zones of zoneinfo")
    present = sum(zone.present_pages for zone in zones)
    # MemTotal lacks what the kernel took at boot: a few per cent, and 1 GiB more for a small host
    if present > mem_total_kib + (1 << 18):
        raise InputError(
            f"{files.proc}/zoneinfo: present: {present} pages: accepted is up to four times MemTotal, "
            f"{mem_total_kib} KiB"
        )
    return zones


def _ram_of_iomem(files: _Reader, zones: list[Zone]) -> list[tuple[int, int]] | None:
    costs = "System RAM comes from online memory blocks or zones"
    ram_bytes = files.optional("iomem", text.iomem, costs)
    present = sum(zone.present_pages for zone in zones)
    if ram_bytes and sum(end - start for start, end in ram_bytes) >> 12 > 2 * present:
        files.lacks("/proc/iomem", f"System RAM is more than twice the {present} pages of zoneinfo", costs)
        return None
    return ram_bytes


def _ram_pages(ram_bytes: list[tuple[int, int]]) -> Runs:
    return Runs.of((-(-start >> 12), end >> 12) for start, end in ram_bytes if -(-start >> 12) < end >> 12)


def _ram_without_iomem(files: _Reader, zones: list[Zone]) -> Runs:
    """Return System RAM by memory blocks, which need no root, or by zones with their holes at the end."""
    folder = files.sys / "devices/system/memory"
    blocks = []
    try:
        block_pages = int(text.read_text(folder / "block_size_bytes"), 16) >> 12
        for path in folder.glob("memory[0-9]*"):
            if text.read_text(path / "state").strip() == "online":
                blocks.append(int(text.read_text(path / "phys_index"), 16))
    except (OSError, ValueError):
        blocks = []
    present = sum(zone.present_pages for zone in zones)
    if blocks and 0 <= max(blocks) * block_pages < 1 << 40 and len(blocks) * block_pages <= 2 * present:
        return _joined([(block * block_pages, (block + 1) * block_pages) for block in sorted(set(blocks))])
    costs = "each zone is taken to be full from its start on"
    files.lacks("/sys/devices/system/memory", "no online memory blocks", costs)
    spans = []
    for zone in zones:
        end = -(-(zone.start_pfn + zone.present_pages) // _SECTION_PAGES) * _SECTION_PAGES
        spans.append((zone.start_pfn, min(zone.end_pfn, end)))
    return _joined(sorted(spans))


def _joined(spans: list[tuple[int, int]]) -> Runs:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return Runs.of(joined)


def _real(
    files: _Reader, zones: list[Zone], ram: Runs, free_pages: int, progress: flags.Progress | None
) -> _Found | None:
    top = len(zones[0].free_blocks) - 1
    counts = _total_counts(zones)
    listed = _pages(counts)
    try:
        seen = flags.scan(files.proc / "kpageflags", ram, progress)
    except OSError as error:
        files.lacks("/proc/kpageflags", f"cannot be read ({error.strerror})", _GENERATED_COSTS)
        return None
    heads_only = abs(seen.free.pages - sum(counts)) < abs(seen.free.pages - listed)
    free = flags.grow_heads(seen, top) if heads_only else seen.free
    if not listed // 2 <= free.pages <= 2 * listed:
        reason = f"{free.pages} free pages, buddyinfo has {listed}"
        files.lacks("/proc/kpageflags", reason, _GENERATED_COSTS)
        return None
    if seen.read_pages < seen.ram_pages:
        reason = f"ends after {seen.read_pages} of {seen.ram_pages} pages of System RAM"
        files.lacks("/proc/kpageflags", reason, "free memory beyond is left out")
    cuts = [pfn for zone in zones for pfn in (zone.start_pfn, zone.end_pfn)]
    free = _in_zones(split_at(free, cuts), zones)
    gap = free_pages - listed
    empty = _in_zones(split_at(seen.empty, cuts), zones)
    inferred = flags.longest_empty(empty, gap, _LEAST_INFERRED_PAGES, 1 << top)
    _report_unplaced(files, gap - inferred.pages)
    return _Found(runs_to_blocks(free, top), inferred, "real")


def _in_zones(runs: Runs, zones: list[Zone]) -> Runs:
    kept = np.zeros(len(runs.start), np.bool_)
    for zone in zones:
        kept |= (runs.start >= zone.start_pfn) & (runs.end <= zone.end_pfn)
    return Runs(runs.start[kept], runs.end[kept])


def _generated(files: _Reader, zones: list[Zone], ram: Runs, free_pages: int, seed: int) -> _Found:
    top = len(zones[0].free_blocks) - 1
    gap = free_pages - _pages(_total_counts(zones))
    pools: list[list[Pfns]] = [[] for _ in range(top + 1)]
    inferred: list[Runs] = []
    taken = 0  # zones of different nodes may span each other
    rooms = {}
    for index, zone in enumerate(zones):
        # a page belongs to the first zone that spans it; the kernel keeps the first 1 MiB for itself on x86
        rooms[index] = ram.clip(max(zone.start_pfn, _MIB_PAGES, taken), zone.end_pfn)
        taken = max(taken, zone.end_pfn)
    for index in sorted(rooms, key=lambda index: -zones[index].present_pages):
        room, counts = rooms[index], zones[index].free_blocks
        if gap >= _LEAST_INFERRED_PAGES:
            deferred = reserve_top(room, gap, _pages(counts), 1 << top)
            room, gap = without(room, deferred), gap - deferred.pages
            inferred.append(deferred)
        placed = place_blocks(room, counts, np.random.default_rng([seed, index]))
        for order, pfns in enumerate(placed.free_pfns):
            pools[order].append(pfns)
        if placed.lost_pages:
            where = f"zone {zones[index].name} of node {zones[index].node}"
            reason = f"{where}: {placed.lost_pages} pages fit nowhere"
            files.lacks("/proc/buddyinfo", reason, "these free pages are left out")
    _report_unplaced(files, gap)
    runs = Runs.of(sorted(pair for run in inferred for pair in run.pairs()))
    return _Found([np.sort(np.concatenate(pool)) for pool in pools], runs, "generated")


def _report_unplaced(files: _Reader, pages: int) -> None:
    if pages >= _LEAST_INFERRED_PAGES:
        reason = f"{pages * 4} KiB of MemFree are in no free list and no large run without flags"
        files.lacks("/proc/meminfo", reason, "this free memory is left out")
