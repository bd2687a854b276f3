"""The last line of a vector file: every TD's fields, S-EPT and PAMT, with the tables as runs."""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from perfmodel.vectors.header import Count, Flag, Level, Small, Word

_Length = Annotated[int, Meta(ge=1, le=1 << 24)]
_LEVEL_BYTES = tuple(1 << (12 + 9 * level) for level in range(5))

Uint64s = npt.NDArray[np.uint64]


class SeptRun(NamedTuple):
    """``n`` entries of one table from ``gpa`` on; the raw value grows by ``step``, 0 or the level's size."""

    gpa: Word
    level: Level
    raw: Word
    n: _Length
    step: Word
    table_hpa: Word


class PamtRun(NamedTuple):
    """``n`` equal PAMT entries of one level from ``hpa`` on."""

    hpa: Word
    level: Annotated[int, Meta(ge=0, le=2)]
    type: Small
    owner: Word
    bepoch: Count
    lock: Annotated[int, Meta(ge=0, le=0xFFFF)]
    n: _Length


class FinalTd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TD's fields after the last record, with its raw lock words."""

    id: Small
    fatal: Flag
    lifecycle: Small
    num_tdcx: Small
    op_state: Small
    num_vcpus: Count
    chldcnt: Count
    td_epoch: Count
    refcount: tuple[Count, Count]
    op_state_lock: Count
    sept_lock: Count
    epoch_lock: Count


class FinalSept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every S-EPT entry of a TD that is not exactly FREE; ``count`` of them."""

    td: Small
    count: Count
    runs: tuple[SeptRun, ...]

    def __post_init__(self) -> None:
        _check_count(f"sept of TD {self.td}", self.count, self.runs)
        for run in self.runs:
            if run.step not in (0, _LEVEL_BYTES[run.level]):
                raise ValueError(f"step {run.step:#x}: accepted is 0x0 or the size of level {run.level}")


class FinalPamt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every PAMT entry with a type other than NDA or a lock word other than 0; ``count`` of them."""

    count: Count
    runs: tuple[PamtRun, ...]

    def __post_init__(self) -> None:
        _check_count("pamt", self.count, self.runs)


class Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state after the last record."""

    type: Literal["final"]
    records: Count
    tds: tuple[FinalTd, ...]
    sept: tuple[FinalSept, ...]
    pamt: FinalPamt

    def __post_init__(self) -> None:
        for name, ids in (("tds", [td.id for td in self.tds]), ("sept", [sept.td for sept in self.sept])):
            if ids != list(range(len(self.tds))):
                raise ValueError(f"{name} of TDs {ids}: accepted is each TD once, in order")


def _check_count(what: str, count: int, runs: Iterable[SeptRun | PamtRun]) -> None:
    listed = sum(run.n for run in runs)
    if listed != count:
        raise ValueError(f"{what}: count {count}: accepted is the {listed} entries that its runs list")


def sept_runs(
    gpa: npt.ArrayLike, level: npt.ArrayLike, raw: npt.ArrayLike, table_hpa: npt.ArrayLike
) -> tuple[SeptRun, ...]:
    """Return the runs of a TD's S-EPT entries exactly as the files list them.

    Parameters
    ----------
    gpa, level, raw, table_hpa : array_like of int, shape (n,)
        Entries in any order; the caller leaves out those that are exactly FREE.

    Returns
    -------
    tuple of SeptRun
        By level, table and GPA. An entry joins the run before it where GPA and raw value continue it.
    """
    order = np.lexsort((_words(gpa), _words(table_hpa), _words(level)))
    runs: list[SeptRun] = []
    entries = (_words(values)[order].tolist() for values in (gpa, level, raw, table_hpa))
    for address, at_level, value, table in zip(*entries, strict=True):
        size = _LEVEL_BYTES[at_level]
        if runs:
            last = runs[-1]
            step = value - (last.raw + (last.n - 1) * last.step)
            follows = (at_level, table, address) == (last.level, last.table_hpa, last.gpa + last.n * size)
            if follows and (step in (0, size) if last.n == 1 else step == last.step):
                runs[-1] = last._replace(n=last.n + 1, step=Word(step))
                continue
        runs.append(SeptRun(Word(address), at_level, Word(value), 1, Word(0), Word(table)))
    return tuple(runs)


def pamt_runs(
    hpa: npt.ArrayLike,
    level: npt.ArrayLike,
    page_type: npt.ArrayLike,
    owner: npt.ArrayLike,
    bepoch: npt.ArrayLike,
    lock: npt.ArrayLike,
    tdmr_bases: Iterable[int],
) -> tuple[PamtRun, ...]:
    """Return the runs of PAMT entries exactly as the files list them.

    Parameters
    ----------
    hpa, level, page_type, owner, bepoch, lock : array_like of int, shape (n,)
        Entries in any order; the caller leaves out NDA entries with lock word 0. ``owner`` is the TDR's HPA.
    tdmr_bases : iterable of int
        The TDMRs' bases, ascending.

    Returns
    -------
    tuple of PamtRun
        By TDMR, then 1G, 2M, 4K, then HPA. A run has equal fields, no gap, and stays in one TDMR.
    """
    tdmr = np.searchsorted(np.array(list(tdmr_bases), np.uint64), _words(hpa), side="right")
    order = np.lexsort((_words(hpa), -np.asarray(level).astype(np.int64), tdmr))
    columns = (tdmr, hpa, level, page_type, owner, bepoch, lock)
    runs: list[PamtRun] = []
    place = -1
    entries = (_words(values)[order].tolist() for values in columns)
    for region, address, at_level, kind, td, epoch, word in zip(*entries, strict=True):
        fields = (at_level, kind, td, epoch, word)
        if runs:
            last = runs[-1]
            if (region, *fields) == (place, *last[1:6]) and address == last.hpa + last.n * _LEVEL_BYTES[at_level]:
                runs[-1] = last._replace(n=last.n + 1)
                continue
        place = region
        runs.append(PamtRun(Word(address), at_level, kind, Word(td), epoch, word, 1))
    return tuple(runs)


def expand_sept(runs: Iterable[SeptRun]) -> tuple[Uint64s, Uint64s, Uint64s, Uint64s]:
    """Return the entries of ``runs`` as the arrays ``(gpa, level, raw, table_hpa)`` that :func:`sept_runs` takes."""
    gpa, level, raw, n, step, table = _columns(runs, len(SeptRun._fields))
    row, within = _repeat(n)
    return (
        gpa[row] + (within << (np.uint64(12) + np.uint64(9) * level[row])),
        level[row],
        raw[row] + within * step[row],
        table[row],
    )


def expand_pamt(runs: Iterable[PamtRun]) -> tuple[Uint64s, Uint64s, Uint64s, Uint64s, Uint64s, Uint64s]:
    """Return the entries of ``runs`` as the first six arrays that :func:`pamt_runs` takes."""
    hpa, level, page_type, owner, bepoch, lock, n = _columns(runs, len(PamtRun._fields))
    row, within = _repeat(n)
    addresses = hpa[row] + (within << (np.uint64(12) + np.uint64(9) * level[row]))
    return addresses, level[row], page_type[row], owner[row], bepoch[row], lock[row]


def _words(values: npt.ArrayLike) -> Uint64s:
    return np.asarray(values).astype(np.uint64)


def _columns(runs: Iterable[SeptRun | PamtRun], width: int) -> list[Uint64s]:
    return list(np.array([tuple(map(int, run)) for run in runs], np.uint64).reshape(-1, width).T)


def _repeat(n: Uint64s) -> tuple[npt.NDArray[np.int64], Uint64s]:
    lengths = n.astype(np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, (np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(np.uint64)
