"""From a description of vCPUs and their work to a simulation that is ready to run."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from kernels.queueing import layout as q
from kernels.queueing import memory
from kernels.queueing.engine import start
from kernels.queueing.layout import REGISTERS as FIRST_REGISTER
from kernels.queueing.layout import Op, Simulation
from perfmodel.scaling.changes import ChangePath, ChangeServices
from perfmodel.scaling.faults import Extras, FaultPath, PathOptions
from perfmodel.scaling.module_calls import Call, td_exit, vp_enter
from perfmodel.scaling.registers import REGISTERS
from perfmodel.scaling.registers import Register as Reg
from perfmodel.scaling.script import PS_PER_NS, Label, Script
from perfmodel.scaling.services import FaultServices
from perfmodel.scaling.simulation import Spread, make_simulation

Workload = Literal["populate", "convert", "split", "teardown"]
State = Literal["working", "inside", "halted", "ticking"]
Placement = Literal["own", "first", "interleave"]

PLACEMENTS = {"first": q.ON_FIRST_NODE, "own": q.ON_OWN_NODE, "interleave": q.INTERLEAVED}
_GIB_SHIFT = 18
_CHUNK_SHIFT = 10
_RANGES_PER_GIB = 512
_MOST_GIBS = 1024
_MOST_SCATTERED_GIBS = 128
_RANGES_AT_ONCE = 8192
_LINES_AT_ONCE = 4096
_ONE = 1 << 20

_TD_LINES = (
    Reg.TDR_PAMT_1G, Reg.TDR_PAMT_2M, Reg.TDR_PAMT_4K, Reg.TDR_CHLDCNT, Reg.TDCS_OP_STATE, Reg.TDCS_TREE, Reg.TD_EPOCH,
    Reg.TDVPR_PAMT_1G, Reg.MMU_LOCK, Reg.GUEST_LOCK,
)  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """What meeting others costs, in ns, except for ``remote_line`` and ``link_line``, which are ns a line."""

    line_transfer: float
    line_transfer_remote: float
    sleeper_wakeup: float
    ipi_send: float
    ipi_delivery: float
    dram_line: float
    link_line: float
    remote_line: float
    tick_period: float
    tick_inside: float


@dataclass(frozen=True)
class Kind:
    """A kind of 4 MiB chunk: the share of chunks that are of it, its faults, and whether a GiB is one folio."""

    share: float
    services: FaultServices
    folio_per_gib: bool


@dataclass(frozen=True)
class Description:
    """Everything that a simulation is made of.

    Attributes
    ----------
    workload : {"populate", "convert", "split", "teardown"}
    state : {"working", "inside", "halted", "ticking"}
        What the vCPUs beside the first do: populate too, run in the TD without touching memory, wait outside it, or
        wait and wake for ticks.
    vcpus, tds, nodes : int
        vCPUs of each TD; TDs; NUMA nodes, over which each TD's vCPUs are spread in blocks.
    placement : {"own", "first", "interleave"}
        Where the guest's pages lie.
    gibs : int
        Guest memory.
    order : {"sequential", "random", "striped"}
        Which unit of memory comes next: the guest's next, one anywhere in it, or the next of the vCPU's own stripe.
    kinds : tuple of Kind
    rare_kinds : float
        How many times as long a page takes on average with the kinds that are too rare to be simulated.
    change : ChangeServices, optional
        For workloads other than populating.
    together : bool
        TDR and TDVPRs lie in one 4 GiB, and so on one PAMT_1G line.
    spread : {"none", "exponential"}
        Of each piece of work around its mean.
    seed : int
    """

    workload: Workload
    state: State
    vcpus: int
    tds: int
    nodes: int
    placement: Placement
    gibs: int
    order: str
    kinds: tuple[Kind, ...]
    costs: Costs
    extras: Extras
    options: PathOptions = field(default_factory=PathOptions)
    rare_kinds: float = 1.0
    change: ChangeServices | None = None
    together: bool = True
    spread: Spread = "exponential"
    seed: int = 0


@dataclass(frozen=True)
class Starts:
    """Where threads begin: at a chunk, within one, at a change, inside, at a tick; and what an IPI does.

    ``interrupt`` is the step of an IPI that arrives, ``kicked`` how a thread goes on that it interrupts.
    """

    populate: int
    within: int
    change: int
    inside: int
    tick: int
    interrupt: int
    kicked: int


def write_script(d: Description) -> tuple[Script, Starts]:
    """Write the script of all threads."""
    script = Script()
    s = d.kinds[0].services
    exits = any(kind.services.exits for kind in d.kinds)
    kicked = _write_kicked(script, d)

    populate = script.here
    if exits:
        vp_enter(script, s.enter, s.dispatch)
    loop = Label()
    script.place(loop)
    second_pages = _write_chunks(script, d)
    script.add(Op.JUMP, arg=loop)

    begin_within = script.here
    if second_pages:
        if exits:
            vp_enter(script, s.enter, s.dispatch)
        script.add(Op.TAKE)
        script.add(Op.SET_STATE, lock=Reg.TABLE_4K, arg=q.PRESENT)
        script.add(Op.JUMP, arg=second_pages[0])

    change = script.here
    if d.change is not None:
        _write_change(script, d, d.change)
    inside = script.here
    vp_enter(script, s.enter, s.dispatch)
    script.add(Op.PARK)
    tick = script.here
    _write_tick(script, d)
    interrupt = script.add(Op.INTERRUPT, Reg.KICK)
    return script, Starts(populate, begin_within, change, inside, tick, interrupt, kicked)


def _write_chunks(script: Script, d: Description) -> list[Label]:
    """Write one turn of a thread that populates; return where the first 4K kind's second page begins."""
    script.add(Op.TAKE)
    left, second_pages, end = 1.0, [], Label()
    for number, kind in enumerate(d.kinds):
        other = Label()
        if number + 1 < len(d.kinds):
            script.add(Op.CHOOSE, arg=round(kind.share / left * _ONE), otherwise=other)
        left -= kind.share
        path = FaultPath(script, kind.services, kind.folio_per_gib, d.extras, d.options)
        if d.options.page_wise:
            path.page()
        elif kind.services.level and d.options.touch_first and d.change is not None:
            path.touched_chunk(ChangePath(script, d.change))
        else:
            place = path.chunk()
            if not kind.services.level and d.options.guest_lock == "dropped":
                second_pages.append(place)
        script.add(Op.JUMP, arg=end)
        script.place(other)
    script.place(end)
    return second_pages


def _write_kicked(script: Script, d: Description) -> int:
    if d.change is None:
        return 0
    return ChangePath(script, d.change).kicked()


def _write_change(script: Script, d: Description, change: ChangeServices) -> None:
    path = ChangePath(script, change)
    if d.workload != "teardown":
        vp_enter(script, change.enter, change.dispatch)
    loop = Label()
    script.place(loop)
    script.add(Op.TAKE)
    if d.workload == "teardown":
        path.under_write_lock(path.zap_leaf)
    else:
        path.convert_chunk(split=d.workload == "split")
    script.add(Op.JUMP, arg=loop)


def _write_tick(script: Script, d: Description) -> None:
    s, costs = d.kinds[0].services, d.costs
    loop = Label()
    script.place(loop)
    script.work(costs.tick_period)
    vp_enter(script, s.enter, s.dispatch)
    script.work(costs.tick_inside)
    td_exit(script, s.exit)
    script.work(s.dispatch)
    script.add(Op.NOTHING)
    script.add(Op.JUMP, arg=loop)


def build(d: Description) -> Simulation:
    """Return the simulation of ``d`` with every thread at its beginning."""
    script, starts = write_script(d)
    in_turn = d.order == "sequential"
    gibs = min(d.gibs, _MOST_GIBS if in_turn else _MOST_SCATTERED_GIBS)
    ranges = min(_RANGES_AT_ONCE, gibs * _RANGES_PER_GIB) if in_turn else gibs * _RANGES_PER_GIB
    lines = _LINES_AT_ONCE if d.options.page_wise else 0
    per_td = (
        len(_TD_LINES) + gibs * memory.GIB_RESOURCES + -(-gibs // 4) + ranges * memory.RANGE_RESOURCES
        + lines * memory.LINE_RESOURCES
    )  # fmt: skip
    shared = 2 * d.nodes + 2
    vcpus = d.vcpus * d.tds
    threads = vcpus if d.change is None else 2 * vcpus
    sim = make_simulation(
        script.assemble(), threads, REGISTERS, shared + d.tds * per_td, d.nodes, d.tds, len(Call), d.spread, d.seed
    )
    _settle(sim, d, starts.kicked, gibs, ranges)
    for td in range(d.tds):
        _lay_out_td(sim, d, td, shared + td * per_td, gibs, ranges)
    if not in_turn:  # in the middle of populating, as units of a stripe or of anywhere are
        sim.resources[shared:, q.STATE] = _tables_present(sim, d, shared)
    sim.settings[q.COURIERS] = vcpus
    sim.threads[vcpus:, q.PC] = starts.interrupt
    _begin(sim, d, starts)
    return sim


def _tables_present(sim: Simulation, d: Description, shared: int) -> npt.NDArray[np.int64]:
    """Return the states of all TDs' resources with every table and folio there."""
    states = sim.resources[:, q.STATE].copy()
    for td in range(d.tds):
        gib, one, ranges, lines = (int(sim.tds[td, f]) for f in (q.BASE_GIB, q.BASE_1G, q.BASE_RANGE, q.BASE_LINE))
        for part in (memory.GIB_TABLE, memory.GIB_FOLIO):
            states[gib + part : one : memory.GIB_RESOURCES] = q.PRESENT
        states[ranges + memory.RANGE_TABLE : lines : memory.RANGE_RESOURCES] = q.PRESENT
    return states[shared:]


def _settle(sim: Simulation, d: Description, kicked: int, gibs: int, ranges: int) -> None:
    shift = 0 if d.options.page_wise else _CHUNK_SHIFT
    units = gibs << _GIB_SHIFT - shift
    given = {
        q.LOCAL: d.costs.line_transfer * PS_PER_NS, q.REMOTE: d.costs.line_transfer_remote * PS_PER_NS,
        q.WAKE: d.costs.sleeper_wakeup * PS_PER_NS, q.IPI_SEND: d.costs.ipi_send * PS_PER_NS,
        q.IPI_DELIVERY: d.costs.ipi_delivery * PS_PER_NS, q.KICKED: kicked, q.UNITS_IN_GUEST: units,
        q.UNIT_STRIDE: _stride(units) if d.order == "random" else 1, q.UNIT_SHIFT: shift,
        q.STRIPED: int(d.order == "striped"), q.GIBS: gibs, q.RANGES: ranges, q.LINES: _LINES_AT_ONCE,
        q.PLACEMENT: PLACEMENTS[d.placement], q.NODES: d.nodes,
        q.REMOTE_PACE: 1024 * d.costs.remote_line / d.costs.dram_line,
        q.LINK_PACE: 1024 * d.costs.link_line / d.costs.dram_line,
    }  # fmt: skip
    for field_number, value in given.items():
        sim.settings[field_number] = round(value)


def _stride(units: int) -> int:
    """Return a stride near the golden section of ``units`` that reaches every one of them."""
    stride = max(round(units * 0.6180339887), 1)
    while math.gcd(stride, units) != 1:
        stride += 1
    return stride


def _lay_out_td(sim: Simulation, d: Description, td: int, base: int, gibs: int, ranges: int) -> None:
    fields = sim.tds[td]
    fields[q.TD_EPOCH] = 1
    fields[q.FIRST_THREAD], fields[q.TD_THREADS] = td * d.vcpus, d.vcpus
    fields[q.BASE_GIB] = base + len(_TD_LINES)
    fields[q.BASE_1G] = fields[q.BASE_GIB] + gibs * memory.GIB_RESOURCES
    fields[q.BASE_RANGE] = fields[q.BASE_1G] - (-gibs // 4)
    fields[q.BASE_LINE] = fields[q.BASE_RANGE] + ranges * memory.RANGE_RESOURCES
    own = sim.threads[td * d.vcpus : (td + 1) * d.vcpus]
    own[:, q.TD] = td
    own[:, q.NODE] = np.arange(d.vcpus) * d.nodes // d.vcpus
    own[:, FIRST_REGISTER + Reg.PAMT_LOCK] = 2 * d.nodes
    own[:, FIRST_REGISTER + Reg.KICK] = 2 * d.nodes + 1
    own[:, FIRST_REGISTER + Reg.SAME_RIP] = 0
    for number, line in enumerate(_TD_LINES):
        own[:, FIRST_REGISTER + line] = base + number
    own[:, FIRST_REGISTER + Reg.SAME_RIP] = 0
    if d.together:
        own[:, FIRST_REGISTER + Reg.TDVPR_PAMT_1G] = own[:, FIRST_REGISTER + Reg.TDR_PAMT_1G]


def _begin(sim: Simulation, d: Description, starts: Starts) -> None:
    """Start each thread at a time of its own within one turn, those that populate at 4K in the middle of a range."""
    draw = np.random.default_rng([0xBE61, d.seed])
    populates = {"working": starts.populate, "inside": starts.inside, "halted": -1, "ticking": starts.tick}
    spread_ns = d.costs.tick_period if d.state == "ticking" else d.kinds[0].services.total
    for thread in range(d.vcpus * d.tds):
        first = thread % d.vcpus == 0
        step = populates["working" if first else d.state]
        if first and d.workload != "populate":
            step = starts.change
        elif step == starts.populate and len(d.kinds) == 1 and starts.within < starts.change:
            step = starts.within
            sim.threads[thread, FIRST_REGISTER + Reg.FIRST_COUNT] = int(draw.integers(0, _RANGES_PER_GIB - 1))
        at = 0 if first else int(draw.integers(0, int(spread_ns * PS_PER_NS)))
        if step >= 0:
            start(sim, thread, step, at)
