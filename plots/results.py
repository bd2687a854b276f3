"""What a file holds, so that a figure can be drawn from it: its kind, and the result, checked."""

from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError

_HDF5 = b"\x89HDF\r\n\x1a\n"

MOST_ROWS = 300
"""Of a validation or a sensitivity: a figure with more could not be read."""


def is_sweep(path: Path) -> bool:
    """Return whether ``path`` looks like a sweep: a folder of parts, or a netCDF file."""
    if path.is_dir() or path.suffix == ".nc":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return False  # the reader of JSON says what is wrong


def read_result(path: Path) -> tuple[str, Any]:
    """Return the kind of the JSON result at ``path``, one of :data:`plots.figures.KINDS`, and the result.

    Raises
    ------
    InputError
        The file cannot be read, is no result that a figure can be drawn from, or is damaged.
    """
    from perfmodel.calibration.report import VALIDATE_SCHEMA
    from perfmodel.calibration.sensitivity_report import SENSITIVITY_SCHEMA
    from perfmodel.life.story import LIFE_SCHEMA, load_life
    from perfmodel.result import COMPARE_SCHEMA, RUN_SCHEMA, load_comparison, load_run, schema_of
    from perfmodel.scaling.result import SCHEMA as SCALE_SCHEMA
    from perfmodel.scaling.result import load_scale
    from perfmodel.steady_result import SCHEMA as STEADY_SCHEMA
    from perfmodel.steady_result import load_steady
    from plots.benchmarks import load_benchmarks

    readers = {
        COMPARE_SCHEMA: ("compare", load_comparison),
        RUN_SCHEMA: ("run", load_run),
        LIFE_SCHEMA: ("life", load_life),
        STEADY_SCHEMA: ("steady", load_steady),
        SCALE_SCHEMA: ("scale", load_scale),
        VALIDATE_SCHEMA: ("validate", _load_validation),
        SENSITIVITY_SCHEMA: ("sensitivity", _load_sensitivity),
    }
    if _holds_benchmarks(path):
        return "benchmarks", load_benchmarks(path)
    kind, load = readers[schema_of(path, tuple(readers))]
    return kind, load(path)


def _holds_benchmarks(path: Path) -> bool:
    """Return whether a file is JSON of pytest-benchmark: results of perfmodel say their schema."""
    try:
        head = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return "schema" not in head and {"benchmarks", "machine_info"} <= head.keys()


def _load_validation(path: Path) -> Any:
    from perfmodel.calibration.report import VALIDATE_SCHEMA, Validation
    from perfmodel.result import load_document
    from perfmodel.sound import check_sound
    from plots.residuals import points_of

    result = load_document(path, Validation)
    check_sound(path, result, ("difference", "left_out", "low", "measured", "predicted", "summary"))
    accepted = f"accepted is what perfmodel writes as schema {VALIDATE_SCHEMA}"
    _check_size(path, len(result.rows))
    for point in points_of(result):
        if not (point.seconds > 0 and 0 < point.low <= point.ratio <= point.high):
            raise InputError(f"{path}: row {point.row.id}: no time within an interval: {accepted}")
    return result


def _load_sensitivity(path: Path) -> Any:
    from perfmodel.calibration.sensitivity_report import Sensitivity
    from perfmodel.result import load_document
    from perfmodel.sound import check_sound

    result = load_document(path, Sensitivity)
    check_sound(path, result, ("results", "mean_gain", "gains"))
    _check_size(path, len(result.results), len(result.measurements))
    return result


def _check_size(path: Path, *rows: int) -> None:
    if max(rows) > MOST_ROWS:
        raise InputError(f"{path}: {max(rows)} rows: accepted are at most {MOST_ROWS}")
