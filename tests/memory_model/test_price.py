"""Do results say where the module's lines were found, and does the price follow locality, order, size and placement?"""

import json
import math
from dataclasses import replace

import jsonschema
import msgspec
import numpy as np
import pytest

from perfmodel import Scenario, compare, run
from perfmodel.errors import InputError
from perfmodel.life.scenario_file import load_story
from perfmodel.memory import GuestMemory
from perfmodel.memory_model import STRUCTURES, cache_geometry, lines_found
from perfmodel.parameters import load_parameters
from perfmodel.policies import POLICIES
from perfmodel.populate import populate_guest
from perfmodel.result import to_json
from perfmodel.schemas import load_schema
from perfmodel.walk_hardware import load_walk_hardware

HARDWARE = load_walk_hardware("spr-8480p")


def found(interface="page-4k", hardware=HARDWARE, threads=2, **scenario):
    """Return the lines of one interface by AUG, and the share that was estimated."""
    memory = GuestMemory.build(Scenario(**scenario))
    policies = [POLICIES[interface]]
    tallies = populate_guest(memory, policies, threads)
    (lines,) = lines_found(memory, policies, tallies, hardware, threads)
    augs = tallies[0].leaves_4k + tallies[0].leaves_2m
    return dict(zip(STRUCTURES, lines.lines / augs, strict=True)), lines.estimated_share


def depth(counts):
    """Mean level where lines were found: 0 for L1, 3 for memory."""
    return float(counts @ np.arange(4) / counts.sum())


WHOLE = {
    "demand": {"memory": "70MiB"},
    "5 levels, random": {"memory": "1100MiB", "levels": 5, "order": "random"},
    "scattered, striped": {"memory": "40MiB", "backing": "order0", "order": "striped", "vcpus": 3},
    "two sizes, striped": {"memory": "1100MiB", "backing": "thp", "thp_share": 0.5, "order": "striped", "vcpus": 7},
    "prefault, striped": {"memory": "90MiB", "backing": "thp", "guest": "prefault", "order": "striped", "vcpus": 2},
    "shared pages": {"memory": "1GiB", "shattered": 1.0, "shared_pages": 300},
    "all shared": {"memory": "1GiB", "shattered": 1.0, "shared_pages": 1 << 18},
    "touching": {"memory": "30MiB", "guest": "touch-first", "backing": "thp", "thp_share": 0.5},
    "touching at random": {"memory": "30MiB", "guest": "touch-first", "order": "random", "levels": 5},
    "touching, striped": {"memory": "30MiB", "guest": "touch-first", "order": "striped", "vcpus": 3},
    "one page flushed": {"memory": "20MiB", "flush_first_page_only": True},
    "one range": {"memory": "1GiB", "guest": "accept-range", "layout": "q35"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_guest_run_whole_makes_the_calls_that_are_counted(name):
    """The simulation raises ModelError where it makes any other; every interface, every kind of call."""
    memory = GuestMemory.build(Scenario(**WHOLE[name]))
    policies = list(POLICIES.values())
    tallies = populate_guest(memory, policies, 2)
    for lines, tally in zip(lines_found(memory, policies, tallies, HARDWARE, 2), tallies, strict=True):
        assert lines.estimated_share == 0
        # A new line of a table or of PAMT comes from memory, where MOVDIR64B left it: no fewer than all that there are.
        if tally.mapped:
            assert lines.by_name()["sept"]["memory"] >= tally.leaves_4k // 8
            assert lines.by_name()["scan"]["memory"] == 128 * tally.counts[6]  # AUG_2M


def test_a_sequence_at_4k_finds_each_line_in_memory_once():
    """Eight S-EPT entries or four PAMT entries a line: closed form."""
    counts, _ = found(memory="512MiB")
    pages = 512 << 8
    assert counts["sept"][3] * pages == pytest.approx(pages / 8, rel=0.003)
    assert counts["pamt"][3] * pages == pytest.approx(pages / 4, rel=0.005)
    assert counts["control"][1:].sum() < 0.03
    assert counts["keyhole"][1:].sum() < 0.001


def test_clearing_2m_throws_all_that_the_module_had_out_of_two_levels():
    counts, _ = found("pfn", memory="1GiB")
    for structure in ("sept", "pamt", "control", "keyhole"):
        assert counts[structure][1] == 0
        assert counts[structure][2] > 2
    assert counts["keyhole"][2] == pytest.approx(56, abs=1)  # all of its lines, once a fault


def test_random_order_finds_lines_deeper_and_in_a_larger_guest_deeper_still():
    cases = [
        found("pfn", memory=size, order=order)[0]
        for size, order in (("64GiB", "sequential"), ("8GiB", "random"), ("64GiB", "random"), ("512GiB", "random"))
    ]
    for structure, times in (("sept", 3.5), ("pamt", 1.8)):
        depths = [depth(one[structure]) for one in cases]
        assert depths == sorted(depths), structure
        assert cases[-1][structure][3] > times * cases[0][structure][3]


def test_touches_at_random_find_every_level_of_the_tables_deeper():
    sequential, _ = found(memory="16GiB", guest="touch-first")
    random, _ = found(memory="16GiB", guest="touch-first", order="random")
    for structure, least in (("sept", 0.7), ("pamt", 0.6)):
        assert random[structure][3] - sequential[structure][3] > least
    assert random["sept"][1:3].sum() > 0.5  # entries that name tables are shared by many touches


def test_scattered_memory_finds_pamt_deeper():
    contiguous, _ = found(memory="1GiB", order="sequential")
    scattered, _ = found(memory="1GiB", backing="order0", block_shares={0: 1.0})
    assert scattered["pamt"][3] == pytest.approx(contiguous["pamt"][3], rel=0.02)  # each line once, then in a cache
    assert scattered["pamt"][1:3].sum() > contiguous["pamt"][1:3].sum() + 0.5
    assert scattered["sept"] == pytest.approx(contiguous["sept"], rel=0.01)


@pytest.mark.parametrize(
    ("scenario", "interface"),
    [
        ({"memory": "4GiB"}, "page-4k"),
        ({"memory": "4GiB"}, "pfn"),
        ({"memory": "4GiB", "backing": "thp"}, "folio-strict"),
        ({"memory": "4GiB", "shattered": 0.5}, "folio-strict"),
        ({"memory": "16GiB", "guest": "prefault"}, "pfn"),
        ({"memory": "4GiB", "order": "striped", "vcpus": 4}, "page-4k"),
        ({"memory": "8GiB", "order": "random"}, "pfn"),
    ],
)
def test_a_sample_is_near_the_whole(scenario, interface):
    """Lines beyond L1 and their price, within 3 % and a twentieth of a line for each mapping."""
    sampled, share = found(interface, **scenario)
    whole, none = found(interface, **scenario, keyholes="exact")
    assert none == 0 < share < 1
    price_ns = np.array([0, 4.4, 37, 119])
    for structure in STRUCTURES:
        assert sampled[structure][1:] == pytest.approx(whole[structure][1:], rel=0.03, abs=0.06), structure
    costs = [sum(c @ price_ns for s, c in one.items() if s != "scan") for one in (sampled, whole)]
    assert costs[0] == pytest.approx(costs[1], rel=0.03)


def test_threads_and_regions_change_nothing():
    scenario = Scenario(memory="6GiB", shattered=0.4, memory_model="simulated")
    results = [compare(scenario, threads=n, every_region=every) for n, every in ((1, False), (3, False), (2, True))]
    plain = [
        [msgspec.structs.replace(row, model_seconds=0.0) for row in result.rows] + [result.notes] for result in results
    ]
    assert plain[0] == plain[1] == plain[2]


def without_model(result):
    document = json.loads(to_json(result))
    for row in document["rows"]:
        row["model_seconds"] = 0
    return document


def test_constant_is_the_default_and_simulated_changes_only_what_lines_cost():
    plain = without_model(compare(Scenario(memory="1GiB")))
    assert plain["scenario"]["memory_model"] == "constant"
    assert "lines_found" not in plain["notes"]
    simulated = without_model(compare(Scenario(memory="1GiB", memory_model="simulated")))
    for document in (plain, simulated):
        jsonschema.validate(document, load_schema("compare-1"))
    for ours, theirs in zip(simulated["rows"], plain["rows"], strict=True):
        for unit in ("ns", "cycles"):
            stages = {k: v for k, v in ours[unit]["by_stage"].items() if k != "module_memory"}
            assert stages == {k: theirs[unit]["by_stage"][k] for k in stages}
        assert {k: v for k, v in ours.items() if k in ("faults", "leaves", "seamcalls", "tdcalls", "sept_pages")} == {
            k: v for k, v in theirs.items() if k in ("faults", "leaves", "seamcalls", "tdcalls", "sept_pages")
        }


def test_the_ledger_holds_the_lines_and_their_prices():
    parameters = load_parameters()
    done = run(Scenario(memory="1GiB", interfaces=("page-4k", "pfn"), memory_model="simulated"), parameters)
    jsonschema.validate(json.loads(to_json(done)), load_schema("run-1"))
    for one in done.runs:
        lines = done.notes["lines_found"][one.row.interface]
        priced = {s: levels for s, levels in lines.items() if s != "scan"}
        for structure, levels in priced.items():
            for level in ("L2", "L3", "memory"):
                assert one.counters[f"{structure}_{level.lower()}"] == levels[level]
        assert one.counters["sept_lines"] == one.counters["pamt_lines"] == 0
        units = one.ledger["module_memory"]
        total = {level: sum(levels[level] for levels in priced.values()) for level in ("L2", "L3", "memory")}
        assert units.get("l2_read", 0) == total["L2"]
        assert units.get("l3_read", 0) == total["L3"]
        assert units["dram_read"] == units["memory_encryption_read"] == total["memory"]
        assert units.get("pamt_stream_line", 0) == 128 * one.counters["aug_2m"]
        assert one.row.ns.by_stage["module_memory"] == pytest.approx(
            math.fsum(count * parameters[unit].value for unit, count in units.items())
        )


def test_each_lp_has_its_part_of_the_third_level():
    """15 MiB alone; a part of 60 MiB among several; never less than one slice."""
    lines = {n: (g := cache_geometry(HARDWARE, n)[2]).sets * g.ways for n in (1, 4, 5, 8, 32, 1024)}
    mib = 1 << 14  # lines
    assert lines == {1: 15 * mib, 4: 15 * mib, 5: 7.5 * mib, 8: 7.5 * mib, 32: 1.875 * mib, 1024: 1.875 * mib}
    own = cache_geometry(HARDWARE, 1024)[:2]
    assert own == cache_geometry(HARDWARE, 1)[:2]
    none = load_walk_hardware("spr-8480p", ["l3=0"])
    assert cache_geometry(none, 8)[2].ways == 0


def test_a_smaller_share_of_the_third_level_forgets_sooner():
    alone, _ = found(memory="16GiB", guest="touch-first", order="random", vcpus=1)
    crowded, _ = found(memory="16GiB", guest="touch-first", order="random", vcpus=64)
    assert crowded["sept"][3] > alone["sept"][3] + 0.05
    assert crowded["sept"].sum() == pytest.approx(alone["sept"].sum(), rel=0.001)


def test_the_preset_gives_the_caches():
    scenario = Scenario(memory="3GiB", interfaces=("page-4k",), order="random", guest="touch-first",
                        memory_model="simulated")  # fmt: skip
    small, large = (
        compare(scenario, load_parameters(preset)).notes["lines_found"] for preset in ("spr-8480p", "emr-8592p")
    )
    assert large["page-4k"]["sept"]["memory"] < small["page-4k"]["sept"]["memory"]
    assert load_parameters("gnr-6980p", None, ["l3_read=40"]).preset == "gnr-6980p"


def test_reading_prices_are_those_of_page_walks():
    """One figure in two files: what a load costs that is found in a cache."""
    for preset in ("spr-8480p", "emr-8592p"):
        parameters, latencies = load_parameters(preset), {p.name: p for p in load_walk_hardware(preset).latencies}
        for ours, theirs in (("l2_read", "l2_load"), ("l3_read", "l3_load")):
            one, other = parameters[ours], latencies[theirs]
            assert (one.value, one.low, one.high, one.unit) == (other.value, other.low, other.high, other.unit)


def test_unknown_models_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"memory-model 'best': accepted are constant, simulated"):
        Scenario(memory_model="best")
    file = tmp_path / "life.toml"
    file.write_text(
        'schema = "perfmodel/scenario/1"\n[guest]\nmemory = "1GiB"\nmemory_model = "simulated"\n'
        '[[phase]]\nkind = "boot"\n'
    )
    with pytest.raises(InputError, match=r"guest\.memory_model 'simulated': accepted is constant"):
        load_story(file)
    assert replace(Scenario(), memory_model="simulated").describe()["memory_model"] == "simulated"
