"""The guest's memory: which unit a thread takes next, and the lines, locks and tables that it meets there."""

from kernels.jit import step
from kernels.queueing.layout import (
    ABSENT,
    BASE_1G,
    BASE_GIB,
    BASE_LINE,
    BASE_RANGE,
    BUSY,
    FIRST_THREAD,
    FROZEN,
    GIBS,
    INTERLEAVED,
    LINES,
    NEXT_UNIT,
    NODE,
    NODES,
    ON_OWN_NODE,
    PC,
    PLACEMENT,
    PRESENT,
    RANGES,
    REGISTERS,
    STATE,
    STEP_ARG,
    STEP_ELSE,
    STEP_LOCK,
    STRIPED,
    TAKEN,
    TD,
    TD_THREADS,
    UNIT_SHIFT,
    UNIT_STRIDE,
    UNITS_IN_GUEST,
)

(PAGE_PAMT_1G, PAGE_PAMT_2M, PAGE_PAMT_4K, SEPT_LINE, RANGE, TABLE_4K, TABLE_2M, FOLIO, FOLIO_LOCK, HUGETLB_MUTEX,
 DRAM, LINK, PAMT_REFERENCES, RANGE_PAMT_LOCK, PAGE) = range(15)  # fmt: skip
"""Registers that taking memory sets; scripts may use those from MEMORY_REGISTERS on for what they like."""
MEMORY_REGISTERS = 15

GIB_TABLE, GIB_FOLIO, GIB_LOCK, GIB_MUTEX = range(4)
GIB_RESOURCES = 4
RANGE_ENTRY, RANGE_TABLE, RANGE_PAMT, RANGE_PAMT_LINE, RANGE_REFERENCES = range(5)
RANGE_RESOURCES = 5
"""Of each 2M range: S-EPT entry, mirror entry and PAMT_2M entry; of every fourth one a line of PAMT_2M entries, of
every sixteenth a line of Dynamic PAMT's reference counts."""
LINE_PAMT, LINE_SEPT = range(2)
LINE_RESOURCES = 2

_GIB_SHIFT, _RANGE_SHIFT = 18, 9


@step
def _point(sim, thread, register, row):
    sim.threads[thread, REGISTERS + register] = row


@step
def _place(sim, thread, unit):
    """Choose the node of the pages; their memory server is the node's, and the link's where it is another."""
    own, nodes = sim.threads[thread, NODE], sim.settings[NODES]
    home = 0
    if sim.settings[PLACEMENT] == ON_OWN_NODE:
        home = own
    elif sim.settings[PLACEMENT] == INTERLEAVED:
        home = unit % nodes
    _point(sim, thread, DRAM, home)
    _point(sim, thread, LINK, nodes + home if home != own else -1)


@step
def point_at_range(sim, thread, page):
    """Point the registers at the 2M range of ``page``, counted in the guest."""
    td = sim.threads[thread, TD]
    slot = (page >> _RANGE_SHIFT) % sim.settings[RANGES]
    row = sim.tds[td, BASE_RANGE] + slot * RANGE_RESOURCES
    _point(sim, thread, RANGE, row + RANGE_ENTRY)
    _point(sim, thread, TABLE_4K, row + RANGE_TABLE)
    _point(sim, thread, RANGE_PAMT_LOCK, row + RANGE_PAMT)
    base = sim.tds[td, BASE_RANGE]
    _point(sim, thread, PAGE_PAMT_2M, base + (slot & -4) * RANGE_RESOURCES + RANGE_PAMT_LINE)
    _point(sim, thread, PAMT_REFERENCES, base + (slot & -16) * RANGE_RESOURCES + RANGE_REFERENCES)
    sim.threads[thread, REGISTERS + PAGE] = page
    if page & ((1 << _RANGE_SHIFT) - 1) == 0:
        sim.resources[row + RANGE_TABLE, STATE] = ABSENT


@step
def move(sim, thread, pc, now):
    """Go on to the page that lies ARG pages further in the unit."""
    point_at_range(sim, thread, sim.threads[thread, REGISTERS + PAGE] + sim.script[pc, STEP_ARG])
    return now


@step
def _next_unit(sim, thread, td):
    """Return the next unit of the TD, or of the thread's stripe; memory begins anew at its end."""
    units = sim.settings[UNITS_IN_GUEST]
    if sim.settings[STRIPED]:
        stripe = max(units // sim.tds[td, TD_THREADS], 1)
        taken = sim.threads[thread, TAKEN]
        sim.threads[thread, TAKEN] = taken + 1
        return ((thread - sim.tds[td, FIRST_THREAD]) * stripe + taken % stripe) % units
    taken = sim.tds[td, NEXT_UNIT]
    sim.tds[td, NEXT_UNIT] = taken + 1
    return (taken % units) * sim.settings[UNIT_STRIDE] % units


@step
def take(sim, thread, now):
    """Take the next unit: 4 MiB of a Linux guest's page allocator, or one page."""
    td = sim.threads[thread, TD]
    unit = _next_unit(sim, thread, td)
    page = unit << sim.settings[UNIT_SHIFT]
    gib = (page >> _GIB_SHIFT) % sim.settings[GIBS]
    row = sim.tds[td, BASE_GIB] + gib * GIB_RESOURCES
    _point(sim, thread, TABLE_2M, row + GIB_TABLE)
    _point(sim, thread, FOLIO, row + GIB_FOLIO)
    _point(sim, thread, HUGETLB_MUTEX, row + GIB_MUTEX)
    _point(sim, thread, FOLIO_LOCK, row + GIB_LOCK)
    _point(sim, thread, PAGE_PAMT_1G, sim.tds[td, BASE_1G] + (gib >> 2))
    if page & ((1 << _GIB_SHIFT) - 1) == 0:
        sim.resources[row + GIB_TABLE, STATE] = ABSENT
        sim.resources[row + GIB_FOLIO, STATE] = ABSENT
    if sim.settings[UNIT_SHIFT] == 0:
        base = sim.tds[td, BASE_LINE]
        _point(sim, thread, PAGE_PAMT_4K, base + (page >> 2) % sim.settings[LINES] * LINE_RESOURCES + LINE_PAMT)
        _point(sim, thread, SEPT_LINE, base + (page >> 3) % sim.settings[LINES] * LINE_RESOURCES + LINE_SEPT)
    _place(sim, thread, unit)
    point_at_range(sim, thread, page)
    return now


@step
def freeze(sim, thread, pc, now):
    """Freeze the entry of a missing table: go on where the caller makes it, or where it is there, or may try again."""
    register = sim.script[pc, STEP_LOCK]
    row = sim.threads[thread, REGISTERS + register]
    state = sim.resources[row, STATE]
    if state == ABSENT:
        sim.resources[row, STATE] = FROZEN
    elif state == PRESENT:
        sim.threads[thread, PC] = sim.script[pc, STEP_ELSE] - 1
    else:
        sim.tally[register, BUSY] += 1
        sim.threads[thread, PC] = sim.script[pc, STEP_ARG] - 1
    return now


@step
def set_state(sim, thread, pc, now):
    """Give a table or folio the state in ARG."""
    row = sim.threads[thread, REGISTERS + sim.script[pc, STEP_LOCK]]
    sim.resources[row, STATE] = sim.script[pc, STEP_ARG]
    return now
