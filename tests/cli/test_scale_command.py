"""``perfmodel scale``, and ``compare`` and ``run`` with several vCPUs: what is shown, what is written, bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from perfmodel.commands import output
from perfmodel.schemas import load_schema

Call = Callable[..., Any]

SMALL = ["--memory", "1GiB", "--interface", "page-4k", "--interface", "pfn", "--samples", "2"]
VALIDATOR = Draft202012Validator(load_schema("scale-1"))


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    rows = document.get("rows", [run["row"] for run in document.get("runs", [])])
    for place in (document, *rows):
        place.pop("model_seconds", None)
    return document


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a result of all that one vCPU does to mappings, written once."""
    from perfmodel.__main__ import main

    path = tmp_path_factory.mktemp("scale") / "changes.json"
    asked = ["--workload", "convert", "--workload", "split", "--workload", "teardown", "--counts", "1,4"]
    with pytest.raises(SystemExit) as stopped:
        main(["scale", *SMALL, *asked, "--json", str(path)])
    assert stopped.value.code == 0
    return path


def test_table_says_how_far_it_scales_and_why(call: Call, tmp_path: Path) -> None:
    target = tmp_path / "scale.json"
    called = call("scale", *SMALL, "--counts", "1,2,8", "--json", str(target))
    assert called.status == 0
    for shown in (
        "populate, page-4k; other vCPUs working", "populate, pfn; other vCPUs working", "GiB/s", "speed-up",
        "efficiency", "its own work", "waits: line of the TDR's PAMT_4K entry", "p50 / p99", "limited by", "at most:",
        "memory bandwidth", "knee at", "1 GiB guest", "spr-8480p", "seed 0",
    ):  # fmt: skip
        assert shown in called.out
    document = json.loads(target.read_bytes())
    VALIDATOR.validate(document)
    assert (document["options"]["vcpus"], document["scenario"]["vcpus"]) == ([1, 2, 8], 8)
    for curve in document["curves"]:
        assert [point["vcpus"] for point in curve["points"]] == [1, 2, 8]
        alone, *more = curve["points"]
        assert alone["waits_ns"] == {}
        assert alone["efficiency"] == pytest.approx(1.0, rel=0.02)
        for point in more:
            assert 1 < point["speed_up"] <= point["vcpus"] * 1.02
            assert point["waits_ns"]["line of the TDR's PAMT_4K entry"]["transfer"] > 0
            parts = sum(sum(wait.values()) for wait in point["waits_ns"].values())
            assert point["cycle_ns"] == pytest.approx(point["service_ns"] + point["wasted_ns"] + parts, rel=1e-3)
        low, value, high = (alone["gib_per_s"][key] for key in ("low", "value", "high"))
        assert low <= value <= high
        assert low < high


def test_every_workload_has_its_curves(changes: Path) -> None:
    document = json.loads(changes.read_bytes())
    VALIDATOR.validate(document)
    assert [(c["workload"], c["interface"], c["state"]) for c in document["curves"]] == [
        ("convert", "page-4k", "inside"), ("convert", "page-4k", "halted"),
        ("convert", "pfn", "inside"), ("convert", "pfn", "halted"),
        ("split", "pfn", "inside"), ("split", "pfn", "halted"),
        ("teardown", "page-4k", "halted"), ("teardown", "pfn", "halted"),
    ]  # fmt: skip
    four = {(c["workload"], c["interface"], c["state"]): c["points"][1] for c in document["curves"]}
    inside, halted = four["convert", "page-4k", "inside"], four["convert", "page-4k", "halted"]
    assert inside["gib_per_s"]["value"] < halted["gib_per_s"]["value"]
    assert inside["calls"]["KICKED"] == pytest.approx(3, rel=0.1)
    assert "KICKED" not in halted["calls"]
    assert [c["pages_per_unit"] for c in document["curves"] if c["workload"] == "teardown"] == [1, 512]


def test_states_are_those_asked_for(call: Call) -> None:
    words = [*SMALL[:4], "--samples", "0", "--counts", "2", "--json", "-"]
    called = call("scale", *words, "--workload", "convert", "--state", "ticking", "--state", "inside")
    document = json.loads(called.out)
    assert [curve["state"] for curve in document["curves"]] == ["ticking", "inside"]
    assert document["options"]["states"] == ["ticking", "inside"]
    for curve in document["curves"]:
        speed = curve["points"][0]["gib_per_s"]
        assert speed["low"] == speed["value"] == speed["high"]


def test_options_change_the_run_and_are_written(call: Call) -> None:
    def speed(*words: str) -> tuple[dict[str, Any], float]:
        asked = ["--memory", "1GiB", "--interface", "page-4k", "--samples", "0", "--counts", "16", "--json", "-"]
        document = json.loads(call("scale", *asked, *words).out)
        return document["options"], document["curves"][0]["points"][0]["gib_per_s"]["value"]

    options, plain = speed()
    assert (options["dynamic_pamt"], options["guest_lock"]) == ("none", "dropped")
    options, held = speed("--guest-lock", "held")
    assert options["guest_lock"] == "held"
    assert held < plain / 2
    options, pamt = speed("--dynamic-pamt", "global-lock")
    assert options["dynamic_pamt"] == "global-lock"
    assert pamt < plain


def test_nodes_leave_out_smaller_counts(call: Call) -> None:
    called = call("scale", *SMALL[:4], "--samples", "0", "--counts", "1,2,4", "--nodes", "2", "--json", "-")
    document = json.loads(called.out)
    assert [point["vcpus"] for point in document["curves"][0]["points"]] == [2, 4]


def test_a_bar_can_begin_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_QUIET_SECONDS", -1.0)
    with output.progress_bar("points") as report:
        report(0, 3)
        report(3, 3)


def test_figures_are_drawn_by_schema_and_workload(call: Call, changes: Path, tmp_path: Path) -> None:
    for name in ("changes.png", "changes.svg"):
        assert call("plot", str(changes), "-o", str(tmp_path / name)).status == 0
    assert b"Tear-down by removal" in (tmp_path / "changes.svg").read_bytes()
    document = json.loads(changes.read_bytes())
    both = tmp_path / "both.json"
    document["curves"].append(document["curves"][0] | {"workload": "populate", "state": "working"})
    both.write_text(json.dumps(document))
    assert [line.split()[0] for line in call("plot", str(both), "--list").out.splitlines()] == [
        "scaling", "changes", "latency",
    ]  # fmt: skip
    assert call("plot", str(both), "--figure", "changes", "-o", str(tmp_path / "both.svg")).status == 0
    assert (tmp_path / "both.svg").read_bytes() == (tmp_path / "changes.svg").read_bytes()
    both.write_text(json.dumps(document | {"curves": document["curves"][-1:]}))
    assert call("plot", str(both), "-o", str(tmp_path / "populate.svg")).status == 0
    assert b"knee" in (tmp_path / "populate.svg").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "perfmodel/scale/2"}, "schema 'perfmodel/scale/2'"),
        ({"schema": 3}, "$.schema"),
        ({"curves": 3}, "$.curves"),
        ({"curves": []}, "without throughput"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_plot_of_a_damaged_result(call: Call, changes: Path, tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(json.loads(changes.read_bytes()) | change))
    called = call("plot", str(path), "-o", str(tmp_path / "x.png"))
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert called.err.startswith(f"perfmodel: {path}: ")
    assert said in called.err
    assert "perfmodel/scale/1" in called.err
    assert not (tmp_path / "x.png").exists()


BAD = {
    "more vCPUs than modelled": (["--counts", "1,2048"], "vcpus 2048", "1 to 1024"),
    "more in all": (["--counts", "512", "--tds", "4"], "vcpus 512 in each of tds 4", "1024 in all"),
    "zero": (["--counts", "0"], "vcpus 0", "1 to 1024"),
    "below zero": (["--counts", "-4"], "vcpus -4", "1 to 1024"),
    "not a number": (["--counts", "many"], "counts 'many'", "1,2,4,8"),
    "nothing": (["--counts", ""], "counts ''", "1,2,4,8"),
    "descending": (["--counts", "4,2"], "vcpus (4, 2)", "ascending"),
    "twice": (["--counts", "4,4"], "vcpus (4, 4)", "ascending"),
    "more nodes than vCPUs": (["--counts", "1,2", "--nodes", "4"], "nodes 4", "at most as many as vcpus"),
    "no nodes": (["--nodes", "0"], "nodes 0", "1 to 8"),
    "more nodes than modelled": (["--nodes", "9"], "nodes 9", "1 to 8"),
    "placement without nodes": (["--placement", "first"], "placement 'first'", "nodes 2 or more"),
    "placement": (["--nodes", "2", "--placement", "near"], "placement 'near'", "own, first, interleave"),
    "no TDs": (["--tds", "0"], "tds 0", "1 to 1024"),
    "workload": (["--workload", "boot"], "workload 'boot'", "populate, convert, split, teardown"),
    "state": (["--state", "asleep"], "state 'asleep'", "working, inside, halted, ticking"),
    "working beside changes": (["--workload", "convert", "--state", "working"], "state 'working'", "populate"),
    "nothing to split": (["--workload", "split", "--interface", "page-4k"], "workload 'split'", "map at 2M"),
    "Dynamic PAMT": (["--dynamic-pamt", "on"], "dynamic-pamt 'on'", "none, fast-path, global-lock"),
    "guest lock": (["--guest-lock", "kept"], "guest-lock 'kept'", "dropped, held"),
    "clear": (["--clear", "all"], "clear 'all'", "mapping, folio"),
    "samples": (["--samples", "-1"], "samples -1", "0 to 4096"),
    "threads": (["--threads", "0"], "threads 0", "1 to 1024"),
    "vcpus instead of counts": (["--vcpus", "8"], "vcpus 8", "--counts"),
    "vcpu-state instead of state": (["--vcpu-state", "halted"], "vcpu-state 'halted'", "--state"),
    "interface": (["--interface", "folio"], "interface 'folio'", "folio-strict"),
    "set unknown": (["--set", "line_transfers=50"], "line_transfers", "line_transfer"),
    "json nowhere": (["--json", "/nowhere/x.json"], "'/nowhere'", "does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(call: Call, tmp_path: Path, case: str) -> None:
    words, named, accepted = BAD[case]
    target = tmp_path / "scale.json"
    called = call("scale", "--memory", "1GiB", *words, *([] if "--json" in words else ["--json", str(target)]))
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert called.err.startswith("perfmodel: ")
    assert named in called.err
    assert accepted in called.err
    assert list(tmp_path.iterdir()) == []


TOGETHER = {
    "more in all": (["--vcpus", "512", "--tds", "4"], "vcpus 512 in each of tds 4", "1024 in all"),
    "more than modelled": (["--vcpus", "1025"], "vcpus 1025", "1 to 1024"),
    "more nodes than vCPUs": (["--vcpus", "2", "--nodes", "4"], "nodes 4", "as many as vcpus, 2"),
    "state of nobody": (["--vcpu-state", "halted"], "vcpu-state 'halted'", "vcpus 2 or more"),
    "state": (["--vcpus", "2", "--vcpu-state", "asleep"], "vcpu-state 'asleep'", "working, inside, halted, ticking"),
    "placement without nodes": (["--vcpus", "2", "--placement", "first"], "placement 'first'", "nodes 2 or more"),
}


@pytest.mark.parametrize("command", ["compare", "run"])
@pytest.mark.parametrize("case", TOGETHER)
def test_bad_topology_of_a_comparison(call: Call, command: str, case: str) -> None:
    words, named, accepted = TOGETHER[case]
    called = call(command, "--memory", "1GiB", *words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert named in called.err
    assert accepted in called.err


PAIR = ["compare", "--memory", "1GiB", "--interface", "page-4k", "--interface", "pfn"]


def test_compare_with_vcpus_says_the_time_that_passes(call: Call) -> None:
    one, many = (json.loads(call(*PAIR, "--vcpus", n, "--json", "-").out) for n in ("1", "16"))
    for alone, row in zip(one["rows"], many["rows"], strict=True):
        assert alone["scaling"] is None
        assert alone["seconds"] == pytest.approx(alone["ns"]["total"] / 1e9, rel=1e-12)
        scaling, point = row["scaling"], row["scaling"]["point"]
        assert row["leaves"] == alone["leaves"]
        assert point["vcpus"] == 16
        assert row["seconds"] == scaling["seconds"]["value"]
        assert scaling["seconds"]["low"] <= row["seconds"] <= scaling["seconds"]["high"]
        assert alone["seconds"] / 16 <= row["seconds"] < alone["seconds"] / 8
        assert row["gib_per_s"] == pytest.approx(1 / row["seconds"], rel=1e-9)
        assert row["gib_per_s"] == pytest.approx(point["gib_per_s"]["value"], rel=1e-9)
        assert row["faults_per_s"] == pytest.approx(row["faults"] / row["seconds"], rel=1e-9)
        assert 8 < point["speed_up"] <= 16.1
        assert point["efficiency"] == pytest.approx(point["speed_up"] / 16, rel=1e-9)
        limits = [limit["gib_per_s"] for limit in scaling["limits"]]
        assert limits == sorted(limits)
        assert row["gib_per_s"] < limits[0]
    first, second = many["rows"]
    ratio = many["ratios"][1]
    assert ratio["value"] == pytest.approx(second["seconds"] / first["seconds"], rel=1e-12)
    assert ratio["low"] <= ratio["value"] <= ratio["high"]


def test_compare_shows_what_vcpus_come_to(call: Call) -> None:
    shown = ("speed-up over one vCPU", "efficiency", "limited by", "knee, vCPUs")
    assert all(word in call(*PAIR, "--vcpus", "4").out for word in shown)
    assert not any(word in call(*PAIR).out for word in shown)


def test_tds_and_nodes_are_simulated(call: Call) -> None:
    words = ["--vcpus", "4", "--tds", "2", "--nodes", "2", "--placement", "interleave", "--json", "-"]
    two = json.loads(call(*PAIR, *words).out)
    one = json.loads(call(*PAIR, "--vcpus", "4", "--json", "-").out)
    assert [two["scenario"][key] for key in ("vcpus", "tds", "nodes", "placement")] == [4, 2, 2, "interleave"]
    for row, other in zip(two["rows"], one["rows"], strict=True):
        assert row["gib_per_s"] == pytest.approx(2 / row["seconds"], rel=1e-9)  # of both TDs
        assert row["seconds"] > other["seconds"]  # remote lines and memory


def test_vcpus_that_wait_do_not_speed_up(call: Call) -> None:
    words = ["--vcpus", "4", "--vcpu-state", "halted", "--json", "-"]
    for row in json.loads(call(*PAIR, *words).out)["rows"]:
        assert row["scaling"]["point"]["speed_up"] == pytest.approx(1, rel=0.02)
        assert row["seconds"] == pytest.approx(row["ns"]["total"] / 1e9, rel=0.02)


@pytest.mark.parametrize("words", [["run", *PAIR[1:], "--vcpus", "6"], ["scale", *SMALL, "--counts", "3,6"]])
def test_no_result_depends_on_threads(call: Call, words: list[str]) -> None:
    results = [call(*words, "--threads", n, "--json", "-") for n in ("1", "5")]
    one, many = (without_times(json.loads(called.out)) for called in results)
    assert one == many


def test_another_seed_gives_another_run(call: Call) -> None:
    words = ["scale", *SMALL[:4], "--samples", "0", "--counts", "8", "--json", "-"]
    speeds = [json.loads(call(*words, "--seed", s).out)["curves"][0]["points"][0]["cycle_ns"] for s in ("0", "0", "1")]
    assert speeds[0] == speeds[1] != speeds[2]
    assert speeds[2] == pytest.approx(speeds[0], rel=0.03)
