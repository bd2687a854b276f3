"""Curves of many vCPUs as tables on the terminal."""

from rich.console import Console
from rich.table import Table

from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.together import Limit, ScalePoint
from perfmodel.show import format_number, format_time
from perfmodel.sizes import format_size

_SHOWN_WAITS = 5
_SHOWN_LIMITS = 4


def print_scale(result: ScaleResult) -> None:
    """Print each curve: throughput, where a unit's time goes, what is BUSY, and the limits."""
    console = Console(width=None if Console().is_terminal else 160)
    given = result.scenario
    console.print(
        f"{format_size(given['memory_bytes'])} guest, backing {given['backing']}, guest {given['guest']}, "
        f"{given['order']}, TDs {given['tds']}, nodes {given['nodes']}, placement {given['placement']}",
        highlight=False,
    )
    for curve in result.curves:
        console.print(_table(curve))
        if curve.workload == "populate":
            console.print(_limits(curve.limits[:_SHOWN_LIMITS], curve.knee_vcpus), highlight=False)
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]}), "
        f"seed {result.seed}, module {given['module']}" + "".join(f" + {name}" for name in given["module_features"]),
        highlight=False,
    )


def _limits(limits: list[Limit], knee: float) -> str:
    shown = "; ".join(
        f"{limit.resource} {format_number(limit.gib_per_s)} GiB/s ({limit.per_unit:.3g} x, "
        f"{format_time(limit.ns_per_unit / 1e9)} a unit)"
        for limit in limits
    )
    return f"at most: {shown}; knee at {knee:.0f} vCPUs"


def _table(curve: Curve) -> Table:
    what = f"{curve.workload}, {curve.interface}"
    if curve.workload != "populate":
        what += f", {'2M' if curve.leaves_2m_share > 0.5 else '4K'} leaves"
    table = Table(title=f"{what}; other vCPUs {curve.state}")
    table.add_column("vCPUs")
    for point in curve.points:
        table.add_column(f"{point.vcpus}", justify="right")
    cells = [_cells(curve, point) for point in curve.points]
    for title in dict.fromkeys(title for one in cells for title in one):
        table.add_row(title, *(one.get(title, "") for one in cells))
    return table


def _cells(curve: Curve, point: ScalePoint) -> dict[str, str]:
    g = point.gib_per_s
    cells = {
        "GiB/s": format_number(g.value),
        "  interval": f"{format_number(g.low)} to {format_number(g.high)}",
        "speed-up": f"{point.speed_up:.2f}",
        "efficiency": f"{100 * point.efficiency:.0f} %" if curve.workload == "populate" else "",
        "time of a unit": format_time(point.cycle_ns / 1e9),
        "  its own work": format_time(point.service_ns / 1e9),
        "  done in vain": format_time(point.wasted_ns / 1e9) if point.wasted_ns else "0",
    }
    last = curve.points[-1].waits_ns
    for name in sorted(last, key=lambda one: -last[one].total)[:_SHOWN_WAITS]:
        wait = point.waits_ns.get(name)
        cells[f"  waits: {name}"] = format_time(wait.total / 1e9) if wait else "0"
    cells |= {f"BUSY a unit: {name}": f"{times:.2g}" for name, times in point.busy.items()}
    cells["retries a unit"] = f"{point.calls.get('RETRY', 0.0):.2g}"
    cells["p50 / p99 of a unit"] = " / ".join(format_time(point.latency_ns[p] / 1e9) for p in ("p50", "p99"))
    cells["limited by"] = point.saturated
    return cells
