"""A host kept as a JSON file."""

import re
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.errors import InputError
from perfmodel.files import read_whole, write_whole
from perfmodel.host.model import SCHEMA, Host, check_host

_PATH = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def save_host(host: Host, path: Path) -> None:
    """Write ``host`` to ``path`` as JSON, whole or not at all."""
    write_whole(path, msgspec.json.encode(host) + b"\n")


def load_host(path: Path) -> Host:
    """Read and check a host that :func:`save_host` wrote.

    Raises
    ------
    InputError
        One line: file, key, value and what is accepted.
    """
    try:
        document = msgspec.json.decode(read_whole(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); accepted is a {SCHEMA} file") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not whole JSON ({error}); accepted is a {SCHEMA} file") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: schema: {_short(schema)}: accepted is {SCHEMA!r}")
    host = as_host(document, str(path))
    check_host(host, str(path))
    return host


def as_host(document: object, where: str) -> Host:
    """Convert plain data to a :class:`Host`; ``where`` names its origin in errors."""
    try:
        return msgspec.convert(document, Host)
    except msgspec.ValidationError as error:
        message = str(error)
    found = _PATH.search(message)
    path = found[1] if found else ""
    accepted = _PATH.sub("", message)
    value = _short(_value_at(document, path)) if "field `" not in accepted else "the object"
    raise InputError(f"{where}: {path.lstrip('.') or 'top level'}: {value}: {accepted}")


def _value_at(document: Any, path: str) -> object:
    try:
        for name, index in _STEP.findall(path):
            document = document[name or int(index)]
    except (LookupError, TypeError):  # `[...]` stands for a dict's value, which has no index
        return "a value"
    return document


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
