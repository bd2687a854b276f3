"""Which locks a thread holds at each step of a script: by following every path, without running any.

Two paths that come to one step must hold the same; a script in which one forgot a lock fails here. With it, the locks
of a running simulation can be counted from where its threads are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kernels.queueing import layout as q
from kernels.queueing.layout import REGISTERS, Op, Simulation
from perfmodel.scaling.module_calls import Call
from perfmodel.scaling.registers import Register as Reg

Held = frozenset[tuple[str, int, int]]
"""What is held, the register, how often."""
SHARED, EXCLUSIVE, FROZEN, IN_EPOCH, COUNTED = "shared", "exclusive", "frozen", "in the epoch", "counted in"
INSIDE: Held = frozenset({(IN_EPOCH, -1, 1), (SHARED, Reg.TDR_PAMT_4K, 1)})
"""What every vCPU in the TD holds, and gives back when it exits."""
_TAKES = {
    Op.TRY_SHARED: SHARED, Op.TRY_EXCLUSIVE: EXCLUSIVE, Op.TRY_GUEST: EXCLUSIVE, Op.READ_LOCK: SHARED,
    Op.WRITE_LOCK: EXCLUSIVE, Op.SLEEP_LOCK: EXCLUSIVE, Op.ENTER: IN_EPOCH,
}  # fmt: skip
_GIVES = {
    Op.DROP_SHARED: SHARED, Op.DROP_EXCLUSIVE: EXCLUSIVE, Op.READ_UNLOCK: SHARED, Op.WRITE_UNLOCK: EXCLUSIVE,
    Op.SLEEP_UNLOCK: EXCLUSIVE, Op.EXIT: IN_EPOCH,
}  # fmt: skip
_COUNTS = {int(Call.VP_ENTER): 1, int(Call.TD_EXIT): -1}
_TRIED = (Op.TRY_SHARED, Op.TRY_EXCLUSIVE, Op.TRY_GUEST, Op.TRY_PROMOTE)
_QUEUED = (Op.READ_LOCK, Op.WRITE_LOCK, Op.SLEEP_LOCK, Op.READ_UNLOCK, Op.WRITE_UNLOCK, Op.SLEEP_UNLOCK)
_BRANCHES = (Op.IF_LESS, Op.IF_STATE, Op.CHOOSE, Op.TRACK)


def _change(held: Held, kind: str, register: int, by: int) -> Held:
    counts = Counter({(what, where): times for what, where, times in held})
    counts[kind, register] += by
    assert counts[kind, register] >= 0 or kind == COUNTED, f"{kind} of register {register} is given back, not held"
    return frozenset((what, where, times) for (what, where), times in counts.items() if times)


def _after(row: list[int], pc: int, held: Held) -> Iterator[tuple[int, Held]]:
    """Yield the steps that may follow one, and what is held there."""
    op, line, lock, _, arg, otherwise = Op(row[0]), *row[1:]
    register = line if op in _QUEUED else lock
    if op in (Op.ENTER, Op.EXIT):
        register = -1
    if op in _TRIED:
        yield otherwise, held
    if op in (Op.PARK, Op.RESUME):
        return
    if op == Op.JUMP:
        yield arg, held
        return
    if op == Op.FREEZE:
        yield otherwise, held
        yield arg, held
        yield pc + 1, _change(held, FROZEN, lock, 1)
        return
    if op in _BRANCHES:
        yield otherwise, held
    if op == Op.SET_STATE and (FROZEN, lock, 1) in held:
        held = _change(held, FROZEN, lock, -1)
    elif op == Op.TRY_PROMOTE:
        held = _change(_change(held, SHARED, lock, -1), EXCLUSIVE, lock, 1)
    elif op == Op.COUNT and arg in _COUNTS:
        held = _change(held, COUNTED, -1, _COUNTS[arg])
    elif op in _TAKES:
        held = _change(held, _TAKES[op], register, 1)
    elif op in _GIVES:
        held = _change(held, _GIVES[op], register, -1)
    yield pc + 1, held


def held_at(script: list[list[int]], starts: Iterable[tuple[int, Held]]) -> dict[int, Held]:
    """Return what is held before each step that can be reached.

    Raises
    ------
    AssertionError
        Two paths to a step differ in what they hold, or a lock is given back that is not held.
    """
    known: dict[int, Held] = {}
    todo = list(starts)
    while todo:
        pc, held = todo.pop()
        if pc in known:
            assert known[pc] == held, f"step {pc}: {set(known[pc])} by one path, {set(held)} by another"
            continue
        known[pc] = held
        todo += _after(script[pc], pc, held)
    return known


@dataclass
class Holders:
    """What all threads hold now, by resource; how many of each TD are in its epochs; entries less exits counted."""

    shared: Counter[int]
    exclusive: Counter[int]
    frozen: Counter[int]
    in_epoch: Counter[int]
    counted_in: int = 0


def holders(sim: Simulation, known: dict[int, Held]) -> Holders:
    """Count what threads hold, from the steps at which they are."""
    found = Holders(Counter(), Counter(), Counter(), Counter())
    kinds = {SHARED: found.shared, EXCLUSIVE: found.exclusive, FROZEN: found.frozen}
    for thread in sim.threads.tolist():
        if thread[q.PC] == sim.settings[q.KICKED] and not thread[q.AWAY]:
            continue  # it never began
        counts = Counter[tuple[str, int]]()
        for pc in (thread[q.PC], thread[q.SAVED_PC]) if thread[q.AWAY] else (thread[q.PC],):
            counts.update({(kind, register): times for kind, register, times in known.get(pc, ())})
        if thread[q.AWAY]:  # what it held inside is counted with both steps
            counts.subtract({(kind, register): times for kind, register, times in INSIDE})
            if thread[q.GRANTED]:
                row = sim.script[thread[q.SAVED_PC]].tolist()
                counts[_TAKES[Op(row[q.STEP_OP])], row[q.STEP_LINE]] += 1
        for (kind, register), times in counts.items():
            if kind == IN_EPOCH:
                found.in_epoch[thread[q.TD]] += times
            elif kind == COUNTED:
                found.counted_in += times
            else:
                kinds[kind][thread[REGISTERS + register]] += times
    return found
