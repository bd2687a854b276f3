"""Guests of the page: what was counted under each interface, taken from the Datasets of sweeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from perfmodel.costs import ALL_STAGES, Ledger
from perfmodel.errors import InputError
from perfmodel.names import INTERFACES
from perfmodel.parameters import default_parameters
from perfmodel.sweep.dataset import axis_names, labels, layout_of, ledger_at, numbers
from perfmodel.sweep.point import NOT_COUNTED

if TYPE_CHECKING:
    import xarray as xr

_COUNTS = {
    "TD exits": "td_exits",
    "KVM faults": "faults",
    "leaves at 4K": "leaves_4k",
    "leaves at 2M": "leaves_2m",
    "S-EPT pages": "sept_pages",
}


class Work(NamedTuple):
    """What one interface did: units of work, 4K pages mapped (0 for a life in phases), and counts by their title."""

    ledger: Ledger
    mapped_pages: int
    counts: dict[str, int]


class Guest(NamedTuple):
    """One guest: its label on every axis but the interface, its memory in bytes, and the work by interface."""

    choice: dict[str, str]
    memory_bytes: int
    work: dict[str, Work]


class Guests(NamedTuple):
    """All guests of a page.

    Attributes
    ----------
    axes : dict of str to list of str
        Labels by axis, numbers in ascending order; ``memory`` last.
    interfaces : list of str
    guests : list of Guest
        Each with another choice.
    seed : int
        Of the guests, and so of the intervals.
    module, version : str
    """

    axes: dict[str, list[str]]
    interfaces: list[str]
    guests: list[Guest]
    seed: int
    module: str
    version: str


def read_guests(datasets: "Sequence[xr.Dataset]") -> Guests:
    """Put the counted points of sweeps together.

    Parameters
    ----------
    datasets : sequence of Dataset
        A guest that several hold is taken from the first. Points with vCPUs that meet are left out: what they wait is
        simulated with the prices, which a page cannot do.

    Raises
    ------
    InputError
        No point is left, points differ in seed, module or axes, or a name is not known.
    """
    found: dict[tuple[str, ...], Guest] = {}
    order: dict[str, dict[str, float]] = {}
    interfaces: dict[str, None] = {}
    for dataset in datasets:
        _check_names(dataset)
    names = _one("axes", [tuple(_guest_axes(dataset)) for dataset in datasets])
    for dataset in datasets:
        for name in names:
            _note_order(order.setdefault(name, {}), dataset, name)
        for guest in _guests_of(dataset, names):
            found.setdefault(tuple(guest.choice.values()), guest)
            interfaces |= dict.fromkeys(guest.work)
    if not found:
        raise InputError(
            "no point of one vCPU has been counted: accepted is a sweep with such points; the page prices work, not "
            "the waits of vCPUs that meet"
        )
    used = {name: {guest.choice[name] for guest in found.values()} for name in names}
    axes = {name: [label for label in sorted(order[name], key=order[name].__getitem__) if label in used[name]]
            for name in names}  # fmt: skip
    listed = [name for name in _interface_order(datasets) if name in interfaces]
    seed = _one("seed", [int(dataset.attrs["seed"]) for dataset in datasets])
    module = _one("module", [str(dataset.attrs["module"]) for dataset in datasets])
    version = _one("version", [str(dataset.attrs["version"]) for dataset in datasets])
    return Guests(axes, listed, list(found.values()), seed, module, version)


def _check_names(dataset: "xr.Dataset") -> None:
    """Refuse a sweep, such as one of another version, with work, interfaces or calls that the page has no name for."""
    lacking = [name for name in ("tdcalls", "entry_stage", "entry_unit") if name not in dataset.variables]
    lacking += [name for name in ("seed", "module", "version") if name not in dataset.attrs]
    if lacking:
        raise InputError(f"the sweep has no {lacking[0]!r}: accepted is what 'perfmodel sweep' writes")
    known = (
        ("interface", labels(dataset, "interface"), INTERFACES),
        ("stage", dataset["entry_stage"].values.tolist(), ALL_STAGES),
        ("price", dataset["entry_unit"].values.tolist(), [one.name for one in default_parameters()]),
    )
    for what, found, accepted in known:
        if strange := [name for name in found if name not in accepted]:
            raise InputError(f"{what} {strange[0]!r} of the sweep: accepted are {', '.join(accepted)}")


def _guest_axes(dataset: "xr.Dataset") -> list[str]:
    """Return the axes that counts depend on, but the interface; ``memory`` last."""
    names = [name for name in axis_names(dataset) if name in dataset["work"].dims and name != "interface"]
    return [*(name for name in names if name != "memory"), "memory"]


def _interface_order(datasets: "Sequence[xr.Dataset]") -> list[str]:
    return list(dict.fromkeys(name for dataset in datasets for name in labels(dataset, "interface")))


def _note_order(order: dict[str, float], dataset: "xr.Dataset", name: str) -> None:
    """Give the labels of an axis their places: by number, or as they come."""
    known = labels(dataset, name)
    if f"{name}_value" in dataset.coords:
        order |= dict(zip(known, numbers(dataset, name).tolist(), strict=True))
    else:
        for label in known:
            order.setdefault(label, len(order))


def _one(what: str, values: Sequence[Any]) -> Any:
    if different := [value for value in values if value != values[0]]:
        raise InputError(f"{what}: the sweeps differ, {values[0]} and {different[0]}; accepted are sweeps alike in it")
    return values[0]


def _guests_of(dataset: "xr.Dataset", names: Sequence[str]) -> list[Guest]:
    layout = layout_of(dataset)
    point_axes = [axis.name for axis in layout.axes if axis.name not in layout.set_axes]
    guests: dict[tuple[str, ...], Guest] = {}
    called = {name: labels(dataset, name) for name in point_axes}
    counted = dataset["leaves_4k"].values.ravel() != NOT_COUNTED
    for place, (planned, done) in enumerate(zip(layout.points, counted, strict=True)):
        if not done or planned.meets:
            continue
        if planned.seed != dataset.attrs["seed"]:
            raise InputError(f"seed {planned.seed}: the sweep has several seeds; accepted is one for the whole page")
        index = dict(zip(point_axes, map(int, np.unravel_index(place, layout.point_shape)), strict=True))
        choice = {name: called[name][index[name]] for name in names}
        memory_bytes = int(dataset["memory"].values[index["memory"]])
        guest = guests.setdefault(tuple(choice.values()), Guest(choice, memory_bytes, {}))
        guest.work[called["interface"][index["interface"]]] = _work(dataset, index, planned.life)
    return list(guests.values())


def _work(dataset: "xr.Dataset", index: dict[str, int], life: bool) -> Work:
    counts = {title: int(dataset[name].isel(index).item()) for title, name in _COUNTS.items()}
    for variable, axis in (("seamcalls", "seamcall"), ("tdcalls", "tdcall")):
        values = dataset[variable].isel(index).values.tolist()
        counts |= {name: count for name, count in zip(labels(dataset, axis), values, strict=True) if count >= 0}
    mapped_pages = 0 if life else int(dataset["pages_mapped"].isel(index).item())
    return Work(ledger_at(dataset, **index), mapped_pages, counts)
