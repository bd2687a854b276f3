"""Is what a figure sees of a sweep what the Dataset holds at that place?"""

import numpy as np
import pytest

from perfmodel.errors import InputError
from perfmodel.sweep.dataset import labels, ledger_at
from perfmodel.sweep.stored import to_netcdf
from plots.swept import Swept, read_sweep


def test_axes_of_numbers_are_ascending(memory_and_shares):
    line = Swept(memory_and_shares, {}).along_numbers("memory")
    assert list(line.numbers) == [1 << 30, 2 << 30, 4 << 30]
    assert line.labels == ["1 GiB", "2 GiB", "4 GiB"]
    assert line.at["shattered"] == 0
    by_name = memory_and_shares.squeeze(["scenario", "guest", "backing", "vcpus", "preset"])
    for row, size in enumerate([1 << 30, 2 << 30, 4 << 30]):
        expected = by_name["gib_per_s"].sel(memory=size).isel(shattered=0).values
        np.testing.assert_array_equal(line.values("gib_per_s")[row], expected)
        assert line.ledger(row, 3) == ledger_at(memory_and_shares, memory=line.places[row], interface=3)


def test_another_place_and_one_interface(memory_and_shares):
    line = Swept(memory_and_shares, {"shattered": 2, "interface": 1}).along_numbers("memory")
    assert line.interfaces == ["folio-strict"]
    assert line.values("seconds").shape == (3, 1)
    assert "shattered 50 %" in line.lines()[0]
    assert len(line.lines()) == 1


def test_first_free_axis(memory_and_shares, prices):
    assert Swept(memory_and_shares, {}).along_any(9).axis == "shattered"
    assert Swept(memory_and_shares, {"shattered": 1}).along_any(9).axis == "memory"
    assert Swept(memory_and_shares, {}).along_any(2).places == (0, 3)
    assert Swept(memory_and_shares, {"shattered": 1, "memory": 1}).along_any(9).labels == ["1 GiB"]
    assert Swept(prices, {}).along_any(9).labels == ["spr-8480p", "gnr-6980p"]


def test_counts_do_not_depend_on_prices(prices):
    line = Swept(prices, {"preset": 1}).along_numbers("memory")
    assert line.axis == "flush_line"
    assert line.title == "flush_line, ns"
    assert line.values("leaves_2m").shape == (3, 4)
    assert np.ptp(line.values("leaves_2m"), axis=0).max() == 0
    assert np.all(np.diff(line.values("seconds"), axis=0) > 0)
    assert "3 parameter sets along flush_line" in line.made_by()
    assert line.parameters(2)["flush_line"].value == 15.0
    assert "flush_line 9 ns" in Swept(prices, {"flush_line": 1}).along_any(9).lines()[0]


def test_points_that_are_missing_are_named_and_empty(memory_and_shares):
    damaged = memory_and_shares.copy(deep=True)
    place = {"memory": 1, "interface": 3}
    damaged["status"][place] = 1
    damaged["gib_per_s"][place] = np.nan
    line = Swept(damaged, {}).along_numbers("memory")
    assert line.lines()[1] == "1 of 12 points are missing: they failed or were not run"
    assert np.isnan(line.values("gib_per_s")[0, 3])
    assert not np.isnan(line.values("gib_per_s")[1:, 3]).any()


def test_places_are_read_by_label(sweep_file):
    swept = read_sweep(sweep_file, ("shattered=0.5", "interface=pfn"))
    assert swept.fixed == {"shattered": 2, "interface": 3}
    assert swept.free == ["memory"]
    assert labels(swept.dataset, "memory") == ["4GiB", "1GiB", "2GiB"]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("memory", "accepted is AXIS=LABEL"),
        ("colour=red", "one of the axes scenario, guest"),
        ("stage=exit", "one of the axes"),
        ("memory=3GiB", "accepted are memory=4GiB, memory=1GiB, memory=2GiB"),
        ("shattered=", "accepted are shattered=0, shattered=0.25"),
    ],
)
def test_places_that_are_not_there_are_refused(sweep_file, at, said):
    with pytest.raises(InputError, match=said):
        read_sweep(sweep_file, (at,))


@pytest.mark.parametrize(
    ("name", "value"), [("version", 3), ("module", "a\nb"), ("seed", -1), ("samples", 0), ("samples", 1 << 40)]
)
def test_a_sweep_that_does_not_say_what_made_it_is_refused(prices, tmp_path, name, value):
    path = tmp_path / "sweep.nc"
    path.write_bytes(to_netcdf(prices.assign_attrs({name: value})))
    with pytest.raises(InputError, match=f"attribute '{name}': accepted is"):
        read_sweep(path)


def test_a_sweep_without_results_is_refused(memory_and_shares, tmp_path):
    nothing = memory_and_shares.copy(deep=True)
    nothing["status"][:] = 2
    path = tmp_path / "nothing.nc"
    path.write_bytes(to_netcdf(nothing))
    with pytest.raises(InputError, match="no point of the sweep was run"):
        read_sweep(path)
