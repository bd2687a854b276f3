"""Texts that fit: in lines below a title, or cut."""

import textwrap

_COLUMNS = 150
"""Of a line below the title of a figure 13 inches wide."""


def fold(text: str) -> list[str]:
    """Return ``text`` in lines that fit below a title."""
    return textwrap.wrap(text, _COLUMNS)


def cut(text: str, most: int) -> str:
    """Return ``text``, or its beginning where it has more than ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
