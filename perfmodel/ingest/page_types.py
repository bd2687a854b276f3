"""page-types: runs of pages with like flags, or their sums. Layouts: Linux ``tools/mm/page-types.c``."""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "page-types"
ACCEPTS = "output of page-types -L or -l, or its summary"

_LIST = re.compile(r"(?:voffset\s+)?offset\s+len\s+flags")
_SUMMARY = re.compile(r"\s*flags\s+page-count\s+MB")
_ROW = re.compile(r"(?:([0-9a-f]{1,16})\s+)?([0-9a-f]{1,16})\s+([0-9a-f]{1,16})\s+(\S{20,80})\s*$")
_SUM = re.compile(r"\s*(0x[0-9a-f]{16}|total)\s+(\d{1,18})\s+(\d{1,15})")
_MOST_RUNS = 1 << 20


def recognises(head: str) -> bool:
    """Whether a header of either mode is there."""
    return bool(re.search(r"^(?:voffset\s+)?offset\s+len\s+flags", head, re.MULTILINE) or _SUMMARY.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read runs of PFNs, joined where one continues the other in both addresses, or pages by flags."""
    report = lines.report
    by_order: dict[str, int] = {}
    runs: list[list[int]] = []
    total = pages = 0
    for line in lines:
        if _LIST.match(line) or _SUMMARY.match(line):
            report.renderer = "list" if _LIST.match(line) else "summary"
        elif report.renderer == "list" and (row := _ROW.match(line)):
            virtual, pfn, length = int(row[1] or row[2], 16), int(row[2], 16), int(row[3], 16)
            if not 0 < length <= 1 << 40 or pfn >= 1 << 40:
                report.drop("cut or damaged")
                continue
            last = runs[-1] if runs else None
            if last and virtual == last[0] + last[2] and pfn == last[1] + last[2]:
                last[2] += length
            elif len(runs) < _MOST_RUNS:
                runs.append([virtual, pfn, length])
            pages += length
            report.used += 1
        elif report.renderer == "summary" and (row := _SUM.match(line)):
            if row[1] == "total":
                total = int(row[2])
            else:
                pages += int(row[2])
            report.used += 1
        elif line.strip():
            report.drop("cut or damaged")
    for _, _, length in runs:
        order = str(length.bit_length() - 1)
        by_order[order] = by_order.get(order, 0) + length
    facts: dict[str, Any] = {"total_pages": total or pages}
    if runs:
        facts |= {"runs": [[pfn, length] for _, pfn, length in runs[:1000]], "pages_by_order_of_run": by_order}
    elif total and total != pages:
        report.warn(f"the rows hold {pages:,} pages, the total says {total:,}")
    return Reading(report, [], facts)
