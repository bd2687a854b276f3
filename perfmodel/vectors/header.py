"""The first line of a vector file: the platform, the TDs and what lies in memory before record 0."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kernels.replay_record import EV_FIELDS

_HPA_LIMIT = 1 << 52
_BLOCK_BYTES = 1 << 30

Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Level = Annotated[int, Meta(ge=0, le=4)]
Small = Annotated[int, Meta(ge=0, le=255)]
Flag = Literal[0, 1]


class Word(int):
    """A 64-bit value, which the files write as a hex string."""

    __slots__ = ()


def decode_word(kind: type, text: object) -> Any:
    """Return the :class:`Word` that ``text`` stands for, in the one form that the files use."""
    if kind is Word and type(text) is str:
        try:
            word = Word(text, 16)
        except ValueError:
            word = Word(-1)
        if 0 <= word < 1 << 64 and hex(word) == text:
            return word
    raise ValueError("accepted is a hex string from '0x0' to '0xffffffffffffffff', lower case, no leading zeros")


def encode_word(word: object) -> str:
    """Return the hex string of a :class:`Word`, for msgspec's ``enc_hook``."""
    if isinstance(word, Word):
        return hex(word)
    raise NotImplementedError(f"{type(word)} has no form in a vector file")


class Seamrr(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The memory that the module itself lies in."""

    base: Word
    size: Word


class TdmrState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TDMR; ``initialized`` bytes of it went through TDMR.INIT, ``reserved`` is (offset in the TDMR, size)."""

    base: Word
    size: Word
    initialized: Word
    pamt_4k: Word
    pamt_2m: Word
    pamt_1g: Word
    reserved: tuple[tuple[Word, Word], ...]


class PlatformState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Physical address layout, TDMRs in ascending order, and each LP's keyholes."""

    max_pa_bits: Literal[52]
    hkid_bits: Small
    hkid_start_bit: Annotated[int, Meta(ge=32, le=51)]
    private_hkid_min: Count
    private_hkid_max: Count
    global_hkid: Count
    seamrr: Seamrr
    tdmr: Annotated[tuple[TdmrState, ...], Meta(min_length=1)]
    keyholes_per_lp: Small
    keyholes_dynamic: Small
    keyhole_state: Literal["cold"]


class TdState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TD before record 0; ``id`` is its position, ``sept_root`` its fourth TDCX page."""

    id: Small
    tdr: Word
    hkid: Count
    tdcx: tuple[Word, Word, Word, Word, Word, Word]
    sept_root: Word
    gpaw: Flag
    levels: Literal[4, 5]
    lifecycle: Small
    fatal: Flag
    num_tdcx: Small
    op_state: Small
    op_state_name: str
    td_epoch: Count
    refcount: tuple[Count, Count]
    num_vcpus: Count
    num_l2_vms: Count
    pending_ve_disable: Flag
    chldcnt: Count


class PamtPreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page that has a type before record 0, other than TDR and TDCX pages."""

    hpa: Word
    level: Annotated[int, Meta(ge=0, le=2)]
    type: Small
    owner: Word


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vector file says before its records; ``params`` are the generator's knobs, for information."""

    type: Literal["header"]
    format: Literal[1]
    name: str
    profile: str
    seed: Count
    params: dict[str, int | float | str | list[int]]
    module: str
    platform: PlatformState
    lps: Annotated[int, Meta(ge=1, le=255)]
    tds: Annotated[tuple[TdState, ...], Meta(min_length=1, max_length=255)]
    pamt_preset: tuple[PamtPreset, ...]
    ev_fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.ev_fields != EV_FIELDS:
            raise ValueError(f"ev_fields {list(self.ev_fields)}: accepted is {list(EV_FIELDS)}")
        for position, td in enumerate(self.tds):
            if td.id != position:
                raise ValueError(f"tds[{position}].id {td.id}: accepted is the TD's position, {position}")
            if td.sept_root != td.tdcx[3]:
                raise ValueError(f"tds[{position}].sept_root {td.sept_root:#x}: accepted is tdcx[3], {td.tdcx[3]:#x}")
        end = 0
        for position, tdmr in enumerate(self.platform.tdmr):
            name = f"platform.tdmr[{position}]"
            if tdmr.base % _BLOCK_BYTES or tdmr.size % _BLOCK_BYTES or tdmr.base < end:
                raise ValueError(
                    f"{name} base {tdmr.base:#x}, size {tdmr.size:#x}: accepted are multiples of 1 GiB, ascending "
                    "and without overlap"
                )
            end = tdmr.base + tdmr.size
            if end > _HPA_LIMIT:
                raise ValueError(f"{name} end {end:#x}: accepted is at most {_HPA_LIMIT:#x}")
            if tdmr.initialized > tdmr.size:
                raise ValueError(f"{name}.initialized {tdmr.initialized:#x}: accepted is at most its size")
