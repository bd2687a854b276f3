"""Do the files that ingest writes serve the commands that they are for?"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perfmodel.__main__ import main
from perfmodel.calibration.observations import gather, load_observations
from perfmodel.calibration.questions import questions
from perfmodel.errors import InputError
from perfmodel.host.storage import load_host
from perfmodel.ingest.fault_files import Extents, latest
from perfmodel.ingest.histogram import split_key
from perfmodel.ingest.rows import templates
from perfmodel.scenario import Scenario
from perfmodel.schemas import load_schema
from perfmodel.traced_order import CHUNKS_PER_REGION, traced_chunks

EXIT = "  CPU 0/KVM-7 [001] d... {t:.6f}: kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x0 info1 0x2 info2 0x1\n"
FAULT = "  CPU 0/KVM-7 [001] d... {t:.6f}: kvm_page_fault: vcpu 0 rip 0x0 address {gpa:#x} error_code 0x2\n"
SPTE = "  CPU 0/KVM-7 [001] d... {t:.6f}: kvm_mmu_spte_requested: gfn {gfn:x} pfn {pfn:x} level {level}\n"
ENTRY = "  CPU 0/KVM-7 [001] d... {t:.6f}: kvm_entry: vcpu 0, rip 0x0\n"


def trace(faults):
    """Return tracefs lines of private faults ``(gfn, pfn, level)``."""
    text, now = [], 10.0
    for gfn, pfn, level in faults:
        text += [
            EXIT.format(t=now),
            FAULT.format(t=now, gpa=gfn << 12),
            SPTE.format(t=now, gfn=gfn, pfn=pfn, level=level),
        ]
        text.append(ENTRY.format(t=now + 5e-6))
        now += 1e-5
    return "".join(text)


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code


def test_templates_are_observations_and_questions_keep_their_meaning(tmp_path):
    asked = {one.id: one for one in questions()}
    ids = [row["id"] for row in templates()]
    assert sum(one in asked for one in ids) >= 5
    for row in templates():
        assert all(row[name] for name in ("operation", "covers", "quantity")), row
        if row["id"] in asked:
            one = asked[row["id"]]
            assert (row["operation"], row["page_size"], row["quantity"]) == (one.operation, one.page_size, one.quantity)


def test_report_is_valid_and_observations_load(tmp_path, capsys):
    (tmp_path / "t").write_text(trace([(512 * 4 + i, 512 * 8 + i, 1) for i in range(20)] + [(4096, 8192, 2)]))
    code = run(
        "ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv", "--json", tmp_path / "r.json", "--host", "lab",
        "--core-ghz", "3.2", "--tracer", "none",
    )  # fmt: skip
    assert code == 0
    document = json.loads((tmp_path / "r.json").read_text())
    assert list(Draft202012Validator(load_schema("ingest-1")).iter_errors(document)) == []
    lines = document["lines"]
    assert lines["read"] == 84 == lines["used"] + lines["skipped"] + sum(lines["dropped"].values())
    rows = {one.id: one for one in load_observations(tmp_path / "o.csv")}
    assert rows.keys() == {"lab-host-4k-kvm-events", "lab-host-2m-kvm-events"}
    one = rows["lab-host-4k-kvm-events"]
    assert (one.value, one.unit, one.role, one.host, one.core_ghz) == (5000, "ns", "fit", "lab", 3.2)
    assert one.knobs.tracer == "none"
    assert one.error == pytest.approx((0.05**2 + 0.25 / 20) ** 0.5, rel=0.01)
    gathered = {one.id for one in gather([tmp_path / "o.csv"], only=False)}
    assert rows.keys() < gathered


def test_names_of_the_user_become_rows(tmp_path, capsys):
    (tmp_path / "t").write_text("@svc[48,0]: count 100, average 5188, total 518800\n")
    assert run("ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv") == 2
    assert "no observation of the model is this" in capsys.readouterr().err
    assert run("ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv", "--row", "@svc[48,0]=host-4k") == 0
    assert load_observations(tmp_path / "o.csv")[0].value == 5188
    for bad in ("@svc[48,0]", "@svc[48,0]=nonsense", "@other=host-4k"):
        assert run("ingest", "auto", tmp_path / "t", "--row", bad) == 2
        assert "accepted" in capsys.readouterr().err


def test_vcpus_decide_what_a_kick_costs(tmp_path, capsys):
    data = {"kvm_make_all_cpus_request": {"count": 10, "average": 9000, "total": 90000}}
    (tmp_path / "t").write_text(json.dumps({"type": "stats", "data": {"@call_ns": data}}))
    assert run("ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv") == 2
    assert "--vcpus" in capsys.readouterr().err
    assert run("ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv", "--vcpus", 8, "--inside", 7) == 0
    one = load_observations(tmp_path / "o.csv")[0]
    assert (one.vcpus, one.inside, one.stages) == (8, 7, ("kick",))
    assert run("ingest", "auto", tmp_path / "t", "--vcpus", 8, "--inside", 8) == 2


def test_fault_trace_orders_a_run(tmp_path, capsys):
    chunks = [200, 3, 255, 3, 17]
    faults = [(chunk * 1024 + 7, 5000 + i, 1) for i, chunk in enumerate(chunks)]
    (tmp_path / "t").write_text(trace(faults))
    assert run("ingest", "auto", tmp_path / "t", "--what", "faults", "-o", tmp_path / "f.csv") == 0
    text = (tmp_path / "f.csv").read_text().splitlines()
    assert text[0] == "gfn,level,vcpu,time"
    assert text[1:3] == [f"{200 * 1024 + 7:#x},4K,0,0", f"{3 * 1024 + 7:#x},4K,0,10000"]
    order = traced_chunks(str(tmp_path / "f.csv"), 0)
    assert order[:4].tolist() == [200, 3, 255, 17]
    assert sorted(order.tolist()) == list(range(CHUNKS_PER_REGION))
    assert traced_chunks(str(tmp_path / "f.csv"), 5).tolist() == list(range(CHUNKS_PER_REGION))
    code = run("compare", "--memory", "2GiB", "--interface", "pfn", "--backing", "order0",
               "--order", tmp_path / "f.csv", "--json", tmp_path / "c.json")  # fmt: skip
    assert code == 0
    document = json.loads((tmp_path / "c.json").read_text())
    assert list(Draft202012Validator(load_schema("compare-1")).iter_errors(document)) == []
    assert document["scenario"]["order"] == "f.csv"
    assert document["rows"][0]["pages"]["mapped"] == 1 << 19


def test_a_recorded_sequence_counts_like_sequential(tmp_path):
    from perfmodel import compare

    (tmp_path / "f.csv").write_text("gfn,level,vcpu,time\n" + "".join(f"{i << 10},4K,0,{i}\n" for i in range(256)))
    plain = Scenario(memory="1GiB", backing="order0", interfaces=("folio-lenient",))
    traced = Scenario(memory="1GiB", backing="order0", interfaces=("folio-lenient",), order=str(tmp_path / "f.csv"))
    for one, other in zip(compare(plain).rows, compare(traced).rows, strict=True):
        assert (one.leaves, one.seamcalls, one.ns) == (other.leaves, other.seamcalls, other.ns)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "header"), ("gfn,level,vcpu,time\n", "no fault"), ("a,b\n1,2\n", "header"),
        ("gfn,level,vcpu,time\n-1,,,\n", "gfn"), ("gfn,level,vcpu,time\n0x10000000000,,,\n", "gfn"),
        ("gfn,level,vcpu,time\nxyz,,,\n", ":2: gfn"), ("gfn\n\x00\n", "accepted"),
    ],
)  # fmt: skip
def test_bad_orders_are_refused(text, reason, tmp_path):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(InputError, match=reason) as refused:
        Scenario(memory="1GiB", order=str(tmp_path / "f.csv"))
    assert "accepted" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_order_names_what_is_accepted():
    for order in ("backwards", "/none/there.csv", "\0", 5):
        with pytest.raises(InputError, match="accepted are sequential, random, striped, or a CSV file"):
            Scenario(memory="1GiB", order=order)


def test_extents_serve_the_backing(tmp_path, capsys):
    faults = [(512 * r, 512 * (r + 100), 2) for r in range(4)]
    faults += [(2048 + i, 90_000 + (i * 7 % 512), 1) for i in range(512)]
    (tmp_path / "t").write_text(trace(faults))
    assert run("ingest", "auto", tmp_path / "t", "--what", "extents", "-o", tmp_path / "e.csv") == 0
    code = run("compare", "--backing", "extents", "--extents", tmp_path / "e.csv", "--memory", "10MiB",
               "--json", tmp_path / "c.json")  # fmt: skip
    assert code == 0
    rows = {row["interface"]: row for row in json.loads((tmp_path / "c.json").read_text())["rows"]}
    assert rows["pfn"]["leaves"] == {"4K": 512, "2M": 4}
    assert rows["folio-lenient"]["leaves"] == {"4K": 512, "2M": 4}


EXTENT = st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from(["4K", "4K", "2M"]))


@settings(deadline=None, max_examples=200)
@given(st.lists(EXTENT, min_size=1, max_size=12))
def test_later_mappings_take_the_place_of_earlier_ones(faults):
    extents, pages, owners = Extents(), {}, {}
    for gfn, pfn, level in faults:
        size = {"4K": 1, "2M": 512}[level]
        gfn, pfn = gfn * 60 // size * size, pfn * 60 // size * size
        extents.add(gfn, pfn, level, 0, 0)
        for i in range(size):
            pages[gfn + i] = pfn + i
            owners[pfn + i] = gfn + i
    gfn, pfn, length, order = extents.table()
    found = {}
    for g, p, n, o in zip(gfn.tolist(), pfn.tolist(), length.tolist(), order.tolist(), strict=True):
        assert n >= 1 << o
        for i in range(n):
            assert g + i not in found
            found[g + i] = p + i
    assert len(set(found.values())) == len(found)
    for g, p in found.items():
        assert pages[g] == p
    settled = {g: p for g, p in pages.items() if owners[p] == g}
    assert settled.items() <= found.items()


def test_latest_keeps_disjoint_extents_as_they_are():
    columns = tuple(np.array(c, np.int64) for c in ([10, 0], [5, 90], [4, 10], [0, 0]))
    assert {tuple(row) for row in np.array(latest(*columns)).T.tolist()} == {(10, 5, 4, 0), (0, 90, 10, 0)}


NUMACTL = "node 0 cpus: 0 1\nnode 0 size: 4096 MB\nnode 0 free: 2048 MB\n"
NUMACTL += "node 1 cpus:\nnode 1 size: 2048 MB\nnode 1 free: 2000 MB\n"


def test_numactl_makes_a_host_and_others_fill_it(tmp_path, capsys):
    (tmp_path / "n").write_text("available: 2 nodes (0-1)\n" + NUMACTL)
    assert run("ingest", "numactl", tmp_path / "n", "--what", "host", "-o", tmp_path / "h.json") == 0
    host = load_host(tmp_path / "h.json")
    assert (host.mem_total_kib, host.block_pages) == (6144 << 10, 2048 * 256 + 2000 * 256)
    assert {zone.node for zone in host.zones} == {0, 1}
    code = run("compare", "--backing", "host", "--host", tmp_path / "h.json", "--memory", "3GiB", "--interface", "pfn")
    assert code == 0
    (tmp_path / "l").write_text(
        "NAME ONE-SIZE ALL-SIZE WAYS TYPE LEVEL SETS PHY-LINE COHERENCY-SIZE\nL2 2M 4M 16 Unified 2 2048 1 64\n"
    )
    capsys.readouterr()
    assert run("ingest", "lscpu", tmp_path / "l", "--what", "host", "-o", tmp_path / "x.json") == 2
    assert "--base" in capsys.readouterr().err
    code = run(
        "ingest", "lscpu", tmp_path / "l", "--what", "host", "-o", tmp_path / "x.json", "--base", tmp_path / "h.json"
    )
    assert code == 0
    assert load_host(tmp_path / "x.json").caches[0].size_bytes == 2 << 20
    assert load_host(tmp_path / "x.json").zones == host.zones


def test_cmrs_make_a_host_for_extents(tmp_path, capsys):
    (tmp_path / "d").write_text(
        "[ 1.0] virt/tdx: CMR: [0x100000, 0x40000000)\n[ 1.0] virt/tdx: CMR: [0x100000000, 0x180000000)\n"
    )
    assert run("ingest", "tdx-dmesg", tmp_path / "d", "--what", "host", "-o", tmp_path / "h.json") == 0
    (tmp_path / "e.csv").write_text("gfn,pfn,pages,folio_order,has_struct_page\n0,0x100000,1024,9,1\n")
    code = run("compare", "--backing", "extents", "--extents", tmp_path / "e.csv", "--host", tmp_path / "h.json",
               "--memory", "4MiB")  # fmt: skip
    assert code == 0


def test_what_a_file_lacks_is_refused_and_nothing_is_left(tmp_path, capsys):
    (tmp_path / "m").write_text("Each iteration took 236.0 core clocks ( 112.4 ns)\n")
    for what in ("observations", "faults", "extents", "host"):
        assert run("ingest", "mlc", tmp_path / "m", "--what", what, "-o", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith("perfmodel: "), error
        assert "accepted" in error or "no observation" in error
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m"]
    assert run("ingest", "mlc", tmp_path / "m") == 0
    assert "dram_read" in capsys.readouterr().out


def test_every_kind_is_a_command():
    from perfmodel.commands.ingest_file import KINDS
    from perfmodel.ingest.readers import READERS

    assert set(KINDS) == {"auto", *READERS}


def test_ingest_host_is_still_there(capsys):
    assert run("ingest", "host", "--help") == 0
    assert "--proc" in capsys.readouterr().out


def test_recipes_and_templates_use_the_same_names():
    known = {(row["what"], row["level"] or None) for row in templates()} | {("tdh_mem_sept_add", None)}
    recorded = set()
    for recipe in sorted((Path(__file__).parents[2] / "recipes").glob("*.bt")):
        text = recipe.read_text()
        for name, key in re.findall(r"(@(?:service|call|accept|convert)_ns)\[\"([^\"]+)\"\]", text):
            what, level = split_key(name, key)
            assert {(what, level), (what, None), (what, "4K")} & known, (recipe.name, key)
            recorded.add(what)
        for probe in ("fentry", "fexit"):
            for function in re.findall(rf"{probe}:\w+:(\w+)", text):
                assert f"{'fexit' if probe == 'fentry' else 'fentry'}:" in text
                assert function in text
    shown = {row["what"] for row in templates()} - {"EPT violation"}
    assert shown <= recorded


def test_no_time_is_no_observation(tmp_path, capsys):
    lines = [EXIT.format(t=1), FAULT.format(t=1, gpa=4096), ENTRY.format(t=1)]
    (tmp_path / "t").write_text("".join(lines))
    assert run("ingest", "auto", tmp_path / "t", "-o", tmp_path / "o.csv") == 2
    assert "no time" in capsys.readouterr().err
