"""Kernel logs about TDX: a host's ``virt/tdx:`` lines with CMRs and PAMT, or a guest's e820 map."""

import re
from typing import Any

from perfmodel.errors import InputError
from perfmodel.host.tdmr import build_tdmrs
from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines
from perfmodel.platform import static_pamt_bytes

KIND = "tdx-dmesg"
ACCEPTS = "a kernel log with virt/tdx: lines of a host, or tdx: lines of a guest"

_WHERE = re.compile(r"\b(virt/tdx|tdx|BIOS-e820|Memory Encryption Features active): ?(.*)$")
_CLOCK = re.compile(r"\[ {0,12}(\d{1,9}\.\d{1,9})\]")
_KEYIDS = re.compile(r"BIOS enabled: private KeyID range \[(\d{1,6}), (\d{1,6})\)")
_OLD_VERSION = re.compile(r"TDX module: .*major_version (\d+), minor_version (\d+), build_date (\d+), build_num (\d+)")
_ALT_VERSION = re.compile(r"TDX module (\d+(?:\.\d+)+), build number (\d+), build date (\d+)")
_NEW_VERSION = re.compile(r"TDX module version: (\d+(?:\.\d+)+)")
_CMR = re.compile(r"CMR: \[(0x[0-9a-f]{1,16}), (0x[0-9a-f]{1,16})\)")
_PAMT = re.compile(r"(\d{1,15}) KB allocated for PAMT")
_FAILED = re.compile(r"(?:module )?initialization failed(?: \((-?\d+)\)|: (.{1,200}))")
_E820 = re.compile(r"\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\] usable")
_MOST_CMRS = 4096
_LOOKS = re.compile(r"virt/tdx: |tdx: Guest detected|Memory Encryption Features active:.*TDX")


def recognises(head: str) -> bool:
    """Whether a line is about TDX."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read versions, CMRs, PAMT and failures of a host; memory of a guest."""
    report = lines.report
    facts: dict[str, Any] = {}
    cmrs: list[tuple[int, int]] = []
    usable_above_4g = 0
    first = clock = None
    for line in lines:
        found = _WHERE.search(line)
        if found is None:
            continue
        stamp = _CLOCK.search(line, 0, found.start())
        clock = float(stamp[1]) if stamp else None
        where, text = found.groups()
        if where == "BIOS-e820":
            if area := _E820.search(text):
                low, high = int(area[1], 16), int(area[2], 16) + 1
                usable_above_4g += max(high - max(low, 1 << 32), 0) if high > low else 0
                report.used += 1
        elif where != "virt/tdx":
            if "Guest detected" in text or "TDX" in text:
                facts["is_td"] = True
                report.used += 1
        elif cmr := _CMR.search(text):
            low, high = int(cmr[1], 16), int(cmr[2], 16)
            if not low < high <= 1 << 52 or len(cmrs) >= _MOST_CMRS:
                report.drop("of a CMR that ends before it starts" if high <= low else "cut or damaged")
                continue
            first = clock if first is None else first
            cmrs.append((low, high))
            report.used += 1
        elif _host_line(text, facts):
            if first is None and "module" in facts:
                first = clock
            if (
                "pamt_kb" in facts
                and first is not None
                and clock is not None
                and "init_s" not in facts
                and "allocated" in text
            ):
                facts["init_s"] = round(clock - first, 6)
            report.used += 1
    report.renderer = "kernel log"
    if facts.get("is_td"):
        facts["usable_above_4g_gib"] = usable_above_4g / (1 << 30)
    if cmrs:
        facts["cmrs"] = [list(one) for one in sorted(cmrs)]
        _check_pamt(cmrs, facts, report.warn)
    return Reading(report, [], facts, {"system_ram": sorted(cmrs)} if cmrs else None)


def _host_line(text: str, facts: dict[str, Any]) -> bool:
    if found := _KEYIDS.search(text):
        facts["private_keyids"] = [int(found[1]), int(found[2])]
    elif found := _OLD_VERSION.search(text):
        facts["module"] = f"{found[1]}.{found[2]} build {found[4]} of {found[3]}"
    elif found := _ALT_VERSION.search(text):
        facts["module"] = f"{found[1]} build {found[2]} of {found[3]}"
    elif found := _NEW_VERSION.search(text):
        facts["module"] = found[1]
    elif found := _PAMT.search(text):
        facts["pamt_kb"] = int(found[1])
    elif found := _FAILED.search(text):
        facts["failed"] = int(found[1][:9]) if found[1] else found[2]
    else:
        return "module initialized" in text
    return True


def _check_pamt(cmrs: list[tuple[int, int]], facts: dict[str, Any], warn: Any) -> None:
    try:
        tdmrs = build_tdmrs(cmrs)
    except InputError as error:
        warn(str(error))
        return
    facts["tdmr_gib"] = [one.size >> 30 for one in tdmrs]
    expected = sum(static_pamt_bytes(one.size) for one in tdmrs) >> 10
    facts["static_pamt_kb"] = expected
    if facts.get("pamt_kb", expected) != expected:
        warn(f"PAMT is {facts['pamt_kb']:,} KB; static PAMT of TDMRs over these CMRs would be {expected:,} KB")
