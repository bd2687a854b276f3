"""Is the memory that a run takes foretold, and refused with the figure where the machine has less?"""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cli_fuzz import call_checked

import perfmodel
import perfmodel.memory_need
from perfmodel.errors import InputError
from perfmodel.memory_need import require_memory
from perfmodel.scenario import Scenario

Fill = Callable[..., list[str]]

GIB = 1 << 30

HEAD = """
import numpy as np
import perfmodel.memory_need as memory_need
from perfmodel.errors import InputError

needs = []
memory_need.available_bytes = lambda: needs.append(1) or 1 << 50
said = memory_need.require_memory

def noted(need_bytes, what, instead):
    needs.append(need_bytes)

def peak():
    # not getrusage, whose peak a process takes over from the one that started it
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) << 10
"""

CASES = {
    "requests of a life": """
from perfmodel.layout import GuestLayout
from perfmodel.life.conversions import draw_conversions, need_of
from perfmodel.life.phases import Convert
phase = Convert(count=3_000_000, placement="scattered")
layout = GuestLayout.build("flat", 64 << 18)
draw_conversions(Convert(count=10, placement="scattered"), layout, 0, 0)
before = peak()
draw_conversions(phase, layout, 0, 0)
print(need_of(phase, 64 << 18), peak() - before)
""",
    "holes of a life": """
from perfmodel.layout import GuestLayout
from perfmodel.life.conversions import draw_holes, need_of
from perfmodel.life.phases import PunchHole
layout = GuestLayout.build("flat", 64 << 18)
phase = PunchHole(count=3_000_000, size="4KiB")
draw_holes(PunchHole(count=10, size="4KiB"), layout, 0, 0)
before = peak()
draw_holes(phase, layout, 0, 0)
print(need_of(phase, 64 << 18), peak() - before)
""",
    "free blocks of a host": """
from perfmodel.backings import host as backing
from perfmodel.host.model import Cpu, Host, Zone
from perfmodel.layout import GuestLayout
backing.require_memory = noted
def build(count):
    pfns = list(range(1 << 20, (1 << 20) + 2 * count, 2))
    zone = Zone(0, "Normal", 1 << 20, 1 << 30, 1 << 30, 1 << 30, count, 1, 2, 3, None, [count], {})
    return Host("perfmodel/host/1", "", 0, 0, [(1 << 32, 1 << 43)], [zone], [pfns], [], "real", [0], [], Cpu(), [], 0)
small, large = build(1000), build(100_000)
backing.HostBacking(small, GuestLayout.build("flat", 900), 0)
before = peak()
backing.HostBacking(large, GuestLayout.build("flat", 30 * 100_000), 0, scale=True)
print(needs[-1], peak() - before)
""",
    "tables over scattered memory": """
from perfmodel import workers
from perfmodel.backings.extents import ExtentMap
from perfmodel.populate import populate_guest
from perfmodel.policies import POLICIES
from perfmodel.memory import GuestMemory
from perfmodel.platform import Platform
from perfmodel.scenario import Scenario
from dataclasses import replace
from perfmodel.backings.extents import ExtentsBacking
workers.require_memory = noted
workers.available_bytes = lambda: 1 << 50
def run(pages, *blocks):
    memory = GuestMemory.build(Scenario(memory=4096 * pages * len(blocks)))
    place = np.arange(pages)
    gfn = np.concatenate([place + pages * i for i in range(len(blocks))])
    pfn = np.concatenate([(4 + 100 * i + place % n << 18) + place // n for i, n in enumerate(blocks)])
    backing = ExtentsBacking.__new__(ExtentsBacking)
    backing.map, backing.has_struct_page = ExtentMap(gfn, pfn, np.ones(gfn.size, int), np.zeros(gfn.size, int)), True
    memory = replace(memory, backing=backing, platform=Platform.covering(backing.blocks()))
    populate_guest(memory, [POLICIES["pfn"]], 1)
run(1 << 18, 1)
before = peak()
run(1 << 18, 50, 70)
print(needs[-1] - needs[0], peak() - before)
""",
    "visits in order": """
from perfmodel.memory import GuestMemory
from perfmodel.policies import POLICIES
from perfmodel.scenario import Scenario
from perfmodel.stretches import need_of, whole_stretches
def run(memory, guest):
    policies = [POLICIES["page-4k"], POLICIES["pfn"]]
    memory = GuestMemory.build(Scenario(memory=memory, guest=guest, keyholes="exact", memory_model="simulated"))
    list(whole_stretches(memory, policies))
    return need_of(memory, policies)
run("4MiB", "GUEST")
before = peak()
need = run("48GiB" if "GUEST" != "touch-first" else "4GiB", "GUEST")
print(need, peak() - before)
""",
    "samples": """
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.layout import lay_out
from perfmodel.sweep.pricing import need_of
from perfmodel.sweep.sweep import sweep
grid = build_grid(Asked({"memory": (4 << 20, 8 << 20)}))
sweep(grid, samples=8, threads=1)
before = peak()
sweep(grid, samples=1 << 17, threads=1)
print(need_of(lay_out(grid, 1 << 17), 1), peak() - before)
""",
    "walks": """
from perfmodel import steady
from perfmodel.walk_hardware import load_walk_hardware
steady.require_memory = noted
def run(entries, working_set):
    hardware = load_walk_hardware("spr-8480p", [f"l3={entries}"])
    steady.run_steady(steady.SteadyScenario(memory="64TiB", working_set=working_set, accesses=1000), None, hardware)
run(15 * 1024, "4MiB")
before = peak()
run(15 << 20, "16TiB")
print(needs[-1], peak() - before)
""",
}


def _measure(source: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", HEAD + source], capture_output=True, text=True, check=False,
                          cwd=Path(perfmodel.__file__).parents[1])  # fmt: skip
    assert done.returncode == 0, done.stderr
    need, taken = map(int, done.stdout.split())
    return need, taken


@pytest.mark.parametrize(
    "case", [*(c for c in CASES if c != "visits in order"), "linux-lazy", "prefault", "touch-first"]
)
def test_need_is_foretold(case: str) -> None:
    """Within a factor of about 1.5 of what a process takes at its peak."""
    need, taken = _measure(CASES.get(case) or CASES["visits in order"].replace("GUEST", case))
    assert taken > 64 << 20, "too little to tell"
    assert 1 / 1.6 < need / taken < 1.6, (need, taken)


def _bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes(200 << 20), 1))


def _vast_platform(path: Path, whole: bytes) -> None:
    lines = gzip.decompress(whole).split(b"\n")
    header = json.loads(lines[0])
    header["platform"]["tdmr"][-1] |= {"size": hex(1 << 49), "initialized": hex(1 << 49)}
    path.write_bytes(gzip.compress(b"\n".join([json.dumps(header).encode(), *lines[1:]])))


REFUSED = {
    "requests": (("run", "life.toml"), "the requests of its phases"),
    "copies of a host": (
        ("compare", "--memory", "2TiB", "--backing", "host", "--host", "{host.json}", "--scale-host",
         "--max-folio-order", "0"), "copies of the host"),
    "visits": (
        ("compare", "--memory", "64TiB", "--memory-model", "simulated", "--keyholes", "exact", "--guest",
         "touch-first"), "the guest's visits in order"),
    "walks": (
        ("steady", "--hardware", f"l1d={12 << 20}", "--hardware", f"l2={16 << 20}", "--hardware", f"l3={15 << 20}"),
        "simulations side by side"),
    "samples": (("sweep", "--axis", "memory=4M", "--samples", f"{1 << 20}"), "samples of each price and point"),
    "bomb": (("conform", "bomb.gz"), "the content of bomb.gz"),
    "platform": (("conform", "vast.gz"), "PAMT of the platform's TDMRs"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_figure(
    case: str, seeds: Mapping[str, Path], room: Path, fill_in: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perfmodel.memory_need, "available_bytes", lambda: GIB // 4)
    (room / "life.toml").write_text(
        'schema = "perfmodel/scenario/1"\nguest = { memory = "8MiB" }\n'
        f'phase = [{{ kind = "boot" }}, {{ kind = "convert", placement = "scattered", count = {1 << 32} }}]\n'
    )
    _bomb(room / "bomb.gz")
    _vast_platform(room / "vast.gz", seeds["small.jsonl.gz"].read_bytes())
    words, what = REFUSED[case]
    answer = call_checked(fill_in(words), room)
    assert answer.status == 2, answer
    for part in ("memory: this run needs about", what, "0.2 GiB are available", "accepted is"):
        assert part in answer.err, answer


def test_threads_are_fewer_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from perfmodel import workers
    from perfmodel.memory import GuestMemory

    memory = GuestMemory.build(Scenario(memory="64GiB"))
    monkeypatch.setattr(workers, "available_bytes", lambda: GIB)
    few = workers.thread_count(memory, 1024)
    monkeypatch.setattr(workers, "available_bytes", lambda: 1 << 50)
    assert 1 <= few < workers.thread_count(memory, 1024) == 1024


def test_small_needs_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfmodel.memory_need, "available_bytes", lambda: 0)
    require_memory(1 << 20, "little", "less")
    with pytest.raises(InputError, match=r"needs about 2.0 GiB for much, 0.0 GiB are available: accepted is less"):
        require_memory(2 * GIB, "much", "less")


def test_a_limit_on_address_space_counts() -> None:
    source = """
import resource
from perfmodel.memory_need import available_bytes
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
print(available_bytes())
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True,
                          cwd=Path(perfmodel.__file__).parents[1])  # fmt: skip
    assert 0 < int(done.stdout) < 3 * GIB
