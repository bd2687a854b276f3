"""Whatever bytes come: no traceback, every line counted, and one line with status 2 where nothing is usable."""

import gzip
import random
import tracemalloc

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.__main__ import main
from perfmodel.errors import InputError
from perfmodel.ingest.contract import Options
from perfmodel.ingest.lines import LONGEST_LINE_BYTES, Lines
from perfmodel.ingest.readers import READERS, read_file
from perfmodel.ingest.report import Report
from perfmodel.ingest.rows import Machine, observation_rows, observations_csv

GOOD = {
    "bpftrace-json": '{"type": "stats", "data": {"@service_ns": {"private,4K": {"count": 9, "average": 5, '
    '"total": 45}}}}\n'
    '{"type": "hist", "data": {"@lat_us": [{"min": 0, "max": 1, "count": 4}, {"min": 2, "count": 7}]}}\n'
    '{"type": "map", "data": {"@pages": {"accept": 12}}}\n{\n "type": "hist",\n "data": {"@x": []}\n}\n',
    "bpftrace-text": "@svc_ns[48, 0]: count 3, average 5, total 15\n@us[1]: \n[0, 2)   14 |@@  |\n[2, ...)  3 |@ |\n\n"
    "EPT_SERVICE\t61.0\t100\t5219\t8801\t8809\t19\t19\t5119\t7648313344\t2\n@n: 12\nLost 12 events\n",
    "kvm-events": "  CPU 3/KVM-41211 [019] d... 12.004122: kvm_exit: vcpu 3 reason EPT_VIOLATION rip 0x0 "
    "info1 0x2 info2 0x1\n"
    "  CPU 3/KVM-41211 [019] .... 12.004123: kvm_page_fault: address 1c7e00000 error_code 2\n"
    "  CPU 3/KVM-41211 [019] .... 12.004125: kvm_mmu_spte_requested: gfn 1c7e00 pfn 9c3d40 level 1\n"
    "CPU:3 [LOST 5 EVENTS]\n  CPU 3/KVM-41211 [019] d... 12.004129: kvm_entry: vcpu 3, rip 0x0\n",
    "function-graph": "# tracer: function_graph\n  7)               |  tdh_mem_page_aug() {\n  7)   0.484 us  "
    "  |    f();\n"
    "  7) ! 242.112 us  |  } /* ret=0x8000020000000092 */\n ------------\n  7) CPU 0/K-4 => CPU 1/K-8\n",
    "perf-kvm-stat": "Event name  Samples   Sample%    Time (ns)     Time%   Max Time (ns)   Min Time (ns)  "
    "Mean Time (ns)\n"
    "  EPT_VIOLATION    262401     61.20%    1393349310    71.43%     8123550           940           5310\n",
    "perf-ftrace": "#   DURATION     |      COUNT | GRAPH |\n   2 - 4    us |  90 | ## |\n   1 - ...   s | 0 | |\n"
    "# statistics  (in usec)\n  avg time:   3\n  count:  90\n",
    "bcc": 'Tracing 1 functions for "f"... Hit\n   nsecs           : count     distribution\n  1024 -> 2047 : 14 |  |\n'
    "avg = 1500 nsecs, total: 21000 nsecs, count: 14\n",
    "tdx-dmesg": "[   21.6] virt/tdx: CMR: [0x100000, 0x6f000000)\n[   24.9] virt/tdx: 3151892 KB allocated for PAMT\n"
    "[    0.0] tdx: Guest detected\n[    0.0] BIOS-e820: [mem 0x0000000100000000-0x000000107fffffff] usable\n",
    "numactl": "available: 1 nodes (0)\nnode 0 cpus: 0 1\nnode 0 size: 2575 MB\nnode 0 free: 2019 MB\nnode distances:\n"
    "node   0\n  0:  10\n",
    "mlc": "Intel(R) Memory Latency Checker - v3.11\nEach iteration took 236.0 base frequency clocks (\t112.4\tns)\n"
    "Measuring idle latencies\n 0  112.4   188.9\nBandwidths are in MB/sec\nALL Reads        :\t488120.4\n",
    "lscpu": "Architecture:  x86_64\nBogoMIPS: 4200.00\nFlags: constant_tsc\nNAME ONE-SIZE ALL-SIZE WAYS TYPE "
    "LEVEL SETS "
    "PHY-LINE COHERENCY-SIZE\nL1d 48K 96K 12 Data 1 64 1 64\n",
    "sysfs-cache": "index0/size:48K\nindex0/type:Data\nindex0/level:1\nindex0/ways_of_associativity:12\n"
    "index0/number_of_sets:64\nindex0/coherency_line_size:64\n",
    "selftests": "Total guest execution time:\t3.207118904s\nOverall demand paging rate:\t326952.6 pgs/sec\n"
    "Testing RW performance with 1 runs, 5 seconds each\nDone 420 iterations, avg 0.01s each\nrun1 = 9.8s, rw = 6.9s\n",
    "kvm-stat": " Event    Total %Total CurAvg/s\n kvm_exit      428759   31.2    71460\n,kvm_entry,kvm_exit\nt,1,2\n",
    "page-types": "voffset\toffset\tlen\tflags\n7f3a10200\t9c4200\t1\t___U_lA____Ma_bH______t____________\n",
}


def consume(kind, data):
    """Read ``data`` and hold the reading to what every reading has to be."""
    report = Report(kind, "fuzz")
    faults = []
    options = Options(on_fault=lambda *one: faults.append(one), vcpus=4)
    blocks = iter([data[i : i + 97] for i in range(0, len(data), 97)])
    reading = READERS[kind].read(Lines(blocks, report), options)
    assert report.used + report.dropped.total() <= report.lines
    assert report.lines == report.used + report.skipped + report.dropped.total()
    for one in reading.measurements:
        assert one.count > 0
        assert 0 <= one.mean_ns < float("inf")
        assert one.error >= 0
    for gfn, pfn, level, _, _ in faults:
        assert 0 <= gfn < 1 << 40
        assert pfn is None or pfn >= 0
        assert level in (None, "4K", "2M", "1G")
    rows, _ = observation_rows(reading, Machine(vcpus=4, inside=1))
    if rows:
        observations_csv(rows)
    return reading


def test_good_input_is_usable():
    assert GOOD.keys() == READERS.keys()
    for kind, text in GOOD.items():
        assert consume(kind, text.encode()).report.used > 0, kind
        assert READERS[kind].recognises(text), kind


@settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=600))
def test_any_bytes(data):
    for kind in READERS:
        consume(kind, data)


DAMAGE = ("cut", "swap", "digit", "repeat", "insert", "delete", "minus", "huge", "nul", "mixed")


def damaged(random_, text, others):
    lines = text.encode().split(b"\n")
    for _ in range(random_.randrange(1, 4)):
        at = random_.randrange(len(lines))
        line, how = lines[at], random_.choice(DAMAGE)
        spot = random_.randrange(len(line) + 1)
        digits = [i for i, c in enumerate(line) if chr(c).isdigit()]
        if how == "cut":
            lines[at] = line[:spot]
        elif how == "swap":
            other = random_.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "digit" and digits:
            i = random_.choice(digits)
            lines[at] = line[:i] + bytes([random_.randrange(32, 127)]) + line[i + 1 :]
        elif how == "repeat":
            lines.insert(at, line)
        elif how == "insert":
            lines[at] = line[:spot] + random_.randbytes(random_.randrange(1, 9)) + line[spot:]
        elif how == "delete":
            lines[at] = line[:spot] + line[spot + random_.randrange(1, 9) :]
        elif how == "minus" and digits:
            i = random_.choice(digits)
            lines[at] = line[:i] + b"-" + line[i:]
        elif how == "huge" and digits:
            i = random_.choice(digits)
            lines[at] = line[:i] + b"9" * random_.choice((5, 20, 40, 5000)) + line[i:]
        elif how == "nul":
            lines[at] = line[:spot] + b"\0" + line[spot:]
        elif how == "mixed":
            lines.insert(at, random_.choice(random_.choice(others).encode().split(b"\n")))
    return b"\n".join(lines)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_input(kind):
    """A damaged file is read or refused; 250 of each kind, from a fixed seed."""
    random_ = random.Random(kind)
    for _ in range(250):
        consume(kind, damaged(random_, GOOD[kind], list(GOOD.values())))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 400))
def test_truncated_input(kind, length):
    consume(kind, GOOD[kind].encode()[:length])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 40))
def test_lines_are_the_same_in_blocks_of_any_size(parts, size):
    data = b"".join([b"ab\n", b"\xc3\xa9x", b"\n", b"c\0d\n"][part] for part in parts)
    report = Report("x", "x")
    found = list(Lines(iter([data[i : i + size] for i in range(0, len(data), size)]), report))
    wanted = data.decode().split("\n")
    wanted = wanted[:-1] if data.endswith(b"\n") or not data else wanted
    assert [line for line in wanted if "\0" not in line] == found
    assert report.lines == len(wanted)


def test_a_line_without_end_takes_no_memory(monkeypatch):
    report = Report("x", "x")
    longest = 0

    def blocks():
        yield b"first\n"
        for _ in range(200):
            yield b"y" * (LONGEST_LINE_BYTES // 2)
        yield b"tail\nlast\n"

    for line in Lines(blocks(), report):
        longest = max(longest, len(line))
    assert longest <= LONGEST_LINE_BYTES
    assert report.dropped == {"too long": 1}
    assert report.lines == 3


def run(*arguments):
    runner = CliRunner()
    with pytest.raises(SystemExit) as stopped, runner.isolation() as streams:
        main([str(a) for a in arguments])
    return stopped.value.code, streams[1].getvalue().decode() if len(streams) > 1 else ""


REFUSED = {
    "empty": (b"", "empty"),
    "blank": (b"\n \n", "empty"),
    "gzip": (gzip.compress(b"x" * 100), "gzip"),
    "xz": (b"\xfd7zXZ\0\0", "xz"),
    "perf.data": (b"PERFILE2" + bytes(100), "perf script"),
    "trace.dat": (b"\x17\x08\x44tracing6", "trace-cmd report"),
    "binary": (bytes(range(256)) * 20, "not recognised"),
    "text": (b"hello\nworld\n", "not recognised"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, tmp_path, capsys):
    data, reason = REFUSED[name]
    (tmp_path / "file").write_bytes(data)
    for kind in ("auto", "kvm-events"):
        with pytest.raises(SystemExit) as stopped:
            main(["ingest", kind, str(tmp_path / "file")])
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert error.count("\n") == 1
        assert (reason in error) or kind != "auto", error
        assert "accepted" in error


def test_missing_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="accepted"):
            read_file("auto", str(path))


def test_nothing_usable_says_what_was_dropped(tmp_path):
    (tmp_path / "t").write_text("CPU 1/KVM-5 [001] 1.000003: kvm_entry: vcpu 1\n")
    with pytest.raises(InputError, match=r"nothing usable as kvm-events.* 1 kvm_entry without its kvm_exit"):
        read_file("kvm-events", str(tmp_path / "t"))


def test_reasons_are_counted_one_by_one():
    line = "  CPU 3/KVM-41 [019] d... {t}: {e}\n"
    exit_ = "kvm_exit: vcpu 3 reason EPT_VIOLATION rip 0x0 info1 0x2 info2 0x1"
    text = "".join(
        [
            line.format(t="12.000009", e=exit_),
            line.format(t="12.000008", e="kvm_entry: vcpu 3"),  # backwards
            line.format(t="12.000010", e=exit_),
            line.format(t="12.000011", e=exit_),  # the one before has no entry
            "CPU:19 [LOST 77 EVENTS]\n",
            line.format(t="12.000012", e="kvm_entry: vcpu 3"),
            line.format(t="12.000013", e=exit_),
            line.format(t="12.000014", e="kvm_entry: vcpu 3"),
            line.format(t="12.000015", e="kvm_page_fault: vcpu"),
        ]
    )
    reading = consume("kvm-events", text.encode())
    assert reading.report.dropped == {
        "with a time before that of the line above it": 1,
        "that says events were lost": 1,
        "kvm_entry without its kvm_exit": 1,
        "kvm_exit without its kvm_entry": 3,
        "cut or damaged": 1,
    }
    assert reading.report.used == 2
    assert reading.facts["lost_events"] == 77


@pytest.mark.parametrize("kind", ["kvm-events", "function-graph", "bpftrace-text"])
def test_memory_does_not_grow_with_lines(kind):
    """Peak of Python's own allocations for 8 times the lines."""
    rows = [line for line in GOOD[kind].splitlines(keepends=True) if "LOST" not in line and "Lost" not in line]
    text = "".join(rows).encode() * 64

    def peak(times):
        tracemalloc.start()
        READERS[kind].read(Lines((text for _ in range(times)), Report(kind, "made")), Options())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(32) < 1.5 * peak(4)
