"""What is known of a host: zones, free blocks and their addresses, caches, clock, what could not be read."""

from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError
from perfmodel.host.blocks import Runs, blocks_to_runs

SCHEMA = "perfmodel/host/1"
MAX_PFN = 1 << 40
"""PFNs of 4 KiB pages end here: the 52 address bits of x86-64."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]
Pfn = Annotated[int, msgspec.Meta(ge=0, le=MAX_PFN)]
Hpa = Annotated[int, msgspec.Meta(ge=0, le=MAX_PFN << 12)]
Mhz = Annotated[float, msgspec.Meta(gt=0, lt=100_000)]
Orders = Annotated[list[Count], msgspec.Meta(max_length=19)]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Zone(_Record, frozen=True):
    """One memory zone of one node; sizes in 4 KiB pages.

    Attributes
    ----------
    min_pages, low_pages, high_pages, promo_pages
        Watermarks; kernels before 5.18 have no ``promo``.
    free_blocks
        /proc/buddyinfo: number of free blocks by order.
    free_blocks_by_type
        /proc/pagetypeinfo: the same by migratetype, empty when it could not be read. The kernel stops
        counting at 100,000 blocks of one order, so these may be lower bounds.
    """

    node: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]
    name: str
    start_pfn: Pfn
    spanned_pages: Pfn
    present_pages: Pfn
    managed_pages: Pfn
    free_pages: Count
    min_pages: Count
    low_pages: Count
    high_pages: Count
    promo_pages: Count | None
    free_blocks: Orders
    free_blocks_by_type: dict[str, Orders]

    @property
    def end_pfn(self) -> int:
        """First PFN above the zone."""
        return self.start_pfn + self.spanned_pages


class Cache(_Record, frozen=True):
    """One cache of CPU 0, from sysfs."""

    level: Count
    type: str
    size_bytes: Count
    ways: Count
    sets: Count
    line_bytes: Count


class Cpu(_Record, frozen=True):
    """Identity and clocks of CPU 0; ``None`` where no file tells."""

    vendor: str | None = None
    family: int | None = None
    model: int | None = None
    model_name: str | None = None
    cpu_mhz: Mhz | None = None
    max_mhz: Mhz | None = None
    tsc_mhz: Mhz | None = None


class Missing(_Record, frozen=True):
    """A file that did not tell what it should, why, and what that costs the user."""

    file: str
    reason: str
    costs: str


class Host(_Record, frozen=True):
    """A host's memory at one moment.

    Attributes
    ----------
    kernel
        Kernel release.
    mem_total_kib, mem_free_kib
        From /proc/meminfo.
    system_ram
        ``[start_hpa, end_hpa)`` in bytes, ascending and disjoint.
    free_pfns
        First PFN of each free block, ascending, by order: ``free_pfns[k]`` holds blocks of ``2**k`` pages.
    inferred
        Runs ``(pfn, pages)``, ascending, of memory that MemFree counts and no free list shows: struct pages
        not yet initialised, or pages not yet accepted.
    addresses
        ``real``: PFNs come from /proc/kpageflags; ``generated``: drawn from ``seed``.
    histogram_difference
        By order, blocks in ``free_pfns`` minus blocks in /proc/buddyinfo. The two files are read at different
        moments on a live host, so small differences are normal.
    """

    schema: Literal["perfmodel/host/1"]
    kernel: str
    mem_total_kib: Count
    mem_free_kib: Count
    system_ram: list[tuple[Hpa, Hpa]]
    zones: list[Zone]
    free_pfns: Annotated[list[list[Pfn]], msgspec.Meta(min_length=1, max_length=19)]
    inferred: list[tuple[Pfn, Pfn]]
    addresses: Literal["real", "generated"]
    histogram_difference: list[int]
    caches: list[Cache]
    cpu: Cpu
    missing: list[Missing]
    seed: Annotated[int, msgspec.Meta(ge=0)]

    def free_arrays(self) -> list[npt.NDArray[np.int64]]:
        """Return ``free_pfns`` as one int64 array for each order."""
        return [np.array(pfns, np.int64) for pfns in self.free_pfns]

    def inferred_runs(self) -> Runs:
        """Return ``inferred`` as arrays of start and end PFNs."""
        runs = np.array(self.inferred, np.int64).reshape(-1, 2)
        return Runs(runs[:, 0], runs[:, 0] + runs[:, 1])

    @property
    def block_pages(self) -> int:
        """Pages in free blocks whose addresses are listed."""
        return sum(len(pfns) << order for order, pfns in enumerate(self.free_pfns))

    @property
    def inferred_pages(self) -> int:
        """Pages in ``inferred``."""
        return sum(pages for _, pages in self.inferred)


def check_host(host: Host, where: str) -> None:
    """Check what types alone cannot: order, alignment, and that no page is free twice.

    Raises
    ------
    InputError
        One line: ``where``, the key, the value and what is accepted.
    """
    previous = 0
    for index, (start, end) in enumerate(host.system_ram):
        if start < previous or end <= start:
            _reject(where, f"system_ram[{index}]", [start, end], f"start below end, from {previous} on")
        previous = end
    for index, zone in enumerate(host.zones):
        if zone.end_pfn > MAX_PFN:
            _reject(where, f"zones[{index}]", zone.end_pfn, f"a zone that ends at PFN {MAX_PFN} or below")
    for order, pfns in enumerate(host.free_arrays()):
        bad = np.flatnonzero((pfns & ((1 << order) - 1)) != 0)
        if len(bad):
            _reject(
                where,
                f"free_pfns[{order}][{bad[0]}]",
                pfns[bad[0]],
                f"a PFN that is a multiple of {1 << order}",
            )
    for index, (pfn, pages) in enumerate(host.inferred):
        if pages == 0 or pfn + pages > MAX_PFN:
            _reject(where, f"inferred[{index}]", [pfn, pages], f"1 page or more, below PFN {MAX_PFN}")
    free, inferred = blocks_to_runs(host.free_arrays()), host.inferred_runs()
    first, last = np.concatenate([free.start, inferred.start]), np.concatenate([free.end, inferred.end])
    by_pfn = np.argsort(first, kind="stable")
    first, last = first[by_pfn], last[by_pfn]
    clash = np.flatnonzero(first[1:] < last[:-1])
    if len(clash):
        accepted = "PFNs that no other free block or run holds"
        _reject(where, "free_pfns, inferred", first[clash[0] + 1], accepted)
    _check_zones(host, Runs(first, last), where)


def _check_zones(host: Host, free: Runs, where: str) -> None:
    homeless = np.ones(len(free.start), np.bool_)
    for zone in host.zones:
        homeless &= (free.start < zone.start_pfn) | (free.end > zone.end_pfn)
    if homeless.any():
        pfn = free.start[np.flatnonzero(homeless)[0]]
        _reject(where, "free_pfns, inferred", pfn, "free pages inside one of the zones")


def _reject(where: str, key: str, value: object, accepted: str) -> None:
    raise InputError(f"{where}: {key}: {value}: accepted is {accepted}")
