"""A record as its line gives it: one struct for each op, with exactly the keys that the op can have.

Optional keys have the default that the arrays of :class:`perfmodel.vectors.records.Records` hold for "none".
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from kernels.replay_record import EV_FIELDS, NONE
from perfmodel.vectors.header import Count, Flag, Level, Small, Word

Td = Annotated[int, Meta(ge=0, le=255)]
Vcpu = Annotated[int, Meta(ge=0, le=(1 << 15) - 1)]
PamtLevel = Annotated[int, Meta(ge=0, le=2)]
OperandLevel = Annotated[int, Meta(ge=0, le=7)]
Counts = Annotated[list[Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]], Meta(min_length=len(EV_FIELDS),
                                                                          max_length=len(EV_FIELDS))]  # fmt: skip


class Entry(NamedTuple):
    """``se``: the S-EPT entry at the call's GPA after the record."""

    level: Level
    raw: Word


class Interrupt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``intr``: the pending-interrupt MSR and RFLAGS that tests from number ``after`` on see."""

    after: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    msr: Word
    rflags: Word


class Line(msgspec.Struct, tag_field="op", forbid_unknown_fields=True, kw_only=True):
    """What every record has; ``in_`` and ``out`` are structs of the op's own."""

    i: Count
    lp: Small = 0
    stubbed: Literal[True] | None = None
    note: str = ""


class Inputs(msgspec.Struct, forbid_unknown_fields=True):
    """``in`` of a record; ``prefix`` and the key make the name of the array for keys that are not shared."""

    prefix: ClassVar[str] = ""


class Outputs(msgspec.Struct, forbid_unknown_fields=True):
    """``out`` of a record."""


class VcpuEnterInputs(Inputs):
    td: Td
    vcpu: Vcpu
    new_assoc: Flag


class VcpuEnterOutputs(Outputs):
    """Epoch and INVEPT only after a success."""

    rax: Word
    epoch: Count = NONE
    invept: Annotated[int, Meta(ge=0, le=1)] = NONE

    def __post_init__(self) -> None:
        given = (self.epoch != NONE, self.invept != NONE)
        if given != (self.rax == 0,) * 2:
            raise ValueError(f"epoch, invept given {given}: accepted are both with rax 0x0, none with another")


class VcpuExitInputs(Inputs):
    td: Td
    vcpu: Vcpu


class VcpuExitOutputs(Outputs):
    rax: Word


class LockInputs(Inputs, tag_field="obj"):
    prefix: ClassVar[str] = "lock_"


class PamtLock(LockInputs, tag="pamt"):
    hpa: Word
    level: PamtLevel
    mode: Literal["sh", "ex"]


class TreeLock(LockInputs, tag="tree"):
    td: Td
    mode: Literal["sh", "ex"]


class OpStateLock(TreeLock, tag="opstate"):
    pass


class EpochLock(TreeLock, tag="epoch"):
    pass


class SeptLock(LockInputs, tag="septe"):
    td: Td
    gpa: Word
    level: Level
    side: Literal["host", "guest"]


class SetInputs(Inputs):
    prefix: ClassVar[str] = "set_"
    td: Td
    field: Literal["fatal", "lifecycle", "num_tdcx", "op_state", "num_vcpus"]
    value: Count


class PokeInputs(Inputs):
    prefix: ClassVar[str] = "poke_"
    td: Td
    gpa: Word
    level: Level
    value: Word


class RcOutputs(Outputs):
    rc: Word


class VcpuEnter(Line, tag="VCPU_ENTER"):
    in_: VcpuEnterInputs = msgspec.field(name="in")
    out: VcpuEnterOutputs
    ev: Counts


class VcpuExit(Line, tag="VCPU_EXIT"):
    in_: VcpuExitInputs = msgspec.field(name="in")
    out: VcpuExitOutputs


class Lock(Line, tag="LOCK"):
    in_: PamtLock | TreeLock | OpStateLock | EpochLock | SeptLock = msgspec.field(name="in")
    out: RcOutputs


class Unlock(Lock, tag="UNLOCK"):
    pass


class Set(Line, tag="SET"):
    in_: SetInputs = msgspec.field(name="in")
    out: RcOutputs


class Poke(Line, tag="POKE"):
    in_: PokeInputs = msgspec.field(name="in")
    out: RcOutputs


class Call(NamedTuple):
    """The keys of a SEAMCALL, TDCALL or EPT-violation record.

    Attributes
    ----------
    given, returned : str
        Registers that are always there.
    keys : str
        Further keys: ``td`` (required), ``td?`` (absent if the operand names none), ``vcpu``, ``l``, ``v``,
        ``se?``, ``intr?`` and, in ``out``, ``exit``, ``exit?`` (together with
        ``more_returned``) and ``interrupted?``.
    more_given, more_returned : str
        Registers that are there all or none.
    """

    given: str
    returned: str
    keys: str
    more_given: str = ""
    more_returned: str = ""


CALLS = {
    "TDH.MEM.SEPT.ADD": Call("rcx rdx r8", "rax rcx rdx", "td? l v se?", "r9 r10 r11", "r8 r9 r10 r11"),
    "TDH.MEM.SEPT.REMOVE": Call("rcx rdx", "rax rcx rdx", "td? l v se?", "", "r9 r10 r11"),
    "TDH.MEM.SEPT.RD": Call("rcx rdx", "rax rcx rdx", "td? l se?", "", "r8"),
    "TDH.MEM.PAGE.ADD": Call("rcx rdx r8 r9", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.PAGE.AUG": Call("rcx rdx r8", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.PAGE.REMOVE": Call("rcx rdx", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.PAGE.RELOCATE": Call("rcx rdx r8", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.PAGE.PROMOTE": Call("rcx rdx", "rax rcx rdx", "td? l v se? intr?", "", "r9 r10 r11"),
    "TDH.MEM.PAGE.DEMOTE": Call("rcx rdx r8 r9 r10 r11", "rax rcx rdx r9 r10 r11", "td? l se? intr?"),
    "TDH.MEM.RANGE.BLOCK": Call("rcx rdx", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.RANGE.UNBLOCK": Call("rcx rdx", "rax rcx rdx", "td? l se?"),
    "TDH.MEM.TRACK": Call("rcx", "rax", "td?"),
    "TDH.MR.EXTEND": Call("rcx rdx", "rax rcx rdx", "td? se?"),
    "TDH.MR.FINALIZE": Call("rcx", "rax", "td?"),
    "TDH.PHYMEM.PAGE.WBINVD": Call("rcx", "rax", ""),
    "TDH.PHYMEM.PAGE.RDMD": Call("rcx", "rax rcx rdx r8 r9", ""),
    "TDH.PHYMEM.PAGE.RECLAIM": Call("rcx", "rax rcx rdx r8", ""),
    "TDG.MEM.PAGE.ACCEPT": Call("rcx", "rax", "td vcpu l se? intr? exit? interrupted?", "", "rcx rdx r8 r9"),
    "TD.EPT_VIOLATION": Call("rcx rdx", "rax rcx rdx r8 r9", "td vcpu se? exit"),
}
"""Register layouts and keys of the calls, as all vector files have them."""

_EXIT = Literal["EPT_VIOLATION"]
_KEYS: dict[str, tuple[Any, ...]] = {
    "td": ("td", Td),
    "td?": ("td", Td, NONE),
    "vcpu": ("vcpu", Vcpu),
    "l": ("l", OperandLevel),
    "v": ("v", Annotated[int, Meta(ge=0, le=127)]),
    "se?": ("se", Entry, Entry(NONE, Word(0))),
    "intr?": ("intr", Interrupt | None, None),
}
_OUT_KEYS: dict[str, tuple[Any, ...]] = {
    "exit": ("exit", _EXIT),
    "exit?": ("exit", _EXIT | None, None),
    "interrupted?": ("intr", Literal[0, 1], 0),
}


def _check_together(keys: Sequence[str]) -> dict[str, Any]:
    """Return the namespace of a struct that has all of ``keys`` or none."""

    def check(self: Any) -> None:
        absent = [key for key in keys if getattr(self, key) is None]
        if 0 < len(absent) < len(keys):
            raise ValueError(f"{', '.join(absent)} absent: accepted are all of {', '.join(keys)}, or none")

    return {"__post_init__": check} if len(keys) > 1 else {}


def _registers(required: str, optional: str) -> list[Any]:
    return [(r, Word) for r in required.split()] + [(r, Word | None, None) for r in optional.split()]


def _call_type(op: str, call: Call) -> Any:
    keys = call.keys.split()
    inputs = msgspec.defstruct(
        "Inputs",
        _registers(call.given, call.more_given),
        bases=(Inputs,),
        namespace=_check_together(call.more_given.split()),
    )
    outputs = msgspec.defstruct(
        "Outputs",
        # required fields, which are pairs, go before those with a default
        sorted([_OUT_KEYS[k] for k in keys if k in _OUT_KEYS] + _registers(call.returned, call.more_returned), key=len),
        bases=(Outputs,),
        namespace=_check_together([*call.more_returned.split(), *(["exit"] if "exit?" in keys else [])]),
    )
    fields = [_KEYS[k] for k in keys if k in _KEYS]
    fields += [("in_", inputs, msgspec.field(name="in")), ("out", outputs), ("ev", Counts)]
    return msgspec.defstruct(op.replace(".", "_"), fields, bases=(Line,), tag=op, kw_only=True)


LINES: dict[str, type[Line]] = {op: _call_type(op, call) for op, call in CALLS.items()} | {
    str(kind.__struct_config__.tag): kind for kind in (VcpuEnter, VcpuExit, Lock, Unlock, Set, Poke)
}
"""The struct of each op."""
