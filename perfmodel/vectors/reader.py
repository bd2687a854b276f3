"""Read a vector file: gzip, JSON lines, typed and strict, with one-line errors."""

import gzip
import re
import typing
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Union

import msgspec
import numpy as np

from kernels.replay_record import LOCK_KINDS, OPS
from perfmodel.errors import InputError
from perfmodel.files import open_regular
from perfmodel.memory_need import read_within_memory
from perfmodel.vectors.final import Final
from perfmodel.vectors.header import Header, decode_word
from perfmodel.vectors.lines import LINES, Line
from perfmodel.vectors.records import Records, records_of

_ACCEPTED = "accepted is a gzip file of JSON lines, such as vectors/boot_a.jsonl.gz"
_VALUE_WIDTH = 80
_UNPACKED = 12
"""Bytes in memory for a byte of JSON lines."""

_HEADER = msgspec.json.Decoder(Header, dec_hook=decode_word)
_FINAL = msgspec.json.Decoder(Final, dec_hook=decode_word)
_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(
    Union[tuple(LINES.values())],  # noqa: UP007  # a union made of a table
    dec_hook=decode_word,
)


class VectorFile(NamedTuple):
    """A conformance vector file.

    Attributes
    ----------
    path : Path
    header : Header
    records : Records
        Arrays of length n.
    final : Final
        The state after the last record.
    notes : list of str
        Free text of each record: which cell or corner it means; "" for none.
    """

    path: Path
    header: Header
    records: Records
    final: Final
    notes: list[str]


def load_vectors(path: Path) -> VectorFile:
    """Read the conformance vectors at ``path``.

    Raises
    ------
    InputError
        The file cannot be read, is not gzip, is cut short, or a line is not what format 1 allows. The one line
        of the message names file, line, key, value and what is accepted.
    """
    lines = _unpack(path)
    header: Header = _decode(_HEADER, path, 1, lines[0])
    number = len(lines)
    if number < 2 or not re.search(rb'"type"\s*:\s*"final"', lines[-1]):
        raise InputError(
            f"{path}: line {number}: last line {_short(lines[-1])}: accepted is a final state, "
            'an object with "type":"final"; is the file cut short?'
        )
    final: Final = _decode(_FINAL, path, number, lines[-1])
    decode = _LINE.decode
    parsed = []
    for i, raw in enumerate(lines[1:-1]):
        try:
            line = decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _refuse(path, i + 2, raw, Line, error)
        if line.i != i:
            raise InputError(f"{path}: line {i + 2}: i {line.i}: accepted is {i}; records count from 0 without a gap")
        parsed.append(line)
    vectors = VectorFile(path, header, records_of(parsed), final, [line.note for line in parsed])
    _check_ranges(vectors)
    return vectors


def require_readable(paths: Sequence[Path]) -> None:
    """Refuse what cannot even be opened, before any of it is replayed: see :func:`load_vectors`."""
    for path in paths:
        try:
            open_regular(path).close()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}: {_ACCEPTED}") from None


def _unpack(path: Path) -> list[bytes]:
    try:
        with open_regular(path) as file, gzip.GzipFile(fileobj=file) as packed:
            lines = read_within_memory(packed, str(path), _UNPACKED).split(b"\n")
    except gzip.BadGzipFile as error:
        raise InputError(f"{path}: not gzip, or damaged ({error}): {_ACCEPTED}") from None
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated gzip ({error}): {_ACCEPTED}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: {_ACCEPTED}") from None
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path}: line 1: the file is empty: {_ACCEPTED}")
    return lines


def _check_ranges(vectors: VectorFile) -> None:
    """Hold together what the lines say of each other: counts of records, TDs and logical processors."""
    path, header, records, final, _ = vectors
    n = len(records.op)
    last = f"{path}: line {n + 2}"
    if final.records != n:
        raise InputError(f"{last}: records {final.records}: accepted is the number of records, {n}")
    if len(final.tds) != len(header.tds):
        raise InputError(f"{last}: tds {len(final.tds)}: accepted is the header's number of TDs, {len(header.tds)}")
    for key, values, limit in (("td", records.td, len(header.tds)), ("lp", records.lp, header.lps)):
        beyond = np.flatnonzero(values >= limit)
        if len(beyond):
            i = int(beyond[0])
            raise InputError(f"{path}: line {i + 2}: {key} {values[i]}: accepted is 0 to {limit - 1}")


def _decode(decoder: "msgspec.json.Decoder[Any]", path: Path, number: int, raw: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _refuse(path, number, raw, decoder.type, error)


def _refuse(path: Path, number: int, raw: bytes, kind: Any, error: Exception) -> NoReturn:
    """Turn msgspec's message into one that has the value and what is accepted."""
    where = f"{path}: line {number}"
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as malformed:
        raise InputError(f"{where}: {_short(raw)!r}: {malformed}: accepted is one whole JSON object in UTF-8") from None
    what, _, place = str(error).partition(" - at `$")
    name = place.strip(".`")
    keys = re.findall(r"[^.\[\]]+", name)
    lacking = re.fullmatch(r"Object (contains unknown|missing required) field `(.*)`", what)
    try:
        value, at = _follow(document, kind, keys)
    except (LookupError, TypeError, AttributeError):  # `[...]` stands for a dict's value, which has no index
        value, at = document, None
    if lacking:
        key = lacking[2]
        name = f"{name}.{key}".lstrip(".")
        shown = _show(value[key]) if key in value else "absent"
        what = f"{'unknown' if key in value else 'missing'} key; accepted are {', '.join(_keys_of(at, key))}"
    else:
        shown = "" if isinstance(value, dict) and "accepted" in what else _show(value)
        if keys and keys[-1] in ("op", "obj"):
            what = f"accepted is {', '.join(OPS if keys[-1] == 'op' else LOCK_KINDS)}"
        elif choices := [a for k in (at, *typing.get_args(at)) if typing.get_origin(k) is Literal for a in k.__args__]:
            what = f"accepted is {' or '.join(_show(choice) for choice in choices)}"
        elif expected := re.fullmatch(r"Expected (.*?)(, got .*)?", what):
            what = f"accepted is {expected[1].replace('`', '')}"
    subject = " ".join(part for part in (name, shown) if part)
    raise InputError(f"{where}: {subject}: {what}" if subject else f"{where}: {what}") from None


def _follow(value: Any, kind: Any, keys: list[str]) -> tuple[Any, Any]:
    """Return the value at ``keys`` below ``value``, and the type that it should have, in so far as it is known."""
    for key in keys:
        kind = _struct_of(kind, value)
        if key.isdigit():
            value = value[int(key)]
        else:
            kind = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}.get(key) if kind else None
            value = value.get(key)
    return value, kind if keys and not keys[-1].isdigit() and not isinstance(value, dict) else _struct_of(kind, value)


def _struct_of(kind: Any, value: Any) -> Any:
    """Return the struct in the annotation ``kind`` that ``value`` stands for; None if there is none."""
    if kind is Line:
        return LINES.get(str(value.get("op")), Line) if isinstance(value, dict) else None
    if hasattr(kind, "__struct_fields__"):
        tag = kind.__struct_config__.tag_field
        return kind if tag is None or value.get(tag) == kind.__struct_config__.tag else None
    return next(filter(None, (_struct_of(part, value) for part in typing.get_args(kind))), None)


def _keys_of(kind: Any, otherwise: str) -> list[str]:
    """Return the keys of a struct with its tag; ``otherwise`` where the struct is not known for want of a tag."""
    if kind is None:
        return [otherwise]
    tag = kind.__struct_config__.tag_field
    return [*([tag] if tag else []), *kind.__struct_encode_fields__]


def _show(value: object) -> str:
    return _short(msgspec.json.encode(value))


def _short(raw: bytes) -> str:
    text = " ".join(raw.decode(errors="backslashreplace").split())
    return text if len(text) <= _VALUE_WIDTH else text[:_VALUE_WIDTH] + "..."
