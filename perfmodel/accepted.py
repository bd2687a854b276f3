"""Checks that several kinds of input share; each names key, value and what is accepted."""

from collections.abc import Collection

from perfmodel.errors import InputError

MOST_THREADS = 1024


def one_of(key: str, value: object, accepted: Collection[str]) -> str:
    """Return ``value`` if it is one of the names ``accepted``; raise :class:`InputError` otherwise."""
    if not isinstance(value, str) or value not in accepted:
        raise InputError(f"{key} {value!r}: accepted are {', '.join(accepted)}")
    return value


def whole_number(key: str, value: object, low: int, high: int) -> None:
    """Raise :class:`InputError` where ``value`` is no whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{key} {value!r}: accepted is a whole number from {low} to {high}")


def threads(value: int | None) -> None:
    """Raise :class:`InputError` where ``value`` is no number of threads; None leaves it to the machine."""
    if value is not None:
        whole_number("threads", value, 1, MOST_THREADS)
