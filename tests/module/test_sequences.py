"""Do the exact calls and the plain-Python twin answer random sequences alike, and agree on all tables after each call?

Sequences mix calls that belong together with invalid operands, states that forbid calls, interrupts, vCPUs that come
and go, and locks that another LP holds.
"""

from collections import Counter
from random import Random
from typing import Any

import twin_words as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_calls import CALLS
from twin_module import TEARDOWN, TwinModule
from world import FIRST, OTHER, RESERVED, SEAMRR, TDRS, Entry, G, K, M, World

SMALL = tuple(FIRST + M + i * K for i in range(24)) + tuple(OTHER + i * K for i in range(4))
LARGE = tuple(OTHER + i * M for i in range(1, 4))

GPAS = (0, K, 511 * K, M, M + K, 3 * M, G, 1 << 39)
BAD_RCX = (1 << 47, 1 << 51, 1 << 52, 1 << 63, 8, K | 0x800, 4, 5, 7, M | 2, K | 1, 3 | 1 << 47)
BAD_PAGES = (
    *TDRS, TDRS[0] + K, RESERVED, LARGE[0] + 5 * K, FIRST + 8, 5 * G, OTHER + G, 1 << 46, 1 << 52, 1 << 63, 0,
    (1 << 64) - 1,
)  # fmt: skip
BAD_TDRS = (*TDRS, K, TDRS[0] | 1, TDRS[0] | 2, TDRS[0] | 1 << 46, 1 << 62, SMALL[0], LARGE[0], TDRS[0] + K, 5 * G)
SOURCES = (K, K, K, 8, 1 << 52, 64 << 45 | K, 63 << 45 | K, SEAMRR, SEAMRR + M, SEAMRR + M - K)
VERSIONED = ("TDH.MEM.SEPT.ADD", "TDH.MEM.SEPT.REMOVE", "TDH.MEM.PAGE.PROMOTE")
INTERRUPTED = ("TDH.MEM.PAGE.PROMOTE", "TDH.MEM.PAGE.DEMOTE")
NEEDS_PAGE = (
    "TDH.MEM.SEPT.ADD",
    "TDH.MEM.PAGE.ADD",
    "TDH.MEM.PAGE.AUG",
    "TDH.MEM.PAGE.RELOCATE",
    "TDH.MEM.PAGE.DEMOTE",
)
ON_TD = ("TDH.MEM.TRACK", "TDH.MR.FINALIZE")
ON_PAGE = ("TDH.PHYMEM.PAGE.RDMD", "TDH.PHYMEM.PAGE.RECLAIM", "TDH.PHYMEM.PAGE.WBINVD")
CHANGES = (
    "TDH.MEM.PAGE.REMOVE", "TDH.MEM.PAGE.DEMOTE", "TDH.MEM.PAGE.PROMOTE", "TDH.MEM.SEPT.REMOVE",
    "TDH.MEM.PAGE.RELOCATE", "TDH.MEM.RANGE.UNBLOCK",
)  # fmt: skip


def fits(op: str, entry: Entry, twin: TwinModule) -> bool:
    """Whether a call is about such an entry."""
    leaf = tw.is_leaf(entry.raw)
    if op == "TDH.MEM.SEPT.REMOVE":
        return tw.state(entry.raw) in tw.NON_LEAF and set(twin.pages[entry.raw & tw.HPA]) == {tw.FREE}
    if op == "TDH.MEM.PAGE.PROMOTE":
        return not leaf and entry.level <= 2
    if op == "TDH.MEM.PAGE.DEMOTE":
        return leaf and entry.level > 0
    if op == "TDH.MEM.PAGE.RELOCATE":
        return leaf and entry.level == 0
    return leaf


class Draw(Random):
    """Draws moves: a few calls that belong together, often about an entry in use."""

    def often(self, share: float) -> bool:
        return self.random() < share

    def place(self, world: World, td: int, op: str = "") -> int:
        """Return an RCX: an entry in use that fits the call, a place where one may come to be, or nonsense."""
        if self.often(0.06):
            return self.choice(BAD_RCX)
        entries = [e for e in world.entries(world.twin.tds[td]) if e.gpa in GPAS]
        fitting = [e for e in entries if fits(op, e, world.twin)]
        if entries and self.often(0.75):
            entry = self.choice(fitting if fitting and self.often(0.8) else entries)
            return entry.gpa | entry.level
        gpa, level = self.choice(GPAS), self.choice((0, 0, 1, 1, 2, 3))
        return gpa - gpa % tw.page_bytes(level) | level

    def operands(self, world: World, op: str, td: int) -> dict[str, int]:
        """Return registers for a call, seldom all of them bad."""
        tdr = self.choice(BAD_TDRS) if self.often(0.06) else TDRS[td]
        page = self.choice(BAD_PAGES) if self.often(0.1) else self.choice(SMALL + LARGE * 5)
        if op in ON_TD:
            return {"rcx": tdr}
        if op in ON_PAGE:
            keyed = (70 << 45) * (op.endswith("WBINVD") and self.often(0.5))
            return {"rcx": page | keyed if page < 1 << 45 else page}
        given = {"rcx": self.place(world, td, op), "rdx": tdr}
        if op == "TDH.MR.EXTEND":
            given["rcx"] = (given["rcx"] & ~7) + self.choice((0, 256, 3840, 128))
        if op in NEEDS_PAGE:
            given["r8"] = page
        if op == "TDH.MEM.PAGE.ADD":
            given["r9"] = self.choice(SOURCES)
        if op in VERSIONED and self.often(0.1):
            given["version"] = self.choice((1, 1, 2, 3))
            if op == "TDH.MEM.SEPT.ADD":
                given |= dict.fromkeys(("r9", "r10", "r11"), (1 << 64) - 1)
        if op in INTERRUPTED and self.often(0.3):
            given["interrupt"] = True
        return given

    def move(self, world: World) -> None:
        """Make a few calls."""
        td, kind = self.randrange(2), self.random()
        alive = world.twin.tds[td].lifecycle != TEARDOWN
        if world.twin.tds[td].op_state != 1 and self.often(0.4):
            world.set(td, "op_state", 2)
        if kind < 0.2:
            self.map(world, td, alive)
        elif kind < 0.45:
            self.change(world, td)
        elif kind < 0.55 and alive:
            self.guest(world, td)
        elif kind < 0.67:
            self.lock(world, td)
        elif kind < 0.75:
            self.meddle(world, td)
        else:
            op = self.choice(tuple(CALLS))
            world.call(op, self.randrange(2), **self.operands(world, op, td))
        if world.locks and self.often(0.4):
            world.unlock()

    def map(self, world: World, td: int, alive: bool) -> None:
        """Add the tables for a GPA, from the top, then a page."""
        gpa, tdr = self.choice(GPAS), TDRS[td]
        rcx = gpa if gpa % M else gpa | self.choice((0, 1))
        for level in range(3 + td, rcx & 7, -1):
            parent = rcx & ~7
            world.call("TDH.MEM.SEPT.ADD", rcx=parent - parent % tw.page_bytes(level) | level, rdx=tdr,
                       r8=self.choice(SMALL))  # fmt: skip
        page = self.choice(LARGE if rcx & 7 else SMALL)
        if self.often(0.3):
            added = world.call("TDH.MEM.PAGE.ADD", rcx=rcx & ~7, rdx=tdr, r8=page, r9=K)
            if added == tw.SUCCESS:
                world.call("TDH.MR.EXTEND", rcx=(rcx & ~7) + 256, rdx=tdr)
        if self.often(0.15):
            world.lock({"kind": "pamt", "hpa": page, "level": self.randrange(3), "exclusive": True, "side": "host"})
        world.call("TDH.MEM.PAGE.AUG", rcx=rcx, rdx=tdr, r8=page)
        if alive and self.often(0.7):
            world.accept(td, rcx, self.choice((None, None, 0, 7, 510, 511)))

    def change(self, world: World, td: int) -> None:
        """Block, track, then take away, split, merge or move."""
        op = self.choice(CHANGES)
        given = self.operands(world, op, td)
        if self.often(0.2):  # states that ask for no TRACK, or whose REMOVE leaves REMOVED behind
            world.set(td, "op_state", self.choice((1, 8, 9, 10)))
        world.call("TDH.MEM.RANGE.BLOCK", rcx=given["rcx"], rdx=TDRS[td])
        for _ in range(self.randrange(3)):
            world.call("TDH.MEM.TRACK", rcx=TDRS[td])
            for vcpu in sorted(world.inside):
                if self.often(0.5):
                    world.leave(*vcpu)
        if world.call(op, **given) == tw.INTERRUPTED_RESTARTABLE:
            world.call(op, **given | {"interrupt": False})

    def guest(self, world: World, td: int) -> None:
        """Let the guest accept or touch a page, or a vCPU go in or out."""
        kind, vcpu = self.randrange(4), self.randrange(2)
        if kind == 0:
            world.accept(td, self.place(world, td), self.choice((None, 3, 508, 511)))
        elif kind == 1:
            world.violation(td, self.place(world, td), self.choice((0x182, 0x3F, 0xFFFF)))
        elif (td, vcpu) in world.inside:
            world.leave(td, vcpu)
        else:
            world.enter(td, vcpu, self.often(0.3))

    def lock(self, world: World, td: int) -> None:
        """Let another LP take a lock that a call is about to need."""
        if world.twin.tds[td].lifecycle == TEARDOWN:
            return
        op = self.choice((*CALLS, *NEEDS_PAGE, "TDH.MEM.TRACK"))
        given = self.operands(world, op, td)
        kind = self.choice(("pamt", "pamt", "septe", "septe", "tree", "opstate", "epoch"))
        lock: dict[str, Any] = {"kind": kind, "exclusive": self.often(0.6), "side": "host"}
        gpa, level = self.choice(GPAS), self.randrange(4)
        if given["rcx"] & ~7 in GPAS:
            gpa, level = given["rcx"] & ~7, given["rcx"] & 3
        if kind == "pamt":
            at = world.twin.find(world.twin.tds[td], gpa, level)
            behind = tw.page_of(world.twin.raw(at), at.level)
            pages = [p for p in (TDRS[td], behind, behind, *(given.get("r8", 0),) * 2) if p >> 30 in world.twin.blocks]
            lock |= {"hpa": self.choice(pages), "level": self.choice((0, 0, 0, 1, 2))}
        else:
            lock["td"] = td
        if kind == "septe":
            if op == "TDH.MEM.PAGE.PROMOTE" and self.often(0.5):
                gpa, level = gpa + 3 * K, 0
            lock |= {"gpa": gpa, "level": level, "side": self.choice(("host", "guest")), "exclusive": True}
        world.lock(lock)
        world.call(op, **given)
        if self.often(0.3):
            world.accept(td, gpa | level)
        if self.often(0.3):
            world.enter_free(td)

    def meddle(self, world: World, td: int) -> None:
        """Change a TD's op-state for long, or another field for one call; seldom tear it down."""
        if self.often(0.03) and not any(where == td for where, _ in world.inside):
            while world.locks:
                world.unlock()
            world.set(td, "lifecycle", TEARDOWN)
            for page in (*SMALL, *LARGE):
                world.call("TDH.PHYMEM.PAGE.RECLAIM", rcx=page)
        elif self.often(0.6):
            world.set(td, "op_state", self.choice((*range(11), 1, 1, 2, 2, 2, 2, 2, 8, 8, 9)))
        elif world.twin.tds[td].lifecycle != TEARDOWN:
            field, value = self.choice(
                (("fatal", 1), ("lifecycle", 0), ("lifecycle", 2), ("num_tdcx", 5), ("num_vcpus", 0))
            )
            before = getattr(world.twin.tds[td], field)
            world.set(td, field, value)
            op = self.choice(tuple(CALLS))
            world.call(op, **self.operands(world, op, td))
            world.enter_free(td)
            world.set(td, field, before)


def start(draw: Draw) -> World:
    """Return a world with a 2M page and, where the op-state allows, its 512 parts."""
    world = World(draw.choice(("INITIALIZED", "RUNNABLE", "RUNNABLE")))
    draw.map(world, 0, True)
    if draw.often(0.5):
        for level, page in ((3, 20), (2, 21)):
            world.call("TDH.MEM.SEPT.ADD", rcx=level, rdx=TDRS[0], r8=SMALL[page])
        world.call("TDH.MEM.PAGE.AUG", rcx=1, rdx=TDRS[0], r8=LARGE[0])
        for op in ("DEMOTE", "PROMOTE")[: draw.randrange(3)]:
            world.call("TDH.MEM.RANGE.BLOCK", rcx=1, rdx=TDRS[0])
            world.call("TDH.MEM.TRACK", rcx=TDRS[0])
            r8 = {"r8": SMALL[22]} if op == "DEMOTE" else {}
            for interrupt in (draw.often(0.5), False):
                world.call(f"TDH.MEM.PAGE.{op}", rcx=1, rdx=TDRS[0], interrupt=interrupt, **r8)
    return world


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=st.integers(0, 99), moves=st.lists(st.integers(0, 1 << 32), min_size=5, max_size=40))
def test_any_sequence(first: int, moves: list[int]) -> None:
    world = start(Draw(first))
    for move in moves:  # each draws for itself, so that a failing sequence can shrink
        Draw(move).move(world)


def test_sequences_reach_every_call_and_every_lock() -> None:
    """What is drawn is no monotony of refusals: each call succeeds, and each kind of lock is met."""
    told: Counter[tuple[str, int]] = Counter()
    for seed in range(40):
        draw = Draw(seed)
        world = start(draw)
        for _ in range(40):
            draw.move(world)
        told += world.told
    assert {op for op, rax in told if rax == 0} == {*CALLS, "ACCEPT", "ENTER"}
    busy = {rax & 0xFFFFFFFF for _, rax in told if rax & ~0xFFFFFFFF == tw.OPERAND_BUSY}
    assert busy >= {tw.RCX, tw.RDX, tw.R8, tw.TREE, tw.OP_STATE, tw.EPOCH}
    assert {rax & ~0xFFFFFFFF for _, rax in told} >= {
        tw.INTERRUPTED_RESTARTABLE, tw.PREVIOUS_TLB_EPOCH_BUSY, tw.PAGE_METADATA_INCORRECT, tw.EPT_WALK_FAILED,
        tw.GPA_RANGE_NOT_BLOCKED, tw.GPA_RANGE_ALREADY_BLOCKED, tw.TLB_TRACKING_NOT_DONE, tw.EPT_PAGE_NOT_FREE,
        tw.EPT_INVALID_PROMOTE_CONDITIONS, tw.EPT_ENTRY_STATE_INCORRECT, tw.PAGE_SIZE_MISMATCH,
        tw.PAGE_ALREADY_ACCEPTED, tw.EPT_ENTRY_NOT_PRESENT, tw.LIFECYCLE_STATE_INCORRECT, tw.OP_STATE_INCORRECT,
    }  # fmt: skip
