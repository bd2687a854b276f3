"""What does the page hold: the right guests, the right samples, nothing that varies, nothing too large?"""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perfmodel.__main__ import main
from perfmodel.comparison import run
from perfmodel.costs import ALL_STAGES
from perfmodel.draws import cost_factors
from perfmodel.errors import InputError
from perfmodel.explore.charts import chart_document
from perfmodel.explore.data import SAMPLES, page_data, to_script
from perfmodel.explore.grid import DEFAULT_GRIDS
from perfmodel.explore.guests import read_guests
from perfmodel.explore.page import make_page
from perfmodel.explore.themes import THEMES
from perfmodel.parameters import default_parameters, load_parameters
from perfmodel.scenario import Scenario
from perfmodel.sweep.dataset import assemble
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.layout import lay_out
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.point import count_point
from perfmodel.sweep.stored import to_netcdf
from perfmodel.sweep.sweep import sweep
from tests.support.explored import guest_of


def test_guests_of_several_sweeps_lie_on_common_axes(guests):
    assert guests.axes == {
        "scenario": ["populate"], "guest": ["linux-lazy", "prefault"], "backing": ["hugetlb-1g", "order0"],
        "shattered": ["0", "0.5"], "vcpus": ["1"], "memory": ["1GiB", "2GiB"],
    }  # fmt: skip
    assert len(guests.guests) == 2 * 2 * 2 + 1
    assert guests.interfaces == ["page-4k", "folio-strict", "folio-lenient", "pfn"]


def test_numbers_of_an_axis_ascend_whatever_the_sweeps_order(datasets):
    assert read_guests(datasets[::-1]).axes["memory"] == ["1GiB", "2GiB"]
    assert read_guests(datasets[::-1]).axes["shattered"] == ["0", "0.5"]


def test_work_is_that_of_a_run(guests):
    guest = guest_of(guests, backing="hugetlb-1g", shattered="0.5", memory="2GiB", guest="linux-lazy")
    done = run(Scenario(memory="2GiB", shattered=0.5))
    for one in done.runs:
        work = guest.work[one.row.interface]
        units = {(stage, unit): n for stage, some in one.ledger.items() for unit, n in some.items()}
        assert work.ledger.units == {entry: count for entry, count in units.items() if count}
        assert work.mapped_pages == one.row.pages.mapped
        assert work.counts["TD exits"] == one.row.td_exits
        assert one.row.seamcalls.items() <= work.counts.items()


def test_points_with_vcpus_that_meet_are_left_out():
    assert read_guests([counted(vcpus=(1, 2))]).axes["vcpus"] == ["1"]
    with pytest.raises(InputError, match="no point of one vCPU has been counted"):
        read_guests([counted(vcpus=(2,))])


def counted(**axes):
    """Return the Dataset of a small sweep that was interrupted before its vCPUs met."""
    grid, parts = build_grid(Asked({"memory": (1 << 28,), "interface": ("pfn",)} | axes)), Parts()
    for one in grid.points:
        parts.keep(count_point(one.point))
    return assemble(lay_out(grid, samples=1), parts, {})


def test_several_seeds_are_refused(datasets):
    with pytest.raises(InputError, match="several seeds"):
        read_guests([counted(seed=(0, 1))])
    with pytest.raises(InputError, match="the sweeps differ"):
        read_guests([*datasets, counted(seed=(1,))])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["interface"].attrs.update(labels=["pfm"]), "interface 'pfm' of the sweep"),
        (lambda one: one["entry_unit"].values.__setitem__(0, "x"), "price 'x' of the sweep"),
        (lambda one: one.attrs.pop("seed"), "has no 'seed'"),
    ],
)
def test_names_that_are_not_known_are_refused(change, said):
    dataset = counted()
    change(dataset)
    with pytest.raises(InputError, match=said):
        read_guests([dataset])


def test_memory_without_struct_page_has_one_interface(parameters):
    only = read_guests([counted(backing=("pfnmap",))])
    assert only.interfaces == ["pfn"]
    assert make_page(only, parameters)


def test_samples_are_those_of_sample_costs(guests, parameters):
    data = json.loads(to_script(page_data(guests, parameters)))
    prices, stages = cost_factors(parameters.parameters, parameters.joint, len(ALL_STAGES), SAMPLES, guests.seed)
    at = parameters.names.index("flush_line")
    held = np.frombuffer(base64.b64decode(data["samples_ns"]["flush_line"]), "<f8")
    assert (held == prices[:, at] * parameters.values_ns()[at]).all()
    place = [stage["name"] for stage in data["stages"]].index("flush")
    held = np.frombuffer(base64.b64decode(data["stage_factors"][place]), "<f8")
    assert (held == stages[:, ALL_STAGES.index("flush")]).all()


def test_each_price_has_a_theme():
    names = [name for some in THEMES.values() for name in some]
    assert sorted(names) == sorted(one.name for one in default_parameters())


def test_no_text_can_end_its_element():
    text = "</script><!-- & \u2028"
    script = to_script({"name": text})
    assert json.loads(script) == {"name": text}
    assert not set("<>&\u2028") & set(script)
    with pytest.raises(ValueError, match="Out of range float"):
        to_script({"value": float("nan")})


def test_scripts_do_not_end_their_element_either(page_file):
    assert page_file.read_text().count("</script>") == 4


ELSEWHERE = """
import hashlib, pathlib, sys
from bokeh.plotting import figure
from perfmodel.explore.guests import read_guests
from perfmodel.explore.page import make_page
from perfmodel.parameters import load_parameters
from perfmodel.sweep.stored import load_sweep

[figure() for _ in range(3)]
page = make_page(read_guests([load_sweep(pathlib.Path(one)) for one in sys.argv[1:]]), load_parameters())
print(hashlib.sha256(page).hexdigest(), "matplotlib" in sys.modules)
"""


def test_bytes_depend_on_ledgers_and_parameters_alone(datasets, page_file, tmp_path):
    files = [tmp_path / f"{number}.nc" for number, _ in enumerate(datasets)]
    for path, dataset in zip(files, datasets, strict=True):
        path.write_bytes(to_netcdf(dataset))
    command = [sys.executable, "-c", ELSEWHERE, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert done.stdout.split() == [hashlib.sha256(page_file.read_bytes()).hexdigest(), "False"]


def test_ids_number_the_models_from_nought(guests):
    text = json.dumps(chart_document(guests, ["exit", "entry"]))
    assert '"m0"' in text
    assert '"id": "p1' not in text


def test_the_default_page_stays_below_ten_megabytes(guests, parameters):
    points = sum(
        len(grid["backing"]) * len(grid.get("shattered", (0.0,))) * len(grid["memory"]) for grid in DEFAULT_GRIDS
    )
    guest = max(guests.guests, key=lambda one: sum(len(work.ledger.units) for work in one.work.values()))
    many = guests._replace(guests=[guest] * points)
    assert len(make_page(many, parameters)) < 10e6


def test_the_command_takes_sweeps_and_parameters(datasets, tmp_path, capsys):
    (tmp_path / "sweep.nc").write_bytes(to_netcdf(datasets[1]))
    with pytest.raises(SystemExit) as stopped:
        main(["explore", str(tmp_path / "sweep.nc"), "-o", str(tmp_path / "page.html"), "--set", "flush_line=4"])
    assert stopped.value.code == 0
    page = (tmp_path / "page.html").read_bytes()
    assert page == make_page(read_guests([datasets[1]]), load_parameters(overrides=["flush_line=4"]))
    assert capsys.readouterr().out.split() == [str(tmp_path / "page.html")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["two.nc", "-o", "page.html"], "has 2 parameter sets"),
        (["none.nc", "-o", "page.html"], "none.nc: No such file"),
        (["two.nc", "-o", "page.png"], "accepted is .html"),
        (["two.nc", "-o", "no/page.html"], "does not exist"),
        (["two.nc", "-o", "page.html", "--set", "flush_lines=4"], "nearest name is 'flush_line'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    two = build_grid(Asked({"memory": (1 << 28,), "interface": ("pfn",), "flush_line": (4.0, 5.0)}))
    Path("two.nc").write_bytes(to_netcdf(sweep(two, samples=1)))
    with pytest.raises(SystemExit) as stopped:
        main(["explore", *words])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["two.nc"]
