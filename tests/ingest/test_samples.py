"""Does each sample of the facts give what is expected of it, and does auto know it?"""

import json

import pytest

from perfmodel.errors import InputError
from perfmodel.ingest.contract import Options
from perfmodel.ingest.kvm_events import accept_request
from perfmodel.ingest.readers import read_file, recognise

KINDS = {
    "bcc/funclatency_tdh_mem_page_aug.txt": "bcc",
    "bcc/kvmexit.txt": "bcc",
    "bpftrace/ept_service.tsv": "bpftrace-text",
    "bpftrace/exit_latency.txt": "bpftrace-text",
    "bpftrace/hist_open_ends.ndjson": "bpftrace-json",
    "bpftrace/hist_sublog2.json": "bpftrace-json",
    "bpftrace/lhist.txt": "bpftrace-text",
    "bpftrace/maps.ndjson": "bpftrace-json",
    "bpftrace/multiline.json": "bpftrace-json",
    "dmesg/": "tdx-dmesg",
    "function_graph/": "function-graph",
    "host_tools/mlc": "mlc",
    "host_tools/numactl_H.txt": "numactl",
    "host_tools/page_types": "page-types",
    "kvm_stat/": "kvm-stat",
    "perf/ftrace": "perf-ftrace",
    "perf/kvm_stat": "perf-kvm-stat",
    "selftests/": "selftests",
    "tracepoints/": "kvm-events",
}


@pytest.fixture(scope="module")
def samples(shared):
    return shared / "facts" / "samples"


@pytest.fixture(scope="module")
def expected(samples):
    return json.loads((samples / "expected.json").read_text())


def read(samples, name, **options):
    return read_file("auto", str(samples / name), Options(**options))


def found(reading):
    return {(one.what, one.level): one for one in reading.measurements}


def test_auto_knows_every_sample(samples, expected):
    known = 0
    for name in expected:
        kind = next(kind for start, kind in KINDS.items() if name.startswith(start))
        assert recognise(str(samples / name)) == kind, name
        known += 1
    assert known == len(expected) >= 45


def test_every_line_is_accounted_for(samples, expected):
    for name in expected:
        if expected[name].get("reject"):
            continue
        report = read(samples, name).report
        text = (samples / name).read_bytes()
        assert report.lines == text.count(b"\n") + (not text.endswith(b"\n")), name
        assert report.lines == report.used + report.skipped + report.dropped.total(), name
        assert not report.dropped, name
        assert report.renderer, name


def test_bcc(samples, expected):
    one = found(read(samples, "bcc/funclatency_tdh_mem_page_aug.txt"))["tdh_mem_page_aug", None]
    wanted = expected["bcc/funclatency_tdh_mem_page_aug.txt"]
    assert (round(one.mean_ns), one.count) == (wanted["avg_ns"], wanted["count"])
    exits = read(samples, "bcc/kvmexit.txt").facts["exits"]
    assert exits["EPT_VIOLATION"] == expected["bcc/kvmexit.txt"]["ept"]


def test_bpftrace(samples, expected):
    wanted = expected["bpftrace/ept_service.tsv"]
    faults = []
    reading = read(samples, "bpftrace/ept_service.tsv", on_fault=lambda *one: faults.append(one))
    spreads = found(reading)
    assert spreads["private fault", None].count == 3 == len(faults)
    assert spreads["shared fault", None].mean_ns == wanted["durations_ns"][3]
    assert sum(one.mean_ns * one.count for one in spreads.values()) == pytest.approx(wanted["sum_ns"])
    assert [fault[0] for fault in faults] == [0x1C7E00, 0x1C7E01, 0x1C7E02]

    wanted = expected["bpftrace/exit_latency.txt"]
    for name in ("bpftrace/exit_latency.txt", "bpftrace/maps.ndjson"):
        spreads = {what.replace(" ", ""): one for (what, _), one in found(read(samples, name)).items()}
        assert spreads["@lat_ns[48]"].count == wanted["hist_total"]
        for key, (count, average) in wanted["stats"].items():
            assert (spreads[f"@svc[{key}]"].count, int(spreads[f"@svc[{key}]"].mean_ns)) == (count, average)
    lhist = found(read(samples, "bpftrace/lhist.txt"))["@us", None]
    assert (lhist.count, lhist.low_ns, lhist.high_ns) == (expected["bpftrace/lhist.txt"]["total"], 0, None)
    opened = found(read(samples, "bpftrace/hist_open_ends.ndjson"))
    assert opened["@us", None].high_ns is None
    assert opened["@us", None].mean_ns == lhist.mean_ns  # inclusive ends here, half-open there
    sublog = found(read(samples, "bpftrace/hist_sublog2.json"))["@ns", None]
    assert (sublog.count, sublog.high_ns) == (expected["bpftrace/hist_sublog2.json"]["total"], 6144)
    multiline = read(samples, "bpftrace/multiline.json")
    assert [one["value"] for one in multiline.facts["maps"]["@faults"]] == [41210, 39877]
    assert multiline.report.used == 15


def test_dmesg(samples, expected):
    for name, wanted in expected.items():
        if not name.startswith("dmesg/"):
            continue
        facts = read(samples, name).facts
        for key, value in wanted.items():
            if key == "cmrs":
                value = value and [[int(end, 16) for end in one] for one in value]
            if key != "tdmr_gib_one_possible":
                assert facts.get(key) == (pytest.approx(value) if isinstance(value, float) else value), (name, key)
    host = read(samples, "dmesg/tdx_host_cmr.txt")
    assert host.facts["static_pamt_kb"] == host.facts["pamt_kb"]


def test_function_graph(samples, expected):
    def us(reading, name, own=False):
        one = found(reading)[name, None]
        return (one.self_ns if own else one.mean_ns) / 1e3, one.count

    plain, wanted = read(samples, "function_graph/private_faults_plain.txt"), "function_graph/private_faults_plain.txt"
    for key, name, own in (
        ("tdh_mem_page_aug_total_us", "tdh_mem_page_aug", False),
        ("tdh_mem_page_aug_self_us", "tdh_mem_page_aug", True),
        ("tdh_mem_sept_add_total_us", "tdh_mem_sept_add", False),
        ("tdx_handle_ept_violation_us", "tdx_handle_ept_violation", False),
    ):  # fmt: skip
        times = expected[wanted][key]
        assert us(plain, name, own) == (pytest.approx(sum(times) / len(times)), len(times)), key
    assert us(plain, "sysvec_apic_timer_interrupt")[1] == 1  # on another CPU, inside nothing
    huge, wanted = read(samples, "function_graph/private_fault_2m.txt"), expected["function_graph/private_fault_2m.txt"]
    assert us(huge, "clflush_cache_range") == (pytest.approx(wanted["clflush_us"]), 1)
    assert us(huge, "tdx_handle_ept_violation") == (pytest.approx(wanted["tdx_handle_ept_violation_us"]), 1)
    busy = read(samples, "function_graph/busy_retry.txt")
    status = expected["function_graph/busy_retry.txt"]["tdh_mem_page_aug_ret"]
    assert busy.facts["failed_calls"] == {"tdh_mem_page_aug": {status: 1}}
    assert ("tdh_mem_page_aug", None) not in found(busy)
    zaps, times = (
        read(samples, "function_graph/zap_private.txt"),
        expected["function_graph/zap_private.txt"]["total_us"],
    )
    assert us(zaps, "tdx_sept_remove_private_spte") == (pytest.approx(sum(times) / 3), 3)
    for name in ("proc_tail", "retval_old", "retval_new_args_retaddr"):
        reading = read(samples, f"function_graph/{name}.txt")
        assert us(reading, "tdx_handle_ept_violation")[1] == us(reading, "tdh_mem_page_aug")[1] == 1
        assert us(reading, "kvm_mmu_topup_memory_cache")[1] == 4


def test_tracepoints(samples, expected):
    for name, wanted in expected.items():
        if not name.startswith("tracepoints/"):
            continue
        faults = []
        reading = read(samples, name, on_fault=lambda *one, to=faults: to.append(one))
        facts, spreads = reading.facts, found(reading)
        assert facts["exits"]["EPT_VIOLATION"] == wanted["ept_violations"]
        assert sorted(set(facts["exits"]) - {"EPT_VIOLATION"}) == sorted(wanted["other_exits"])
        assert facts["levels"] == {"4K": wanted["levels"]["1"], "2M": wanted["levels"]["2"]}
        assert facts["shared_bits"] == [wanted["shared_bit"]]
        asked = [level for level in wanted["accept_level_from_info2"] if level]
        assert facts["accept_levels"] == {level: asked.count(level) for level in sorted(set(asked))}
        assert len(faults) == wanted["private"]
        assert spreads["shared fault", None].count == wanted["shared"]
        assert [pfn for _, pfn, level, *_ in faults if level == "4K"] == [int(p, 16) for p in wanted["pfn_run_4k"]]
        assert {fault[3] for fault in faults} == {3}  # vCPU
        assert spreads["private fault", "4K"].mean_ns == 7000
        renderer = {"perf_script": "perf script", "trace_cmd": "trace-cmd report"}
        assert reading.report.renderer == next((v for k, v in renderer.items() if k in name), "tracefs")


def test_extended_exit_qualification():
    levels = {0x1: "4K", 0x900000001: "2M", 0x800000001: "4K", 0x1100000001: "2M"}
    assert {word: accept_request(word).level for word in levels} == levels
    assert accept_request(0) is accept_request(0x6) is None


def test_perf(samples, expected):
    for layout in ("old", "new"):
        name = f"perf/kvm_stat_report_{layout}.txt"
        reading, wanted = read(samples, name), expected[name]["ept_violation"]
        one = found(reading)["EPT violation", None]
        unit = 1e3 if layout == "old" else 1.0
        suffix = "us" if layout == "old" else "ns"
        assert one.count == wanted["samples"]
        mean = wanted["avg_us"] if layout == "old" else wanted["mean_ns"]
        for value, want in (
            (one.mean_ns, mean),
            (one.low_ns, wanted[f"min_{suffix}"]),
            (one.high_ns, wanted[f"max_{suffix}"]),
        ):
            assert value == pytest.approx(want * unit)
        assert found(reading)["HLT", None].high_ns == pytest.approx(1000212900)  # touches the column before it
    assert read(samples, "perf/kvm_stat_report_old.txt").facts["total_samples"] == 428759
    linear = found(read(samples, "perf/ftrace_latency_linear_mixed_units.txt", function="f"))["f", None]
    wanted = expected["perf/ftrace_latency_linear_mixed_units.txt"]
    assert (linear.mean_ns, linear.count) == (wanted["avg_ns"], wanted["count"])
    for unit in ("us", "ns"):
        name = f"perf/ftrace_latency_log2_{unit}.txt"
        reading = read(samples, name)
        assert reading.measurements[0].count == expected[name]["total"]
        assert reading.report.units == set(expected[name]["units_in_one_table"])
        assert 2000 < reading.measurements[0].mean_ns < 4000
    profile = found(read(samples, "perf/ftrace_profile.txt"))["tdh_mem_page_aug", None]
    assert (profile.count, profile.mean_ns) == (expected["perf/ftrace_profile.txt"]["count_aug"], 3012)


def test_selftests(samples, expected):
    for name, wanted in expected.items():
        if not name.startswith("selftests/"):
            continue
        if wanted.get("reject"):
            with pytest.raises(InputError, match="negative"):
                read(samples, name)
            continue
        more = {key: wanted[key] for key in ("vcpus", "bytes_per_vcpu") if key in wanted and "seconds" in wanted}
        reading = read(samples, name, **more)
        facts = dict(reading.facts)
        if "kselftest" in name:
            facts["rate"] = facts["printed_rate"]
        names = {"recomputed_rate": "rate", "per_vcpu_rate": "printed_rate_per_vcpu"}
        for key, value in wanted.items():
            if key not in ("bytes_per_vcpu",) and (key != "vcpus" or "seconds" not in wanted):
                assert facts[names.get(key, key)] == (pytest.approx(value, rel=1e-6) if key != "tests" else value), (
                    name,
                    key,
                )
        assert any("printed rate" in text for text in reading.report.warnings) == ("bug" in name)


def test_kvm_stat(samples, expected):
    live = read(samples, "kvm_stat/live.txt").facts
    wanted = expected["kvm_stat/live.txt"]
    assert live["events"]["kvm_exit"] == wanted["kvm_exit"]
    assert live["percent"]["kvm_exit(EPT_VIOLATION)"] == wanted["ept_violation_pct_of_parent"]
    assert read(samples, "kvm_stat/live_old.txt").facts["events"]["kvm_exit"] == wanted["kvm_exit"]
    assert read(samples, "kvm_stat/log.csv").facts["rows"] == expected["kvm_stat/log.csv"]["rows"]


def test_host_tools(samples, expected):
    for name in ("mlc_idle_latency", "mlc_idle_latency_old"):
        wanted, facts = expected[f"host_tools/{name}.txt"], read(samples, f"host_tools/{name}.txt").facts
        assert (facts["clocks"], facts["ns"]) == (wanted["clocks"], wanted["ns"])
    for name in ("mlc_idle_matrix", "mlc_idle_matrix_spaces"):
        facts = read(samples, f"host_tools/{name}.txt").facts
        assert facts["idle_ns"] == expected[f"host_tools/{name}.txt"]["idle_ns"]
    facts = read(samples, "host_tools/mlc_idle_matrix.txt").facts
    assert facts["bandwidth_mb_s"]["ALL Reads"] == expected["host_tools/mlc_idle_matrix.txt"]["all_reads_mb_s"]
    facts = read(samples, "host_tools/numactl_H.txt").facts
    wanted = expected["host_tools/numactl_H.txt"]
    assert (facts["nodes"], facts["memory_only_nodes"]) == (wanted["nodes"], wanted["memory_only_nodes"])
    runs = read(samples, "host_tools/page_types_list.txt").facts["runs"]
    assert runs == [[int(pfn, 16), pages] for pfn, pages in expected["host_tools/page_types_list.txt"]["runs"]]
    summary = read(samples, "host_tools/page_types_summary.txt").facts
    assert summary["total_pages"] == expected["host_tools/page_types_summary.txt"]["total_pages"]


def test_caches_are_the_same_from_lscpu_and_sysfs(samples, tmp_path):
    table = read(samples, "host/lscpu_C.txt")
    assert table.host["caches"] == table.facts["caches"]
    folder = samples / "host" / "cpu0_cache"
    grep = tmp_path / "cache.txt"
    grep.write_text("".join(f"{one}:{one.read_text()}" for one in sorted(folder.glob("index*/*"))))
    sysfs = read_file("auto", str(grep))
    assert sysfs.report.kind == "sysfs-cache"
    assert sysfs.facts["caches"] == table.facts["caches"]
    plain = read(samples, "host/lscpu.txt")
    assert plain.facts["cpu"]["tsc_mhz"] == 2100
    assert [one["all_bytes"] for one in plain.facts["caches"]] == [96 << 10, 64 << 10, 4 << 20, 300 << 20]
