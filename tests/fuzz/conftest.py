"""Good files of every kind, made by the program itself, and a machine with one GiB left."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from cli_fuzz import call

import perfmodel.memory_need

LIFE = """schema = "perfmodel/scenario/1"

[guest]
memory = "8MiB"
interfaces = ["page-4k", "pfn"]
vcpus = 2
order = "faults.csv"
backing = "thp"
thp_share = 0.5
block_shares = { 10 = 0.5, 0 = 0.5 }

[what_if]
dynamic_pamt = true

[[phase]]
kind = "build"
image = "1MiB"

[[phase]]
kind = "accept-mismatch"
size = "1MiB"

[[phase]]
kind = "boot"

[[phase]]
name = "dma"
kind = "convert"
count = 3
pages = 2
placement = "window"
window = "1MiB"

[[phase]]
kind = "punch-hole"
count = 1
size = "64KiB"

[[phase]]
kind = "teardown"
how = "reclaim"
"""

OWN = """name = "mine"
preset = "gnr-6980p"
core_ghz = 3.1

[parameters]
flush_line = 12
seam_transition = { value = 900, low = 500, high = 2000, distribution = "loguniform", source = "mine" }
"""

GRID = """schema = "perfmodel/grid/1"
title = "shattered"

[grid]
memory = ["4MiB", "8MiB"]
interface = ["page-4k", "pfn"]
shattered = [0, 0.5]
order = ["sequential", "faults.csv"]
flush_line = [5, 9.5]
preset = ["spr-8480p", "own.toml"]
block_shares = { 10 = 0.5, 0 = 0.5 }
backing = "order0"
set = ["core_ghz=3"]
"""

EXTENTS = "gfn,pfn,pages,folio_order,has_struct_page\n0,0x100000,512,9,1\n512,0x100a00,512,0,1\n"
FAULTS = "gfn,level,vcpu,time\n0x3ff,4K,0,0\n0x12,2M,1,77\n0x200,,0,90\n"
OBSERVATIONS = (
    "id,role,host,operation,page_size,memory,vcpus,inside,covers,knobs,tsc_ghz,quantity,value,unit,error\n"
    "N1,fit,mine,populate,4K,4MiB,2,1,all,dynamic_pamt=true,2.0,time-per-page,12,us,0.1\n"
    "N4,fit,mine,populate,2M,4MiB,1,0,all,,,time-per-2m,300,us,\n"
    "N2,held-out,mine,convert,4K,8MiB,1,0,host,,2.0,time-per-page,9000,cycles,\n"
    "N3,report,other,touch,2M,4MiB,1,0,all,,,faults,512,count,\n"
)

ZONEINFO = """Node 0, zone   Normal
  pages free     1040
        min      1
        low      2
        high     3
        spanned  32768
        present  32768
        managed  32768
  start_pfn:           1048576
"""
PROC = {
    "meminfo": "MemTotal:         131072 kB\nMemFree:           12352 kB\n",
    "buddyinfo": "Node 0, zone   Normal     16      0      0      0      0      0      0      0      0      0      1\n",
    "zoneinfo": ZONEINFO,
    "iomem": "100000000-107ffffff : System RAM\n",
}


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Mapping[str, Path]:
    """Good files by name, which nothing may change."""
    folder = tmp_path_factory.mktemp("seeds")

    def made(*words: str) -> None:
        answer = call(words)
        assert answer.status == 0, answer

    texts = {
        "life.toml": LIFE, "grid.toml": GRID, "own.toml": OWN, "extents.csv": EXTENTS, "faults.csv": FAULTS,
        "observations.csv": OBSERVATIONS,
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, text in PROC.items():
        (folder / "proc").mkdir(exist_ok=True)
        (folder / "proc" / name).write_text(text)
    guest = ("--memory", "4M", "--interface", "page-4k", "--interface", "pfn")
    made("params", "--toml", str(folder / "params.toml"))
    made("compare", *guest, "--json", str(folder / "compare.json"))
    made("sweep", *guest, "--samples", "8", "-o", str(folder / "small.nc"), "--parts", str(folder / "small.parts"))
    scale = ("scale", *guest, "--counts", "1,2", "--samples", "2", "--json")
    made(*scale, str(folder / "scale.json"))
    made(*scale, str(folder / "changes.json"), "--workload", "convert", "--workload", "teardown")
    made("validate", "--json", str(folder / "validate.json"))
    made("sensitivity", "--json", str(folder / "sensitivity.json"))
    made(
        "ingest", "host", "--proc", str(folder / "proc"), "--sys", str(folder / "proc"), "-o", str(folder / "host.json")
    )
    samples = shared / "facts" / "samples"
    for name, source in (
        ("lscpu.txt", samples / "host" / "lscpu.txt"),
        ("trace.txt", samples / "tracepoints" / "perf_script.txt"),
        ("small.jsonl.gz", shared / "vectors" / "dir_l4_g0.jsonl.gz"),
    ):
        (folder / name).write_bytes(source.read_bytes())
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _one_gib_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused for want of memory must not depend on the machine."""
    monkeypatch.setattr(perfmodel.memory_need, "available_bytes", lambda: 1 << 30)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """An empty working directory."""
    before = Path.cwd()
    folder = tmp_path / "room"
    folder.mkdir()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture
def fill_in(seeds: Mapping[str, Path], room: Path) -> Callable[..., list[str]]:
    """Return a function that puts paths in the place of ``{name}``: a seed, or what is given by name."""

    def fill(words: tuple[str, ...], **given: object) -> list[str]:
        known = {**seeds, "out": "out", **given}
        return [re.sub(r"\{(.+?)\}", lambda found: str(known[found[1]]), word) for word in words]

    return fill
