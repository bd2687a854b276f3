"""Is a host read as its kernel describes it, and is what cannot be read said?"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.host import flags, read_host
from perfmodel.host.blocks import Runs, blocks_to_runs, runs_to_blocks

FREE_PAGES = 1200 + 2048 + 8997
DEFERRED = [((1 << 20) + 16384, 28672)]


def test_free_blocks_are_the_flagged_pages(tree):
    seen = []
    host = read_host(tree.proc, tree.sys, progress=lambda done, total: seen.append((done, total)))
    expected = np.flatnonzero(tree.flags == 1 << 10)
    runs = blocks_to_runs(host.free_arrays())
    assert np.array_equal(np.concatenate([np.arange(a, b) for a, b in runs.pairs()]), expected)
    assert host.block_pages == FREE_PAGES
    assert host.addresses == "real"
    assert set(host.histogram_difference) == {0}
    assert seen[-1] == (65536, 65536)
    assert [entry.file for entry in host.missing] == ["/proc/pagetypeinfo"]


def test_deferred_memory_is_the_gap_and_no_more(tree):
    assert read_host(tree.proc, tree.sys).inferred == DEFERRED


def test_heads_only_kernels(make_tree):
    tree = make_tree(heads_only=True)
    host = read_host(tree.proc, tree.sys)
    assert set(host.histogram_difference) == {0}
    assert host.block_pages == FREE_PAGES
    assert host.inferred == DEFERRED


def test_machine(tree):
    host = read_host(tree.proc, tree.sys)
    assert (host.cpu.family, host.cpu.model, host.cpu.cpu_mhz, host.cpu.tsc_mhz) == (6, 207, 2100.0, 2100.0)
    assert [(c.level, c.type, c.size_bytes, c.ways, c.sets, c.line_bytes) for c in host.caches] == [
        (1, "Data", 49152, 12, 64, 64)
    ]
    assert [(z.name, z.min_pages, z.high_pages, z.promo_pages, z.start_pfn) for z in host.zones] == [
        ("DMA32", 68, 102, 119, 4096),
        ("Normal", 68, 102, 119, 1 << 20),
    ]


def zeroed_iomem(tree):
    (tree.proc / "iomem").write_text("00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n")


def unreadable_flags(tree):
    (tree.proc / "kpageflags").unlink()
    (tree.proc / "kpageflags").mkdir()


def empty_flags(tree):
    (tree.proc / "kpageflags").write_bytes(b"")


@pytest.mark.parametrize("spoil", [zeroed_iomem, unreadable_flags, empty_flags])
def test_without_root_addresses_are_generated(tree, spoil):
    real = read_host(tree.proc, tree.sys)
    spoil(tree)
    host = read_host(tree.proc, tree.sys, seed=1)
    assert host.addresses == "generated"
    assert "/proc/kpageflags" in [entry.file for entry in host.missing]
    assert all(entry.costs for entry in host.missing)
    # the kernel's own invariant holds: cutting the generated pages anew gives the same blocks
    assert set(host.histogram_difference) == {0}
    again = runs_to_blocks(joined(blocks_to_runs(host.free_arrays())), 10)
    assert [pfns.tolist() for pfns in again] == host.free_pfns
    assert host.inferred_pages == real.inferred_pages
    assert host == read_host(tree.proc, tree.sys, seed=1)
    assert host.free_pfns != read_host(tree.proc, tree.sys, seed=2).free_pfns


def joined(runs: Runs) -> Runs:
    first = np.concatenate([[True], runs.start[1:] != runs.end[:-1]])
    last = np.concatenate([first[1:], [True]])
    return Runs(runs.start[first], runs.end[last])


def test_memory_blocks_replace_iomem(tree):
    (tree.proc / "iomem").unlink()
    folder = tree.sys / "devices/system/memory"
    for index in (0, 32, 33):
        (folder / f"memory{index}").mkdir(parents=True)
        (folder / f"memory{index}/state").write_text("online\n")
        (folder / f"memory{index}/phys_index").write_text(f"{index:08x}\n")
    (folder / "block_size_bytes").write_text("8000000\n")
    host = read_host(tree.proc, tree.sys)
    assert host.system_ram == [(0, 1 << 27), (1 << 32, (1 << 32) + (1 << 28))]


def test_truncated_flags_leave_memory_out(tree):
    # the file ends behind the free pages, before the deferred ones
    tree.flags[: (1 << 20) + 9001].tofile(tree.proc / "kpageflags")
    host = read_host(tree.proc, tree.sys)
    assert (host.addresses, host.block_pages, host.inferred) == ("real", FREE_PAGES, [])
    assert {"/proc/kpageflags", "/proc/meminfo"} <= {entry.file for entry in host.missing}


def test_flags_that_end_inside_a_free_run(tmp_path, monkeypatch):
    monkeypatch.setattr(flags, "CHUNK_PAGES", 10)
    np.full(40, 1 << 10, "<u8").tofile(tmp_path / "kpageflags")
    calls = []
    found = flags.scan(tmp_path / "kpageflags", Runs.of([(5, 500)]), lambda *pages: calls.append(pages))
    assert list(found.free.pairs()) == [(5, 40)]
    assert (found.read_pages, found.ram_pages, calls[-1]) == (35, 495, (495, 495))


def test_iomem_beyond_belief(tree):
    (tree.proc / "iomem").write_text("00100000-fffffffffffff : System RAM\n")
    host = read_host(tree.proc, tree.sys)
    assert host.addresses == "generated"
    assert "twice" in next(entry.reason for entry in host.missing if entry.file == "/proc/iomem")


@pytest.mark.parametrize("name", ["buddyinfo", "zoneinfo", "meminfo"])
@pytest.mark.parametrize("spoil", ["absent", "folder", "empty", "binary"])
def test_minimum_is_required(tree, name, spoil):
    path = tree.proc / name
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil != "absent":
        path.write_bytes(b"" if spoil == "empty" else bytes(range(256)))
    with pytest.raises(InputError, match=name) as caught:
        read_host(tree.proc, tree.sys)
    assert "\n" not in str(caught.value)


def test_no_proc_at_all(tmp_path):
    with pytest.raises(InputError, match="meminfo"):
        read_host(tmp_path / "none", tmp_path / "none")


def test_contradictions_are_refused(tree):
    path = tree.proc / "buddyinfo"
    path.write_text(path.read_text().replace(" \n", "99 \n"))
    with pytest.raises(InputError, match="buddyinfo: node 0, zone"):
        read_host(tree.proc, tree.sys)


def test_two_nodes_without_dma_on_the_second(tree):
    path = tree.proc / "zoneinfo"
    second = path.read_text().split("Node 0, zone   Normal")[1].replace(str(1 << 20), str(1 << 21))
    path.write_text(path.read_text() + "Node 1, zone   Normal" + second)
    buddy = tree.proc / "buddyinfo"
    buddy.write_text(buddy.read_text() + buddy.read_text().splitlines()[1].replace("Node 0", "Node 1") + "\n")
    (tree.proc / "meminfo").write_text("MemTotal: 524288 kB\nMemFree: 100000 kB\n")
    (tree.proc / "iomem").unlink()
    host = read_host(tree.proc, tree.sys)
    assert [(zone.node, zone.name, zone.start_pfn) for zone in host.zones] == [
        (0, "DMA32", 4096),
        (0, "Normal", 1 << 20),
        (1, "Normal", 1 << 21),
    ]
    assert set(host.histogram_difference) == {0}


def test_samples(tmp_path, shared):
    samples = shared / "facts/samples/host"
    for name in ("buddyinfo", "pagetypeinfo", "zoneinfo", "meminfo", "iomem"):
        shutil.copy(samples / f"proc_{name}.txt", tmp_path / name)
    cache = tmp_path / "devices/system/cpu/cpu0/cache"
    shutil.copytree(samples / "cpu0_cache", cache)
    host = read_host(tmp_path, tmp_path)
    # figures of the capture: buddy sum 3,340,572 KiB, MemFree 24,252,820 KiB
    assert host.block_pages * 4 == 3_340_572
    assert 0 <= host.mem_free_kib - 3_340_572 - host.inferred_pages * 4 < 4096
    assert set(host.histogram_difference) == {0}
    assert host.system_ram == [(0x1000, 0x9FC00), (0x100000, 0xC0000000), (0x100000000, 0x640000000)]
    assert [zone.name for zone in host.zones] == ["DMA", "DMA32", "Normal"]
    assert host.zones[2].free_blocks_by_type["Movable"][10] == 30
    assert [(c.level, c.size_bytes) for c in host.caches] == [
        (1, 48 << 10),
        (1, 32 << 10),
        (2, 2 << 20),
        (3, 300 << 20),
    ]


def test_capped_counts(tree, shared):
    text = (shared / "facts/samples/host/proc_pagetypeinfo.txt").read_text()
    assert "    126 " in text
    (tree.proc / "pagetypeinfo").write_text(text.replace("    126 ", ">100000 "))
    host = read_host(tree.proc, tree.sys)
    assert host.zones[1].free_blocks_by_type["Reclaimable"][0] == 100_000


@pytest.mark.parametrize("name", ["buddyinfo", "zoneinfo", "meminfo", "iomem", "pagetypeinfo", "cpuinfo"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_text_raises_nothing_but_input_error(tree, name, data):
    path = tree.proc / name
    whole = path.read_bytes() if path.exists() else b"Node    0, zone      DMA, type    Movable      0      1\n"
    start = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.one_of(st.integers(0, 40), st.just(len(whole))))
    junk = data.draw(st.one_of(st.binary(max_size=12), st.sampled_from([b"-1", b"9" * 18, b"1" * 5000, b">"])))
    path.write_bytes(whole[:start] + junk + whole[start + cut :])
    try:
        read_host(tree.proc, tree.sys)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.write_bytes(whole)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), max_size=12),
    st.integers(0, 10),
)
def test_cutting_runs_into_blocks(gaps_and_lengths, top):
    pairs, at = [], 0
    for gap, length in gaps_and_lengths:
        pairs.append((at + gap + 1, at + gap + 1 + length))
        at = pairs[-1][1]
    blocks = runs_to_blocks(Runs.of(pairs), top)
    for order, pfns in enumerate(blocks):
        assert not (pfns % (1 << order)).any()
        if order < top:  # no two buddies
            assert not np.isin(pfns ^ (1 << order), pfns).any()
    pages = [page for start, end in blocks_to_runs(blocks).pairs() for page in range(start, end)]
    assert pages == [page for start, end in pairs for page in range(start, end)]


def test_chunks_join(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    kinds = np.array([1 << 10, 0, 1 << 7], "<u8")[rng.integers(0, 3, 5000)].repeat(rng.integers(1, 9, 5000))
    kinds.tofile(tmp_path / "kpageflags")
    ram = Runs.of([(10, 3000), (3500, len(kinds))])
    whole = flags.scan(tmp_path / "kpageflags", ram)
    monkeypatch.setattr(flags, "CHUNK_PAGES", 37)
    pieces = flags.scan(tmp_path / "kpageflags", ram)
    for name in ("free", "empty"):
        assert list(getattr(whole, name).pairs()) == list(getattr(pieces, name).pairs())
    assert whole.free.pages == sum(int((kinds[a:b] == 1 << 10).sum()) for a, b in ram.pairs())


@pytest.mark.skipif(not Path("/proc/buddyinfo").exists(), reason="this machine has no /proc/buddyinfo")
def test_this_machine():
    try:
        host = read_host()
    except InputError as error:
        pytest.skip(f"this machine's /proc cannot be used: {error}")
    assert host.block_pages + host.inferred_pages > 0
