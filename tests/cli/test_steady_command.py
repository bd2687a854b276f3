"""``perfmodel steady``: table, JSON by its schema, and bad input."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from perfmodel.accounting import MemoryUse
from perfmodel.schemas import load_schema
from perfmodel.steady import SteadyScenario
from perfmodel.steady_result import Interval, Loads, Speedup, SteadyResult, SteadyRow, Structure
from perfmodel.walk_hardware import STRUCTURES

SMALL = ["--memory", "2GiB", "--working-set", "64MiB", "--accesses", "5000"]
VALIDATOR = Draft202012Validator(load_schema("steady-1"))


def test_table_shows_both_leaves(call: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "steady.json"
    called = call("steady", *SMALL, "--share-2m", "0.5", "--json", str(target))
    assert called.status == 0
    for shown in ("TLB misses per access", "24", "19", "0.5 at 2M", "page walkers busy", "spr-8480p", "seed 0"):
        assert shown in called.out
    assert [row["leaf"] for row in json.loads(target.read_bytes())["rows"]] == ["4K", "2M", "mixed"]


def test_json_is_valid_and_any_damage_is_found(call: Callable[..., Any]) -> None:
    words = ["--access", "zipf", "--rate", "1e8", "--guest-pages", "2m", "--seed", "3"]
    called = call("steady", *SMALL, *words, "--json", "-")
    document = json.loads(called.out)
    VALIDATOR.validate(document)
    assert (document["seed"], document["scenario"]["rate"]) == (3, 1e8)
    for path in places(document):
        *above, last = path
        changed = copy.deepcopy(document)
        place = changed
        for step in above:
            place = place[step]
        value = place[last]
        if isinstance(last, str):
            del place[last]
            assert not VALIDATOR.is_valid(changed), f"without {path}"
        place[last] = [{"x": 1}]
        assert not VALIDATOR.is_valid(changed), f"another type at {path}"
        if isinstance(value, dict):
            place[last] = value | {"extra": 0}
            assert not VALIDATOR.is_valid(changed), f"more in {path}"


def places(document: Any, path: tuple[Any, ...] = ()) -> Any:
    children: Any = enumerate(document) if isinstance(document, list) else ()
    if isinstance(document, dict):
        children = document.items()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("row", SteadyRow),
        ("loads", Loads),
        ("interval", Interval),
        ("difference", Interval),
        ("memory", MemoryUse),
        ("speedup", Speedup),
        ("structure", Structure),
    ],
)
def test_schema_has_the_fields_of_the_struct(name: str, struct: type[msgspec.Struct]) -> None:
    place = load_schema("steady-1")["$defs"][name]
    assert list(place["properties"]) == place["required"] == list(struct.__struct_fields__)


def test_schema_has_the_fields_of_the_result_and_scenario() -> None:
    schema = load_schema("steady-1")
    assert list(schema["properties"]) == list(SteadyResult.__struct_fields__)
    assert set(schema["$defs"]["scenario"]["properties"]) == set(SteadyScenario().describe())
    assert tuple(schema["$defs"]["hardware"]["properties"]) == STRUCTURES


@pytest.mark.parametrize(
    ("words", "named", "accepted"),
    [
        (["--memory", "lots"], "memory 'lots'", "64GiB"),
        (["--working-set", "1T"], "working-set 1099511627776", "4096 to"),
        (["--access", "backwards"], "access 'backwards'", "sequential"),
        (["--rate", "inf"], "rate inf", "1.0 to"),
        (["--rate", "fast"], "'--rate': 'fast'", "float"),
        (["--guest-pages", "1g"], "guest-pages '1g'", "4k, 2m"),
        (["--levels", "6"], "levels 6", "4 to 5"),
        (["--share-2m", "2"], "share-2m 2.0", "0.0 to 1.0"),
        (["--accesses", "1"], "accesses 1", "1000"),
        (["--seed", "-1"], "seed -1", "0 to"),
        (["--hardware", "stlb=1000"], "stlb=1000", "16 ways times a power of two"),
        (["--hardware", "tlb=1"], "hardware 'tlb'", "stlb"),
        (["--preset", "icelake"], "icelake", "spr-8480p"),
        (["--set", "dram_read=1e9"], "dram_read", "80"),
        (["--json", "/nowhere/x.json"], "'/nowhere'", "does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(call: Callable[..., Any], words: list[str], named: str, accepted: str) -> None:
    called = call("steady", *words)
    assert (called.status, called.out, called.err.count("\n")) == (2, "", 1)
    assert named in called.err
    assert accepted in called.err
