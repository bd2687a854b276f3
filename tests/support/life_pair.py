"""One region's life, run by the kernels and by the plain-Python twin; everything is compared after every step."""

from collections.abc import Iterable, Sequence

import bridge
import numpy as np
from twin_kvm import CallError, populate
from twin_life import ADDED, ASKED, NONE, REGION, LifeFlow

from kernels.convert import convert_region, punch_hole
from kernels.counters import ALL_COUNTERS, COUNTERS, ChangeCounter, Counter, LifeCounter
from kernels.first_pages import build_region, note_populated
from kernels.life_guest import accept_pages, touch_pages
from kernels.life_state import FOLIO_LENIENT, FOLIO_STRICT, FREED, PAGE_4K, PFN, Knobs, Life, start_life
from kernels.pamt_entry import LOCK_MASK, PT_EPT, PT_REG
from kernels.populate import populate_region
from kernels.private_fault import prefault_range
from kernels.sept_entry import HOST_PRIORITY, LEAF, LOCK
from kernels.status import as_unsigned
from kernels.tables import TD_CHLDCNT, TD_NEXT_SEPT
from kernels.teardown import teardown_region
from perfmodel.td_tables import TdTables

INTERFACES = {"page-4k": PAGE_4K, "folio-strict": FOLIO_STRICT, "folio-lenient": FOLIO_LENIENT, "pfn": PFN}
BLOCKS = 2
FIRST = bridge.FIRST_BLOCK << 18
NAMES = [c.name for c in (*Counter, *ChangeCounter, *LifeCounter)]


def start(
    use: np.ndarray, map_2m: np.ndarray, order: np.ndarray, interface: str, levels: int = 4, region: int = 0,
    pfn: np.ndarray | None = None, **knobs: bool,
) -> tuple[TdTables, Life]:  # fmt: skip
    """Return tables and the life of a region in them, backed by one block unless ``pfn`` says otherwise."""
    held = bridge.make_tables(levels, BLOCKS)
    pfn = FIRST + np.arange(REGION) if pfn is None else pfn
    life = start_life(held.tables, region * REGION, pfn, use, map_2m, order, Knobs(INTERFACES[interface], **knobs))
    return held, life


def populate_life(life: Life, levels: np.ndarray, chunks: Sequence[int], prefault: bool, built: int) -> int:
    """Run ``populate_region`` on a life, with the ranges of which ``levels`` is 1 at 2M, and note what it means."""
    asked = (life.use == ASKED).reshape(512, 512).sum(axis=1).astype(np.int64)
    status = populate_region(
        life.tables, int(life.state[0]), life.pfn, life.use, asked, levels.astype(np.bool_),
        np.array(chunks, np.int64), prefault, False, life.lines, np.empty(512, np.int64), life.counts[:COUNTERS],
    )  # fmt: skip
    return int(status or note_populated(life, built, prefault))


def by_name(counts: np.ndarray) -> dict[str, int]:
    """Return the counters that are not 0."""
    assert counts.shape == (ALL_COUNTERS,)
    return {name: n for name, n in zip(NAMES, counts.tolist(), strict=True) if n}


def assert_conserved(life: Life) -> None:
    """The laws that hold for a region that is alone in its tables, and no lock is left."""
    tables, n = life.tables, dict.fromkeys(NAMES, 0) | by_name(life.counts)
    small = (tables.pamt_4k[:, 0] >> np.uint64(16)) & np.uint64(0xFF)
    large = (tables.pamt_2m[:, 0] >> np.uint64(16)) & np.uint64(0xFF)
    leaves_4k, leaves_2m, sept_pages = (small == PT_REG).sum(), (large == PT_REG).sum(), (small == PT_EPT).sum()
    torn_down = sept_pages == 0 < n["SEPT_ADD"]
    splits = n["DEMOTE"] - n["PROMOTE"]
    mapped_4k = n["AUG_4K"] + n["PAGE_ADD"] + 512 * splits - n["REMOVE_4K"]
    mapped_2m = n["AUG_2M"] - splits - n["REMOVE_2M"]
    added = n["SEPT_ADD"] + splits
    freed = life.freed[: life.state[FREED]].tolist()
    assert added == tables.td[TD_NEXT_SEPT] - bridge.FIRST_ROW - len(freed)
    rows = [row for row in bridge.rows(tables) if row not in freed]
    if torn_down:
        assert mapped_4k + added == n["RECLAIM_4K"]
        assert mapped_2m == n["RECLAIM_2M"]
        assert leaves_4k == leaves_2m == tables.td[TD_CHLDCNT] == 0
    else:
        assert (mapped_4k, mapped_2m, added) == (leaves_4k, leaves_2m, sept_pages)
        assert tables.td[TD_CHLDCNT] == leaves_4k + 512 * leaves_2m + sept_pages
        assert np.count_nonzero(tables.sept[rows] & LEAF) == leaves_4k + leaves_2m
    assert not (tables.sept[rows] & (LOCK | HOST_PRIORITY)).any()
    for pamt in (tables.pamt_1g, tables.pamt_2m, tables.pamt_4k):
        assert not (pamt[:, 0] & LOCK_MASK).any()
    assert n["MEM_TRACK"] == n["KICK"] == life.state[1] - 1
    assert n["PAGE_WBINVD"] == n["REMOVE_4K"] + 512 * n["REMOVE_2M"] + n["PROMOTE"]
    assert n["BLOCK_TABLE"] == n["PROMOTE"]
    assert n["BLOCK_4K"] == n["REMOVE_4K"]
    assert n["BLOCK_2M"] == n["REMOVE_2M"] + n["DEMOTE"]
    assert n["TD_EXIT"] == n["VP_ENTER"]
    assert n["GUEST_INHIBIT"] == life.inhibited.sum()
    assert n["WRITE_LOCK"] >= n["GUEST_INHIBIT"] + n["SET_ATTRIBUTES"] + n["PUNCH_HOLE"]
    control = 7  # the TDR and six TDCX pages
    if life.knobs.dynamic_pamt:
        assert life.references.sum() == control + leaves_4k + sept_pages
        assert life.references.sum() == control + n["PAMT_GET"] + 512 * splits - n["PAMT_PUT"]
        assert n["PAMT_ADD"] + splits - n["PAMT_REMOVE"] == np.count_nonzero(life.references) - 1
        slow = n["PAMT_GET"] + n["PAMT_PUT"]
        assert n["PAMT_LOCK"] == (n["PAMT_ADD"] + n["PAMT_REMOVE"] if life.knobs.pamt_fast_path else slow)
    else:
        assert life.references.sum() == control
        assert not any(n[c.name] for c in LifeCounter if c.name.startswith("PAMT_"))


class LifePair:
    """The life by kernels and by the twin."""

    def __init__(
        self, use: np.ndarray, map_2m: np.ndarray, order: np.ndarray, interface: str, levels: int = 4,
        region: int = 0, pfn: np.ndarray | None = None, **knobs: bool,
    ) -> None:  # fmt: skip
        self.held, self.life = start(use, map_2m, order, interface, levels, region, pfn, **knobs)
        pfns, gfn = self.life.pfn, region * REGION
        twin_knobs = {k: v for k, v in knobs.items() if k != "pamt_fast_path"}
        self.twin = LifeFlow(
            bridge.make_twin(self.held), lambda g: int(pfns[g - gfn]), gfn=gfn, use=use.tolist(),
            map_2m=map_2m.tolist(), order=order.tolist(), interface=interface,
            fast_path=knobs.get("pamt_fast_path", True), **twin_knobs,
        )  # fmt: skip
        self.built_tables = 0

    def _same(self, status: int, run: object, *args: object) -> int:
        try:
            run(*args)  # type: ignore[operator]
            expected = 0
        except CallError as error:
            expected = error.args[0]
        assert as_unsigned(status) == expected
        self.assert_same()
        return expected

    def assert_same(self) -> None:
        life, twin = self.life, self.twin
        assert by_name(life.counts) == {name: n for name, n in twin.n.items() if n}
        bridge.assert_same(self.held, twin.module)
        assert life.use.tolist() == twin.use
        assert life.shared.tolist() == [twin.use[r * 512 : r * 512 + 512].count(2) for r in range(512)]
        assert set(np.flatnonzero(life.inhibited).tolist()) == twin.inhibited
        assert life.state[1] == twin.module.td.epoch
        block_of = {int(slot): block for block, slot in enumerate(life.tables.slot) if slot >= 0}
        refs = {block_of[i // 512] * 512 + i % 512: int(life.references[i]) for i in np.flatnonzero(life.references)}
        assert refs == {frame: n for frame, n in twin.refs.items() if n}
        assert_conserved(life)

    def build(self, pages: Sequence[int], measured: bool) -> int:
        self.twin.module.td.op_state = 1
        chosen = np.zeros(REGION, np.uint8)
        chosen[pages] = 1
        before = int(self.life.tables.td[TD_NEXT_SEPT])
        status = build_region(self.life, chosen, measured)
        self.twin.last = (None, None)
        found = self._same(status, self.twin.build, sorted(pages), measured)
        self.built_tables = int(self.life.tables.td[TD_NEXT_SEPT]) - before
        self.twin.module.td.op_state = 2
        return found

    def populate(self, chunks: Sequence[int], prefault: bool) -> int:
        allowed = np.array([self.twin.may_be_2m(r) for r in range(512)])
        has_table = [self.twin.module.has_table(self.twin.gfn + r * 512 << 12, 1) for r in range(512)]
        self.twin.n["EXISTING_TABLE"] += int((allowed & has_table).sum())
        status = populate_life(self.life, allowed, chunks, prefault, self.built_tables)
        self.twin.last = (None, None)
        gfns = [self.twin.gfn + p for p in np.flatnonzero(self.life.use == ASKED).tolist()]
        return self._same(status, populate, self.twin, gfns, [self.twin.gfn // 1024 + c for c in chunks], prefault)

    def convert(self, first: int, pages: int, to_shared: bool) -> int:
        status = convert_region(self.life, np.array([[first, pages, to_shared]], np.int64))
        return self._same(status, self.twin.convert, first, pages, to_shared)

    def punch(self, first: int, end: int) -> int:
        return self._same(punch_hole(self.life, first, end), self.twin.punch, first, end)

    def accept(self, pages: Iterable[int]) -> int:
        pages = list(pages)
        return self._same(accept_pages(self.life, np.array(pages, np.int64)), self.twin.accept_pages, pages)

    def prefault(self, first: int, end: int) -> int:
        asked = [self.twin.gfn + p for p in range(first, end) if self.twin.use[p] == ASKED]
        return self._same(prefault_range(self.life, first, end), self.twin.prefault, asked)

    def touch(self, pages: Iterable[int]) -> int:
        pages = list(pages)
        return self._same(touch_pages(self.life, np.array(pages, np.int64)), self.twin.touch, pages)

    def teardown(self, hkid_released: bool) -> int:
        return self._same(teardown_region(self.life, hkid_released), self.twin.teardown, hkid_released)


__all__ = ["ADDED", "ASKED", "INTERFACES", "NONE", "LifePair", "assert_conserved", "by_name", "start"]
