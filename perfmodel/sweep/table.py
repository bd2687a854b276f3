"""A sweep on the terminal, and as rows of JSON."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from perfmodel.show import format_number, format_time
from perfmodel.sweep.dataset import COUNTS, DONE, axis_names, labels
from perfmodel.sweep.layout import SCHEMA
from perfmodel.sweep.pricing import TIMES

if TYPE_CHECKING:
    import xarray as xr

SHOWN_ROWS = 40
_STATUS = ("done", "failed", "not run")


def print_sweep(dataset: "xr.Dataset") -> None:
    """Print a row for each point, of many the first ones, and what made them."""
    console = Console(width=None if Console().is_terminal else 140)
    swept = [name for name in axis_names(dataset) if dataset.sizes[name] > 1 or name in ("memory", "interface")]
    fixed = [f"{name} {labels(dataset, name)[0]}" for name in axis_names(dataset) if name not in swept]
    console.print(", ".join(fixed), highlight=False)
    table = Table(title="Counts are exact; times span a 5 % to 95 % interval")
    for name in swept:
        table.add_column(name)
    for title in ("TD exits", "leaves at 2M", "time", "interval", "GiB/s", "time over the first interface"):
        table.add_column(title, justify="right")
    status = dataset["status"].values
    for row in itertools.islice(rows(dataset), SHOWN_ROWS):
        table.add_row(*(row.axes[name] for name in swept), *_cells(row))
    console.print(table)
    if status.size > SHOWN_ROWS:
        console.print(f"... and {status.size - SHOWN_ROWS:,} more points", highlight=False)
    sets = dict(zip(dataset["parameters_name"].values.ravel().tolist(),
                    dataset["parameters_sha256"].values.ravel().tolist(), strict=True))  # fmt: skip
    named = [f"{name} ({sha[:12]})" for name, sha in itertools.islice(sets.items(), 3)]
    console.print(
        f"perfmodel {dataset.attrs['version']}, parameters {', '.join(named)}{' ...' if len(sets) > 3 else ''}, "
        f"seed {dataset.attrs['seed']}, module {dataset.attrs['module']}; "
        f"{int((status == DONE).sum()):,} of {status.size:,} points done",
        highlight=False,
    )


def _cells(row: "SweepRow") -> tuple[str, ...]:
    seconds, speed, ratio = row.times["seconds"], row.times["gib_per_s"], row.times["ratio"]
    if seconds is None:
        return ("", "", row.status, row.reason[:60], "", "")
    low, high = (row.times[f"seconds_{end}"] or 0.0 for end in ("low", "high"))
    return (
        f"{row.counts['td_exits']:,}", f"{row.counts['leaves_2m']:,}", format_time(seconds), format_time(low, high),
        "" if speed is None else format_number(speed),
        "" if ratio is None else f"{ratio:.3f} ({row.times['ratio_low']:.3f} to {row.times['ratio_high']:.3f})",
    )  # fmt: skip


class SweepRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One point: its labels by axis, counts and times by variable of the Dataset; None where there is none."""

    axes: dict[str, str]
    parameters_sha256: str
    status: str
    reason: str
    saturated: str
    counts: dict[str, int | None]
    times: dict[str, float | None]


class SweepRows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole sweep as JSON has it."""

    schema: str = SCHEMA
    title: str
    version: str
    seed: int
    samples: int
    module: str
    scenario: dict[str, Any]
    rows: list[SweepRow]


def rows(dataset: "xr.Dataset") -> Iterator[SweepRow]:
    """Yield every point in the order of the axes."""
    axes = axis_names(dataset)
    names = {name: labels(dataset, name) for name in axes}
    read = ("status", "reason", "saturated", "parameters_sha256", *TIMES, *COUNTS)
    found = {name: (dataset[name].values, [axes.index(str(axis)) for axis in dataset[name].dims]) for name in read}
    for at in np.ndindex(*(dataset.sizes[name] for name in axes)):
        point = {name: values[tuple(at[k] for k in where)].item() for name, (values, where) in found.items()}
        yield SweepRow(
            {name: names[name][k] for name, k in zip(axes, at, strict=True)}, point["parameters_sha256"],
            _STATUS[point["status"]], point["reason"], point["saturated"],
            {name: point[name] if point[name] >= 0 else None for name in COUNTS},
            {name: None if math.isnan(point[name]) else point[name] for name in TIMES},
        )  # fmt: skip


def to_json(dataset: "xr.Dataset") -> bytes:
    """Return the points as rows of indented JSON, with what made them."""
    made_by = dataset.attrs
    document = SweepRows(
        title=made_by["title"], version=made_by["version"], seed=int(made_by["seed"]), samples=int(made_by["samples"]),
        module=made_by["module"], scenario=msgspec.json.decode(made_by["scenario"]), rows=list(rows(dataset)),
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
