"""Scenario files: a guest, what-if knobs and a chain of phases, in TOML."""

from pathlib import Path
from typing import Any, get_args

import msgspec

from perfmodel.errors import InputError
from perfmodel.life.phases import KINDS, AnyPhase, check_order
from perfmodel.scenario import Scenario

SCHEMA = "perfmodel/scenario/1"

_PATHS = ("extents", "host")


class WhatIf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Knobs that real code does not have, or has both ways; the defaults are today's code.

    Attributes
    ----------
    dynamic_pamt : bool
    dynamic_pamt_fast_path : bool
        A reference is taken by atomic_inc_not_zero before the global lock is.
    reset_pages : bool
        tdx_quirk_reset_paddr clears what a TD gives back (X86_BUG_TDX_PW_MCE).
    batch_track : bool
        One TRACK and one kick for all leaves of a request instead of one a leaf.
    """

    dynamic_pamt: bool = False
    dynamic_pamt_fast_path: bool = True
    reset_pages: bool = False
    batch_track: bool = False


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: str
    guest: dict[str, Any]
    phase: list[AnyPhase]
    what_if: WhatIf = WhatIf()


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario with the phases that the TD lives through, one after the other."""

    name: str
    scenario: Scenario
    what_if: WhatIf
    phases: tuple[AnyPhase, ...]


def load_story(path: Path) -> Story:
    """Read a scenario file.

    Raises
    ------
    InputError
        One line with file, key, value and what would be accepted.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: accepted is a scenario file with schema {SCHEMA!r}") from None
    try:
        given = msgspec.toml.decode(text, type=_File)
        if given.schema != SCHEMA:
            raise InputError(f"schema {given.schema!r}: accepted is {SCHEMA!r}")
        scenario = _scenario(given.guest, path.parent)
        if not given.phase:
            raise InputError("phase: accepted is one [[phase]] or more")
        for i, phase in enumerate(given.phase):
            try:
                phase.check(scenario.memory_bytes)
            except InputError as error:
                raise InputError(f"phase[{i}].{error}") from None
        check_order([phase.kind for phase in given.phase])
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}: {_accepted(str(error))}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
    return Story(name=path.stem, scenario=scenario, what_if=given.what_if, phases=tuple(given.phase))


def _accepted(message: str) -> str:
    """Return what would be accepted where msgspec found something else."""
    if ".kind`" in message:
        return f"accepted are {', '.join(KINDS)}"
    if "phase" in message:
        keys = {kind.__struct_config__.tag: ", ".join(kind.__struct_fields__) for kind in get_args(AnyPhase)}
        return "accepted beside kind are " + "; ".join(f"{kind}: {named}" for kind, named in keys.items())
    if "what_if" in message:
        return f"accepted are {', '.join(WhatIf.__struct_fields__)}, true or false"
    return "accepted at the top are schema, [guest], [what_if] and [[phase]]"


def _scenario(given: dict[str, Any], folder: Path) -> Scenario:
    fields = Scenario.__dataclass_fields__
    for key in given:
        if key not in fields:
            raise InputError(f"guest.{key}: accepted are {', '.join(fields)}")
    values = dict(given)
    for key in ("interfaces", "features_off"):
        if key in values:
            if not isinstance(values[key], list):
                raise InputError(f"guest.{key} {values[key]!r}: accepted is a list of names")
            values[key] = tuple(values[key])
    for key in _PATHS:
        if key in values:
            values[key] = folder / str(values[key])
    if "block_shares" in values:
        values["block_shares"] = _shares(values["block_shares"])
    if values.get("memory") is None:
        raise InputError("guest.memory: accepted is a size such as 16GiB")
    try:
        return Scenario(**values)
    except TypeError as error:
        raise InputError(f"guest: {error}") from None


def _shares(given: object) -> dict[int, float]:
    try:
        return {int(order): float(share) for order, share in given.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"guest.block_shares {given!r}: accepted is a table such as {{ 10 = 0.8, 0 = 0.2 }}") from None
