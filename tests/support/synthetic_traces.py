"""Traces as tools would record them on a host whose prices are known, which a calibration has to find again."""

import json
from pathlib import Path

import numpy as np

from perfmodel.calibration.design import build_design
from perfmodel.calibration.observations import parse_observations
from perfmodel.calibration.settings import settings
from perfmodel.ingest.rows import Machine, observations_csv, templates
from perfmodel.parameters import ParameterSet

SPREAD = 0.35
"""Standard deviation of the logarithm of a single call."""


class Truth:
    """What each kind of call takes on average, by the model with known prices."""

    def __init__(self, parameters: ParameterSet, machine: Machine, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        rows = {}
        for template in templates():
            row = {name: text for name, text in template.items() if name not in ("what", "level")}
            row |= {"role": "fit", "host": "truth", "value": "1", "unit": "ns", "error": "0.05"}
            row |= {"core_ghz": f"{parameters.core_ghz:g}"}
            if template["id"] in ("kick", "convert-4k"):
                row |= {"vcpus": str(machine.vcpus), "inside": str(machine.inside)}
            if template["what"].endswith("fault"):
                row |= {"knobs": "tracer=service"}
            rows[template["id"]] = row
        columns = {name for row in rows.values() for name in row} & set(next(iter(rows.values())) | {"vcpus": ""})
        text = observations_csv([{n: row[n] for n in row if n in columns} for row in rows.values()]).decode()
        design = build_design(parse_observations(text, "truth"), parameters.parameters)
        prices = [p.value for p in parameters.parameters] + [extra.value for extra in settings().extra]
        means = design.unscaled_ns(np.array(prices))
        self.means = dict(zip([row.id for row in design.rows], means.sum(axis=1).tolist(), strict=True))

    def calls(self, wanted: str, count: int) -> np.ndarray:
        """Return ``count`` durations in whole ns around the mean of ``wanted``."""
        mean = self.means[wanted]
        return np.rint(mean * self.random.lognormal(-(SPREAD**2) / 2, SPREAD, count)).astype(np.int64)


def stats(durations: np.ndarray) -> dict[str, int]:
    total = int(durations.sum())
    return {"count": len(durations), "average": total // len(durations), "total": total}


def write_bpftrace(path: Path, maps: dict[str, dict[str, dict[str, int]]], plain: dict[str, dict[str, int]]) -> None:
    """Write maps of ``stats()`` and plain maps as bpftrace -f json does."""
    lines = [{"type": "attached_probes", "data": {"probes": 9}}]
    lines += [{"type": "stats", "data": {name: keyed}} for name, keyed in maps.items()]
    lines += [{"type": "map", "data": {name: keyed}} for name, keyed in plain.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_seamcalls(path: Path, truth: Truth, count: int) -> None:
    """Write what recipes/seamcalls.bt would."""
    calls = {
        f"{t['what']},{t['level']}" if t["level"] else t["what"]: stats(truth.calls(t["id"], count))
        for t in templates()
        if t["what"].startswith(("tdh_", "kvm_"))
    }
    write_bpftrace(path, {"@call_ns": calls}, {})


def write_service(path: Path, truth: Truth, count: int) -> None:
    """Write what recipes/service.bt would."""
    service = {
        "private,4K": stats(truth.calls("host-4k", count)),
        "private,2M": stats(truth.calls("host-2m", count)),
        "shared": stats(truth.calls("shared-fault", count)),
    }
    write_bpftrace(path, {"@service_ns": service}, {})


def write_guest(path: Path, truth: Truth, count: int) -> None:
    """Write what recipes/guest.bt would, for blocks of 4 MiB accepted at 4K and 2 MiB converted."""
    accept = truth.calls("populate-4k", count) * 1024
    convert = truth.calls("convert-4k", count) * 512
    write_bpftrace(
        path,
        {"@accept_ns": {"accept": stats(accept)}, "@convert_ns": {"convert": stats(convert)}},
        {"@pages": {"accept": 1024 * count, "convert": 512 * count}},
    )


def write_events(path: Path, truth: Truth, count: int) -> None:
    """Write KVM's tracepoints of private 4K and 2M and of shared faults, with ns, as perf script --ns prints them."""
    now, lines = 412_877_000_000_000, []

    def event(ns: int, name: str, text: str) -> None:
        stamp = f"{ns // 10**9}.{ns % 10**9:09}"
        lines.append(f"       CPU 3/KVM   41211 [019] {stamp}: {name:>29}: {text}")

    kinds = {"host-4k": (0, 1), "host-2m": (0, 2), "shared-fault": (1 << 47, 1)}
    for wanted, (bit, level) in kinds.items():
        for i, took in enumerate(truth.calls(wanted, count).tolist()):
            gfn = 0x100000 + (i << 9 * (level - 1))
            event(now, "kvm:kvm_exit", "reason EPT_VIOLATION rip 0x0 info 2 1")
            event(now + took // 4, "kvm:kvm_page_fault",
                  f"vcpu 3 rip 0x0 address {(gfn << 12) | bit:#018x} error_code 0x2")  # fmt: skip
            event(now + took // 2, "kvmmmu:kvm_mmu_spte_requested", f"gfn {gfn:x} pfn {gfn + 512:x} level {level}")
            event(now + took, "kvm:kvm_entry", "vcpu 3, rip 0x0")
            now += took + 1000
    path.write_text("\n".join(lines) + "\n")


def write_graph(path: Path, truth: Truth, count: int) -> None:
    """Write function_graph's view of zapping 4K pages."""
    names = {
        "block-4k": "tdh_mem_range_block", "track-4k": "tdh_mem_track", "remove-4k": "tdh_mem_page_remove",
        "wbinvd-4k": "tdh_phymem_page_wbinvd_hkid",
    }  # fmt: skip
    calls = {name: truth.calls(wanted, count) for wanted, name in names.items()}
    lines = ["# tracer: function_graph", "#"]
    for i in range(count):
        lines.append("  5)               |  tdx_sept_remove_private_spte [kvm_intel]() {")
        total = 0
        for name, durations in calls.items():
            total += int(durations[i])
            lines.append(f"  5)   {durations[i] / 1000:.3f} us    |    {name}();")
        lines.append(f"  5)   {total / 1000 + 0.2:.3f} us    |  }}")
    path.write_text("\n".join(lines) + "\n")
