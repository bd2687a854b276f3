"""numactl -H: nodes, their sizes and free memory, distances."""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "numactl"
ACCEPTS = "output of numactl -H"

_CPUS = re.compile(r"node (\d{1,4}) cpus:((?: \d{1,5})*)\s*$")
_SIZE = re.compile(r"node (\d{1,4}) (size|free): (\d{1,12}) MB\s*$")
_DISTANCES = re.compile(r"\s+(\d{1,4}):((?:\s+\d{1,5})+)\s*$")
_BLOCK_PAGES = 1 << 10
_GIB_PAGES = 1 << 18


def recognises(head: str) -> bool:
    """Whether nodes are listed as numactl does."""
    return bool(re.search(r"^available: \d+ nodes|^node \d+ cpus:", head, re.MULTILINE))


def read(lines: Lines, options: Options) -> Reading:
    """Read nodes; memory-only nodes (CXL) have no CPUs."""
    report = lines.report
    cpus: dict[int, list[int]] = {}
    sizes: dict[str, dict[int, int]] = {"size": {}, "free": {}}
    distances: dict[int, list[int]] = {}
    for line in lines:
        if found := _CPUS.match(line):
            cpus[int(found[1])] = [int(one) for one in found[2].split()]
        elif found := _SIZE.match(line):
            if int(found[3]) > 1 << 32:
                report.drop("with more memory than x86-64 can hold")
                continue
            sizes[found[2]][int(found[1])] = int(found[3])
        elif found := _DISTANCES.match(line):
            distances[int(found[1])] = [int(one) for one in found[2].split()]
        elif line.startswith("node ") and "distances" not in line and not re.match(r"node(\s+\d+)+\s*$", line):
            report.drop("cut or damaged")
            continue
        else:
            continue
        report.used += 1
    report.renderer = "numactl -H"
    report.units.add("MB")
    nodes = sorted(sizes["size"])
    for node in nodes:
        if sizes["free"].get(node, 0) > sizes["size"][node]:
            report.drop("with more free memory than there is")
            report.used -= 1
            sizes["free"][node] = 0
    facts: dict[str, Any] = {
        "nodes": len(nodes),
        "memory_only_nodes": [node for node in nodes if not cpus.get(node)],
        "size_mb": [sizes["size"][node] for node in nodes],
        "free_mb": [sizes["free"].get(node, 0) for node in nodes],
        "distances": [distances[node] for node in sorted(distances)],
    }
    return Reading(report, [], facts, _host(nodes, sizes) if any(sizes["free"].values()) else None)


def _host(nodes: list[int], sizes: dict[str, dict[int, int]]) -> dict[str, Any]:
    """Lay nodes side by side from 4 GiB on, each with its free memory in blocks of 4 MiB at its top."""
    start, blocks = 1 << 20, list[int]()
    zones, ram = [], []
    for node in nodes:
        pages = sizes["size"][node] << 8
        free = min(sizes["free"].get(node, 0) << 8, pages) // _BLOCK_PAGES
        span = -(-pages // _BLOCK_PAGES) * _BLOCK_PAGES
        if span == 0:
            continue
        first = start + span - free * _BLOCK_PAGES
        blocks += range(first, start + span, _BLOCK_PAGES)
        zones.append({
            "node": node, "name": "Normal", "start_pfn": start, "spanned_pages": span, "present_pages": span,
            "managed_pages": pages, "free_pages": free * _BLOCK_PAGES, "min_pages": 0, "low_pages": 0, "high_pages": 0,
            "promo_pages": None, "free_blocks": [0] * 10 + [free], "free_blocks_by_type": {},
        })  # fmt: skip
        ram.append((start << 12, (start + span) << 12))
        start = -(-(start + span) // _GIB_PAGES) * _GIB_PAGES
    return {
        "mem_total_kib": sum(sizes["size"].values()) << 10, "mem_free_kib": sum(sizes["free"].values()) << 10,
        "system_ram": ram, "zones": zones, "free_pfns": [[]] * 10 + [blocks], "inferred": [],
        "addresses": "generated", "histogram_difference": [0] * 11,
        "missing": [{
            "file": "numactl -H", "reason": "it tells sizes, not addresses or orders of free blocks",
            "costs": "all free memory is taken to lie in blocks of 4 MiB, one after the other",
        }],
    }  # fmt: skip
