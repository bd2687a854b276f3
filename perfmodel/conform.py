"""Does a replay give what the TDX module gave? Exact comparison with the conformance vectors, and its report."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.replay_record import EV_FIELDS, LOCK_KINDS, LOCK_MODES, LOCK_SIDES, NONE, OPS, RAX, SET_FIELDS
from perfmodel._version import __version__
from perfmodel.errors import ModelError
from perfmodel.vectors import REGISTER_COLUMNS, Final, Records, VectorFile, load_vectors, require_readable
from perfmodel.vectors.differences import FinalDifference, final_differences
from perfmodel.vectors.statuses import EXIT_NAME, status_name

CONFORM_SCHEMA = "perfmodel/conform/1"
NOT_COVERED = ("TDH.PHYMEM.PAMT.ADD", "TDH.PHYMEM.PAMT.REMOVE")
"""Calls of the model that no conformance vector exercises."""

Progress = Callable[[int, int], None]
"""Called with files done and files in all."""


class Replay(NamedTuple):
    """What a replay of a vector file gave, in the shapes and dtypes of :class:`perfmodel.vectors.Records`.

    Values that a record does not define are not looked at: registers outside ``out_mask``, ``rc`` of a call, ``se``
    and ``ev`` where the record shows none. ``is_exit``, ``epoch``, ``invept`` and ``intr_out`` count in every record.
    """

    regs_out: npt.NDArray[np.uint64]
    is_exit: npt.NDArray[np.bool_]
    rc: npt.NDArray[np.uint64]
    epoch: npt.NDArray[np.int64]
    invept: npt.NDArray[np.int64]
    intr_out: npt.NDArray[np.bool_]
    se_level: npt.NDArray[np.int8]
    se_raw: npt.NDArray[np.uint64]
    ev: npt.NDArray[np.int32]
    final: Final

    @classmethod
    def observed(cls, vectors: VectorFile) -> "Replay":
        """Return what the module itself gave, in arrays of its own."""
        columns = {name: getattr(vectors.records, name).copy() for name in cls._fields[:-1]}
        return cls(**columns, final=vectors.final)


class Share(msgspec.Struct, frozen=True):
    """``agree`` of the ``compared`` records that define an aspect."""

    agree: int
    compared: int

    def plus(self, other: "Share") -> "Share":
        """Return the share over both sets of records."""
        return Share(self.agree + other.agree, self.compared + other.compared)


class Agreement(msgspec.Struct, frozen=True):
    """How far records of one call and observed status agree.

    Attributes
    ----------
    records, agree : int
        Records, and those that agree in every aspect.
    status : Share
        RAX whole, or ``rc`` of LOCK, UNLOCK, SET and POKE.
    registers : Share
        The other registers that the record defines.
    outcome : Share
        Exit, interruption, epoch and INVEPT.
    entry : Share
        Level and raw value of the S-EPT entry after the record.
    counts : Share
        All event counts.
    """

    records: int
    agree: int
    status: Share
    registers: Share
    outcome: Share
    entry: Share
    counts: Share

    def plus(self, other: "Agreement") -> "Agreement":
        """Return the agreement over both sets of records."""
        shares = [getattr(self, aspect).plus(getattr(other, aspect)) for aspect in ASPECTS]
        return Agreement(self.records + other.records, self.agree + other.agree, *shares)


ASPECTS = ("status", "registers", "outcome", "entry", "counts")


class CallRow(msgspec.Struct, frozen=True):
    """The agreement of one call and observed status."""

    call: str
    status: str
    agreement: Agreement


class RecordDifference(msgspec.Struct, frozen=True):
    """A record that does not agree; ``expected`` and ``got`` are whole, ``differs`` names what is not equal."""

    file: str
    record: int
    call: str
    note: str
    stubbed: bool
    differs: list[str]
    input: dict[str, str | int]
    expected: dict[str, str | int]
    got: dict[str, str | int]


class FileRow(msgspec.Struct, frozen=True):
    """The agreement of one file; ``final_shown`` are the first of its ``final`` differing places."""

    file: str
    records: int
    stubbed: int
    agree: int
    final: int
    final_shown: list[FinalDifference]


class ConformReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``perfmodel conform`` reports."""

    schema: str = CONFORM_SCHEMA
    version: str
    files: list[FileRow]
    calls: list[CallRow]
    differences: list[RecordDifference]
    not_in_files: list[str]
    not_covered: tuple[str, ...] = NOT_COVERED

    @property
    def records(self) -> int:
        """Records compared."""
        return sum(file.records for file in self.files)

    @property
    def differing(self) -> int:
        """Records that do not agree."""
        return sum(file.records - file.agree for file in self.files)

    @property
    def final_differing(self) -> int:
        """Places of final states that do not agree."""
        return sum(file.final for file in self.files)

    @property
    def agrees(self) -> bool:
        """Whether every record and every final state agree."""
        return self.differing == 0 and self.final_differing == 0

    def by_call(self) -> dict[str, Agreement]:
        """Return the agreement of each call over its statuses."""
        total: dict[str, Agreement] = {}
        for row in self.calls:
            before = total.get(row.call)
            total[row.call] = before.plus(row.agreement) if before else row.agreement
        return total


def to_json(report: ConformReport) -> bytes:
    """Return ``report`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def conform_files(
    paths: Sequence[Path],
    replay: Callable[[VectorFile], Replay],
    *,
    differences: int = 5,
    progress: Progress | None = None,
) -> ConformReport:
    """Replay each of ``paths`` and compare exactly.

    Parameters
    ----------
    paths : sequence of Path
    replay : callable
        Takes a :class:`VectorFile` and returns a :class:`Replay`.
    differences : int
        How many differing records, and differing places of each final state, to give in full.
    progress : callable, optional

    Raises
    ------
    InputError
        A file cannot be read or is not what format 1 allows.
    ModelError
        The replay's arrays do not have the shapes and dtypes of the observed outputs.
    """
    require_readable(paths)
    files: list[FileRow] = []
    calls: dict[tuple[int, int], Agreement] = {}
    shown: list[RecordDifference] = []
    for done, path in enumerate(paths):
        vectors = load_vectors(path)
        if progress:
            progress(done, len(paths))
        got = replay(vectors)
        _check_shapes(vectors, got)
        aspects = compare_records(vectors.records, got)
        agree = np.logical_and.reduce([equal | ~compared for equal, compared in aspects.values()])
        for key, agreement in _by_call_and_status(vectors.records, aspects, agree):
            calls[key] = calls[key].plus(agreement) if key in calls else agreement
        for i in np.flatnonzero(~agree)[: max(differences - len(shown), 0)].tolist():
            shown.append(_describe(vectors, got, i))
        final = list(final_differences(vectors.final, got.final))
        stubbed = int(np.count_nonzero(vectors.records.stubbed))
        files.append(FileRow(str(path), len(agree), stubbed, int(agree.sum()), len(final), final[:differences]))
    if progress:
        progress(len(paths), len(paths))
    seen = {op for op, _ in calls}
    return ConformReport(
        version=__version__,
        files=files,
        calls=[CallRow(OPS[op], _status_text(status), calls[op, status]) for op, status in sorted(calls)],
        differences=shown,
        not_in_files=[name for op, name in enumerate(OPS) if op not in seen],
    )


Aspect = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
"""For each record: equal, and whether the record defines the aspect at all."""


def compare_records(records: Records, got: Replay) -> dict[str, Aspect]:
    """Return each aspect of ``ASPECTS`` for each record."""
    defined = (records.out_mask[:, None] >> np.arange(records.regs_out.shape[1], dtype=np.uint16)) & 1 == 1
    same = (records.regs_out == got.regs_out) | ~defined
    has_rax = defined[:, RAX]
    others = np.arange(defined.shape[1]) != RAX
    every = np.ones(len(records.op), np.bool_)
    outcome = np.logical_and.reduce(
        [getattr(records, name) == getattr(got, name) for name in ("is_exit", "epoch", "invept", "intr_out")]
    )
    entry = (records.se_level == got.se_level) & (records.se_raw == got.se_raw)
    return {
        "status": (np.where(has_rax, same[:, RAX], records.rc == got.rc), every),
        "registers": (same[:, others].all(axis=1), defined[:, others].any(axis=1)),
        "outcome": (outcome, every),
        "entry": (entry, records.se_level != NONE),
        "counts": ((records.ev == got.ev).all(axis=1), records.ev[:, 0] != NONE),
    }


def _check_shapes(vectors: VectorFile, got: Replay) -> None:
    for name in Replay._fields[:-1]:
        wanted, given = getattr(vectors.records, name), getattr(got, name)
        if (wanted.shape, wanted.dtype) != (given.shape, given.dtype):
            raise ModelError(
                f"{vectors.path}: the replay's {name} is {given.dtype}{list(given.shape)}, "
                f"not {wanted.dtype}{list(wanted.shape)}"
            )


_EXIT_CODE = 1 << 32  # above every status class


def _status_text(code: int) -> str:
    return EXIT_NAME if code == _EXIT_CODE else status_name(code)


def _by_call_and_status(
    records: Records, aspects: dict[str, Aspect], agree: npt.NDArray[np.bool_]
) -> Iterable[tuple[tuple[int, int], Agreement]]:
    """Yield ``(op, status class)`` and the agreement of its records."""
    rax = np.where(records.out_mask & (1 << RAX), records.regs_out[:, RAX], records.rc)
    status = np.where(records.is_exit, _EXIT_CODE, (rax >> np.uint64(32)).astype(np.int64))
    keys, group = np.unique(np.stack([records.op.astype(np.int64), status]), axis=1, return_inverse=True)

    def count(chosen: npt.NDArray[np.bool_]) -> list[int]:
        return [int(n) for n in np.bincount(group[chosen], minlength=keys.shape[1])]

    size, whole = count(np.ones(len(agree), np.bool_)), count(agree)
    shares = [list(map(Share, count(equal & compared), count(compared))) for equal, compared in aspects.values()]
    for column, (op, code) in enumerate(keys.T.tolist()):
        yield (op, code), Agreement(size[column], whole[column], *(share[column] for share in shares))


def _describe(vectors: VectorFile, got: Replay, i: int) -> RecordDifference:
    expected, given = (_outputs(vectors.records, outputs, i) for outputs in (vectors.records, got))
    return RecordDifference(
        file=str(vectors.path),
        record=i,
        call=OPS[vectors.records.op[i]],
        note=vectors.notes[i],
        stubbed=bool(vectors.records.stubbed[i]),
        differs=[name for name in expected if expected[name] != given[name]],
        input=_inputs(vectors.records, i),
        expected=expected,
        got=given,
    )


def _named(register_row: npt.NDArray[np.uint64], mask: int) -> dict[str, str | int]:
    return {name: hex(register_row[r]) for name, r in REGISTER_COLUMNS.items() if mask >> r & 1}


def _inputs(records: Records, i: int) -> dict[str, str | int]:
    """Return what record ``i`` gives, under the names that the vector files use."""
    names: dict[str, tuple[str, ...]] = {
        "lock_kind": LOCK_KINDS, "lock_mode": LOCK_MODES, "lock_side": LOCK_SIDES, "set_field": SET_FIELDS
    }  # fmt: skip
    given: dict[str, str | int] = {}
    for name in ("td", "lp", "vcpu", "level", "version", "new_assoc", *names, "lock_level", "intr_after", "poke_level"):
        code = int(getattr(records, name)[i])
        if code != NONE:
            given[name] = names[name][code] if name in names else code
    for name, where in (("lock_hpa", "lock_kind"), ("lock_gpa", "lock_kind"), ("set_value", "set_field"),
                        ("poke_gpa", "poke_level"), ("poke_value", "poke_level"), ("intr_msr", "intr_after"),
                        ("intr_rflags", "intr_after")):  # fmt: skip
        if where in given:
            given[name] = hex(getattr(records, name)[i])
    return given | _named(records.regs_in[i], int(records.in_mask[i]))


def _outputs(records: Records, outputs: Any, i: int) -> dict[str, str | int]:
    """Return those outputs of record ``i`` that the record defines, from ``outputs``."""
    given = _named(outputs.regs_out[i], int(records.out_mask[i]))
    if not records.out_mask[i] >> RAX & 1:
        given["rc"] = hex(outputs.rc[i])
    given |= {name: int(getattr(outputs, name)[i]) for name in ("is_exit", "intr_out", "epoch", "invept")}
    if records.se_level[i] != NONE:
        given |= {"se_level": int(outputs.se_level[i]), "se_raw": hex(outputs.se_raw[i])}
    if records.ev[i, 0] != NONE:
        given |= {f"ev.{name}": int(count) for name, count in zip(EV_FIELDS, outputs.ev[i], strict=True)}
    return given
