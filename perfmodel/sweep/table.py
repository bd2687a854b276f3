"""A sweep on the terminal, and as rows of JSON."""

import itertools
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
        table.add_row(*(row[name] for name in swept), *_cells(row))
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


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["status"] != "done":
        return ("", "", row["status"], row["reason"][:60], "", "")
    speed, ratio = row["gib_per_s"], row["ratio"]
    return (
        f"{row['td_exits']:,}", f"{row['leaves_2m']:,}", format_time(row["seconds"]),
        format_time(row["seconds_low"], row["seconds_high"]), "" if speed is None else format_number(speed),
        "" if ratio is None else f"{ratio:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})",
    )  # fmt: skip


def rows(dataset: "xr.Dataset") -> Iterator[dict[str, Any]]:
    """Yield every point in the order of the axes: its labels, counts and times; None where there is none."""
    axes = axis_names(dataset)
    names = {name: labels(dataset, name) for name in axes}
    values = {name: dataset[name].values for name in ("status", "reason", "saturated", *TIMES, *COUNTS)}
    sums = dataset["parameters_sha256"]
    for at in np.ndindex(*(dataset.sizes[name] for name in axes)):
        index = dict(zip(axes, at, strict=True))
        row: dict[str, Any] = {name: names[name][index[name]] for name in axes}
        row["parameters_sha256"] = str(sums.values[tuple(index[str(name)] for name in sums.dims)])
        for name, found in values.items():
            value = found[tuple(index[str(axis)] for axis in dataset[name].dims)].item()
            row[name] = None if value != value or (name in COUNTS and value < 0) else value
        row["status"] = _STATUS[row["status"]]
        yield row


def to_json(dataset: "xr.Dataset") -> bytes:
    """Return the points as rows of indented JSON, with what made them."""
    head = {name: dataset.attrs[name] for name in ("title", "version", "samples", "seed", "module")}
    head |= {"scenario": msgspec.json.decode(dataset.attrs["scenario"])}
    document = {"schema": SCHEMA, **{name: _plain(value) for name, value in head.items()}, "rows": list(rows(dataset))}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
