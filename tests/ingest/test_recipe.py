"""Does the recipe of docs/measuring.md, run on traces made from known prices, find these prices again?"""

import json
import math

import numpy as np
import pytest
import synthetic_traces as made
from click.testing import CliRunner

from perfmodel.__main__ import cli
from perfmodel.ingest.rows import Machine
from perfmodel.parameters import load_parameters

SET = {
    "seam_transition": 1500, "kvm_fault_path": 640, "flush_line": 7.5, "clear_line": 5.5, "movdir64b_line": 7,
    "keyhole_miss": 480, "kick_vcpu": 450, "wrmsr": 220, "gmem_lookup": 100,
}  # fmt: skip
CALLS = 4000
MACHINE = Machine(vcpus=8, inside=7)


def perfmodel(*arguments):
    done = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def truth():
    overrides = tuple(f"{name}={value}" for name, value in SET.items())
    return load_parameters(overrides=overrides, calibrated=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth):
    """A folder with traces, the observations ingested from them and the set calibrated to these."""
    at = tmp_path_factory.mktemp("recipe")
    source = made.Truth(truth, MACHINE, seed=5)
    made.write_service(at / "service.json", source, CALLS)
    made.write_seamcalls(at / "seamcalls.json", source, CALLS)
    made.write_guest(at / "guest.json", source, 500)
    files = []
    for name in ("service", "seamcalls", "guest"):
        files += ["--observations", at / f"{name}.csv"]
        perfmodel(
            "ingest", "auto", at / f"{name}.json", "-o", at / f"{name}.csv", "--host", "lab", "--vcpus", 8,
            "--inside", 7, "--error", 0.02, "--core-ghz", truth.core_ghz,
        )  # fmt: skip
    free = [word for name in SET for word in ("--free", name)]
    perfmodel(
        "calibrate", "--only", *files, *free, "--host", "lab", "-o", at / "lab.toml", "--json", at / "calibrate.json"
    )
    return at


def test_prices_lie_within_their_intervals(folder):
    found = {one["name"]: one for one in json.loads((folder / "calibrate.json").read_text())["fitted"]}
    assert set(SET) <= set(found)
    narrower = 0
    for name, true in SET.items():
        one = found[name]
        distance = abs(math.log(one["value"] / true)) / one["standard_error"]
        assert distance < 3, (name, true, one)
        narrower += one["width"] < 0.6
    assert narrower >= 5  # the traces told more than the priors


def test_compare_with_the_calibrated_set_holds_the_truth(folder, truth, tmp_path):
    perfmodel("compare", "--memory", "2GiB", "--params", folder / "lab.toml", "--json", tmp_path / "found.json")
    settings = [word for name, value in SET.items() for word in ("--set", f"{name}={value}")]
    perfmodel("compare", "--memory", "2GiB", "--uncalibrated", *settings, "--json", tmp_path / "truth.json")
    found, true = (json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in ("found", "truth"))
    perfmodel("compare", "--memory", "2GiB", "--uncalibrated", "--json", tmp_path / "prior.json")
    prior = json.loads((tmp_path / "prior.json").read_text())["rows"]
    for one, other, before in zip(found, true, prior, strict=True):
        was, now, truly = (row["ns"]["total"] for row in (before, one, other))
        assert one["ns"]["low"] < truly < one["ns"]["high"]
        assert abs(math.log(now / truly)) < 0.2
        assert abs(math.log(now / truly)) < abs(math.log(was / truly))


def test_tracepoints_and_function_graph_tell_the_same(truth, tmp_path):
    source = made.Truth(truth, MACHINE, seed=6)
    made.write_events(tmp_path / "events.txt", source, 2000)
    made.write_graph(tmp_path / "graph.txt", source, 2000)
    for name in ("events", "graph"):
        perfmodel("ingest", "auto", tmp_path / f"{name}.txt", "--json", tmp_path / f"{name}.json")
    rows = [
        row
        for name in ("events", "graph")
        for row in json.loads((tmp_path / f"{name}.json").read_text())["observations"]
    ]
    ids = {row["fold"].removeprefix("mine-"): float(row["value"]) for row in rows}
    wanted = ("host-4k", "host-2m", "shared-fault", "block-4k", "track-4k", "remove-4k", "wbinvd-4k")
    assert sorted(ids) == sorted(wanted)
    for one in wanted:
        assert ids[one] == pytest.approx(source.means[one], rel=4 * made.SPREAD / np.sqrt(2000)), one
