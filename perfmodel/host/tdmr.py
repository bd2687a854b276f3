"""TDMRs: the memory that Linux hands to the TDX module when it initialises it."""

from collections.abc import Iterable
from typing import NamedTuple

from perfmodel.errors import InputError

MAX_TDMRS = 64
MAX_RESERVED = 16
GIB = 1 << 30
_PAGE = 1 << 12
_FIRST_CONVERTIBLE = 1 << 20


class Tdmr(NamedTuple):
    """A TD memory region; bytes of HPA.

    ``reserved`` holds ``(offset, size)`` of areas that are no TDX memory, ascending, offsets from ``base``.
    """

    base: int
    size: int
    reserved: tuple[tuple[int, int], ...] = ()


def build_tdmrs(system_ram: Iterable[tuple[int, int]]) -> tuple[Tdmr, ...]:
    """Build the TDMRs over ``[start_hpa, end_hpa)`` ranges of System RAM.

    As Linux does (arch/x86/virt/vmx/tdx/tdx.c, ``fill_out_tdmrs``): the first 1 MiB is left out; each range
    is rounded outward to 1 GiB and gets a TDMR of its own, less what the previous TDMR covers already, so
    that ranges which touch the same GiB share it; holes become reserved areas.

    A TDMR takes 16 reserved areas. With more holes the 16 largest are reserved and the rest stay inside the
    TDMR: newer kernels derive reserved areas from CMRs, which cover the small firmware holes (canonical/tdx
    issue 135), and no guest page lies in a hole either way.

    Raises
    ------
    InputError
        No memory above the first 1 MiB, or more than 64 TDMRs, with which Linux refuses to initialise TDX.
    """
    ram = sorted(
        (low, high)
        for start, end in system_ram
        if (low := max(-(-start // _PAGE) * _PAGE, _FIRST_CONVERTIBLE)) < (high := end // _PAGE * _PAGE)
    )
    if not ram:
        raise InputError("system_ram: none above 1 MiB: accepted is one range or more that is")
    spans: list[tuple[int, int]] = []
    for start, end in ram:
        base, top = start // GIB * GIB, -(-end // GIB) * GIB
        covered = spans[-1][1] if spans else 0
        if top > covered:
            spans.append((max(base, covered), top))
    if len(spans) > MAX_TDMRS:
        raise InputError(f"system_ram: {len(spans)} TDMRs: accepted are ranges that need {MAX_TDMRS} or fewer")
    return tuple(Tdmr(base, top - base, _reserved(base, top, ram)) for base, top in spans)


def _reserved(base: int, top: int, ram: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    holes = []
    previous = base
    for start, end in ram:
        if end <= base or start >= top:
            continue
        if start > previous:
            holes.append((previous - base, start - previous))
        previous = max(previous, end)
    if previous < top:
        holes.append((previous - base, top - previous))
    return tuple(sorted(sorted(holes, key=lambda hole: -hole[1])[:MAX_RESERVED]))
