"""Kernel generations: which mapping rule, which knobs and which prices a kernel brings, as files beside the presets.

To add one, put a file of these fields into ``data/generations`` under its own name; docs/costs.md shows how. Files are
checked when they are loaded, and one whose `observations` are empty says so whenever it is used.
"""

import dataclasses
import functools
from importlib import resources
from typing import Any, get_args, get_type_hints

import msgspec

from perfmodel.errors import InputError
from perfmodel.life.scenario_file import Story, WhatIf
from perfmodel.names import INTERFACES
from perfmodel.parameters import ParameterChange, ParameterSet, change_parameters
from perfmodel.scenario import Scenario

_OF_COMPARE = ("flush",)
"""Knobs that a run without phases knows."""


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kernel generation.

    Attributes
    ----------
    name, title : str
    interface : str
        Mapping-level policy.
    observations : tuple of str
        Ids of the public observations that are about it.
    note, source : str
    what_if : dict
        Knobs of :class:`perfmodel.life.scenario_file.WhatIf` that it sets.
    parameters : dict of str to ParameterChange
        Prices in which it differs.
    """

    name: str
    title: str
    interface: str
    observations: tuple[str, ...]
    note: str
    source: str
    what_if: dict[str, Any] = {}
    parameters: dict[str, ParameterChange] = {}

    @property
    def is_validated(self) -> bool:
        """Whether any public observation is about it."""
        return bool(self.observations)

    def of_scenario(self, scenario: Scenario) -> Scenario:
        """Return ``scenario`` under this kernel.

        Raises
        ------
        InputError
            It needs a knob that only phases have, or the scenario names another interface.
        """
        today = msgspec.structs.asdict(WhatIf())
        for knob, value in self.what_if.items():
            if knob not in _OF_COMPARE and value != today[knob]:
                raise InputError(
                    f"generation {self.name!r}: {knob} = {value!r} is for a life in phases; accepted with "
                    "perfmodel run FILE"
                )
        if scenario.interfaces not in ((), (self.interface,)):
            raise InputError(f"generation {self.name!r}: maps by interface {self.interface!r} and accepts no other")
        flush = self.what_if.get("flush", "every-page")
        if flush == "none":
            raise InputError(f"generation {self.name!r}: flush = 'none' is accepted with perfmodel run FILE")
        return dataclasses.replace(scenario, interfaces=(self.interface,), flush_first_page_only=flush == "first-page")

    def of_story(self, story: Story) -> Story:
        """Return ``story`` under this kernel: its interface, and its knobs in place of the story's."""
        return msgspec.structs.replace(
            story,
            scenario=dataclasses.replace(story.scenario, interfaces=(self.interface,)),
            what_if=msgspec.structs.replace(story.what_if, **self.what_if),
        )

    def of_parameters(self, parameters: ParameterSet) -> ParameterSet:
        """Return ``parameters`` with the prices in which it differs."""
        return change_parameters(parameters, self.parameters) if self.parameters else parameters


@functools.cache
def generation_names() -> tuple[str, ...]:
    """Return the names that :func:`load_generation` takes, sorted."""
    folder = resources.files("perfmodel") / "data" / "generations"
    return tuple(sorted(x.name.removesuffix(".toml") for x in folder.iterdir() if x.name.endswith(".toml")))


def load_generation(name: str) -> Generation:
    """Return one generation, checked.

    Raises
    ------
    InputError
        No such generation, or its file says what the model does not know.
    """
    if name not in generation_names():
        raise InputError(f"generation {name!r}: accepted are {', '.join(generation_names())}")
    text = (resources.files("perfmodel") / "data" / "generations" / f"{name}.toml").read_bytes()
    return parse_generation(text, name)


def parse_generation(text: bytes, name: str) -> Generation:
    """Read the content of the file of generation ``name``; see :func:`load_generation`."""
    try:
        found = msgspec.toml.decode(text, type=Generation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        accepted = ", ".join(Generation.__struct_fields__)
        raise InputError(f"generation file {name!r}: {error}: accepted are {accepted}") from None
    if found.name != name:
        raise InputError(f"generation file {name!r}: name {found.name!r}: accepted is the name of its file")
    if found.interface not in INTERFACES:
        raise InputError(
            f"generation file {name!r}: interface {found.interface!r}: accepted are {', '.join(INTERFACES)}"
        )
    knobs = {knob: get_args(kind) or (False, True) for knob, kind in get_type_hints(WhatIf).items()}
    for knob, value in found.what_if.items():
        if knob not in knobs:
            raise InputError(f"generation file {name!r}: what_if.{knob}: accepted are {', '.join(knobs)}")
        if type(value) is not type(knobs[knob][0]) or value not in knobs[knob]:
            raise InputError(
                f"generation file {name!r}: what_if.{knob} {value!r}: accepted are {', '.join(map(str, knobs[knob]))}"
            )
    return found
