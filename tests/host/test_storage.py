"""Does a host survive its file, and is a damaged file refused in one line?"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.files import write_whole
from perfmodel.host import load_host, read_host, save_host


@pytest.fixture
def saved(tree, tmp_path):
    path = tmp_path / "host.json"
    save_host(read_host(tree.proc, tree.sys), path)
    return path


def test_round_trip(tree, saved):
    assert load_host(saved) == read_host(tree.proc, tree.sys)
    assert json.loads(saved.read_text())["schema"] == "perfmodel/host/1"


def test_write_is_whole_or_nothing(tmp_path):
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "folder", b"x")
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "none" / "a", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


def change(document, path, value):
    *steps, last = path
    for step in steps:
        document = document[step]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema"], "perfmodel/host/2", ["schema", "perfmodel/host/2", "perfmodel/host/1"]),
        (["colour"], 1, ["colour"]),
        (["mem_free_kib"], -4, ["mem_free_kib", "-4", ">= 0"]),
        (["zones", 1, "free_pages"], -1, ["zones[1].free_pages", "-1", ">= 0"]),
        (["zones", 0, "spanned_pages"], "many", ["zones[0].spanned_pages", "many", "int"]),
        (["zones", 0, "free_blocks_by_type"], {"Movable": [-1]}, [">= 0"]),
        (["addresses"], "guessed", ["addresses", "guessed"]),
        (["free_pfns", 3, 0], (1 << 20) + 17, ["free_pfns[3][0]", "multiple of 8"]),
        (["free_pfns", 0, 0], 8192, ["8192", "no other free block"]),
        (["free_pfns", 0, 0], 3, ["free_pfns", "3", "zones"]),
        (["inferred"], [[8192, 4096]], ["no other free block"]),
        (["inferred"], [[8192, 0]], ["inferred[0]", "1 page"]),
        (["system_ram"], [[4096, 4096]], ["system_ram[0]", "4096"]),
        (["system_ram"], [[4096, 8192], [0, 4096]], ["system_ram[1]"]),
        (["seed"], -1, ["seed", "-1"]),
    ],
)
def test_refused_in_one_line(saved, path, value, words):
    document = json.loads(saved.read_text())
    change(document, path, value)
    saved.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        load_host(saved)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(saved), *words]:
        assert word in message


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000])
def test_not_a_host(tmp_path, content):
    path = tmp_path / "host.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_host(path)
    assert str(path) in str(caught.value)


def test_folder_and_missing(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="cannot be read"):
            load_host(path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file_raises_nothing_but_input_error(saved, data):
    whole = saved.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 30))
    path = saved.with_name("damaged.json")
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=8)) + whole[start + cut :])
    try:
        load_host(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
