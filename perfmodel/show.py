"""Results as tables on the terminal."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmodel.costs import ALL_STAGES
from perfmodel.parameters import ParameterSet
from perfmodel.refusals import CAUSES
from perfmodel.result import Comparison, Ratio, Row, Run
from perfmodel.scaling.together import Scaling
from perfmodel.sizes import format_size

if TYPE_CHECKING:
    from perfmodel.steady_result import Interval, SteadyResult, SteadyRow

STAGE_TITLES = {
    "exit": "TD exit",
    "kvm_fault": "KVM fault handling",
    "guest_memfd": "guest_memfd",
    "host_clear": "host clearing",
    "mirror": "mirror tables",
    "flush": "cache-line flush",
    "seamcall": "SEAMCALL entry and return",
    "module_keyhole": "module: keyhole maps",
    "module_locks": "module: locks",
    "module_memory": "module: walk and PAMT memory",
    "module_fill": "module: fills",
    "module_code": "module: other instructions",
    "guest_accept": "guest ACCEPT",
    "guest_zero": "ACCEPT: zeroing",
    "entry": "TD entry",
    "build": "PAGE.ADD",
    "measure": "MR.EXTEND",
    "guest_ve": "guest #VE",
    "convert": "conversion: MapGPA, attributes",
    "mmu_lock": "mmu_lock for write",
    "block": "RANGE.BLOCK",
    "track": "MEM.TRACK",
    "kick": "kicking vCPUs",
    "demote": "PAGE.DEMOTE",
    "promote": "PAGE.PROMOTE",
    "remove": "PAGE.REMOVE",
    "wbinvd": "PAGE.WBINVD",
    "reset": "clearing of removed pages",
    "reclaim": "PAGE.RECLAIM",
    "pamt": "Dynamic PAMT",
}

LINE_TITLES = {
    "sept": "S-EPT",
    "pamt": "PAMT",
    "control": "TDR, TDCS, TDVPS",
    "keyhole": "keyhole state",
    "scan": "PAMT scan of a 2M AUG",
}

_TIME_UNITS = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))


def print_comparison(result: Comparison) -> None:
    """Print counts, time and refusals of every interface."""
    console = Console(width=None if Console().is_terminal else 140)
    _print_head(console, result.scenario, result.notes)
    table = Table(title="Counts are exact; times span a 5 % to 95 % interval")
    table.add_column("")
    for row in result.rows:
        table.add_column(row.interface, justify="right")
    cells = [_cells(row, ratio) for row, ratio in zip(result.rows, result.ratios, strict=True)]
    for title in cells[0]:
        table.add_row(title, *(one[title] for one in cells))
    console.print(table)
    _print_refusals(console, result.rows)
    _print_lines(console, result.notes)
    _print_foot(console, result)


def print_run(result: Run, parameters: ParameterSet) -> None:
    """Print the ledger of every interface: stage by stage, unit by unit, with its time."""
    console = Console(width=None if Console().is_terminal else 140)
    _print_head(console, result.scenario, result.notes)
    price_ns = dict(zip(parameters.names, parameters.values_ns().tolist(), strict=True))
    for done in result.runs:
        total_seconds = done.row.ns.total / 1e9
        table = Table(title=f"{done.row.interface}: {_cost(done.row)}", show_footer=True)
        table.add_column("stage", footer="total")
        table.add_column("unit of work")
        table.add_column("count", justify="right")
        table.add_column("ns each", justify="right")
        table.add_column("seconds", justify="right", footer=format_number(total_seconds))
        table.add_column("share", justify="right", footer="100.0 %")
        for stage in ALL_STAGES:
            for unit, count in sorted(done.ledger.get(stage, {}).items()):
                seconds = count * price_ns[unit] / 1e9
                share = f"{100 * seconds / total_seconds:.1f} %" if total_seconds else ""
                table.add_row(
                    STAGE_TITLES[stage], unit, f"{count:,}", f"{price_ns[unit]:.3g}", format_number(seconds), share
                )
        console.print(table)
    _print_refusals(console, [done.row for done in result.runs])
    _print_lines(console, result.notes)
    _print_foot(console, result)


def print_parameters(parameters: ParameterSet, sources: bool) -> None:
    """Print every parameter with range, confidence and, with ``sources``, meaning and source."""
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(
        title=f"{parameters.name} ({parameters.sha256[:12]}): {parameters.core_ghz:g} GHz core, "
        f"{parameters.tsc_ghz:g} GHz TSC"
    )
    for title in ("parameter", "value", "low", "high", "unit", "distribution", "confidence"):
        table.add_column(title, justify="right" if title in ("value", "low", "high") else "left", no_wrap=True)
    table.add_column("meaning and source" if sources else "meaning")
    for p in parameters.parameters:
        text = Text(p.meaning)
        if sources:
            text.append(f"\n{p.source}", style="dim")
        numbers = (f"{p.value:g}", f"{p.low:g}", f"{p.high:g}")
        how = p.distribution if p.sigma is None else f"{p.distribution}, sigma {p.sigma:.2g}"
        table.add_row(p.name, *numbers, p.unit, how, p.confidence, text)
    console.print(table)


def _print_head(console: Console, scenario: dict[str, Any], notes: dict[str, Any]) -> None:
    shared = ""
    if scenario["shattered"]:
        shared = f", {scenario['shattered']:.3g} of the 1G folios with {scenario['shared_pages']} shared pages each"
    several = ""
    if scenario["vcpus"] * scenario["tds"] > 1:
        several = (
            f", {scenario['vcpus']} vCPUs ({scenario['vcpu_state']}), {scenario['tds']} TDs, {scenario['nodes']} nodes"
        )
    console.print(
        f"{format_size(scenario['memory_bytes'])} guest, backing {scenario['backing']}{shared}, guest "
        f"{scenario['guest']}, {scenario['order']}, layout {scenario['layout']}, {scenario['levels']} S-EPT levels"
        f"{several}",
        highlight=False,
    )
    if contiguity := notes.get("contiguity"):
        orders = ", ".join(f"order {order} {100 * share:.1f} %" for order, share in contiguity["order_shares"].items())
        console.print(
            f"host memory: {contiguity['extents']:,} extents; folios: {orders}; "
            f"{100 * contiguity['contiguous_2m_share']:.1f} % of the 2M ranges contiguous and aligned, "
            f"{100 * contiguity['folio_2m_share']:.1f} % in one folio; addresses {contiguity['addresses']}; "
            f"{contiguity['inferred_pages']:,} pages inferred (free, on no free list)",
            highlight=False,
        )


def _cells(row: Row, ratio: Ratio) -> dict[str, str]:
    return {
        "leaves at 4K": f"{row.leaves.size_4k:,}",
        "leaves at 2M": f"{row.leaves.size_2m:,}",
        "TD exits": f"{row.td_exits:,}",
        "KVM faults": f"{row.faults:,}",
        **{name: f"{count:,}" for name, count in (row.seamcalls | row.tdcalls).items()},
        "host table memory": f"{row.host_table_pages / 256:,.1f} MiB",
        "time": format_time(row.seconds),
        "  interval": format_time(*_seconds_interval(row)),
        "throughput": f"{format_number(row.gib_per_s)} GiB/s",
        f"time over {ratio.over}": f"{ratio.value:.3f}",
        "  interval ": f"{ratio.low:.3f} to {ratio.high:.3f}",
        **_scaling_cells(row.scaling),
    }


def _seconds_interval(row: Row) -> tuple[float, float]:
    if row.scaling:
        return row.scaling.seconds.low, row.scaling.seconds.high
    return row.ns.low / 1e9, row.ns.high / 1e9


def _scaling_cells(scaling: Scaling | None) -> dict[str, str]:
    """Return what a comparison's table says of the vCPUs of one row; nothing for one vCPU."""
    if scaling is None:
        return {}
    point = scaling.point
    return {
        "speed-up over one vCPU": f"{point.speed_up:.1f}",
        "efficiency": f"{100 * point.efficiency:.0f} %",
        "waits of a fault": format_time(sum(w.total for w in point.waits_ns.values()) / 1e9),
        "RET_PF_RETRY per fault": f"{point.calls.get('RETRY', 0.0):.2g}",
        "limited by": point.saturated,
        "knee, vCPUs": f"{scaling.knee_vcpus:.0f}",
    }


def _print_refusals(console: Console, rows: list[Row]) -> None:
    causes = [cause for cause in CAUSES if any(row.refused_hugepages[cause] for row in rows)]
    if not causes:
        return
    table = Table(title="2M ranges that stayed 4K, by the first cause that applies")
    table.add_column("interface")
    for cause in causes:
        table.add_column(cause, justify="right")
    for row in rows:
        table.add_row(row.interface, *(f"{row.refused_hugepages[cause]:,}" for cause in causes))
    console.print(table)


def _print_lines(console: Console, notes: dict[str, Any]) -> None:
    """Print where the module's lines were found, if caches were simulated."""
    if not (found := notes.get("lines_found")):
        return
    table = Table(title="Accesses of the TDX module to lines, by where the line was")
    for title in ("interface", "lines of"):
        table.add_column(title)
    levels = list(next(iter(next(iter(found.values())).values())))
    for level in levels:
        table.add_column(level, justify="right")
    for interface, structures in found.items():
        for structure, counts in structures.items():
            table.add_row(interface, LINE_TITLES[structure], *(f"{counts[level]:,}" for level in levels))
    console.print(table)


def _print_foot(console: Console, result: Comparison | Run) -> None:
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]}), "
        f"seed {result.seed}, module {result.scenario['module']}"
        + "".join(f" + {name}" for name in result.scenario["module_features"])
        + (", memory model simulated" if result.scenario["memory_model"] == "simulated" else ""),
        highlight=False,
    )


def _cost(row: Row) -> str:
    work = f"{format_time(row.ns.total / 1e9)} ({format_time(row.ns.low / 1e9, row.ns.high / 1e9)})"
    if row.scaling is None:
        return work
    return f"{work} of work; {format_time(row.seconds)} ({format_time(*_seconds_interval(row))}) pass"


def format_number(value: float) -> str:
    """Return three significant digits, or a whole number from 1000 on."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def format_time(*seconds: float) -> str:
    """Return times joined by ``to``, in the largest unit that the last of them reaches."""
    unit, scale = next(((u, s) for u, s in _TIME_UNITS if seconds[-1] * s >= 1), _TIME_UNITS[-1])
    return " to ".join(format_number(s * scale) for s in seconds) + f" {unit}"


def print_steady(result: "SteadyResult") -> None:
    """Print misses, walks, times and table memory by S-EPT leaf size."""
    console = Console(width=None if Console().is_terminal else 140)
    given = result.scenario
    console.print(
        f"{format_size(given['memory_bytes'])} guest, working set {format_size(given['working_set_bytes'])}, "
        f"{given['access']}, guest pages {given['guest_pages']}, {given['guest_levels']} guest and {given['levels']} "
        f"S-EPT levels, {given['accesses']:,} accesses counted",
        highlight=False,
    )
    table = Table(title="Times span the 5 % to 95 % interval over the ranges of parameters and structures")
    table.add_column("S-EPT leaves")
    for row in result.rows:
        table.add_column(row.leaf if row.leaf != "mixed" else f"{row.share_2m:.3g} at 2M", justify="right")
    cells = [_steady_cells(row) for row in result.rows]
    for title in cells[0]:
        table.add_row(title, *(one[title] for one in cells))
    for title, field in (("times as fast as 4K", "times"), ("ns saved over 4K", "saved_ns")):
        shown = {s.leaf: _spread(getattr(s, field)) for s in result.speedups}
        table.add_row(title, *(shown.get(row.leaf, "") for row in result.rows))
    console.print(table)
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]}), "
        f"hardware {result.hardware_sha256[:12]}, seed {result.seed}",
        highlight=False,
    )


def _steady_cells(row: "SteadyRow") -> dict[str, str]:
    found = row.sept_loads
    cached = 100 * (1 - found.memory / found.total) if found.total else 100.0
    use = row.memory
    return {
        "TLB reach": f"{row.reach_bytes / (1 << 20):,.0f} MiB",
        "TLB misses per access": f"{row.misses_per_access:.4f}",
        "references per miss, nothing cached": f"{row.uncached_references}",
        "references per miss": f"{row.loads_per_walk:.2f}",
        "  of them S-EPT entries": f"{row.sept_loads_per_walk:.2f}",
        "  S-EPT entries found in caches": f"{cached:.1f} %",
        "walk, cycles per access": _spread(row.walk_cycles),
        "walk and data, cycles per access": _spread(row.access_cycles),
        "walk and data, ns per access": _spread(row.access_ns),
        "page walkers busy": _spread(row.busy_walkers),
        "S-EPT and mirror": f"{(use.sept + use.mirror + use.mirror_headers) / (1 << 20):,.1f} MiB",
        "PAMT": f"{(use.pamt_static + use.pamt_dynamic + use.pamt_refcounts) / (1 << 20):,.1f} MiB",
        "struct pages": f"{use.vmemmap / (1 << 20):,.1f} MiB",
    }


def _spread(interval: "Interval") -> str:
    return f"{format_number(interval.value)} ({format_number(interval.low)} to {format_number(interval.high)})"
