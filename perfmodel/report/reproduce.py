"""The command that gives an answer's numbers again, as a user would type it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.life.scenario_file import SCHEMA, Story, WhatIf
from perfmodel.names import ORDERS
from perfmodel.scenario import Scenario
from perfmodel.sizes import format_size

_FLAGS = ("scale_host", "flush_first_page_only")


def command(name: str, scenario: Scenario, words: Sequence[str] = (), *others: str) -> str:
    """Return ``perfmodel NAME`` for ``scenario``, with ``others`` and the words that choose parameters."""
    return shlex.join(["perfmodel", name, *others, *scenario_words(scenario), *words])


def story_command(story: Story, words: Sequence[str] = (), *others: str) -> str:
    """Return the lines that write the scenario file, and ``perfmodel run`` of it."""
    run = shlex.join(["perfmodel", "run", "life.toml", *others, *words])
    return f"cat > life.toml <<'END'\n{story_toml(story)}END\n{run}"


def scenario_words(scenario: Scenario) -> list[str]:
    """Return the options in which ``scenario`` differs from the command line's defaults; files by their names."""
    return [word for key, value in _changed(scenario).items() for word in _words(key, value)]


def story_toml(story: Story) -> str:
    """Return the scenario file of ``story``."""
    lines = [f'schema = "{SCHEMA}"', "", "[guest]"]
    lines += [f"{key} = {_toml(value)}" for key, value in _changed(story.scenario).items()]
    knobs = {k: v for k, v in msgspec.structs.asdict(story.what_if).items() if v != getattr(WhatIf(), k)}
    if knobs:
        lines += ["", "[what_if]", *(f"{key} = {_toml(value)}" for key, value in knobs.items())]
    for phase in story.phases:
        given = {"kind": phase.kind} | {
            name: value
            for name, value in msgspec.structs.asdict(phase).items()
            if value != getattr(type(phase)(), name)
        }
        lines += ["", "[[phase]]", *(f"{key} = {_toml(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


def _changed(scenario: Scenario) -> dict[str, Any]:
    fields: dict[str, Any] = {"memory": format_size(scenario.memory_bytes).replace(" ", "").removesuffix("bytes")}
    for name, about in Scenario.__dataclass_fields__.items():
        value = getattr(scenario, name)
        if name == "memory" or value == about.default or not (value or name == "thp_share"):
            continue
        if isinstance(value, Path) or (name == "order" and value not in ORDERS):
            value = Path(value).name
        fields[name] = value
    return fields


def _words(key: str, value: Any) -> list[str]:
    option = "--" + key.replace("_", "-")
    if key == "interfaces":
        return [word for name in value for word in ("--interface", name)]
    if key == "features_off":
        return [word for name in value for word in ("--module-feature", f"{name}=off")]
    if key == "block_shares":
        return [option, ",".join(f"{order}={share:g}" for order, share in value.items())]
    return [option] if key in _FLAGS else [option, str(value)]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return msgspec.json.encode(value).decode()  # strings, numbers, booleans and lists are written alike
