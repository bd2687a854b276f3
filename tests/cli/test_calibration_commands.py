"""`calibrate`, `validate`, `sensitivity` and `--generation` as a user meets them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from perfmodel.calibration import report, sensitivity_report
from perfmodel.calibration.observations import built_in
from perfmodel.parameters import load_parameters
from perfmodel.schemas import load_schema

HEADER = "id,operation,memory,quantity,value,unit\n"
NEW = HEADER + "N1,populate,4GiB,time-per-page,12,us\n"

Call = Callable[..., Any]


def errors(schema: str, document: Any) -> list[str]:
    return [e.message for e in Draft202012Validator(load_schema(schema)).iter_errors(document)]


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from perfmodel.__main__ import main

    path = tmp_path_factory.mktemp("validation") / "validate.json"
    with pytest.raises(SystemExit) as stopped:
        main(["validate", "--json", str(path)])
    assert stopped.value.code == 0
    return path


def test_validate_passes_and_its_json_is_valid(validation: Path) -> None:
    document = json.loads(validation.read_text())
    assert errors("validate-1", document) == []
    assert (document["passed"], document["beyond"]) == (True, [])
    rows = {row["id"]: row for row in document["rows"]}
    listed = {one["id"] for one in document["not_expressed"]}
    assert rows.keys() | listed == {one.id for one in built_in()}
    for row in rows.values():
        if row["measured"]:
            assert row["ratio"] == pytest.approx(row["predicted"] / row["measured"])
        assert row["low"] <= row["predicted"] <= row["high"]
        assert (row["left_out"] is None) == (row["role"] != "fitted")
    assert rows["M026"]["measured"] == 100.0  # 119 s less 19 s
    assert (rows["M093"]["ratio"], abs(rows["M093"]["difference"]) < 0.5) == (None, True)
    assert rows["M106"]["difference"] == 0
    assert {k for k, row in rows.items() if row["role"] == "not scored"} >= {"M021", "A001", "M090", "M147"}


def test_validate_prints_every_row(call: Call) -> None:
    called = call("validate", "--sources")
    assert called.status == 0
    for one in built_in():
        assert one.id in called.out
    for part in (
        "17 rows in 16 folds",
        "11 free parameters",
        "one cost per 4K page",
        "one cost per call",
        "contradicts",
    ):
        assert part in " ".join(called.out.split())
    assert "https://lore.kernel.org/" in called.out


def test_a_row_beyond_the_ratio_fails_the_check(call: Call) -> None:
    called = call("validate", "--max-ratio", "1.5", "--json", "-")
    document = json.loads(called.out)
    assert (called.status, document["passed"]) == (1, False)
    assert set(document["beyond"]) == {"M010", "M013", "M085"}
    for row in document["rows"]:
        off = [r for r in (row["ratio"], (row["left_out"] or {}).get("ratio")) if r]
        beyond = row["role"] != "not scored" and any(not 1 / 1.5 <= r <= 1.5 for r in off)
        assert beyond == (row["id"] in document["beyond"])


def test_validate_takes_other_observations(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(NEW + "N2,populate,4GiB,time-per-page,1,us\n")
    called = call("validate", "--observations", str(tmp_path / "mine.csv"), "--json", "-")
    document = json.loads(called.out)
    assert errors("validate-1", document) == []
    assert called.status == 1
    assert document["beyond"] == ["N2"]
    assert [row["role"] for row in document["rows"]] == ["held out"] * 2
    assert document["summary"]["held_out"]["rows"] == 2
    assert document["summary"]["left_out"] is None
    assert document["rows"][0]["low"] < 12 < document["rows"][0]["high"]


def test_a_known_host_keeps_its_scale(call: Call, tmp_path: Path) -> None:
    text = (
        "host,core_ghz,"
        + NEW.replace("\nN1", "\ndstack-gnr,3.2,N1")
        + "unknown,3.2,N2,populate,4GiB,time-per-page,12,us\n"
    )
    (tmp_path / "mine.csv").write_text(text)
    rows = json.loads(call("validate", "--observations", str(tmp_path / "mine.csv"), "--json", "-").out)["rows"]
    assert rows[0]["predicted"] < 0.9 * rows[1]["predicted"]
    assert rows[0]["high"] / rows[0]["low"] < rows[1]["high"] / rows[1]["low"]


def test_public_rows_in_a_file_are_the_public_rows(call: Call, tmp_path: Path, validation: Path) -> None:
    from importlib import resources

    text = (resources.files("perfmodel") / "data" / "observations.csv").read_text()
    (tmp_path / "copy.csv").write_text(text)
    called = call("validate", "--observations", str(tmp_path / "copy.csv"), "--json", "-")
    assert json.loads(called.out) == json.loads(validation.read_text())
    (tmp_path / "changed.csv").write_text(text.replace("5061.56", "6061.56"))
    called = call("validate", "--observations", str(tmp_path / "changed.csv"))
    assert called.status == 2
    assert "'M001'" in called.err


def test_a_set_of_ones_own_is_held_against_all_rows(call: Call) -> None:
    document = json.loads(call("validate", "--uncalibrated", "--json", "-").out)
    assert document["summary"]["held_out"]["rows"] == 17
    assert document["summary"]["left_out"] is None
    assert document["parameters"]["sha256"] == load_parameters(calibrated=False).sha256
    calibrated = json.loads(call("validate", "--preset", "spr-8480p", "--json", "-").out)
    errors_of = [d["summary"]["held_out"]["geometric_mean_error"] for d in (document, calibrated)]
    assert errors_of[1] < errors_of[0]


def test_calibrate_writes_the_shipped_set(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "set.toml"
    called = call("calibrate", "-o", str(out), "--json", str(tmp_path / "calibrate.json"))
    assert called.status == 0
    for part in ("seam_transition", "not constrained", "Correlations", "kata-5.19", "17 rows in 16 folds"):
        assert part in called.out
    document = json.loads((tmp_path / "calibrate.json").read_text())
    assert errors("calibrate-1", document) == []
    assert document["parameters"]["sha256"] == load_parameters(file=out, calibrated=False).sha256
    assert [one["kind"] for one in document["fitted"]].count("host") == 6
    assert call("compare", "--memory", "1GiB", "--params", str(out)).status == 0


def test_calibrate_fits_a_users_rows(call: Call, tmp_path: Path) -> None:
    """One more row of the user's own host moves what it is about, and gives that host a scale."""
    (tmp_path / "mine.csv").write_text(
        "host,covers,error," + HEADER + "mine,kvm_fault,0.02,N1,shared-fault,2MiB,time-per-fault,2500,ns\n"
    )
    document = json.loads(call("calibrate", "--observations", str(tmp_path / "mine.csv"), "--json", "-").out)
    plain = json.loads(call("calibrate", "--json", "-").out)
    values = [{f["name"]: f["value"] for f in d["fitted"]} for d in (plain, document)]
    assert values[1]["kvm_fault_path"] > values[0]["kvm_fault_path"]
    assert "mine" in values[1]
    assert document["summary"]["rows"] == 18


def test_rows_that_are_no_times_can_be_held_too(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(HEADER + "N1,populate,1GiB,faults,262144,count\n")
    for words in ((), ("--uncalibrated",)):
        called = call("validate", "--observations", str(tmp_path / "mine.csv"), "--json", "-", *words)
        (row,) = json.loads(called.out)["rows"]
        assert (called.status, row["ratio"], row["measured_ns"]) == (0, 1.0, None)


def test_calibrate_with_ones_own_rows_alone(call: Call, tmp_path: Path) -> None:
    rows = "".join(f"N{i},populate,{i + 1}GiB,time-per-page,{20 + i},us\n" for i in range(4))
    (tmp_path / "mine.csv").write_text(HEADER + rows)
    words = ("calibrate", "--observations", str(tmp_path / "mine.csv"), "--only")
    called = call(*words)
    assert called.status == 2
    assert "4 rows to fit for 11 free prices" in called.err
    document = json.loads(call(*words, "--free", "wrmsr", "--json", "-").out)
    assert [f["name"] for f in document["fitted"]] == ["wrmsr", "N0", "N1", "N2", "N3"]
    assert document["fitted"][0]["value"] > document["fitted"][0]["prior"]


def test_sensitivity(call: Call, tmp_path: Path) -> None:
    called = call("sensitivity", "--seed", "3", "--json", str(tmp_path / "s.json"))
    assert called.status == 0
    assert "What to measure" in called.out
    document = json.loads((tmp_path / "s.json").read_text())
    assert errors("sensitivity-1", document) == []
    for result in document["results"]:
        orders = [index["total_order"] for index in result["indices"]]
        assert orders == sorted(orders, reverse=True)
    assert json.loads(call("sensitivity", "--seed", "3", "--json", "-").out) == document


@pytest.mark.parametrize(
    ("schema", "module", "struct"),
    [("validate-1", report, "Validation"), ("calibrate-1", report, "CalibrationReport"),
     ("sensitivity-1", sensitivity_report, "Sensitivity")],
)  # fmt: skip
def test_schemas_have_the_fields_of_the_structs(schema: str, module: Any, struct: str) -> None:
    shipped = load_schema(schema)
    (_,), generated = msgspec.json.schema_components([getattr(module, struct)])
    for name, rule in generated.items():
        place = shipped if name == struct else shipped["$defs"][name]
        assert list(place["properties"]) == place["required"] == list(rule["properties"]), name


@pytest.mark.parametrize(
    ("words", "named", "accepted"),
    [
        (["validate", "--max-ratio", "1"], "max-ratio 1.0", "above 1"),
        (["validate", "--max-ratio", "nan"], "max-ratio nan", "above 1"),
        (["validate", "--observations", "/nowhere.csv"], "/nowhere.csv", "CSV file"),
        (["validate", "--json", "/nowhere/x.json"], "'/nowhere'", "does not exist"),
        (["validate", "--preset", "icelake"], "icelake", "spr-8480p"),
        (["calibrate", "--free", "speed"], "free 'speed'", "seam_transition"),
        (["calibrate", "--only"], "only", "one file"),
        (["calibrate", "--host", "laptop"], "host 'laptop'", "dstack-gnr"),
        (["calibrate", "-o", "/nowhere/x.toml"], "'/nowhere'", "does not exist"),
        (["sensitivity", "--seed", "-1"], "seed -1", "0 to"),
        (["compare", "--memory", "1GiB", "--generation", "6.19"], "generation '6.19'", "hugepage-v3"),
        (["compare", "--memory", "1GiB", "--generation", "hugepage-rfc-v5"], "dynamic_pamt", "run FILE"),
        (["compare", "--memory", "1GiB", "--generation", "mainline-4k", "--interface", "pfn"], "'page-4k'", "accepts"),
    ],
)
def test_bad_input_is_one_line(call: Call, words: list[str], named: str, accepted: str) -> None:
    called = call(*words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert named in called.err
    assert accepted in called.err


def test_a_bad_row_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(NEW + "N2,populate,4GiB,time-per-page,12,years\n")
    for command in ("validate", "calibrate"):
        called = call(command, "--observations", str(tmp_path / "bad.csv"))
        assert (called.status, called.out) == (2, "")
        assert "row 3, column 'unit', value 'years': accepted are ns, us, ms, s, cycles" in called.err


def test_nothing_is_written_when_input_is_bad(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "set.toml"
    assert call("calibrate", "--free", "speed", "-o", str(out)).status == 2
    assert not out.exists()


def test_a_generation_that_nobody_has_measured_says_so(call: Call) -> None:
    called = call("compare", "--memory", "1GiB", "--generation", "hugepage-v3", "--json", "-")
    assert "Not validated" in called.err
    assert [row["interface"] for row in json.loads(called.out)["rows"]] == ["folio-strict"]
    assert "Not validated" not in call("compare", "--memory", "1GiB", "--generation", "mainline-4k").err


def test_run_takes_a_generation(call: Call, tmp_path: Path) -> None:
    (tmp_path / "life.toml").write_text(
        'schema = "perfmodel/scenario/1"\n[guest]\nmemory = "1GiB"\n[[phase]]\nkind = "boot"\n'
    )
    words = ("run", str(tmp_path / "life.toml"), "--generation", "dynamic-pamt-locked", "--json", "-")
    document = json.loads(call(*words).out)
    assert document["what_if"]["dynamic_pamt"]
    assert not document["what_if"]["dynamic_pamt_fast_path"]
    (row,) = document["rows"]
    assert row["interface"] == "page-4k"
    assert row["phases"][0]["counters"]["pamt_pairs_returned"] > 260_000


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_draws_a_validation(call: Call, validation: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"v.{suffix}"
    assert call("plot", str(validation), "-o", str(out)).status == 0
    assert out.stat().st_size > 5000


def test_plot_refuses_what_it_cannot_draw(call: Call, validation: Path, tmp_path: Path) -> None:
    document = json.loads(validation.read_text())
    for name, change, named in (
        ("schema", {"schema": "perfmodel/other/1"}, "'perfmodel/other/1'"),
        ("rows", {"rows": 3}, "rows"),
        ("empty", {"rows": []}, "no scored time"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document | change))
        called = call("plot", str(path), "-o", str(tmp_path / "x.png"))
        assert (called.status, called.err.count("\n")) == (2, 1)
        assert named in called.err
