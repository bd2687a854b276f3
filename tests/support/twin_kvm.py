"""Plain-Python twins of KVM's fault path and of a Linux-like guest, which drive any module.

Sources: ``facts/kvm-path.md`` section 1, ``facts/tdx-module.md`` section 11.2, design sections 4 and 5.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twin_words import EXIT, OPERAND_INVALID, PAGE_SIZE_MISMATCH, PAGES, RCX, SUCCESS


class Module(Protocol):
    """What KVM and the guest need of a module; the twin and a driver of single-call kernels have it."""

    levels: int
    walk_reads: int
    next_table: int

    def sept_add(self, gpa: int, level: int, hpa: int) -> int: ...
    def page_aug(self, gpa: int, level: int, hpa: int) -> int: ...
    def accept(self, gpa: int, level: int) -> int: ...
    def has_table(self, gpa: int, level: int) -> bool: ...
    def lines(self, gpa: int, level: int, hpa: int) -> tuple[object, object]: ...


class CallError(Exception):
    """A call returned a status that stops the run; ``args[0]`` is RAX."""


@dataclass
class Flow:
    """KVM and a Linux-like guest on one private address space; ``n`` counts what they do.

    ``pfn_of`` and ``level_of`` give, for a GFN, the page behind it and the level the policy allows.
    """

    module: Module
    pfn_of: Callable[[int], int]
    level_of: Callable[[int], int]
    n: Counter[str] = field(default_factory=Counter)
    last: tuple[object, object] = (None, None)

    def _host(self, call: Callable[..., int], gpa: int, level: int, hpa: int) -> None:
        status = call(gpa, level, hpa)
        if status != SUCCESS:
            raise CallError(status)
        self.n["WALK_READS_HOST"] += self.module.walk_reads

    def fault(self, gfn: int) -> int:
        """Complete a private fault at ``gfn``: tables from the top, then the leaf; return its level."""
        level = self.level_of(gfn)
        if level == 1 and self.module.has_table(gfn << 12, 1):
            level = 0
        gfn -= gfn % PAGES[level]
        gpa = gfn << 12
        for parent in range(self.module.levels - 1, level, -1):
            if not self.module.has_table(gpa, parent):
                aligned = gpa - gpa % (4096 << (9 * parent))
                self._host(self.module.sept_add, aligned, parent, self.module.next_table)
                self.module.next_table += 4096
                self.n["SEPT_ADD"] += 1
        hpa = self.pfn_of(gfn) << 12
        self._host(self.module.page_aug, gpa, level, hpa)
        self.n["AUG_2M" if level else "AUG_4K"] += 1
        self.n["FAULT"] += 1
        here = self.module.lines(gpa, level, hpa)
        self.n["SEPT_LINES"] += here[0] != self.last[0]
        self.n["PAMT_LINES"] += here[1] != self.last[1]
        self.last = here
        return level

    def prefault(self, gfns: Sequence[int]) -> None:
        """KVM_PRE_FAULT_MEMORY over ascending ``gfns``: each call goes on behind the leaf it mapped."""
        end = -1
        for gfn in gfns:
            if gfn >= end:
                level = self.fault(gfn)
                self.n["PREFAULT"] += 1
                end = gfn - gfn % PAGES[level] + PAGES[level]

    def _try_accept(self, gfn: int, level: int) -> bool:
        """``try_accept_one``: the TDCALL, again after every TD exit; whether it succeeded."""
        while True:
            status = self.module.accept(gfn << 12, level)
            self.n["WALK_READS_GUEST"] += self.module.walk_reads
            if status == SUCCESS:
                self.n["ACCEPT_2M" if level else "ACCEPT_4K"] += 1
                return True
            if status == EXIT:
                self.n["ACCEPT_EXIT"] += 1
                self.n["TD_EXIT"] += 1
                self.fault(gfn)
                self.n["VP_ENTER"] += 1
                continue
            if status == OPERAND_INVALID + RCX and level == 2:
                self.n["ACCEPT_1G_INVALID"] += 1
                return False
            if status == PAGE_SIZE_MISMATCH + level and level == 1:
                self.n["ACCEPT_SIZE_MISMATCH"] += 1
                return False
            raise CallError(status)

    def accept_memory(self, start: int, end: int) -> None:
        """``tdx_accept_memory`` over GFNs: 1G, 2M, 4K, each where aligned and still that long."""
        while start < end:
            for level in (2, 1, 0):
                pages = PAGES[level]
                if start % pages == 0 and end - start >= pages and self._try_accept(start, level):
                    start += pages
                    break
            else:
                raise AssertionError("accept_memory() fails: the guest panics")


def runs(gfns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ascending ``gfns`` as half-open runs."""
    start = end = None
    for gfn in gfns:
        if gfn != end:
            if start is not None:
                yield start, end
            start = gfn
        end = gfn + 1
    if start is not None:
        yield start, end


CHUNK = 1024  # 4 MiB: the largest page-allocator order


def populate(flow: Flow, gfns: Sequence[int], chunks: Sequence[int] | None, prefault: bool = False) -> None:
    """Run a guest over its private, convertible ``gfns`` (ascending).

    ``chunks`` is the order of 4 MiB chunks (GFN >> 10) in which a Linux guest takes memory up; None is the one
    accept loop of firmware over each private range.
    """
    if prefault:
        flow.prefault(gfns)
    if chunks is None:
        for start, end in runs(gfns):
            flow.accept_memory(start, end)
        return
    by_chunk: dict[int, list[int]] = {}
    for gfn in gfns:
        by_chunk.setdefault(gfn // CHUNK, []).append(gfn)
    for chunk in chunks:
        for start, end in runs(by_chunk.get(chunk, [])):
            flow.accept_memory(start, end)
