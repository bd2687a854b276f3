"""Do the commands do what their help says?"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmodel import Scenario, compare
from perfmodel.names import INTERFACES

ONE_GIB = ["--memory", "1GiB"]


def test_compare_shows_every_interface_and_writes_json(call: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "compare.json"
    called = call("compare", *ONE_GIB, "--json", str(target))
    assert called.status == 0
    assert all(name in called.out for name in (*INTERFACES, "TDH.MEM.PAGE.AUG", "262,144", "spr-8480p"))
    assert [row["interface"] for row in json.loads(target.read_bytes())["rows"]] == list(INTERFACES)


def test_json_on_stdout_stands_alone(call: Callable[..., Any]) -> None:
    called = call("compare", *ONE_GIB, "--interface", "pfn", "--json", "-")
    assert json.loads(called.out)["rows"][0]["leaves"] == {"4K": 0, "2M": 512}


def test_command_line_and_python_agree(call: Callable[..., Any]) -> None:
    called = json.loads(
        call("compare", "--memory", "2G", "--shattered", "0.5", "--backing", "thp", "--seed", "3", "--json", "-").out
    )
    result = compare(Scenario(memory="2G", shattered=0.5, backing="thp", seed=3))
    assert [row["seamcalls"] for row in called["rows"]] == [row.seamcalls for row in result.rows]
    assert [row["ns"]["total"] for row in called["rows"]] == [row.ns.total for row in result.rows]


def test_same_bytes_on_one_thread_and_on_many(call: Callable[..., Any]) -> None:
    def result(threads: str) -> dict[str, Any]:
        words = [
            "--memory",
            "5GiB",
            "--backing",
            "order0",
            "--order",
            "random",
            "--shattered",
            "0.4",
            "--threads",
            threads,
        ]
        document: dict[str, Any] = json.loads(call("compare", *words, "--json", "-").out)
        for row in document["rows"]:
            del row["model_seconds"]
        return document

    assert json.dumps(result("1")) == json.dumps(result("3"))


def test_pfnmap_runs_pfn_and_names_the_others(call: Callable[..., Any]) -> None:
    called = call("compare", *ONE_GIB, "--backing", "pfnmap", "--json", "-")
    assert [row["interface"] for row in json.loads(called.out)["rows"]] == ["pfn"]
    assert all(name in called.err for name in INTERFACES[:3])


def test_run_shows_the_ledger(call: Callable[..., Any]) -> None:
    called = call("run", *ONE_GIB, "--interface", "pfn")
    assert "flush_line" in called.out
    assert f"{512 * 512 * 64 + 2 * 64:,}" in called.out  # 512 AUGs of 512 pages and two S-EPT pages, 64 lines each


def test_flush_first_page_only_and_feature_off(call: Callable[..., Any]) -> None:
    run = json.loads(call("run", *ONE_GIB, "--interface", "pfn", "--flush-first-page-only", "--json", "-").out)
    assert run["runs"][0]["counters"]["flush_pages"] == 512 + 2
    words = ["--interface", "pfn", "--module-feature", "ENHANCED_DEMOTE_INTERRUPTIBILITY=off", "--json", "-"]
    row = json.loads(call("compare", *ONE_GIB, *words).out)["rows"][0]
    assert (row["leaves"]["2M"], row["refused_hugepages"]["module"]) == (0, 512)


def test_set_changes_price_and_name_but_no_count(call: Callable[..., Any]) -> None:
    plain = json.loads(call("compare", *ONE_GIB, "--json", "-").out)
    dear = json.loads(call("compare", *ONE_GIB, "--set", "flush_line=16", "--json", "-").out)
    assert plain["parameters"]["sha256"] != dear["parameters"]["sha256"]
    assert all(a["tdcalls"] == b["tdcalls"] and a["seconds"] < b["seconds"]
               for a, b in zip(plain["rows"], dear["rows"], strict=True))  # fmt: skip


def test_params_round_trip(call: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    assert call("params", "--preset", "gnr-6980p", "--set", "flush_line=5", "--toml", str(target)).status == 0
    listed = call("params", "--preset", "gnr-6980p", "--params", str(target), "--json", "-")
    parameters = json.loads(listed.out)
    assert {p["name"]: p["value"] for p in parameters["parameters"]}["flush_line"] == 5
    assert "flush_line" in call("params", "--sources").out


def test_ingest_host_and_use_it(call: Callable[..., Any], tmp_path: Path) -> None:
    if not Path("/proc/buddyinfo").exists():
        pytest.skip("/proc/buddyinfo is missing: not a Linux host, or a sandbox without it")
    target = tmp_path / "host.json"
    assert call("ingest", "host", "-o", str(target)).status == 0
    called = call("compare", "--backing", "host", "--host", str(target), "--memory", "64M", "--json", "-")
    result = json.loads(called.out)
    assert result["rows"][0]["pages"]["mapped"] == 64 << 8
    assert result["notes"]["contiguity"]["extents"] >= 1
    too_much = call("compare", "--backing", "host", "--host", str(target), "--memory", "100T")
    assert (too_much.status, too_much.err.count("\n")) == (2, 1)
    assert "scale-host" in too_much.err


def test_doctor(call: Callable[..., Any]) -> None:
    assert "kernel cache" in call("doctor").out
    assert {"what", "usable", "found", "follows"} == set(json.loads(call("doctor", "--json").out)[0])


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["ingest", "host", "-h"], ["--version"]])
def test_help_answers(call: Callable[..., Any], words: list[str]) -> None:
    assert call(*words).status == 0


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from perfmodel.__main__ import main\n"
        "try: main(['compare', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'matplotlib', 'rich', 'jc'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_interrupted_leaves_nothing_and_exits_130(tmp_path: Path) -> None:
    target = tmp_path / "compare.json"
    words = [sys.executable, "-m", "perfmodel", "compare", "--memory", "100T", "--every-region", "--json", str(target)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(5)  # a run of hours: any moment in it will do
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert (out, "interrupted" in err, "Traceback" in err) == ("", True, False)
    assert not target.exists()
