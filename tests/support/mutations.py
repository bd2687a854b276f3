"""Ways to spoil input: bytes, trees of JSON and TOML, rows of CSV, single values."""

import csv
import io
import json
import math
from typing import Any

from hypothesis import strategies as st

LONG = "x" * 5000
WORDS = (
    "", " ", "x", LONG, "9" * 5000, "0", "-1", "1", "2", "1.5", "-0.0", "1e400", "-1e308", "nan", "inf", "-inf",
    "NaN", "0x10", "0b1", "1_000", "٣", "½", "true", "None", "null", "1,2", ",,,", "=", "a=b", "a=b=c", "1=2",
    "../../etc/passwd", "/etc/passwd", "/dev/zero", "-", "--", "-x", "--json", "\x1b[31mred\x1b[0m", "\x07", "\r\n",
    "two\nlines", "nul\0", "\ufeff", "\u202egnp", "é" * 300, "\U0001f600", "$(id)", "`id`", "%s%n", "{}", "{0}",
    "[bold]x[/bold]", "[/]", str(1 << 31), str((1 << 63) - 1), str(1 << 63), str(-(1 << 63)), str(1 << 64),
    str(10**18), "4096", "64TiB", "128T", "1e9", "0.000001", "2PiB", "4 KiB", "9223372036854775807T",
)  # fmt: skip
"""Values for options and cells."""

NUMBERS = (
    0, 1, -1, 2, 3, 7, 255, 256, 65536, 1 << 31, 1 << 32, (1 << 52) - 1, 1 << 53, (1 << 63) - 1, -(1 << 63),
    0.5, -0.5, 1e-300, 1e300, -1e300, math.nan, math.inf, -math.inf,
)  # fmt: skip
BIG = (1 << 63, 1 << 64, 10**30, -(10**30))

scalars = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(BIG), st.sampled_from(WORDS), st.booleans(),
    st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=12),
)  # fmt: skip
trees = st.recursive(
    st.one_of(st.none(), scalars),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=6,
)


@st.composite
def spoiled_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return ``whole`` with a few of its bytes changed, cut, doubled or put elsewhere."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 9)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + draw(st.integers(1, 40))] = b""
            case 2 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case 4:
                data[at:at] = draw(st.sampled_from([b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b"\xc3", b"\r"]))
            case 5:
                data[:] = data.replace(b"\n", b"\r\n")
            case 6:
                data[0:0] = b"\xef\xbb\xbf"
            case 7:
                data[at:at] = data[: draw(st.integers(0, 200))]
            case 8:
                data[at:at] = draw(st.sampled_from(WORDS)).encode()
            case _:
                lines = data.split(b"\n")
                data[:] = b"\n".join(draw(st.permutations(lines)) if len(lines) < 40 else reversed(lines))
    return bytes(data)


@st.composite
def spoiled_tree(draw: st.DrawFn, whole: Any) -> Any:
    """Return a copy of a tree of dicts and lists in which one to three places are something else."""
    tree = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = _place(draw, tree)
        if holder is None:
            return draw(trees)
        match draw(st.integers(0, 6)):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw(st.one_of(st.text(max_size=8), st.sampled_from([*WORDS, key + "s"])))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 3:
                holder[key] = _deep(draw(st.sampled_from([3, 50, 600])), draw(st.booleans()))
            case 4:
                holder[key] = draw(trees)
            case _:
                holder[key] = draw(scalars)
    return tree


def _place(draw: st.DrawFn, tree: Any) -> tuple[Any, Any]:
    """Return a container in ``tree`` and the key of one thing in it; None where there is none."""
    holder = key = None
    here = tree
    while isinstance(here, dict | list) and here:
        holder, key = here, draw(st.sampled_from(list(here) if isinstance(here, dict) else range(len(here))))
        here = here[key]
        if draw(st.integers(0, 3)) == 0:
            break
    return holder, key


def _deep(levels: int, in_lists: bool) -> Any:
    deep: Any = 0
    for _ in range(levels):
        deep = [deep] if in_lists else {"a": deep}
    return deep


@st.composite
def spoiled_csv(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a CSV file with cells, rows or columns changed."""
    rows = list(csv.reader(io.StringIO(whole.decode())))
    for _ in range(draw(st.integers(1, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        column = draw(st.integers(0, max(len(row) - 1, 0)))
        match draw(st.integers(0, 7)):
            case 0:
                for one in rows:
                    del one[column : column + 1]
            case 1:
                for one in rows:
                    one.extend(one[column : column + 1])
            case 2:
                del row[column : column + 1]
            case 3:
                row.append(draw(st.sampled_from(WORDS)))
            case 4:
                rows.append(list(row))
            case _ if row:
                row[column] = draw(st.one_of(scalars.map(str), st.sampled_from(WORDS)))
    out = io.StringIO()
    csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"])), escapechar="\\").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def as_json(tree: Any) -> bytes:
    """Return ``tree`` as JSON; NaN and infinities as Python writes them, which is no JSON."""
    return json.dumps(tree).encode()


def as_toml(tree: Any) -> bytes:
    """Return ``tree`` as TOML of inline tables; None becomes a word that is no TOML."""
    if not isinstance(tree, dict):
        return _toml(tree).encode("utf-8", "surrogatepass")
    return "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in tree.items()).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
