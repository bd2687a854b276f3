"""Sizes as users write them."""

import re

from perfmodel.errors import InputError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([KMGT]?)(?:I?B)?", re.ASCII)
ACCEPTED = "a multiple of 4 KiB such as 4096, 512M, 64GiB or 1.5T (K, M, G, T are binary)"


def parse_size(text: str | int, key: str = "memory") -> int:
    """Return the bytes that ``text`` stands for.

    Parameters
    ----------
    text : str or int
        A number of bytes, or a number with K, M, G, T or KiB, MiB, GiB, TiB, all binary, in any case.
    key : str
        Named in the error.

    Raises
    ------
    InputError
        Not a size, zero, or not a multiple of 4 KiB.
    """
    match = _SIZE.fullmatch(str(text).strip().upper())
    if match is None:
        raise InputError(f"{key} {text!r}: accepted is {ACCEPTED}")
    digits, _, fraction = match[1].partition(".")
    scaled = int(digits + fraction) * _UNITS[match[2]]
    size_bytes, rest = divmod(scaled, int(10 ** len(fraction)))
    if rest or size_bytes == 0 or size_bytes % 4096:
        raise InputError(f"{key} {text!r}: accepted is {ACCEPTED}, more than 0")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Return ``size_bytes`` in the largest binary unit that divides it, such as ``64 GiB``."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    return f"{size_bytes} bytes"
