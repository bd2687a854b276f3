"""Is nothing counted twice, and is a sweep that was cut short the same as one that was not?"""

import json

import pytest

import perfmodel.sweep.schedule as schedule
from perfmodel.errors import InputError
from perfmodel.memory_need import require_memory
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.stored import load_sweep
from perfmodel.sweep.sweep import Tally, sweep

GIB = 1 << 30
ASKED = {"memory": (GIB, 2 * GIB), "shattered": (1.0,), "vcpus": (1, 2), "interface": ("page-4k", "pfn")}
COUNTED, SIMULATED = 8, 4


def same(one, other):
    return one.drop_vars("model_seconds").identical(other.drop_vars("model_seconds"))


@pytest.fixture(scope="module")
def grid():
    return build_grid(Asked(ASKED))


@pytest.fixture(scope="module")
def undisturbed(grid):
    return sweep(grid, samples=64)


def swept(grid, folder):
    parts, tally = Parts(folder), Tally()
    return sweep(grid, parts, samples=64, tally=tally), parts, tally


def test_the_second_run_counts_nothing(grid, undisturbed, tmp_path, monkeypatch):
    first, _, tally = swept(grid, tmp_path)
    assert (tally.counted, tally.simulated, tally.found) == (COUNTED, SIMULATED, 0)
    assert same(first, undisturbed)
    monkeypatch.setattr(schedule, "count_point", None)
    monkeypatch.setattr(schedule, "meet_point", None)
    again, _, tally = swept(grid, tmp_path)
    assert (tally.counted, tally.simulated, tally.found) == (0, 0, COUNTED + SIMULATED)
    assert again.identical(first)
    assert load_sweep(tmp_path).identical(first)


def test_new_prices_only_price_anew(grid, tmp_path, monkeypatch):
    swept(grid, tmp_path)
    monkeypatch.setattr(schedule, "count_point", None)
    dearer = build_grid(Asked(ASKED, overrides=("flush_line=12",)))
    dataset, _, tally = swept(dearer, tmp_path)
    assert (tally.counted, tally.simulated) == (0, SIMULATED)  # how vCPUs meet depends on prices
    monkeypatch.undo()
    assert same(dataset, sweep(dearer, samples=64))


@pytest.mark.parametrize("after", [0, 1, 5, COUNTED - 1, COUNTED, COUNTED + 2])
def test_a_sweep_cut_short_goes_on(grid, undisturbed, tmp_path, after, monkeypatch):
    kept = 0
    keep = Parts.keep

    def keep_some(self, part):
        nonlocal kept
        if kept == after:
            raise KeyboardInterrupt
        kept += 1
        keep(self, part)

    monkeypatch.setattr(Parts, "keep", keep_some)
    with pytest.raises(KeyboardInterrupt):
        swept(grid, tmp_path)
    monkeypatch.undo()
    half = load_sweep(tmp_path)
    assert int((half["status"] == 0).sum()) <= after
    assert set(half["status"].values.ravel().tolist()) <= {0, 2}
    dataset, _, tally = swept(grid, tmp_path)
    assert tally.found == after
    assert tally.counted + tally.simulated == COUNTED + SIMULATED - after
    assert same(dataset, undisturbed)


def test_damaged_parts_are_made_again(grid, undisturbed, tmp_path):
    swept(grid, tmp_path)
    [*counts] = sorted((tmp_path / "counts").iterdir())
    counts[0].write_bytes(counts[0].read_bytes()[:-9])
    counts[1].write_bytes(counts[2].read_bytes())  # a part under another's name
    next((tmp_path / "meetings").iterdir()).write_bytes(b"\xff")
    dataset, parts, tally = swept(grid, tmp_path)
    assert (tally.counted, tally.simulated) == (2, 1)
    assert len(set(parts.damaged)) == 3
    assert same(dataset, undisturbed)


def test_a_point_that_fails_does_not_stop_the_rest(grid, undisturbed, tmp_path, monkeypatch):
    count = schedule.count_point

    def count_or_fail(point, threads=None):
        if point.scenario.memory == 2 * GIB and point.scenario.interfaces == ("pfn",):
            raise MemoryError("no more")
        return count(point, threads)

    monkeypatch.setattr(schedule, "count_point", count_or_fail)
    dataset, _, tally = swept(grid, tmp_path)
    failed = dataset.sel(memory=2 * GIB).isel(interface=1)
    assert set(failed["status"].values.ravel().tolist()) == {1}
    assert set(failed["reason"].values.ravel().tolist()) == {"MemoryError: no more"}
    assert int((dataset["status"] == 0).sum()) == dataset["status"].size - failed["status"].size
    assert len(tally.failed) == 2
    monkeypatch.undo()
    mended, _, tally = swept(grid, tmp_path)
    assert tally.counted == 2
    assert same(mended, undisturbed)


def test_want_of_memory_is_not_for_ever(tmp_path, monkeypatch):
    """Counts do not depend on the machine, so what did not fit is tried again; what cannot be run is not."""
    grid = build_grid(Asked({"backing": ("thp",), "memory": (GIB,), "interface": ("pfn",)}))
    monkeypatch.setattr("perfmodel.workers.require_memory", lambda *_: require_memory(1 << 60, "tables", "less"))
    dataset, _, tally = swept(grid, tmp_path)
    assert "TooLargeError: memory: this run needs about" in dataset["reason"].item()
    assert len(tally.failed) == 1
    assert list((tmp_path / "counts").iterdir()) == []
    monkeypatch.undo()
    dataset, _, tally = swept(grid, tmp_path)
    assert (dataset["status"].item(), tally.counted) == (0, 1)


def test_content_of_files_counts_and_their_names_do_not(tmp_path):
    def keys(name, text):
        (tmp_path / name).write_text("gfn,pfn,pages,folio_order,has_struct_page\n" + text)
        grid = build_grid(Asked({"backing": ("extents",), "extents": (tmp_path / name,), "memory": (2 << 20,)}))
        return [one.point.key for one in grid.points]

    one = keys("a.csv", "0,262144,512,9,1\n")
    assert keys("b.csv", "0,262144,512,9,1\n") == one
    assert not set(keys("a.csv", "0,262144,512,0,1\n")) & set(one)


@pytest.mark.parametrize("change", ["axes", "sets", "points", "garbage", "schema"])
def test_a_damaged_layout(grid, tmp_path, change):
    swept(grid, tmp_path)
    path = tmp_path / "sweep.json"
    layout = json.loads(path.read_bytes())
    match change:
        case "axes":
            layout["axes"][4]["labels"] = ["1GiB", "1GiB"]
        case "sets":
            layout["sets"] = []
        case "points":
            del layout["points"][0]
        case "schema":
            layout["schema"] = "perfmodel/sweep/9"
    path.write_bytes(b"{" if change == "garbage" else json.dumps(layout).encode())
    with pytest.raises(InputError, match=r"sweep\.json"):
        load_sweep(tmp_path)
