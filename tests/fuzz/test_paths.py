"""A scenario file reads what lies beside it or below, and nothing else; outputs replace files alone."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cli_fuzz import call, call_checked

SCENARIO = """schema = "perfmodel/scenario/1"
guest = {{ memory = "4MiB", interfaces = ["pfn"], {what} }}
phase = [{{ kind = "boot" }}]
"""
KEYS = {
    "order": ("faults.csv", "order = '{}'"),
    "extents": ("extents.csv", "backing = 'extents', extents = '{}'"),
    "host": ("host.json", "backing = 'host', host = '{}'"),
}


@pytest.fixture
def story(seeds: Mapping[str, Path], room: Path) -> Callable[[str, str], list[str]]:
    """Return a function that writes a scenario that names a file; all files lie beside, below and outside."""
    (room / "mine" / "below").mkdir(parents=True)
    (room / "outside").mkdir()
    for name, _ in KEYS.values():
        for folder in ("mine", "mine/below", "outside"):
            (room / folder / name).write_bytes(seeds[name].read_bytes())
    (room / "mine" / "out").symlink_to("../outside")
    (room / "mine" / "loop").symlink_to("loop")

    def write(key: str, path: str) -> list[str]:
        (room / "mine" / "life.toml").write_text(SCENARIO.format(what=KEYS[key][1].format(path)))
        return ["run", "mine/life.toml"]

    return write


@pytest.mark.parametrize("key", KEYS)
def test_beside_and_below(key: str, story: Callable[[str, str], list[str]]) -> None:
    name = KEYS[key][0]
    for path in (name, f"./{name}", f"below/{name}", f"below/../{name}"):
        answer = call(story(key, path))
        assert answer.status == 0, (path, answer)


@pytest.mark.parametrize("key", KEYS)
def test_nothing_else(key: str, story: Callable[[str, str], list[str]], room: Path) -> None:
    name = KEYS[key][0]
    elsewhere = (f"../outside/{name}", f"{room}/outside/{name}", f"out/{name}", "/etc/passwd", "/dev/zero",
                 f"below/../../outside/{name}", "..", "/proc/self/environ")  # fmt: skip
    for path in elsewhere:
        answer = call_checked(story(key, path), room)
        assert answer.status == 2, (path, answer)
        for part in ("mine/life.toml", f"guest.{key}", repr(path), "accepted is", "folder or below"):
            assert part in answer.err, (path, answer)
    for path in ("missing.csv", "", "loop", "\\u0000"):
        assert call_checked(story(key, path), room).status == 2


@pytest.mark.parametrize("target", ["/dev/null", "fifo", ".", "missing/x.json", "x" * 300])
def test_outputs_replace_files_alone(target: str, room: Path) -> None:
    os.mkfifo(room / "fifo")
    inode = Path("/dev/null").stat().st_ino
    assert call_checked(["params", "--json", target], room).status == 2
    assert Path("/dev/null").stat().st_ino == inode
    assert Path("/dev/null").is_char_device()


def test_an_output_of_which_the_rest_failed_is_not_there(room: Path) -> None:
    """The second file cannot be written: the run is refused before the first is."""
    answer = call_checked(["calibrate", "-o", "good.toml", "--json", "missing/bad.json"], room)
    assert answer.status == 2
