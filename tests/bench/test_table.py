"""Does the README's table of benchmarks know every benchmark, and refuse what it does not know?"""

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_table", ROOT / "bench" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WALK = "test_walk.py::test_walk"


def result(name: str, **extra: Any) -> dict[str, Any]:
    function = name.partition("[")[0]
    return {
        "machine_info": {"cpu": {"count": 2}},
        "datetime": "2026-11-22T00:00:00",
        "benchmarks": [
            {
                "fullname": f"bench/{name}", "group": f"group of {function}", "params": {"gib": 64},
                "stats": {"median": 0.5}, "extra_info": {"items": 1000, "unit": "walks", "thp": "madvise"} | extra,
            }
        ],
    }  # fmt: skip


def test_every_benchmark_has_a_row(made: ModuleType) -> None:
    functions = {
        f"{path.name}::{node.name}"
        for path in (ROOT / "bench").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert functions == set(made.LABELS)


def test_cells(made: ModuleType) -> None:
    text = made.table(result(WALK + "[4k-5-64-random]", roofline_ratio=0.7, peer="numpy", peer_ratio=12.0))
    assert f"| group of {WALK} | bulk S-EPT walks | 1 at 64 GiB | 2 k walks/s | 0.70 | 12.00 numpy |" in text
    assert text.endswith("2 cores, THP madvise, 2026-11-22; median (least to most).\n")


def test_largest_guest_stands_for_all(made: ModuleType) -> None:
    document = result(WALK + "[a]", roofline_ratio=0.5)
    for gib, ratio in ((64, 0.7), (64, 0.9), (1, 0.1)):
        one = result(WALK + "[b]", roofline_ratio=ratio)["benchmarks"][0]
        document["benchmarks"].append(one | {"params": {"gib": gib}, "stats": {"median": ratio}})
    assert "| 3 at 64 GiB | 1.11 k to 2 k walks/s | 0.70 (0.50 to 0.90) |  |" in made.table(document)


def test_one_item_is_a_time(made: ModuleType) -> None:
    assert "| 0.5 s |" in made.table(result(WALK, items=1))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (json.dumps(result("test_walk.py::test_unknown[3]")), "test_unknown"),
        ("{}", "benchmarks"),
        ("[", "not a result"),
    ],
)
def test_what_it_does_not_know_is_an_error(made: ModuleType, tmp_path: Path, content: str, word: str) -> None:
    file = tmp_path / "out.json"
    file.write_text(content)
    done = CliRunner().invoke(made.main, [str(file)])
    assert done.exit_code == 1
    assert word in done.output
    assert "Traceback" not in done.output


def test_writes_between_the_markers(made: ModuleType, tmp_path: Path) -> None:
    file, readme = tmp_path / "out.json", tmp_path / "README.md"
    file.write_text(json.dumps(result(WALK)))
    readme.write_text(f"before\n{made.BEGIN}old\n{made.END}after\n")
    assert CliRunner().invoke(made.main, [str(file), "--write", str(readme)]).exit_code == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{made.BEGIN}| question |")
    assert text.endswith(f"{made.END}after\n")
    assert "old" not in text
