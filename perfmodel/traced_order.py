"""The order in which a recorded guest took up its memory: a CSV of ``perfmodel ingest --what faults``."""

import csv
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError
from perfmodel.files import open_csv

CHUNKS_PER_REGION = 256
_GFNS_PER_CHUNK_SHIFT = 10
_CHUNKS_SHIFT = 8
_MAX_GFN = 1 << 40


def traced_chunks(path: str, region: int) -> npt.NDArray[np.int64]:
    """Return the order of a region's chunks: by first fault in the file, then those without one, ascending.

    Parameters
    ----------
    path : str
    region : int

    Returns
    -------
    ndarray of int64, shape (256,)
        A permutation of the chunk numbers.

    Raises
    ------
    InputError
        One line: file, line, value and what is accepted.
    """
    seen = load_trace(path).get(region, ())
    rest = sorted(set(range(CHUNKS_PER_REGION)) - set(seen))
    return np.array([*seen, *rest], np.int64)


@functools.cache
def load_trace(path: str) -> dict[int, tuple[int, ...]]:
    """Return the chunks that each region's faults touch, by first touch; the file is read once a process."""
    first: dict[int, None] = {}
    line = 1
    try:
        with open_csv(Path(path)) as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, ())]
            if header.count("gfn") != 1:
                raise InputError(f"order {path!r}:1: header {','.join(header)[:60]!r}: accepted is gfn,level,vcpu,time")
            column = header.index("gfn")
            for row in reader:
                line = reader.line_num
                if row:
                    first.setdefault(_gfn(path, line, row, column) >> _GFNS_PER_CHUNK_SHIFT)
    except OSError as error:
        raise InputError(
            f"order {path!r}: cannot be read ({error.strerror}): accepted is a CSV file of faults"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"order {path!r}:{line}: not text ({reason}): accepted is a CSV file of faults") from None
    if not first:
        raise InputError(f"order {path!r}: no fault: accepted is one row or more below the header")
    regions: dict[int, list[int]] = {}
    for chunk in first:
        regions.setdefault(chunk >> _CHUNKS_SHIFT, []).append(chunk & (CHUNKS_PER_REGION - 1))
    return {region: tuple(chunks) for region, chunks in regions.items()}


def _gfn(path: str, line: int, row: list[str], column: int) -> int:
    cell = row[column].strip() if column < len(row) else ""
    try:
        gfn = int(cell, 16 if cell[:2].lower() == "0x" else 10)
    except ValueError:
        gfn = -1
    if not 0 <= gfn < _MAX_GFN:
        raise InputError(f"order {path!r}:{line}: gfn {cell[:40]!r}: accepted is a number below {_MAX_GFN:#x}")
    return gfn
