"""How fast traces stream, beside reading the same file line by line and doing nothing with the lines."""

from pathlib import Path
from typing import Any

import pytest
from ratio import measure_ratio, record

from perfmodel.ingest.readers import read_file

_LINES = 200_000

_EVENTS = """\
       CPU {v}/KVM-{tid}   [{cpu:03}] d.... {a}: kvm_exit: vcpu {v} reason EPT_VIOLATION rip 0x0 info1 0x0000000000000002 info2 0x0000000000000001 intr_info 0x00000000 error_code 0x00000000
       CPU {v}/KVM-{tid}   [{cpu:03}] ...1. {b}: kvm_page_fault: vcpu {v} rip 0x0 address {gpa:#018x} error_code 0x2
       CPU {v}/KVM-{tid}   [{cpu:03}] ...1. {c}: kvm_mmu_spte_requested: gfn {gfn:x} pfn {pfn:x} level 1
       CPU {v}/KVM-{tid}   [{cpu:03}] d.... {d}: kvm_entry: vcpu {v}, rip 0x0
"""  # noqa: E501

_GRAPH = """\
 {cpu:2})               |  tdx_sept_set_private_spte [kvm_intel]() {{
 {cpu:2})               |    tdh_mem_page_aug() {{
 {cpu:2})   0.484 us    |      clflush_cache_range();
 {cpu:2})   2.9{n:02} us    |    }}
 {cpu:2})   3.1{n:02} us    |  }}
"""

_RECORD = "EPT_SERVICE\t61.004120\t{ns}\t{end}\t8801\t88{v:02}\t19\t19\t{took}\t{gpa}\t2\n"


def _events(file: Any) -> None:
    ns = 412_877_004_122_000
    for i in range(_LINES // 4):
        ns += 9000
        stamps = [f"{(ns + step) // 10**9}.{(ns + step) % 10**9 // 1000:06}" for step in (0, 1000, 3000, 7000)]
        a, b, c, d = stamps
        file.write(
            _EVENTS.format(v=i % 4, tid=41211 + i % 4, cpu=i % 4, a=a, b=b, c=c, d=d, gpa=i << 12, gfn=i, pfn=i + 99)
        )


def _graph(file: Any) -> None:
    for i in range(_LINES // 5):
        file.write(_GRAPH.format(cpu=i % 32, n=i % 100))


def _records(file: Any) -> None:
    for i in range(_LINES):
        took = 5000 + i % 512
        file.write(_RECORD.format(ns=i * 9000, end=i * 9000 + took, took=took, v=i % 8, gpa=i << 12))


@pytest.mark.benchmark(group="ingest")
@pytest.mark.parametrize(
    ("kind", "write"), [("kvm-events", _events), ("function-graph", _graph), ("bpftrace-text", _records)]
)
def test_ingest(benchmark: Any, tmp_path: Path, kind: str, write: Any) -> None:
    path = tmp_path / "trace.txt"
    with path.open("w") as file:
        write(file)

    def ours() -> None:
        assert read_file(kind, str(path)).report.used == _LINES

    def theirs() -> None:
        with path.open(encoding="utf-8", errors="replace") as file:
            assert sum(1 for _ in file) == _LINES

    record(benchmark, _LINES, "lines", measure_ratio(ours, [theirs], pairs=3))
    benchmark.pedantic(ours, rounds=3)
