"""The Dataset of a sweep: made from layout, counts and prices; read by axis and label.

docs/sweeps.md describes dimensions, variables and attributes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.costs import ALL_STAGES, Ledger, ledger
from perfmodel.errors import InputError
from perfmodel.life.phases import KINDS
from perfmodel.life.pricing import total_ledger
from perfmodel.parameters import ParameterSet
from perfmodel.refusals import CAUSES
from perfmodel.sweep.layout import SCHEMA, Layout
from perfmodel.sweep.parts import Parts
from perfmodel.sweep.point import NOT_COUNTED, PointCounts, meeting_key
from perfmodel.sweep.pricing import Priced, Ready, price_points, used_stages
from perfmodel.workers import Progress

if TYPE_CHECKING:
    import xarray as xr

COUNTS = (
    "leaves_4k", "leaves_2m", "pages_asked", "pages_mapped", "pages_refused", "pages_shared", "faults", "td_exits",
    "sept_pages", "host_table_pages", "pamt_bytes",
)  # fmt: skip
DONE, FAILED, NOT_RUN = 0, 1, 2
_UNITS = {"ns": "ns", "seconds": "s", "gib": "GiB/s", "faults": "1/s", "ratio": "1", "knee": "vCPUs"}


def assemble(
    layout: Layout, parts: Parts, failed: Mapping[str, str], threads: int | None = None,
    progress: Progress | None = None,
) -> "xr.Dataset":  # fmt: skip
    """Price what has been counted, and put everything on its axes.

    Parameters
    ----------
    layout : Layout
    parts : Parts
    failed : dict of str to str
        Reasons by key of what was tried and failed; keys of counts and of meetings.
    threads, progress
        As for :func:`perfmodel.sweep.pricing.price_points`.
    """
    ready: list[Ready] = []
    reasons = np.full((len(layout.points), len(layout.sets)), "", object)
    status = np.full(reasons.shape, NOT_RUN, np.int8)
    for place, planned in enumerate(layout.points):
        counts = parts.counts(planned.key) if planned.key else None
        refused = planned.refused or (counts.refused if counts else failed.get(planned.key, ""))
        if refused:
            reasons[place], status[place] = refused, FAILED
        elif counts is not None:
            one = ready_point(layout, place, counts, parts)
            for number, parameters in enumerate(layout.sets):
                lacks = planned.meets and one.meetings[number] is None
                reason = failed.get(meeting_key(planned.key, parameters), "") if lacks else ""
                reasons[place, number] = reason
                status[place, number] = (FAILED if reason else NOT_RUN) if lacks else DONE
            ready.append(one)
    ledgers = [one.total for one in ready]
    stages = used_stages(ledgers)
    phases = [kind for kind in KINDS if any(kind in one.phases for one in ready)]
    priced = price_points(layout, ready, stages, phases, threads, progress)
    for values in (*priced.times.values(), priced.by_stage, priced.by_phase):
        values[status != DONE] = np.nan
    return _Builder(layout, ready, status, reasons, stages, phases, priced).dataset()


def ready_point(layout: Layout, place: int, counts: PointCounts, parts: Parts) -> Ready:
    """Return a counted point as pricing takes it."""
    phases = {kind: ledger(counters) for kind, counters in counts.phases.items()}
    met = [
        parts.meeting(meeting_key(counts.key, one)) if layout.points[place].meets else None for one in layout.sets
    ]  # fmt: skip
    return Ready(place, counts, phases, total_ledger(phases.values()), met)


class _Builder:
    """Puts arrays by (points, sets) on their axes."""

    def __init__(
        self, layout: Layout, ready: Sequence[Ready], status: npt.NDArray[np.int8], reasons: npt.NDArray[np.object_],
        stages: Sequence[str], phases: Sequence[str], priced: Priced,
    ) -> None:  # fmt: skip
        self._layout, self._ready, self._status, self._reasons = layout, ready, status, reasons
        self._stages, self._phases, self._priced = stages, phases, priced
        self._point_axes = tuple(axis.name for axis in layout.axes if axis.name not in layout.set_axes)
        self._variables: dict[str, Any] = {}

    def dataset(self) -> "xr.Dataset":
        import xarray as xr

        layout, priced = self._layout, self._priced
        self._whole("status", self._status, {"flag_values": [DONE, FAILED, NOT_RUN],
                                             "flag_meanings": "done failed not_run"})  # fmt: skip
        self._whole("reason", self._reasons.astype(np.str_))
        for name, values in priced.times.items():
            self._whole(name, values, {"units": _UNITS[name.split("_")[0]]})
        self._whole("ns_by_stage", priced.by_stage, {"units": "ns"}, "stage")
        self._whole("ns_by_phase", priced.by_phase, {"units": "ns"}, "phase")
        saturated = np.full(self._status.shape, "", object)
        for one in self._ready:
            for number, met in enumerate(one.meetings):
                if met and met.scaling:
                    saturated[one.place, number] = met.scaling.point.saturated
        self._whole("saturated", saturated.astype(np.str_))
        self._counts()
        sets = layout.set_shape
        for name, texts in (
            ("parameters_name", [one.name for one in layout.sets]),
            ("parameters_sha256", [one.sha256 for one in layout.sets]),
        ):
            self._variables[name] = (layout.set_axes, np.array(texts, np.str_).reshape(sets))
        self._variables["layout"] = ((), msgspec.json.encode(layout).decode())
        return xr.Dataset(self._variables, self._coordinates(), self._attributes())

    def _whole(self, name: str, values: npt.NDArray[Any], attributes: dict[str, Any] | None = None, *more: str) -> None:
        """Add a variable over all axes: ``interface``, last among the points', becomes the last of all."""
        layout = self._layout
        shaped = values.reshape(*layout.point_shape, *layout.set_shape, *values.shape[2:])
        at = len(layout.point_shape) - 1
        shaped = np.moveaxis(shaped, at, at + len(layout.set_shape))
        names = tuple(axis.name for axis in layout.axes)
        self._variables[name] = ((*names, *more), np.ascontiguousarray(shaped), attributes or {})

    def _of_points(
        self, name: str, found: Sequence[Any] | npt.NDArray[np.int64], more: Sequence[str] = (), kind: type = np.int64
    ) -> None:  # fmt: skip
        """Add a variable over the axes of points, from what each point that is ready has of it."""
        shape = np.shape(found)[1:]
        empty = np.nan if kind is np.float64 else NOT_COUNTED
        values: npt.NDArray[Any] = np.full((len(self._layout.points), *shape), empty, kind)
        values[[one.place for one in self._ready]] = found
        self._variables[name] = ((*self._point_axes, *more), values.reshape(*self._layout.point_shape, *shape))

    def _counts(self) -> None:
        for name in COUNTS:
            self._of_points(name, [one.counts.counts[name] for one in self._ready])
        for name, labels in self._named().items():
            counts = [[_count(one, name, label) for label in labels] for one in self._ready]
            self._of_points(name, np.array(counts, np.int64).reshape(len(counts), len(labels)), (_DIMENSIONS[name],))
        entries = self._entries()
        column = {entry: at for at, entry in enumerate(entries)}
        work = np.zeros((len(self._ready), len(self._phases), len(entries)), np.int64)
        for at, one in enumerate(self._ready):
            for number, phase in enumerate(self._phases):
                for entry, count in one.phases.get(phase, Ledger({})).units.items():
                    work[at, number, column[entry]] = count
        self._of_points("work", work, ("phase", "entry"))
        self._of_points("model_seconds", [one.counts.model_seconds for one in self._ready], kind=np.float64)

    def _named(self) -> dict[str, list[str]]:
        """Return the calls and causes that variables with a dimension of their own hold."""
        found: dict[str, list[str]] = {}
        for name in ("seamcalls", "tdcalls"):
            found[name] = list(dict.fromkeys(call for one in self._ready for call in getattr(one.counts, name)))
        return found | {"refused_hugepages": list(CAUSES)}

    def _entries(self) -> list[tuple[str, str]]:
        used = {entry for one in self._ready for entry in one.total.units}
        return sorted(used, key=lambda entry: (ALL_STAGES.index(entry[0]), entry[1]))

    def _coordinates(self) -> dict[str, Any]:
        coordinates: dict[str, Any] = {}
        for axis in self._layout.axes:
            values = np.array(axis.coordinate, np.int64)
            attributes: dict[str, Any] = {"labels": list(axis.labels)}
            if axis.name == "memory":
                attributes["units"] = "bytes"
            coordinates[axis.name] = (axis.name, values, attributes)
            if axis.numbers is not None:
                coordinates[f"{axis.name}_value"] = (axis.name, np.array(axis.numbers, np.float64))
        named = self._named()
        for name, labels in (
            ("stage", list(self._stages)), ("phase", list(self._phases)),
            *((_DIMENSIONS[variable], names) for variable, names in named.items()),
        ):  # fmt: skip
            coordinates[name] = (name, np.arange(len(labels)), {"labels": labels})
        entries = self._entries()
        coordinates["entry"] = ("entry", np.arange(len(entries)))
        for at, name in enumerate(("entry_stage", "entry_unit")):
            coordinates[name] = ("entry", np.array([entry[at] for entry in entries], np.str_))
        return coordinates

    def _attributes(self) -> dict[str, Any]:
        layout = self._layout
        seeds = sorted({point.seed for point in layout.points if point.key})
        return {
            "schema": SCHEMA, "title": layout.title, "version": layout.version, "model_sha256": layout.model,
            "samples": layout.samples, "seed": seeds[0],
            "module": " + ".join((layout.scenario["module"], *layout.scenario["module_features"])),
            "scenario": msgspec.json.encode(layout.scenario).decode(),
        }  # fmt: skip


_DIMENSIONS = {"seamcalls": "seamcall", "tdcalls": "tdcall", "refused_hugepages": "cause"}


def _count(one: Ready, name: str, label: str) -> int:
    """Return a call's or a cause's count; a life has no causes, and a call that another point makes may be 0 here."""
    found: dict[str, int] = getattr(one.counts, name)
    return found.get(label, 0 if found else NOT_COUNTED)


def labels(dataset: "xr.Dataset", axis: str) -> list[str]:
    """Return what the values of an axis are called.

    Raises
    ------
    InputError
        There is no such axis.
    """
    if axis not in dataset.coords or "labels" not in dataset[axis].attrs:
        known = [str(name) for name in dataset.coords if "labels" in dataset[name].attrs]
        raise InputError(f"axis {axis!r}: accepted are {', '.join(known)}")
    return [str(label) for label in np.atleast_1d(dataset[axis].attrs["labels"])]


def numbers(dataset: "xr.Dataset", axis: str) -> npt.NDArray[np.float64]:
    """Return the values of an axis, float64, shape (n,); memory in bytes.

    Raises
    ------
    InputError
        They are no numbers.
    """
    if f"{axis}_value" not in dataset.coords:
        raise InputError(f"axis {axis!r}: its values are no numbers: {', '.join(labels(dataset, axis))}")
    return np.asarray(dataset[f"{axis}_value"].values, np.float64)


def axis_names(dataset: "xr.Dataset") -> list[str]:
    """Return the axes of the grid, in their order."""
    return [str(name) for name in dataset["status"].dims]


def ledger_at(dataset: "xr.Dataset", **index: int) -> Ledger:
    """Return the units of work of one point, of all its phases; axes that are left out are at their first value."""
    point = {name: index.get(name, 0) for name in axis_names(dataset) if name in dataset["work"].dims}
    units = dataset["work"].isel(point).sum("phase").values
    stages, names = dataset["entry_stage"].values, dataset["entry_unit"].values
    entries = zip(stages.tolist(), names.tolist(), units.tolist(), strict=True)
    return Ledger({(stage, unit): count for stage, unit, count in entries if count > 0})


def parameters_at(dataset: "xr.Dataset", **index: int) -> ParameterSet:
    """Return the parameter set of one point; axes that are left out are at their first value."""
    layout = layout_of(dataset)
    at = [index.get(name, 0) for name in layout.set_axes]
    return layout.sets[int(np.ravel_multi_index(at, layout.set_shape))]


def layout_of(dataset: "xr.Dataset") -> Layout:
    """Return the layout that a Dataset was made from."""
    return msgspec.json.decode(str(dataset["layout"].item()), type=Layout).checked()
