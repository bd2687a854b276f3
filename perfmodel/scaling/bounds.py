"""What each resource allows, however many vCPUs there are: its capacity over what a unit of work asks of it.

The demand is derived by running one vCPU alone and counting: atomic instructions on each line, the time each lock is
held, the bytes moved. A line's bound takes every atomic instruction as one transfer, since under load each finds the
line with another vCPU.
"""

from dataclasses import dataclass

from kernels.queueing import layout as q
from perfmodel.scaling.measure import run_until_steady
from perfmodel.scaling.network import Description, build
from perfmodel.scaling.point import alone
from perfmodel.scaling.registers import TITLES, title_of
from perfmodel.scaling.registers import Register as Reg

_TD_WIDE = (
    Reg.TDR_PAMT_1G, Reg.TDR_PAMT_2M, Reg.TDR_PAMT_4K, Reg.TDR_CHLDCNT, Reg.TDCS_OP_STATE, Reg.TDCS_TREE, Reg.TD_EPOCH,
    Reg.TDVPR_PAMT_1G, Reg.MMU_LOCK, Reg.PAMT_REFERENCES,
)  # fmt: skip
_LOCKS = (Reg.FOLIO_LOCK, Reg.GUEST_LOCK, Reg.PAMT_LOCK, Reg.MMU_LOCK)
_UNITS = 2048


@dataclass(frozen=True)
class Bound:
    """One resource's limit.

    Attributes
    ----------
    resource : str
    per_unit : float
        Uses of it in one unit of work: atomic instructions, or lock acquisitions, or streams.
    ns_per_unit : float
        How long one unit keeps it.
    units_per_s : float
        What all TDs together can do at most.
    """

    resource: str
    per_unit: float
    ns_per_unit: float
    units_per_s: float


def find_bounds(d: Description) -> list[Bound]:
    """Return the bounds of a workload, the tightest first.

    Parameters
    ----------
    d : Description
        Its vCPUs, TDs and nodes say how many instances of each resource there are, and how far lines travel.
    """
    measured = run_until_steady(build(alone(d)), _UNITS, _UNITS, batches=2)
    transfer_ns = mean_transfer_ns(d)
    bounds = []

    def add(title: str, uses: float, ns: float, instances: int) -> None:
        if ns > 0:
            bounds.append(Bound(title, uses, ns, instances / ns * 1e9))

    visits = {r: int(measured.tally[r, q.VISITS]) / measured.units for r in TITLES}
    lines = {r: visits[r] for r in _TD_WIDE}
    if d.together:
        lines[Reg.TDR_PAMT_1G] += lines.pop(Reg.TDVPR_PAMT_1G)
    for register, uses in lines.items():
        add(title_of(register, d.together), uses, uses * transfer_ns, d.tds)
    if d.order == "sequential":
        add(TITLES[Reg.PAGE_PAMT_1G], visits[Reg.PAGE_PAMT_1G], visits[Reg.PAGE_PAMT_1G] * transfer_ns, d.tds)
    for register in _LOCKS:
        held = int(measured.tally[register, q.HELD]) / measured.units / 1e3
        if not held or (register == Reg.FOLIO_LOCK and d.order != "sequential"):
            continue
        uses = visits[register] / 2
        handed_on = 0.0 if register == Reg.FOLIO_LOCK else 2 * uses * transfer_ns  # to its queue, and to the next
        add(f"{TITLES[register]}, held", uses, held + handed_on, 1 if register == Reg.PAMT_LOCK else d.tds)
    moved = int(measured.occupied[0]) / measured.units / 1e3
    servers = 1 if d.placement == "first" else d.nodes
    add(TITLES[Reg.DRAM], visits[Reg.DRAM], moved, servers)
    if d.placement != "own":
        away = 1 - 1 / d.nodes
        linked = moved * d.costs.link_line / d.costs.dram_line * away
        add(TITLES[Reg.LINK], visits[Reg.DRAM] * away, linked, servers)
    return sorted(bounds, key=lambda bound: bound.units_per_s)


def mean_transfer_ns(d: Description) -> float:
    """Return what a line's transfer takes on average when any other vCPU of the TD may have had it last."""
    remote = 1 - 1 / d.nodes
    return (1 - remote) * d.costs.line_transfer + remote * d.costs.line_transfer_remote


def find_knee(service_ns: float, bounds: list[Bound], tds: int) -> float:
    """Return the vCPUs of a TD at which unhindered vCPUs would reach the tightest bound."""
    return bounds[0].units_per_s * service_ns / 1e9 / tds
