"""lscpu, plain or -C: identity, caches, TSC clock. jc has no parser of it."""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "lscpu"
ACCEPTS = "output of lscpu or lscpu -C"

_HEAD = re.compile(r"NAME\s+ONE-SIZE\s+ALL-SIZE")
_FIELD = re.compile(r"\s*([A-Z][\w ().-]{1,60}?):\s+(\S.*?)\s*$")
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([KMG]?)i?B?$")
_CACHE = re.compile(r"(L1d|L1i|L2|L3) cache")
_SCALE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LOOKS = re.compile(r"^(?:Architecture:\s|NAME\s+ONE-SIZE|Vendor ID:)", re.MULTILINE)


def recognises(head: str) -> bool:
    """Whether it begins as either form does."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read fields, or the table of caches by the names of its columns."""
    report = lines.report
    fields: dict[str, str] = {}
    columns: list[str] = []
    caches: list[dict[str, Any]] = []
    for line in lines:
        if _HEAD.match(line):
            columns, report.renderer = line.split(), "lscpu -C"
        elif columns and line.strip():
            cache = _cache(dict(zip(columns, line.split(), strict=False)))
            if cache is None or len(caches) >= 16:
                report.drop("cut or damaged")
                continue
            caches.append(cache)
            report.used += 1
        elif (found := _FIELD.match(line)) and len(fields) < 1000:
            fields.setdefault(found[1], found[2])
            report.used += 1
    report.renderer = report.renderer or "lscpu"
    facts: dict[str, Any] = {"caches": caches or _sizes(fields)}
    cpu = _cpu(fields)
    facts["cpu"] = cpu
    if cpu.get("tsc_mhz"):
        facts["parameters"] = {"tsc_ghz": cpu["tsc_mhz"] / 1000}
    host = {name: value for name, value in (("caches", caches), ("cpu", cpu)) if value}
    return Reading(report, [], facts, host or None)


def _bytes(text: str) -> int | None:
    found = _SIZE.match(text)
    return round(float(found[1]) * _SCALE[found[2]]) if found else None


def _cache(row: dict[str, str]) -> dict[str, Any] | None:
    size = _bytes(row.get("ONE-SIZE", ""))
    numbers = [row.get(name, "") for name in ("LEVEL", "WAYS", "SETS", "COHERENCY-SIZE")]
    if size is None or not all(n.isdecimal() and len(n) < 10 for n in numbers) or not row.get("TYPE", "").isalpha():
        return None
    level, ways, sets, line = map(int, numbers)
    return {
        "level": level, "type": row["TYPE"], "size_bytes": size, "ways": ways, "sets": sets, "line_bytes": line,
    }  # fmt: skip


def _sizes(fields: dict[str, str]) -> list[dict[str, Any]]:
    """Return the plain form's caches: all instances together."""
    found = []
    for name, value in fields.items():
        if _CACHE.match(name) and (size := _bytes(value.split(" (")[0])) is not None:
            instances = re.search(r"\((\d{1,5}) instances?\)", value)
            found.append(
                {"name": name.split()[0], "all_bytes": size, "instances": int(instances[1]) if instances else 1}
            )
    return found


def _cpu(fields: dict[str, str]) -> dict[str, Any]:
    def number(name: str) -> float | None:
        text = fields.get(name, "")
        return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) else None

    bogomips, most = number("BogoMIPS"), number("CPU max MHz")
    family, model = number("CPU family"), number("Model")
    cpu = {
        "vendor": fields.get("Vendor ID"), "model_name": fields.get("Model name"),
        "family": int(family) if family is not None else None, "model": int(model) if model is not None else None,
        "max_mhz": most or None,
        "tsc_mhz": bogomips / 2 if bogomips and "constant_tsc" in fields.get("Flags", "").split() else None,
    }  # fmt: skip
    return {name: value for name, value in cpu.items() if value is not None}
