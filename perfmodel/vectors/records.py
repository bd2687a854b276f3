"""All records of a vector file as arrays, which a kernel can walk through."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.replay_record import EV_FIELDS, LOCK_KINDS, LOCK_MODES, LOCK_SIDES, NONE, OPS, REGISTERS, SET_FIELDS
from perfmodel.vectors.lines import Inputs, Line, LockInputs

REGISTER_COLUMNS = {"rax": 0, "rcx": 1, "rdx": 2} | {f"r{n}": n for n in range(8, REGISTERS)}
"""Column of each register in ``regs_in`` and ``regs_out``, and its bit in the masks."""

_CODES = {"mode": LOCK_MODES, "side": LOCK_SIDES, "field": SET_FIELDS}


class Records(NamedTuple):
    """Inputs and observed outputs of ``n`` records; codes and indices are those of :mod:`kernels.replay_record`.

    Attributes
    ----------
    op : ndarray of int16, shape (n,)
        Index in ``OPS``.
    td : ndarray of int16
        TD that the record addresses; -1 if its operand names none.
    lp : ndarray of int16
        Logical processor; 0 if the record does not say.
    vcpu : ndarray of int16
        vCPU of TDCALLs, EPT violations and VCPU records; -1 none.
    level, version : ndarray of int8
        ``l``, bits 2:0 of RCX, -1 none; ``v``, the leaf's version, 0 if the record does not say.
    regs_in, regs_out : ndarray of uint64, shape (n, 16)
    in_mask, out_mask : ndarray of uint16
        Bit ``r`` is set where the record gives register ``r``; others hold 0.
    is_exit : ndarray of bool
        The call ended in a TD exit with an EPT violation.
    rc : ndarray of uint64
        Outcome of LOCK, UNLOCK, SET and POKE, which have no RAX.
    epoch, invept : ndarray of int64
        What a successful VCPU_ENTER gives; -1 none.
    new_assoc : ndarray of int8
        Input of VCPU_ENTER; -1 none.
    intr_after : ndarray of int32
        Tests for an interrupt that find none; -1 if none is ever pending.
    intr_msr, intr_rflags : ndarray of uint64
        What the tests after those see.
    intr_out : ndarray of bool
        RAX 0 stands for an interrupted ACCEPT.
    se_level, se_raw : ndarray of int8 and uint64
        S-EPT entry at the call's GPA after the record; level -1 if the record does not show it.
    ev : ndarray of int32, shape (n, len(EV_FIELDS))
        Event counts; -1 if the record gives none.
    lock_kind, lock_mode, lock_side, lock_level : ndarray of int8
        Of LOCK and UNLOCK; -1 none.
    lock_hpa, lock_gpa : ndarray of uint64
        Of ``pamt`` and of ``septe``.
    set_field, set_value : ndarray of int8 and uint64
        Of SET; -1 and 0 none.
    poke_level, poke_gpa, poke_value : ndarray of int8, uint64 and uint64
        Of POKE; level -1 none.
    stubbed : ndarray of bool
        Injected state or a replaced MSR has influenced the record.
    """

    op: npt.NDArray[np.int16]
    td: npt.NDArray[np.int16]
    lp: npt.NDArray[np.int16]
    vcpu: npt.NDArray[np.int16]
    level: npt.NDArray[np.int8]
    version: npt.NDArray[np.int8]
    regs_in: npt.NDArray[np.uint64]
    in_mask: npt.NDArray[np.uint16]
    regs_out: npt.NDArray[np.uint64]
    out_mask: npt.NDArray[np.uint16]
    is_exit: npt.NDArray[np.bool_]
    rc: npt.NDArray[np.uint64]
    epoch: npt.NDArray[np.int64]
    invept: npt.NDArray[np.int64]
    new_assoc: npt.NDArray[np.int8]
    intr_after: npt.NDArray[np.int32]
    intr_msr: npt.NDArray[np.uint64]
    intr_rflags: npt.NDArray[np.uint64]
    intr_out: npt.NDArray[np.bool_]
    se_level: npt.NDArray[np.int8]
    se_raw: npt.NDArray[np.uint64]
    ev: npt.NDArray[np.int32]
    lock_kind: npt.NDArray[np.int8]
    lock_mode: npt.NDArray[np.int8]
    lock_side: npt.NDArray[np.int8]
    lock_level: npt.NDArray[np.int8]
    lock_hpa: npt.NDArray[np.uint64]
    lock_gpa: npt.NDArray[np.uint64]
    set_field: npt.NDArray[np.int8]
    set_value: npt.NDArray[np.uint64]
    poke_level: npt.NDArray[np.int8]
    poke_gpa: npt.NDArray[np.uint64]
    poke_value: npt.NDArray[np.uint64]
    stubbed: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int) -> "Records":
        """Return ``n`` records that say nothing."""

        def column(dtype: Any, none: int, *width: int) -> Any:
            return np.full((n, *width), none, dtype)

        def words() -> Any:
            return column(np.uint64, 0)

        def code() -> Any:
            return column(np.int8, NONE)

        return cls(
            op=column(np.int16, NONE),
            td=column(np.int16, NONE),
            lp=column(np.int16, 0),
            vcpu=column(np.int16, NONE),
            level=code(),
            version=column(np.int8, 0),
            regs_in=column(np.uint64, 0, REGISTERS),
            in_mask=column(np.uint16, 0),
            regs_out=column(np.uint64, 0, REGISTERS),
            out_mask=column(np.uint16, 0),
            is_exit=column(np.bool_, 0),
            rc=words(),
            epoch=column(np.int64, NONE),
            invept=column(np.int64, NONE),
            new_assoc=code(),
            intr_after=column(np.int32, NONE),
            intr_msr=words(),
            intr_rflags=words(),
            intr_out=column(np.bool_, 0),
            se_level=code(),
            se_raw=words(),
            ev=column(np.int32, NONE, len(EV_FIELDS)),
            lock_kind=code(),
            lock_mode=code(),
            lock_side=code(),
            lock_level=code(),
            lock_hpa=words(),
            lock_gpa=words(),
            set_field=code(),
            set_value=words(),
            poke_level=code(),
            poke_gpa=words(),
            poke_value=words(),
            stubbed=column(np.bool_, 0),
        )


def records_of(lines: Sequence[Line]) -> Records:
    """Return ``lines``, where line ``i`` is record ``i``, as arrays; they are filled op by op."""
    records = Records.empty(len(lines))

    def kind(line: Any) -> tuple[str, str]:
        return type(line).__struct_config__.tag, type(line.in_).__struct_config__.tag or ""

    for (op, _), group in groupby(sorted(lines, key=kind), kind):
        same: list[Any] = list(group)
        rows = np.array([line.i for line in same])
        records.op[rows] = OPS.index(op)
        _take_line(records, rows, same)
        _take_inputs(records, rows, [line.in_ for line in same])
        _take_outputs(records, rows, [line.out for line in same])
    return records


_Rows = npt.NDArray[np.int64]


def _take_line(records: Records, rows: _Rows, lines: list[Any]) -> None:
    keys = type(lines[0]).__struct_fields__
    records.lp[rows] = [line.lp for line in lines]
    records.stubbed[rows] = [line.stubbed is True for line in lines]
    for key, column in (("td", records.td), ("vcpu", records.vcpu), ("l", records.level), ("v", records.version)):
        if key in keys:
            column[rows] = [getattr(line, key) for line in lines]
    if "se" in keys:
        records.se_level[rows] = [line.se[0] for line in lines]
        records.se_raw[rows] = [line.se[1] for line in lines]
    if "ev" in keys:
        records.ev[rows] = [line.ev for line in lines]
    if "intr" in keys:
        for line in lines:
            if line.intr is not None:
                records.intr_after[line.i] = line.intr.after
                records.intr_msr[line.i] = line.intr.msr
                records.intr_rflags[line.i] = line.intr.rflags


def _take_inputs(records: Records, rows: _Rows, inputs: list[Inputs]) -> None:
    kind = type(inputs[0])
    if issubclass(kind, LockInputs):
        records.lock_kind[rows] = LOCK_KINDS.index(str(kind.__struct_config__.tag))
    for key in kind.__struct_fields__:
        values = [getattr(given, key) for given in inputs]
        if key in REGISTER_COLUMNS:
            _take_register(records.regs_in, records.in_mask, rows, REGISTER_COLUMNS[key], values)
            continue
        if key in _CODES:
            values = [_CODES[key].index(value) for value in values]
        column = key if key in ("td", "vcpu", "new_assoc") else kind.prefix + key
        getattr(records, column)[rows] = values


def _take_outputs(records: Records, rows: _Rows, outputs: list[Any]) -> None:
    for key in type(outputs[0]).__struct_fields__:
        values = [getattr(given, key) for given in outputs]
        if key in REGISTER_COLUMNS:
            _take_register(records.regs_out, records.out_mask, rows, REGISTER_COLUMNS[key], values)
        elif key == "exit":
            records.is_exit[rows] = [value is not None for value in values]
        else:
            column = {"rc": records.rc, "epoch": records.epoch, "invept": records.invept, "intr": records.intr_out}[key]
            column[rows] = values


def _take_register(
    table: npt.NDArray[np.uint64], mask: npt.NDArray[np.uint16], rows: _Rows, register: int, values: list[int | None]
) -> None:
    if None in values:
        rows = rows[[value is not None for value in values]]
        values = [value for value in values if value is not None]
    table[rows, register] = np.array(values, np.uint64)
    mask[rows] |= np.uint16(1 << register)
