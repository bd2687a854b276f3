"""Sweeps on disk: whole, as one netCDF file, or as a folder of parts."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perfmodel.errors import InputError
from perfmodel.sweep.dataset import COUNTS, assemble, layout_of
from perfmodel.sweep.layout import SCHEMA
from perfmodel.sweep.parts import Parts, read_layout
from perfmodel.sweep.pricing import TIMES

if TYPE_CHECKING:
    import h5py
    import xarray as xr

_ACCEPTED = "accepted is a file that 'perfmodel sweep -o' wrote, or a folder of its parts"


def to_netcdf(dataset: "xr.Dataset") -> bytes:
    """Return ``dataset`` as the bytes of a netCDF 4 file."""
    return bytes(dataset.to_netcdf(engine="h5netcdf"))


def load_sweep(path: Path) -> "xr.Dataset":
    """Read a sweep: a netCDF file, or a folder of parts, which are priced anew.

    Raises
    ------
    InputError
        It is none, or a damaged one.
    """
    require_xarray()
    if path.is_dir():
        return assemble(read_layout(path), Parts(path), {})
    import xarray as xr

    try:
        content = io.BytesIO(path.read_bytes())
        _refuse_links(content)
        dataset = xr.open_dataset(content, engine="h5netcdf", decode_times=False, decode_timedelta=False).load()
        _restore_lists(dataset)
        _check(dataset)
    except InputError as error:
        raise InputError(f"{path}: {error}: {_ACCEPTED}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'no netCDF 4 file'}: {_ACCEPTED}") from None
    except Exception as error:  # of HDF5's, h5netcdf's and xarray's readers there is no list
        raise InputError(f"{path}: {' '.join(str(error).split())[:200]}: {_ACCEPTED}") from None
    return dataset


def require_xarray() -> None:
    """Raise InputError where what sweeps need is not installed."""
    from importlib.util import find_spec

    for name in ("xarray", "h5netcdf", "h5py", "threadpoolctl"):
        if find_spec(name) is None:
            raise InputError(f"a sweep needs {name}: install perfmodel[sweep]")


def _refuse_links(content: io.BytesIO) -> None:
    """Refuse a file that would have the library read another one."""
    import h5py

    def look(group: "h5py.Group") -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{name!r} is a link")
            found: Any = group[name]
            if isinstance(found, h5py.Group):
                look(found)
            elif isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                raise InputError(f"{name!r} lies in another file")

    with h5py.File(content, "r") as file:
        look(file)


def _restore_lists(dataset: "xr.Dataset") -> None:
    """Make lists again of the attributes that the file knows as arrays, or as one text if they have one item."""
    for variable in dataset.variables.values():
        for name in {"labels", "flag_values"} & variable.attrs.keys():
            variable.attrs[name] = np.atleast_1d(variable.attrs[name]).tolist()


def _check(dataset: "xr.Dataset") -> None:
    if dataset.attrs.get("schema") != SCHEMA:
        raise InputError(f"schema {dataset.attrs.get('schema')!r}")
    layout = layout_of(dataset)
    axes = tuple(axis.name for axis in layout.axes)
    points = tuple(name for name in axes if name not in layout.set_axes)
    wanted = dict.fromkeys(("status", "reason", "saturated", *TIMES), axes) | dict.fromkeys(COUNTS, points)
    wanted |= {"ns_by_stage": (*axes, "stage"), "ns_by_phase": (*axes, "phase"), "work": (*points, "phase", "entry")}
    wanted |= {"refused_hugepages": (*points, "cause"), "seamcalls": (*points, "seamcall")}
    wanted |= dict.fromkeys(("parameters_name", "parameters_sha256"), layout.set_axes)
    for name, dimensions in wanted.items():
        if name not in dataset or dataset[name].dims != dimensions:
            raise InputError(f"variable {name!r} is missing or lies on other axes")
    for axis in layout.axes:
        if dataset[axis.name].values.tolist() != list(axis.coordinate):
            raise InputError(f"axis {axis.name!r} is not that of the layout")
    done = dataset["status"].values == 0
    for name in (*TIMES[:11], "ns_by_stage"):
        values = dataset[name].values[done]
        bad = np.isinf(values) | (values < 0) | (np.isnan(values) & (name in ("ns_total", "seconds")))
        if values.dtype != np.float64 or bad.any():
            raise InputError(f"variable {name!r} holds what is no time")
