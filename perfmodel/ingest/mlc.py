"""Intel Memory Latency Checker: idle latency of one buffer or by node, and bandwidths."""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "mlc"
ACCEPTS = "output of Intel MLC: --idle_latency, --latency_matrix or --max_bandwidth"

_IDLE = re.compile(r"Each iteration took ([\d.]{1,12}) (?:base frequency|core) clocks \(\s*([\d.]{1,12})\s+ns\s*\)")
_MATRIX = re.compile(r"Measuring idle latencies")
_ROW = re.compile(r"\s*(\d{1,3})((?:\s+[\d.]{1,12})+)\s*$")
_BANDWIDTH = re.compile(r"([\w:. -]{1,40}?)\s*:\s+([\d.]{1,15})\s*$")
_HEADER = re.compile(r"\s*(?:Numa node|Socket|Memory node)\b")
_LOOKS = re.compile(r"Memory Latency Checker|Each iteration took .* clocks")


def recognises(head: str) -> bool:
    """Whether MLC has signed it."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read latencies in ns and bandwidths in MB/s of 1e6 bytes; the local latency is the price ``dram_read``."""
    report = lines.report
    facts: dict[str, Any] = {}
    matrix: dict[int, list[float]] = {}
    bandwidths: dict[str, float] = {}
    in_matrix = in_bandwidth = False
    for line in lines:
        try:
            if found := _IDLE.search(line):
                facts |= {"clocks": float(found[1]), "ns": float(found[2])}
            elif _MATRIX.search(line):
                in_matrix, in_bandwidth = True, False
                continue
            elif "Bandwidths are in MB/sec" in line:
                in_matrix, in_bandwidth = False, True
                report.units.add("MB/s")
                continue
            elif in_matrix and (found := _ROW.match(line)):
                matrix[int(found[1])] = [float(one) for one in found[2].split()]
            elif in_bandwidth and len(bandwidths) < 100 and (found := _BANDWIDTH.match(line)):
                bandwidths[found[1].strip()] = float(found[2])
            else:
                continue
        except ValueError:
            report.drop("cut or damaged")
            continue
        report.used += 1
    report.renderer = "Intel MLC"
    report.units.add("ns")
    if matrix:
        facts["idle_ns"] = [matrix[node] for node in sorted(matrix)]
    if bandwidths:
        facts["bandwidth_mb_s"] = bandwidths
    local = facts.get("ns") or min((row[i] for i, row in matrix.items() if i < len(row)), default=None)
    if local and 0 < local < 1e6:
        facts["parameters"] = {"dram_read": local}
    return Reading(report, [], facts)
