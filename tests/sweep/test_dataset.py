"""Does each point of a sweep say what compare says of it, whatever the grid, the threads and the file in between?"""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perfmodel import Scenario
from perfmodel.comparison import compare, run
from perfmodel.costs import price
from perfmodel.errors import InputError
from perfmodel.parameters import load_parameters
from perfmodel.schemas import load_schema
from perfmodel.sweep.dataset import COUNTS, axis_names, labels, ledger_at, numbers, parameters_at
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.stored import load_sweep, to_netcdf
from perfmodel.sweep.sweep import sweep
from perfmodel.sweep.table import rows, to_json

GIB = 1 << 30


def equals_compare(dataset, index, scenario, parameters):
    """Hold all interfaces of one point against compare, which draws 4096 samples."""
    result = compare(scenario, parameters)
    at = dataset.isel({name: index.get(name, 0) for name in axis_names(dataset) if name != "interface"})
    for number, (row, ratio) in enumerate(zip(result.rows, result.ratios, strict=True)):
        one = at.isel(interface=number)
        counts = {
            "leaves_4k": row.leaves.size_4k, "leaves_2m": row.leaves.size_2m, "pages_asked": row.pages.asked,
            "pages_mapped": row.pages.mapped, "pages_refused": row.pages.refused, "pages_shared": row.pages.shared,
            "faults": row.faults, "td_exits": row.td_exits, "sept_pages": row.sept_pages,
            "host_table_pages": row.host_table_pages, "pamt_bytes": row.pamt_bytes,
        }  # fmt: skip
        assert {name: one[name].item() for name in counts} == counts
        for variable, dimension, found in (
            ("seamcalls", "seamcall", row.seamcalls), ("tdcalls", "tdcall", row.tdcalls),
            ("refused_hugepages", "cause", row.refused_hugepages),
        ):  # fmt: skip
            shown = dict(zip(labels(dataset, dimension), one[variable].values.tolist(), strict=True))
            assert {name: shown[name] for name in found} == found
            assert not any(count for name, count in shown.items() if name not in found)
        times = {
            "ns_total": row.ns.total, "ns_low": row.ns.low, "ns_high": row.ns.high, "seconds": row.seconds,
            "gib_per_s": row.gib_per_s, "faults_per_s": row.faults_per_s,
            "ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high,
        }  # fmt: skip
        if row.scaling:
            times |= {
                "seconds_low": row.scaling.seconds.low, "seconds_high": row.scaling.seconds.high,
                "gib_per_s_low": row.scaling.point.gib_per_s.low, "gib_per_s_high": row.scaling.point.gib_per_s.high,
                "knee_vcpus": row.scaling.knee_vcpus,
            }  # fmt: skip
            assert one["saturated"].item() == row.scaling.point.saturated
        assert {name: one[name].item() for name in times} == pytest.approx(times, rel=1e-12)
        stages = dict(zip(labels(dataset, "stage"), one["ns_by_stage"].values.tolist(), strict=True))
        assert stages == pytest.approx({stage: row.ns.by_stage.get(stage, 0.0) for stage in stages}, rel=1e-12)
        assert math.fsum(stages.values()) == pytest.approx(row.ns.total, rel=1e-12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_point_is_what_compare_says(data):
    some = {
        "backing": ["hugetlb-1g", "hugetlb-2m", "thp"], "guest": ["linux-lazy", "prefault"],
        "shattered": [0.0, 0.5, 1.0], "memory": [GIB >> 1, GIB, GIB + (2 << 20)], "levels": [4, 5],
        "preset": ["spr-8480p", "emr-8592p"], "flush_line": [3.5, 5.0, 7.0],
    }  # fmt: skip
    swept = data.draw(st.sets(st.sampled_from(sorted(some)), min_size=1, max_size=2), "swept")
    values = {
        name: tuple(data.draw(st.permutations(of), name))[: 2 if name in swept else 1] for name, of in some.items()
    }
    dataset = sweep(build_grid(Asked(values)))
    index = {name: data.draw(st.integers(0, dataset.sizes[name] - 1), name) for name in axis_names(dataset)}
    chosen = {name: values[name][index[name]] for name in values}
    parameters = load_parameters(chosen.pop("preset"), overrides=[f"flush_line={chosen.pop('flush_line')}"])
    equals_compare(dataset, index, Scenario(**chosen), parameters)
    assert parameters_at(dataset, **index).sha256 == parameters.sha256


@pytest.mark.parametrize("order", ["random", "striped"])
def test_a_guest_that_touches_first(order):
    scenario = {"guest": "touch-first", "order": order, "memory": GIB >> 3}
    dataset = sweep(build_grid(Asked({name: (value,) for name, value in scenario.items()})))
    equals_compare(dataset, {}, Scenario(**scenario), load_parameters())


def test_simulated_caches_are_those_of_one_processor():
    fields = {"memory": GIB >> 3, "memory_model": "simulated", "interfaces": ("page-4k", "pfn")}
    asked = {"memory": (GIB >> 3,), "memory_model": ("simulated",), "interface": ("page-4k", "pfn")}
    dataset = sweep(build_grid(Asked({**asked, "preset": ("gnr-6980p",)})))
    equals_compare(dataset, {}, Scenario(**fields), load_parameters("gnr-6980p"))
    with pytest.raises(InputError, match="one processor's caches"):
        build_grid(Asked({**asked, "preset": ("gnr-6980p", "spr-8480p")}))


def test_vcpus_that_meet():
    dataset = sweep(build_grid(Asked({"vcpus": (1, 3), "memory": (GIB,), "shattered": (1.0,)})))
    for number, vcpus in enumerate((1, 3)):
        equals_compare(dataset, {"vcpus": number}, Scenario(memory=GIB, shattered=1.0, vcpus=vcpus), load_parameters())


def test_axes_have_whole_coordinates_and_names(small):
    assert axis_names(small) == [
        "scenario", "guest", "backing", "shattered", "memory", "vcpus", "preset", "flush_line", "interface",
    ]  # fmt: skip
    for name in small.dims:
        assert small[name].dtype == np.int64
    assert small["memory"].values.tolist() == [GIB, 2 * GIB]
    assert labels(small, "memory") == ["1GiB", "2GiB"]
    assert labels(small, "shattered") == ["0", "1"]
    assert numbers(small, "flush_line").tolist() == [4.0, 8.0]


def test_the_ledger_of_a_point_prices_it(small):
    index = {"backing": 1, "memory": 1, "preset": 1, "flush_line": 0, "interface": 2}
    one = price(ledger_at(small, **index), parameters_at(small, **index), samples=512)
    found = small.isel(index).isel(shattered=0, scenario=0, guest=0, vcpus=0)
    assert [found[name].item() for name in ("ns_total", "ns_low", "ns_high")] == pytest.approx(
        [one.total_ns, one.low_ns, one.high_ns], rel=1e-12
    )
    whole = run(Scenario(memory=2 * GIB, backing="thp", interfaces=("folio-lenient",)), load_parameters("gnr-6980p"))
    units = {(stage, unit): n for stage, of in whole.runs[0].ledger.items() for unit, n in of.items()}
    assert ledger_at(small, **index).units == units


def test_a_file_gives_back_the_dataset(small, tmp_path):
    path = tmp_path / "small.nc"
    path.write_bytes(to_netcdf(small))
    assert load_sweep(path).identical(small)
    assert to_netcdf(small) == path.read_bytes()


def test_threads_change_nothing(small_grid, small):
    other = sweep(small_grid, samples=512, threads=5)
    assert other.drop_vars("model_seconds").identical(small.drop_vars("model_seconds"))


def test_rows_are_the_points(small):
    found = list(rows(small))
    assert len(found) == small["status"].size
    assert all(row.status == "done" for row in found)
    wanted = {"backing": "thp", "memory": "2GiB", "interface": "pfn", "shattered": "1", "preset": "gnr-6980p",
              "flush_line": "8"}  # fmt: skip
    [one] = [row for row in found if wanted.items() <= row.axes.items()]
    at = {"backing": 1, "memory": 1, "interface": 3, "shattered": 1, "preset": 1, "flush_line": 1}
    point = small.isel(at).isel(scenario=0, guest=0, vcpus=0)
    assert one.times["seconds"] == point["seconds"].item()
    assert one.counts["td_exits"] == point["td_exits"].item()
    assert one.parameters_sha256 == parameters_at(small, **at).sha256


def test_json_follows_its_schema():
    dataset = sweep(build_grid(Asked({"backing": ("thp", "pfnmap"), "memory": (GIB,), "vcpus": (1, 2)})), samples=16)
    document = json.loads(to_json(dataset))
    Draft202012Validator.check_schema(load_schema("sweep-1"))
    Draft202012Validator(load_schema("sweep-1")).validate(document)
    assert {row["status"] for row in document["rows"]} == {"done", "failed"}
    assert {name for row in document["rows"] for name in row["counts"]} == set(COUNTS)
