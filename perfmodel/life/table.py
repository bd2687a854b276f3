"""A life as tables on the terminal."""

import msgspec
from rich.console import Console
from rich.table import Table

from perfmodel.life.calls import CALLS
from perfmodel.life.scenario_file import WhatIf
from perfmodel.life.story import LifeResult, LifeRow, PhaseRow
from perfmodel.show import format_time
from perfmodel.sizes import format_size

_AUG = "TDH.MEM.PAGE.AUG"
_ROWS = {
    "TD exits, EPT violation": ("td_exit",),
    "TD exits, MapGPA": ("map_gpa",),
    **{
        title: counters
        for name, parts in CALLS.items()
        if name != "TDH.VP.ENTER"
        for title, counters in (
            [(f"{name} at {part[-2:].upper()}", (part,)) for part in parts] if name == _AUG else [(name, parts)]
        )
    },
    "#VE": ("virtualization_exception",),
    "vCPUs interrupted": ("kick",),
    "mmu_lock for write": ("write_lock",),
    "folios split": ("folio_split",),
}


def print_life(result: LifeResult) -> None:
    """Print every interface's phases: calls, time with its interval, and what stands after each."""
    console = Console(width=None if Console().is_terminal else 160)
    today = msgspec.structs.asdict(WhatIf())
    changed = [f"{name} {_word(given)}" for name, given in result.what_if.items() if given != today[name]]
    console.print(
        f"{result.name}: {format_size(result.scenario['memory_bytes'])} guest, backing {result.scenario['backing']}, "
        f"guest {result.scenario['guest']}, vCPUs {result.scenario['vcpus']}, "
        f"what if: {', '.join(changed) if changed else 'nothing'}",
        highlight=False,
    )
    for row in result.rows:
        console.print(_table(row))
        if row.savings:
            console.print(_savings(row))
            for one in row.savings:
                if one.refused:
                    console.print(f"{one.knob} refused: {one.refused}", highlight=False)
    console.print(
        f"perfmodel {result.version}, parameters {result.parameters.name} ({result.parameters.sha256[:12]}), "
        f"seed {result.seed}, module {result.scenario['module']}"
        + "".join(f" + {name}" for name in result.scenario["module_features"]),
        highlight=False,
    )


def _word(value: bool | str) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _savings(row: LifeRow) -> Table:
    table = Table(title=f"{row.interface}: what each knob alone would save; below 0 it costs")
    table.add_column("knob")
    table.add_column("now")
    table.add_column("instead")
    for title in ("saved", "interval", "share"):
        table.add_column(title, justify="right")
    for one in row.savings:
        cells = ["refused", "", ""]
        if one.ns is not None and one.share is not None:
            value, low, high = (f"{ns / 1e9:.3g}" for ns in (one.ns.value, one.ns.low, one.ns.high))
            cells = [f"{value} s", f"{low} to {high} s", f"{100 * one.share:.2f} %"]
        table.add_row(one.knob, _word(one.now), _word(one.instead), *cells)
    return table


def _table(row: LifeRow) -> Table:
    table = Table(
        title=f"{row.interface}: {format_time(row.seconds)} ({format_time(row.ns.low / 1e9, row.ns.high / 1e9)}); "
        f"{100 * row.surviving_2m_share:.3g} % of the booted 2M leaves survive"
    )
    table.add_column("")
    for phase in row.phases:
        table.add_column(phase.name, justify="right")
    columns = [_cells(phase) for phase in row.phases]
    for title in columns[0]:
        cells = [column[title] for column in columns]
        if set(cells) != {"0"}:
            table.add_row(title, *cells)
    return table


def _cells(phase: PhaseRow) -> dict[str, str]:
    after = phase.after
    return {
        **{title: f"{sum(phase.counters[name] for name in names):,}" for title, names in _ROWS.items()},
        "time": format_time(phase.seconds),
        "  interval": format_time(phase.ns.low / 1e9, phase.ns.high / 1e9),
        "leaves at 4K after it": f"{after.leaves.size_4k:,}",
        "leaves at 2M after it": f"{after.leaves.size_2m:,}",
        "leaves at 1G after it": f"{after.leaves_1g:,}",
        "host table memory": f"{after.host_table_pages / 256:,.1f} MiB",
        "Dynamic PAMT": f"{after.memory_bytes.pamt_dynamic / (1 << 20):,.1f} MiB"
        if after.memory_bytes.pamt_dynamic
        else "0",
        "struct pages": f"{after.memory_bytes.vmemmap / (1 << 20):,.0f} MiB",
        "  with HVO": f"{after.memory_bytes.vmemmap_with_hvo / (1 << 20):,.0f} MiB",
    }
