"""What an input tells of a host, as a description that ``--host`` takes."""

from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.host.model import SCHEMA, Host, check_host
from perfmodel.host.storage import as_host, load_host

_MIB_PAGES = 1 << 8


def host_of(told: dict[str, Any], base: Path | None, where: str) -> Host:
    """Return a host with what an input told, and the rest of ``base``.

    Without ``base`` CMRs make zones without free memory, which tell TDMRs for ``--backing extents``.

    Raises
    ------
    InputError
        The input tells no memory and there is no ``base``, or the two contradict each other.
    """
    known = _blank()
    if base is not None:
        known |= msgspec.to_builtins(load_host(base))
    elif "zones" not in told:
        if "system_ram" not in told:
            raise InputError(f"{where}: tells no memory: accepted is --base with a file of 'perfmodel ingest host'")
        told = _without_free_memory(told["system_ram"]) | told
    host = as_host(known | told, where)
    check_host(host, where)
    return host


def _blank() -> dict[str, Any]:
    return {
        "schema": SCHEMA, "kernel": "unknown", "mem_total_kib": 0, "mem_free_kib": 0, "system_ram": [], "zones": [],
        "free_pfns": [[]] * 11, "inferred": [], "addresses": "real", "histogram_difference": [0] * 11, "caches": [],
        "cpu": {}, "missing": [], "seed": 0,
    }  # fmt: skip


def _without_free_memory(system_ram: list[tuple[int, int]]) -> dict[str, Any]:
    zones, total = [], 0
    for start, end in system_ram:
        first, pages = -(-start >> 12), (end >> 12) - -(-start >> 12)
        if pages <= 0:
            continue
        total += pages
        zones.append({
            "node": 0, "name": "Normal", "start_pfn": first, "spanned_pages": pages, "present_pages": pages,
            "managed_pages": pages, "free_pages": 0, "min_pages": 0, "low_pages": 0, "high_pages": 0,
            "promo_pages": None, "free_blocks": [0] * 11, "free_blocks_by_type": {},
        })  # fmt: skip
    return {
        "zones": zones, "mem_total_kib": total * 4,
        "missing": [{
            "file": "CMRs of the kernel log", "reason": "they tell no free memory and no node",
            "costs": "the host serves backing extents, which needs its TDMRs alone, not backing host",
        }],
    }  # fmt: skip
