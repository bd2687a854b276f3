"""Spoilt options of every command, found by asking the command line itself."""

import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cli_fuzz import call_checked, examples
from fuzz_rows import COMMANDS, CommandRow
from hypothesis import given
from hypothesis import strategies as st
from mutations import LONG, WORDS, scalars

from perfmodel import names
from perfmodel.__main__ import cli

ACCEPTED = sorted({*names.INTERFACES, *names.BACKINGS, *names.GUESTS, *names.ORDERS, *names.VCPU_STATES, "held", "zipf",
                   "2m", "first", "q35", "exact", "simulated", "hugepage-v3", "gnr-6980p", "convert", "split"}
                  - {"host"})  # fmt: skip
DEAR = {str(1 << 31), str((1 << 63) - 1), str(10**18), "4096", "64TiB", "128T", "2PiB", "65536", str(1 << 32), "1e9"}
TARGETS = ("-", "", ".", "missing/x", "x" * 300 + ".svg", "\x1b[31m.svg", "two\nlines.svg", "é.svg",
           "out.svg", "out", "/dev/null", "/dev/null.svg", "/proc/out.svg")  # fmt: skip
OUTPUT_OPTIONS = {"output", "json_path", "toml_path", "parts_path"}

Fill = Callable[..., list[str]]


def _commands() -> dict[str, click.Command]:
    """Return all commands by the words that name them; the kinds of ``ingest`` are one."""
    found: dict[str, click.Command] = {}
    for name, command in cli.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found[name] = command.commands.get("auto", command)
            found |= {f"{name} {sub}": one for sub, one in command.commands.items() if sub == "host"}
    return found


def test_every_command_has_a_row() -> None:
    assert _commands().keys() == COMMANDS.keys(), "a new command needs a row in tests/support/fuzz_rows.py"


@st.composite
def spoiled_options(draw: st.DrawFn, command: click.Command, row: CommandRow) -> list[str]:
    """Return words with one to three options of ``command`` and values for them."""
    words = []
    for _ in range(draw(st.integers(1, 3))):
        option = draw(st.sampled_from([one for one in command.params if one.name not in row.left_out]))
        name = str(option.name)
        value = draw(st.one_of(st.sampled_from(WORDS), st.sampled_from(ACCEPTED), scalars.map(str)))
        value = value.replace("\0", "")  # no argument can hold one
        if name in OUTPUT_OPTIONS:
            value = draw(st.sampled_from(TARGETS))
        elif name in row.dear and (value in DEAR or value.isdecimal()):
            value = LONG
        if not isinstance(option, click.Option):
            words.append(value)
        elif option.is_flag:
            words.append(draw(st.sampled_from([option.opts[0], f"{option.opts[0]}={value}"])))
        else:
            words += draw(st.sampled_from([[option.opts[0], value], [f"{option.opts[-1]}={value}"], [option.opts[0]]]))
    return words


@pytest.mark.parametrize("name", COMMANDS)
def test_spoilt_options(name: str, room: Path, fill_in: Fill) -> None:
    row, command = COMMANDS[name], _commands()[name]
    begin = name.split() + fill_in(row.words)

    @examples(150)
    @given(spoiled_options(command, row))
    def look(words: list[str]) -> None:
        call_checked([*begin, *words], room, {*TARGETS, *words, "out.json", "out.svg", "out.parts"}, row.failing)
        for path in room.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    look()


@examples(100)
@given(st.lists(st.one_of(st.sampled_from([*COMMANDS, *WORDS]), st.text(max_size=8)), min_size=1, max_size=3))
def test_words_that_are_no_command(words: list[str]) -> None:
    if words[0] in COMMANDS or words[0].startswith("-"):
        words = ["x", *words]
    assert call_checked(words, Path.cwd()).status == 2
