"""What S-EPT leaves of each size cost once memory is mapped: loads of a page walk, time of an access, table memory."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.sizes import format_size
from perfmodel.steady_result import Interval, SteadyResult, SteadyRow
from plots.stacks import BAR_HEIGHT, Part, add_legend, amount, dress, error_bars, name_bar, name_rows, number, stack
from plots.style import INK, PLAIN_LOOK, Look, add_title, priced_by, source_line, style

LOADS = (
    Part("guest tables, found in L1D or L2", ("guest near",), Look("#bfe6dc", "")),
    Part("guest tables, in L3 or memory", ("guest far",), Look("#009e73", "////")),
    Part("S-EPT, found in L1D or L2", ("sept near",), Look("#56b4e9", "xx")),
    Part("S-EPT, in L3 or memory", ("sept far",), Look("#0072b2", "\\\\\\\\")),
)
MEMORY = (
    Part("S-EPT", ("sept",), Look("#0072b2", "//")),
    Part("mirror tables", ("mirror", "mirror_headers"), Look("#56b4e9", "....")),
    Part("PAMT", ("pamt_static", "pamt_dynamic", "pamt_refcounts"), Look("#e69f00", "xx")),
    Part("struct pages", ("vmemmap",), Look("#d9d9d9", "")),
)

_WIDTH, _ROW_HEIGHT, _HEAD, _AXIS, _LEGEND, _SOURCE = 13.0, 0.72, 1.05, 0.65, 0.44, 0.42
_LEFT, _RIGHT = 0.06, 0.985
_MIB = 1 << 20


def plot_walks(result: SteadyResult) -> Figure:
    """Draw what page walks and tables cost, with one bar a size of leaves.

    Parameters
    ----------
    result : SteadyResult

    Returns
    -------
    Figure
        Four axes: loads of a walk by where they find their line; cycles of an access in walks, and in walks and data,
        with intervals; MiB of host tables.
    """
    rows, given = result.rows, result.scenario
    with style():
        foot = _AXIS + _LEGEND + _SOURCE
        height = _HEAD + _ROW_HEIGHT * len(rows) + foot
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.add_gridspec(
            1, 4, left=_LEFT, right=_RIGHT, bottom=foot / height, top=1 - _HEAD / height, wspace=0.1
        )
        loads, walk, access, memory = (figure.add_subplot(grid[number]) for number in range(4))
        _draw_stack(loads, LOADS, [loads_of(row) for row in rows], "Loads of a page walk", "loads a TLB miss", "")
        _draw_cycles(walk, [row.walk_cycles for row in rows], "Page walks", "cycles an access")
        _draw_cycles(access, [row.access_cycles for row in rows], "Page walks and data", "cycles an access")
        _draw_stack(memory, MEMORY, [memory_of(row) for row in rows], "Host memory for tables", "memory, MiB", " MiB")
        for axes in (loads, walk, access, memory):
            name_rows(axes, [row.leaf if row.leaf != "mixed" else f"{row.share_2m:.3g} at 2M" for row in rows])
            axes.tick_params(axis="y", labelleft=axes is loads)
        add_legend(figure, LOADS, _LEFT - 0.01, (foot - _AXIS) / height, 2)
        add_legend(figure, [], 0.44, (foot - _AXIS) / height, 1, walk)
        add_legend(figure, MEMORY, 0.66, (foot - _AXIS) / height, 2)
        title = f"Using a mapped {format_size(given['memory_bytes'])} TD guest, by size of its S-EPT leaves"
        add_title(figure, title, _describe(result))
        hardware = f"hardware {result.hardware_sha256[:12]}"
        source_line(figure, priced_by(result.version, result.parameters), hardware, f"seed {result.seed}")
    return figure


def loads_of(row: SteadyRow) -> dict[str, float]:
    """Return loads a walk, by table and by how far they go."""
    found = {}
    for name, loads in (("guest", row.guest_loads), ("sept", row.sept_loads)):
        found[f"{name} near"] = (loads.l1d + loads.l2) / row.walks if row.walks else 0.0
        found[f"{name} far"] = (loads.l3 + loads.memory) / row.walks if row.walks else 0.0
    return found


def memory_of(row: SteadyRow) -> dict[str, float]:
    """Return MiB of host memory by purpose."""
    return {key: getattr(row.memory, key) / _MIB for part in MEMORY for key in part.keys}


def _describe(result: SteadyResult) -> str:
    given = result.scenario
    said = (
        f"working set {format_size(given['working_set_bytes'])}", str(given.get("access", "")),
        *(f"{key.replace('_', ' ')} {given[key]}" for key in ("guest_pages", "guest_levels", "levels") if key in given),
    )  # fmt: skip
    return ", ".join(part for part in said if part)


def _draw_stack(
    axes: Axes, parts: Sequence[Part], rows: Sequence[dict[str, float]], title: str, label: str, unit: str
) -> None:  # fmt: skip
    stack(axes, parts, [[part.of(row) for row in rows] for part in parts])
    totals = [sum(row.values()) for row in rows]
    for y, total in enumerate(totals):
        name_bar(axes, y, f"{number(total)}{unit}")
    dress(axes, title, label, 1.08 * max(totals))


def _draw_cycles(axes: Axes, cycles: Sequence[Interval], title: str, label: str) -> None:
    axes.barh(
        range(len(cycles)), [one.value for one in cycles], BAR_HEIGHT, color=PLAIN_LOOK.colour, edgecolor=INK,
        linewidth=0.5,
    )  # fmt: skip
    low, value, high = ([getattr(one, end) for one in cycles] for end in ("low", "value", "high"))
    error_bars(axes, low, value, high)
    for y in range(len(cycles)):
        name_bar(axes, y, amount(low[y], value[y], high[y], "cycles"))
    dress(axes, title, label, 1.08 * max(high))
