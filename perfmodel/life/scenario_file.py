"""Scenario files: a guest, what-if knobs and a chain of phases, in TOML."""

from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from perfmodel.errors import InputError
from perfmodel.files import lies_within, read_whole
from perfmodel.life.phases import KINDS, AnyPhase, check_order, check_prefault
from perfmodel.names import ORDERS
from perfmodel.scenario import Scenario

SCHEMA = "perfmodel/scenario/1"

_MOST_PHASES = 1000
_PATHS = ("extents", "host")


class WhatIf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Knobs that real code does not have, or has both ways; the defaults are today's code.

    Attributes
    ----------
    flush : {"every-page", "first-page", "none"}
        What AUG's wrapper flushes of a page that it maps: all of it (RFC v5), its first 4K (as applied in 2026), or
        nothing, as SEPT.ADD's then, because CLFLUSH_BEFORE_ALLOC is honoured.
    host_clear : bool
        guest_memfd clears a page that it gives for the first time, though ACCEPT zeroes it.
    pfn_check : {"none", "pfn-valid", "convertible"}
        What the wrappers of ADD and AUG ask about each 4K PFN that they map.
    dynamic_pamt : bool
    dynamic_pamt_fast_path : bool
        A reference is taken by atomic_inc_not_zero before the global lock is.
    reset_pages : bool
        tdx_quirk_reset_paddr clears what a TD gives back (X86_BUG_TDX_PW_MCE).
    batch_track : bool
        One TRACK and one kick for all leaves of a request instead of one a leaf.
    promote : bool
        KVM merges a 2M range by PROMOTE after a conversion back to private.
    aug_1g : bool
        A hypothetical module takes AUG and ACCEPT at 1G: a bound, see :mod:`perfmodel.life.at_1g`.
    """

    flush: Literal["every-page", "first-page", "none"] = "every-page"
    host_clear: bool = True
    pfn_check: Literal["none", "pfn-valid", "convertible"] = "none"
    dynamic_pamt: bool = False
    dynamic_pamt_fast_path: bool = True
    reset_pages: bool = False
    batch_track: bool = False
    promote: bool = False
    aug_1g: bool = False

    def alternatives(self) -> list[tuple[str, bool | str]]:
        """Return each other value of each knob, in the order of the knobs; none of a knob without effect."""
        accepted = {knob: get_args(kind) or (False, True) for knob, kind in get_type_hints(type(self)).items()}
        idle = () if self.dynamic_pamt else ("dynamic_pamt_fast_path",)
        return [
            (knob, value)
            for knob, values in accepted.items()
            for value in values
            if knob not in idle and value != getattr(self, knob)
        ]


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
        text = read_whole(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: accepted is a scenario file with schema {SCHEMA!r}") from None
    try:
        given = msgspec.toml.decode(text, type=_File)
        if given.schema != SCHEMA:
            raise InputError(f"schema {given.schema!r}: accepted is {SCHEMA!r}")
        scenario = _scenario(given.guest, path.parent)
        if not 0 < len(given.phase) <= _MOST_PHASES:
            raise InputError(f"phase: {len(given.phase)} of them: accepted are 1 to {_MOST_PHASES} tables [[phase]]")
        for i, phase in enumerate(given.phase):
            try:
                phase.check_name()
                phase.check(scenario.memory_bytes)
            except InputError as error:
                raise InputError(f"phase[{i}].{error}") from None
        check_order([phase.kind for phase in given.phase])
        check_prefault(given.phase, scenario.memory_bytes)
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
        return "accepted are " + ", ".join(
            f"{knob} ({' | '.join(get_args(kind)) or 'true | false'})" for knob, kind in get_type_hints(WhatIf).items()
        )
    return "accepted at the top are schema, [guest], [what_if] and [[phase]]"


def _scenario(given: dict[str, Any], folder: Path) -> Scenario:
    fields = Scenario.__dataclass_fields__
    for key in given:
        if key not in fields:
            raise InputError(f"guest.{key}: accepted are {', '.join(fields)}")
    if "flush_first_page_only" in given:
        raise InputError("guest.flush_first_page_only: accepted is flush = 'first-page' in [what_if]")
    if given.get("memory_model", "constant") != "constant":
        raise InputError(
            f"guest.memory_model {given['memory_model']!r}: accepted is constant; compare simulates caches"
        )
    values = dict(given)
    for key in ("interfaces", "features_off"):
        if key in values:
            if not isinstance(values[key], list):
                raise InputError(f"guest.{key} {values[key]!r}: accepted is a list of names")
            values[key] = tuple(values[key])
    for key in _PATHS:
        if key in values:
            values[key] = _inside(folder, key, values[key])
    if values.get("order", "sequential") not in ORDERS:
        values["order"] = str(_inside(folder, "order", values["order"]))
    if "block_shares" in values:
        values["block_shares"] = _shares(values["block_shares"])
    if values.get("memory") is None:
        raise InputError("guest.memory: accepted is a size such as 16GiB")
    try:
        return Scenario(**values)
    except TypeError as error:
        raise InputError(f"guest: {error}") from None


def _inside(folder: Path, key: str, value: object) -> Path:
    """Return the file that ``value`` names: beside the scenario file or below, wherever links lead."""
    if isinstance(value, str) and "\0" not in value:
        path = folder / value
        if lies_within(path, folder):
            return path
    names = f"{', '.join(ORDERS)}, or " if key == "order" else ""
    raise InputError(f"guest.{key} {value!r}: accepted is {names}a file in the scenario file's folder or below it")


def _shares(given: object) -> dict[int, float]:
    try:
        return {int(order): float(share) for order, share in given.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"guest.block_shares {given!r}: accepted is a table such as {{ 10 = 0.8, 0 = 0.2 }}") from None
