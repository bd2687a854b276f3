"""Plain-Python twin of a TD's life: KVM, guest_memfd and the guest around the plain-Python module.

Sources: ``facts/kvm-path.md`` sections 1.1, 1.5, 2, 3, 5, 6.2, 6.3, 7; design section 5.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import twin_words as tw
from twin_calls import seamcall
from twin_kvm import CallError, Flow, runs
from twin_td import Twin

NONE, ASKED, SHARED, REFUSED, ADDED = range(5)
PRIVATE = (ASKED, ADDED)
REGION = 1 << 18


@dataclass
class LifeFlow(Flow):
    """One region. Pages are offsets in it, ranges are pages // 512, ``refs`` has a counter for 2 MiB of HPA."""

    module: Twin
    pfn_of: Callable[[int], int]
    level_of: Callable[[int], int] = field(init=False)
    gfn: int = 0
    use: list[int] = field(default_factory=list)
    map_2m: list[bool] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    interface: str = "pfn"
    batch_track: bool = False
    reset_pages: bool = False
    dynamic_pamt: bool = False
    fast_path: bool = True
    promote: bool = False
    inhibited: set[int] = field(default_factory=set)
    refs: Counter[int] = field(default_factory=Counter)
    first_table: int = 0
    freed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.level_of = lambda gfn: int(self.may_be_2m((gfn - self.gfn) // 512))
        self.first_table = self.module.next_table
        for hpa in range(self.module.td.tdr, self.first_table, 4096):
            self.refs[hpa >> 21] += 1

    # --- Dynamic PAMT

    def get(self, hpa: int) -> None:
        if self.dynamic_pamt:
            self.n["PAMT_GET"] += 1
            if self.refs[hpa >> 21] == 0:
                self.n["PAMT_ADD"] += 1
            if self.refs[hpa >> 21] == 0 or not self.fast_path:
                self.n["PAMT_LOCK"] += 1
            self.refs[hpa >> 21] += 1

    def put(self, hpa: int) -> None:
        if self.dynamic_pamt:
            self.n["PAMT_PUT"] += 1
            self.refs[hpa >> 21] -= 1
            if self.refs[hpa >> 21] == 0:
                self.n["PAMT_REMOVE"] += 1
                self.reset(2)
            if self.refs[hpa >> 21] == 0 or not self.fast_path:
                self.n["PAMT_LOCK"] += 1

    def reset(self, pages: int) -> None:
        if self.reset_pages:
            self.n["RESET_PAGE"] += pages

    # --- what KVM and guest_memfd know

    def folio(self, r: int) -> range:
        """Ranges of the folio that holds range ``r``."""
        size = 2 ** (min(max(self.order[r], 9), 18) - 9)
        return range(r - r % size, r - r % size + size)

    def mixed(self, ranges: Iterable[int]) -> bool:
        return any(SHARED in self.use[r * 512 : r * 512 + 512] for r in ranges)

    def may_be_2m(self, r: int) -> bool:
        if self.interface == "page-4k" or not self.map_2m[r] or r in self.inhibited:
            return False
        return not self.mixed(self.folio(r) if self.interface == "folio-strict" else [r])

    def leaf(self, page: int) -> tuple[int, int] | None:
        """Level and raw value of the leaf that maps ``page``."""
        at = self.module._peek(self.gfn + page << 12, 0)
        raw = self.module.raw(at)
        return (at.level, raw) if tw.is_leaf(raw) else None

    def leaves(self, pages: range) -> list[tuple[int, int]]:
        """First page and level of every leaf in ``pages``."""
        found, page = [], pages.start
        while page < pages.stop:
            at = self.module._peek(self.gfn + page << 12, 0)
            size = 512**at.level
            if tw.is_leaf(self.module.raw(at)):
                found.append((page - page % size, at.level))
            page += size - page % size
        return found

    # --- calls

    def _host(self, call: Callable[..., int], gpa: int, level: int, hpa: int) -> None:
        super()._host(call, gpa, level, hpa)
        if call == self.module.sept_add or level == 0:
            self.get(hpa)

    def _change(self, name: str, page: int, level: int) -> int:
        """BLOCK or REMOVE a leaf; return its HPA."""
        gpa, found = self.gfn + page << 12, self.leaf(page)
        assert found is not None
        hpa = tw.page_of(found[1], level)
        status = getattr(self.module, name)(gpa, level)
        if status:
            raise CallError(status)
        self.n[f"{name.upper()}_{'2M' if level else '4K'}"] += 1
        self.n["WALK_READS_HOST"] += self.module.walk_reads
        here = self.module.lines(gpa, level, hpa)
        self.n["SEPT_LINES"] += here[0] != self.last[0]
        self.n["PAMT_LINES"] += here[1] != self.last[1]
        self.last = here
        return hpa

    def track(self) -> None:
        assert seamcall(self.module, "TDH.MEM.TRACK", rcx=self.module.td.tdr).rax == 0
        self.n["MEM_TRACK"] += 1
        self.n["KICK"] += 1

    def _take_all(self, leaves: list[tuple[int, int]], take: Callable[[int, int], None]) -> None:
        if self.batch_track:
            for leaf in leaves:
                self._change("block", *leaf)
            if leaves:
                self.track()
            for leaf in leaves:
                take(*leaf)
            return
        for leaf in leaves:
            self._change("block", *leaf)
            self.track()
            take(*leaf)

    def _remove(self, page: int, level: int) -> None:
        hpa = self._change("remove", page, level)
        for i in range(tw.PAGES[level]):
            assert seamcall(self.module, "TDH.PHYMEM.PAGE.WBINVD", rcx=hpa + i * 4096).rax == 0
            self.n["PAGE_WBINVD"] += 1
            self.reset(1)
        if level == 0:
            self.put(hpa)

    def _demote(self, page: int, level: int) -> None:
        leaf = self.leaf(page)
        assert leaf is not None
        new, hpa = self.freed[-1] if self.freed else self.module.next_table, tw.page_of(leaf[1], 1)
        status = self.module.demote(self.gfn + page << 12, level, new)
        if status:
            raise CallError(status)
        self.n["WALK_READS_HOST"] += self.module.walk_reads
        self.n["DEMOTE"] += 1
        if self.freed:
            self.freed.pop()
        else:
            self.module.next_table += 4096
        self.get(new)
        if self.dynamic_pamt:
            self.refs[hpa >> 21] += 512

    # --- flows

    def fault(self, gfn: int) -> int:
        found = self.leaf(gfn - self.gfn)
        if found is not None:
            self.n["FAULT"] += 1
            return found[0]
        if not self.freed:
            return super().fault(gfn)
        self.module.next_table, unused = self.freed[-1], self.module.next_table
        level = super().fault(gfn)
        if self.module.next_table != self.freed[-1]:
            self.freed.pop()
        self.module.next_table = unused
        return level

    def _try_accept(self, gfn: int, level: int) -> bool:
        while True:
            status = self.module.accept(gfn << 12, level)
            self.n["WALK_READS_GUEST"] += self.module.walk_reads
            if status == tw.EXIT:
                self.n["ACCEPT_EXIT"] += 1
                self.n["TD_EXIT"] += 1
                if level == 0:
                    self._limit((gfn - self.gfn) // 512)
                self.fault(gfn)
                self.n["VP_ENTER"] += 1
            elif status == 0:
                self.n["ACCEPT_2M" if level else "ACCEPT_4K"] += 1
                return True
            elif level == 2 and status == tw.OPERAND_INVALID + tw.RCX:
                self.n["ACCEPT_1G_INVALID"] += 1
                return False
            elif status == tw.PAGE_SIZE_MISMATCH + 1:
                self.n["ACCEPT_SIZE_MISMATCH"] += 1
                return False
            else:
                raise CallError(status)

    def _limit(self, r: int) -> None:
        """v3: an ACCEPT at 4K makes KVM split and inhibit, unless the range is inhibited already."""
        if self.interface == "page-4k" or r in self.inhibited:
            return
        self.n["WRITE_LOCK"] += 1
        self._take_all([leaf for leaf in self.leaves(range(r * 512, r * 512 + 1)) if leaf[1] == 1], self._demote)
        self.inhibited.add(r)
        self.n["GUEST_INHIBIT"] += 1

    def _clear(self, pages: range, ranges: Iterable[int]) -> None:
        """Split the 2M leaves of ``ranges`` that ``pages`` do not hold whole, then zap what is in ``pages``."""
        split = []
        for r in ranges:
            inside = r * 512 in pages and r * 512 + 511 in pages
            found = self.leaf(r * 512)
            if found and found[0] == 1 and not inside:
                split.append((r * 512, 1))
        self._take_all(split, self._demote)
        self._take_all(self.leaves(pages), self._remove)

    def _split_folios(self, r: int) -> None:
        if self.order[r] < 9 or self.mixed([r]):
            return
        self.n["FOLIO_SPLIT"] += not self.mixed(self.folio(r))
        if self.interface == "folio-lenient":
            self.n["FOLIO_SPLIT"] += self.order[r] > 9

    def convert(self, first: int, pages: int, to_shared: bool) -> None:
        for start in range(first, first + pages, 512):
            chunk = range(start, min(start + 512, first + pages))
            self.n["MAP_GPA"] += 1
            changing = [p for p in chunk if (self.use[p] in PRIVATE if to_shared else self.use[p] == SHARED)]
            if not changing:
                continue
            self.n["SET_ATTRIBUTES"] += 1
            self.n["WRITE_LOCK"] += 1
            if to_shared:
                ranges = {p // 512 for p in chunk}
                if self.interface == "folio-strict":
                    ranges |= {other for r in ranges for other in self.folio(r)}
                self._clear(chunk, sorted(ranges))
            for page in changing:
                if to_shared:
                    self._split_folios(page // 512)
                self.use[page] = SHARED if to_shared else ASKED
        if not to_shared:
            asked = [self.gfn + p for p in range(first, first + pages) if self.use[p] == ASKED]
            for start, end in runs(asked):
                self.accept_memory(start, end)
            if self.promote:
                ranges = {p // 512 for p in range(first, first + pages)}
                if self.interface == "folio-strict":
                    ranges |= {other for r in ranges for other in self.folio(r)}
                self._merge([r for r in sorted(ranges) if self._is_mergeable(r)])

    def _is_mergeable(self, r: int) -> bool:
        """Whether a range that may be 2M has 512 accepted 4K leaves that make one page."""
        gpa = self.gfn + r * 512 << 12
        if not self.may_be_2m(r) or not self.module.has_table(gpa, 1):
            return False
        raws = [self.module.raw(self.module.at(gpa + i * 4096, 0)) for i in range(512)]
        aligned = (raws[0] & tw.HPA) % tw.page_bytes(1) == 0
        return aligned and all(tw.state(x) == "MAPPED" and x == raws[0] + i * 4096 for i, x in enumerate(raws))

    def _merge(self, ranges: list[int]) -> None:
        """BLOCK, TRACK, PROMOTE and WBINVD of the tables below ``ranges``."""
        self.n["WRITE_LOCK"] += bool(ranges)
        for some in [ranges] if self.batch_track else [[r] for r in ranges]:
            for r in some:
                gpa, at = self.gfn + r * 512 << 12, self.module.at(self.gfn + r * 512 << 12, 1)
                table = self.module.raw(at) & tw.HPA
                assert self.module.block(gpa, 1) == 0
                self.n["BLOCK_TABLE"] += 1
                self.n["WALK_READS_HOST"] += self.module.walk_reads
                here = (self.module.lines(gpa, 1, table)[0], self.module.lines(gpa, 0, table)[1])
                self.n["SEPT_LINES"] += here[0] != self.last[0]
                self.n["PAMT_LINES"] += here[1] != self.last[1]
                self.last = here
            if some:
                self.track()
            for r in some:
                self._promote(r)

    def _promote(self, r: int) -> None:
        answer = seamcall(self.module, "TDH.MEM.PAGE.PROMOTE", rcx=self.gfn + r * 512 << 12 | 1, rdx=self.module.td.tdr)
        assert answer.rax == 0
        self.n["PROMOTE"] += 1
        self.n["WALK_READS_HOST"] += self.module.levels - 1
        assert seamcall(self.module, "TDH.PHYMEM.PAGE.WBINVD", rcx=answer.rcx).rax == 0
        self.n["PAGE_WBINVD"] += 1
        self.reset(1)
        if self.dynamic_pamt:
            self.refs[self.pfn_of(self.gfn + r * 512) >> 9] -= 512
            self.reset(2)
        self.put(answer.rcx)
        self.freed.append(answer.rcx)

    def punch(self, first: int, end: int) -> None:
        self.n["PUNCH_HOLE"] += 1
        self.n["WRITE_LOCK"] += 1
        self._clear(range(first, end), sorted({p // 512 for p in range(first, end)}))

    def accept_pages(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._try_accept(self.gfn + page, 0)

    def touch(self, pages: Iterable[int]) -> None:
        for page in pages:
            found = self.leaf(page)
            if found is None:
                self.n["TD_EXIT"] += 1
                self.fault(self.gfn + page)
                self.n["VP_ENTER"] += 1
                found = self.leaf(page)
            assert found is not None
            if tw.state(found[1]) == "PENDING":
                self.n["VIRTUALIZATION_EXCEPTION"] += 1
                self._try_accept(self.gfn + page, 0)

    def build(self, pages: Iterable[int], measured: bool) -> None:
        """Add the pages of the image, ascending; the TD is INITIALIZED."""
        td = self.module.td
        for page in pages:
            gpa, hpa = self.gfn + page << 12, self.pfn_of(self.gfn + page) << 12
            for parent in range(self.module.levels - 1, 0, -1):
                if not self.module.has_table(gpa, parent):
                    aligned = gpa - gpa % (4096 << (9 * parent))
                    self._host(self.module.sept_add, aligned, parent, self.module.next_table)
                    self.module.next_table += 4096
                    self.n["SEPT_ADD"] += 1
            assert self.module.page_add(gpa, hpa) == 0
            self.n["PAGE_ADD"] += 1
            self.n["WALK_READS_HOST"] += self.module.walk_reads
            self.get(hpa)
            here = self.module.lines(gpa, 0, hpa)
            self.n["SEPT_LINES"] += here[0] != self.last[0]
            self.n["PAMT_LINES"] += here[1] != self.last[1]
            self.last = here
            for i in range(16 if measured else 0):
                assert seamcall(self.module, "TDH.MR.EXTEND", rcx=gpa + 256 * i, rdx=td.tdr).rax == 0
                self.n["WALK_READS_HOST"] += self.module.walk_reads
                self.n["MR_EXTEND"] += 1
            self.use[page] = ADDED

    def teardown(self, hkid_released: bool) -> None:
        leaves = self.leaves(range(REGION))
        if not hkid_released:
            self.n["WRITE_LOCK"] += 1
            self._take_all(leaves, self._remove)
        self.module.td.lifecycle = 3
        if hkid_released:
            for page, level in leaves:
                found = self.leaf(page)
                assert found is not None
                self._reclaim(tw.page_of(found[1], level), level)
        for hpa in range(self.first_table, self.module.next_table, 4096):
            if hpa not in self.freed:
                self._reclaim(hpa, 0)

    def _reclaim(self, hpa: int, level: int) -> None:
        answer = seamcall(self.module, "TDH.PHYMEM.PAGE.RECLAIM", rcx=hpa)
        assert (answer.rax, answer.r8) == (0, level)
        self.n[f"RECLAIM_{'2M' if level else '4K'}"] += 1
        self.reset(tw.PAGES[level])
        if level == 0:
            self.put(hpa)
