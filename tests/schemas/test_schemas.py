"""Do the shipped schemas describe what commands write, all of it and nothing else, and does docs/json.md name it?"""

import copy
import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from perfmodel import Scenario, compare, names, run
from perfmodel.costs import ALL_STAGES, STAGES, counter_names
from perfmodel.errors import InputError
from perfmodel.host.model import Cache, Cpu, Host, Missing, Zone
from perfmodel.host.storage import save_host
from perfmodel.refusals import CAUSES
from perfmodel.result import (
    Comparison,
    Cost,
    Leaves,
    Pages,
    ParametersId,
    Ratio,
    Row,
    Run,
    RunRow,
    load_comparison,
    to_json,
)
from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.result import to_json as scale_to_json
from perfmodel.scaling.scale import CLEARS, DYNAMIC_PAMT, GUEST_LOCKS, ScaleOptions, scale
from perfmodel.scaling.together import Interval, Limit, ScalePoint, Scaling, Wait
from perfmodel.schemas import SCHEMAS, load_schema

DOCS = Path(__file__).resolve().parents[2] / "docs" / "json.md"

SCENARIOS = {
    "default": {"memory": "1GiB"},
    "one page": {"memory": "4KiB"},
    "all shared": {"memory": "1GiB", "shattered": 1.0, "shared_pages": 1 << 18},
    "pfnmap": {"memory": "1GiB", "backing": "pfnmap", "levels": 5, "flush_first_page_only": True},
    "thp, prefault": {"memory": "1GiB", "backing": "thp", "guest": "prefault", "layout": "q35"},
    "order0, striped": {
        "memory": "513MiB",
        "backing": "order0",
        "block_shares": {0: 0.25, 10: 0.75},
        "order": "striped",
        "vcpus": 3,
    },
    "nodes, TDs": {
        "memory": "16MiB",
        "interfaces": ("pfn", "page-4k"),
        "vcpus": 4,
        "tds": 2,
        "nodes": 2,
        "placement": "interleave",
    },
    "clustered, no 2M": {
        "memory": "2GiB",
        "shattered": 0.5,
        "shared_pages": 5,
        "shatter_layout": "clustered",
        "features_off": names.MODULE_FEATURES,
        "interfaces": ("pfn", "folio-strict"),
    },
}

CURVES = {
    "all that vCPUs do": (
        {"memory": "1GiB", "interfaces": ("pfn",)},
        {"vcpus": (1, 3), "workloads": names.WORKLOADS, "states": ("inside",), "samples": 1},
    ),
    "populating, Dynamic PAMT": (
        {"memory": "1GiB", "vcpus": 4, "tds": 2, "nodes": 2, "guest": "touch-first", "interfaces": ("page-4k",)},
        {"vcpus": (2, 4), "dynamic_pamt": "global-lock", "guest_lock": "held", "same_rip": True, "samples": 0},
    ),
}
"""Scenario and options of ``scale``."""


def a_host() -> Host:
    order_10 = [(1 << 20) + (n << 10) for n in range(8)]
    zone = Zone(0, "Normal", 1 << 20, 1 << 14, 1 << 14, 1 << 14, 8192, 1, 2, 3, None, [0] * 10 + [8], {})
    return Host(
        schema="perfmodel/host/1",
        kernel="7.2.0",
        mem_total_kib=1 << 16,
        mem_free_kib=1 << 15,
        system_ram=[(4096, 1 << 20), (1 << 32, (1 << 32) + (1 << 26))],
        zones=[zone, msgspec.structs.replace(zone, node=1, promo_pages=4, free_blocks_by_type={"Movable": [1]})],
        free_pfns=[[]] * 10 + [order_10],
        inferred=[((1 << 20) + (12 << 10), 16)],
        addresses="generated",
        histogram_difference=[0] * 10 + [-1],
        caches=[Cache(1, "Data", 49152, 12, 64, 64)],
        cpu=Cpu(vendor="GenuineIntel", family=6, tsc_mhz=2000.0),
        missing=[Missing("/proc/kpageflags", "Permission denied", "addresses are generated")],
        seed=0,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Every scenario's ``compare`` and ``run``, as JSON gives them back."""
    host = tmp_path_factory.mktemp("host") / "host.json"
    save_host(a_host(), host)
    scenarios = {name: Scenario(**given) for name, given in SCENARIOS.items()}
    scenarios["host"] = Scenario(backing="host", host=host, memory="8MiB", max_folio_order=3)
    written = {
        command: {name: json.loads(to_json(make(one))) for name, one in scenarios.items()}
        for command, make in (("compare", compare), ("run", run))
    }
    curves = {name: scale(Scenario(**given), options=ScaleOptions(**asked)) for name, (given, asked) in CURVES.items()}
    return written | {"scale": {name: json.loads(scale_to_json(result)) for name, result in curves.items()}}


VALIDATORS = {name: Draft202012Validator(load_schema(name)) for name in SCHEMAS}


def errors(name, document):
    return [error.message for error in VALIDATORS[name].iter_errors(document)]


def refused(name, document):
    return not VALIDATORS[name].is_valid(document)


NUMBERS_BY_NAME = {"free_blocks_by_type", "busy", "calls", "utilisation", "latency_ns"}
"""Objects whose keys a schema leaves open: names of resources, operands, calls, percentiles and types of blocks."""


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_and_describes_every_field(name):
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == f"perfmodel/{name.replace('-', '/')}"
    for path, place in objects_of(schema):
        assert place["additionalProperties"] is False or path[-1] in {*NUMBERS_BY_NAME, "waits_ns", "axes"}, path
        for key, field in place.get("properties", {}).items():
            assert field["description"].endswith("."), (*path, key)
            if field.get("type") == "integer" and key != "histogram_difference":
                assert "minimum" in field, (*path, key)


def objects_of(schema, path=()):
    if isinstance(schema, dict):
        if schema.get("type") in ("object", ["object", "null"]):
            yield path, schema
        for key, value in schema.items():
            yield from objects_of(value, (*path, key))


def test_unknown_schema_is_named():
    with pytest.raises(KeyError, match=r"compare-2.*compare-1, run-1, host-1, steady-1, life-1, scale-1"):
        load_schema("compare-2")


def test_results_are_valid(results):
    for command, documents in results.items():
        for name, document in documents.items():
            assert errors(f"{command}-1", document) == [], (command, name)


def test_every_count_and_cause_is_present(results):
    for document in results["compare"].values():
        for row in document["rows"]:
            assert list(row["refused_hugepages"]) == list(CAUSES)
            assert set(row["seamcalls"]) == {"TDH.MEM.SEPT.ADD", "TDH.MEM.PAGE.AUG", "TDH.VP.ENTER"}
            assert set(row["tdcalls"]) == {"TDG.MEM.PAGE.ACCEPT"}
            assert list(row["ns"]["by_stage"]) == list(row["cycles"]["by_stage"]) == list(STAGES)
    shared = results["compare"]["all shared"]["rows"][0]
    assert shared["td_exits"] == shared["seamcalls"]["TDH.MEM.PAGE.AUG"] == shared["leaves"]["2M"] == 0
    assert results["compare"]["host"]["notes"]["contiguity"]["order_shares"] == {"3": 1.0}


def places(document, path=()):
    """Yield the path of everything inside ``document``."""
    children = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document[:1])  # the others are alike
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(document, path, change):
    document = copy.deepcopy(document)
    place = document
    for step in path[:-1]:
        place = place[step]
    change(place, path[-1])
    return document


def drop(place, key):
    del place[key]


def put(value):
    def change(place, key):
        place[key] = value

    return change


OPEN_MAPS = {"order_shares", "block_shares", "ledger", "notes"}


@pytest.mark.parametrize(
    ("command", "scenario"),
    [
        ("compare", "host"),
        ("run", "order0, striped"),
        ("compare", "thp, prefault"),
        ("scale", "all that vCPUs do"),
        ("scale", "populating, Dynamic PAMT"),
    ],
)
def test_any_damage_is_found(results, command, scenario):
    document = results[command][scenario]
    assert refused(f"{command}-1", {**document, "extra": 0})
    for path in places(document):
        value = document
        for step in path:
            value = value[step]
        damage = {"other type": put(["x", {}])}
        by_name = NUMBERS_BY_NAME | {"waits_ns"}
        if isinstance(path[-1], str) and not OPEN_MAPS & set(path[-3:-1]) and not by_name & set(path[-2:-1]):
            damage["missing"] = drop
        if isinstance(value, dict):
            damage["extra"] = put({**value, "extra": -1 if path[-1] in NUMBERS_BY_NAME else 0})
        if isinstance(value, int) and not isinstance(value, bool):
            damage |= {"negative": put(-1), "fraction": put(0.5), "text": put("1")}
            if OPEN_MAPS & set(path[-2:-1]):  # shares
                del damage["fraction"]
        for what, change in damage.items():
            assert refused(f"{command}-1", changed(document, path, change)), (what, path)


def struct_fields(struct):
    if dataclasses.is_dataclass(struct):
        return {field.name for field in dataclasses.fields(struct)}
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(
    ("schema", "at", "struct"),
    [
        ("compare-1", (), Comparison),
        ("compare-1", ("$defs", "parameters"), ParametersId),
        ("compare-1", ("$defs", "row"), Row),
        ("compare-1", ("$defs", "row", "properties", "leaves"), Leaves),
        ("compare-1", ("$defs", "row", "properties", "pages"), Pages),
        ("compare-1", ("$defs", "cost"), Cost),
        ("compare-1", ("$defs", "ratio"), Ratio),
        ("compare-1", ("$defs", "missing"), Missing),
        ("compare-1", ("$defs", "scaling"), Scaling),
        ("run-1", (), Run),
        ("run-1", ("$defs", "run_row"), RunRow),
        ("host-1", (), Host),
        ("host-1", ("$defs", "zone"), Zone),
        ("host-1", ("$defs", "cache"), Cache),
        ("host-1", ("$defs", "missing"), Missing),
        ("host-1", ("$defs", "cpu"), Cpu),
        ("scale-1", (), ScaleResult),
        ("scale-1", ("properties", "options"), ScaleOptions),
        ("scale-1", ("$defs", "parameters"), ParametersId),
        ("scale-1", ("$defs", "curve"), Curve),
        ("scale-1", ("$defs", "point"), ScalePoint),
        ("scale-1", ("$defs", "limit"), Limit),
        ("scale-1", ("$defs", "interval"), Interval),
        ("scale-1", ("$defs", "wait"), Wait),
    ],
)
def test_fields_are_those_of_the_struct(schema, at, struct):
    place = load_schema(schema)
    for step in at:
        place = place[step]
    assert set(place["properties"]) == struct_fields(struct)
    assert set(place["required"]) == (set() if struct is Cpu else struct_fields(struct))


def test_run_repeats_the_definitions_of_compare():
    ours, theirs = load_schema("run-1")["$defs"], load_schema("compare-1")["$defs"]
    assert {k: ours[k] for k in theirs if k != "ratio"} == {k: v for k, v in theirs.items() if k != "ratio"}


def test_scale_repeats_the_definitions_of_compare():
    ours, theirs = load_schema("scale-1")["$defs"], load_schema("compare-1")["$defs"]
    shared = {"parameters", "scenario", "interval", "wait", "limit", "point"}
    assert ours.keys() & theirs.keys() == shared
    assert {k: ours[k] for k in shared} == {k: theirs[k] for k in shared}


def test_stages_and_counters_are_those_of_the_costs():
    for name in ("compare-1", "run-1"):
        by_stage = load_schema(name)["$defs"]["cost"]["properties"]["by_stage"]
        assert (by_stage["required"], list(by_stage["properties"])) == (list(STAGES), list(ALL_STAGES))
    defs = load_schema("run-1")["$defs"]
    assert list(defs["ledger"]["properties"]) == list(ALL_STAGES)
    assert set(defs["counters"]["properties"]) == set(counter_names())


def test_stages_beyond_populating_are_accepted_all_or_none(results, tmp_path):
    file = tmp_path / "result.json"
    for extra, accepted in ((ALL_STAGES, True), ((*STAGES, "block"), False)):
        document = copy.deepcopy(results["compare"]["one page"])
        for row in document["rows"]:
            for cost in (row["ns"], row["cycles"]):
                cost["by_stage"] = dict.fromkeys(extra, 0.0) | cost["by_stage"]
        assert errors("compare-1", document) == []
        file.write_text(json.dumps(document))
        if accepted:
            assert list(load_comparison(file).rows[0].ns.by_stage) == list(ALL_STAGES)
        else:
            with pytest.raises(InputError, match="do not add up"):
                load_comparison(file)


def test_names_are_those_of_the_command_line():
    defs = load_schema("compare-1")["$defs"]
    scenario = defs["scenario"]["properties"]
    for field, accepted in {
        "backing": names.BACKINGS,
        "guest": names.GUESTS,
        "layout": names.LAYOUTS,
        "shatter_layout": names.SHATTER_LAYOUTS,
    }.items():
        assert tuple(scenario[field]["enum"]) == accepted
    assert tuple(scenario["order"]["examples"]) == names.ORDERS
    assert tuple(scenario["interfaces"]["items"]["enum"]) == names.INTERFACES
    assert tuple(scenario["module_features"]["items"]["enum"]) == names.MODULE_FEATURES
    assert tuple(defs["row"]["properties"]["interface"]["enum"]) == names.INTERFACES
    assert scenario["max_folio_order"]["maximum"] == names.MAX_BLOCK_ORDER
    assert tuple(scenario["vcpu_state"]["enum"]) == names.VCPU_STATES
    assert tuple(scenario["placement"]["enum"]) == names.DATA_PLACEMENTS
    assert [scenario[key]["maximum"] for key in ("vcpus", "tds", "nodes")] == [
        names.MOST_VCPUS, names.MOST_VCPUS, names.MOST_NODES,
    ]  # fmt: skip


def test_scale_names_are_those_of_the_command_line():
    schema = load_schema("scale-1")
    options, curve = schema["properties"]["options"]["properties"], schema["$defs"]["curve"]["properties"]
    for accepted, places in {
        names.WORKLOADS: (options["workloads"]["items"], curve["workload"]),
        names.VCPU_STATES: (options["states"]["items"], curve["state"]),
        names.INTERFACES: (curve["interface"],),
        DYNAMIC_PAMT: (options["dynamic_pamt"],),
        GUEST_LOCKS: (options["guest_lock"],),
        CLEARS: (options["clear"],),
    }.items():
        assert [tuple(place["enum"]) for place in places] == [accepted] * len(places)
    for counts in (options["vcpus"]["items"], schema["$defs"]["point"]["properties"]["vcpus"]):
        assert (counts["minimum"], counts["maximum"]) == (1, names.MOST_VCPUS)


LIMITS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}


def limits(schema):
    found = Counter()
    for key, value in schema.items():
        inner = value if isinstance(value, list) else [value]
        found += sum((limits(one) for one in inner if isinstance(one, dict)), Counter())
        if key in LIMITS:
            found[key, value] += 1
    return found


def test_host_schema_has_the_limits_that_load_host_has():
    ours, generated = load_schema("host-1"), msgspec.json.schema(Host)["$defs"]
    for name, place in {"Host": ours, "Zone": ours["$defs"]["zone"], "Cache": ours["$defs"]["cache"],
                        "Cpu": ours["$defs"]["cpu"]}.items():  # fmt: skip
        for field, rule in generated[name]["properties"].items():
            assert limits(place["properties"][field]) == limits(rule), (name, field)


def test_host_file_is_valid(tmp_path):
    save_host(a_host(), tmp_path / "host.json")
    document = json.loads((tmp_path / "host.json").read_text())
    assert errors("host-1", document) == []
    assert refused("host-1", {**document, "extra": 0})
    assert refused("host-1", {**document, "mem_free_kib": -1})
    for key in document:
        assert refused("host-1", {k: v for k, v in document.items() if k != key}), key


def fields_of(schema, place, path=()):
    """Yield the path of every named field, references followed; ``()`` stands for the top."""
    place = schema["$defs"][place["$ref"].rsplit("/", 1)[1]] if "$ref" in place else place
    for either in place.get("anyOf", ()):  # a struct or null
        yield from fields_of(schema, either, path)
    if "items" in place and isinstance(place["items"], dict):
        yield from fields_of(schema, place["items"], path)
    if isinstance(place.get("additionalProperties"), dict):  # by names that are left open
        yield from fields_of(schema, place["additionalProperties"], path)
    for key, field in place.get("properties", {}).items():
        yield (*path, key)
        if key not in ("ledger", "row"):  # stages; the rows of compare
            yield from fields_of(schema, field, (*path, key))


STEP = re.compile(r"""\.(\w+)|\["([^"]+)"\]|\[\]""")


def documented():
    for token in re.findall(r"`([^`\n]+)`", DOCS.read_text()):
        if token.startswith(".") and STEP.sub("", token) == "":
            yield tuple(name or key for name, key in STEP.findall(token) if name or key)


def ends_with(path, tail):
    return path[len(path) - len(tail) :] == tail


def test_docs_name_every_field_and_no_other():
    written = (
        "compare-1",
        "run-1",
        "steady-1",
        "life-1",
        "scale-1",
        "validate-1",
        "calibrate-1",
        "sensitivity-1",
        "ingest-1",
        "report-1",
        "sweep-1",
    )
    fields = {f for name in written for f in fields_of(load_schema(name), load_schema(name))}
    holders = {f[:-1] for f in fields}  # named by way of what they hold
    tokens = set(documented())
    assert [".".join(f) for f in fields - holders if not any(ends_with(f, t) for t in tokens)] == []
    assert [".".join(t) for t in tokens if not any(ends_with(f, t) for f in fields)] == []
