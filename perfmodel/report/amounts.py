"""Numbers of answers as text."""

from perfmodel.report.answer import Row
from perfmodel.show import format_number, format_time

_BYTES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_MINUS = "\u2212"
_SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def amount(row: Row) -> str:
    """Return a number with its interval and unit, such as ``1.5 (1.2 to 2.0) s``."""
    if row.low is None or row.high is None:
        return with_unit(row.value, row.unit)
    name, scale = _unit(row.value or row.high, row.unit)
    value, low, high = (_number(one * scale) for one in (row.value, row.low, row.high))
    return f"{value} ({low} to {high}) {name}".rstrip()


def with_unit(value: float, unit: str) -> str:
    """Return a number without an interval; whole ones in full."""
    if unit == "" and float(value).is_integer():
        return f"{int(value):,}"
    name, scale = _unit(value, unit)
    return f"{_number(value * scale)} {name}".rstrip()


def vcpus_text(count: int) -> str:
    """Return ``1 vCPU``, ``8 vCPUs``."""
    return "1 vCPU" if count == 1 else f"{count} vCPUs"


def _unit(value: float, unit: str) -> tuple[str, float]:
    """Return the unit that suits ``value``, and by what values are multiplied."""
    if unit == "s" and value:
        name = format_time(abs(value)).rsplit(" ", 1)[1]
        return name.replace("us", "µs"), _SECONDS[name]
    if unit == "bytes":
        return next(((name, 1 / size) for name, size in _BYTES if abs(value) >= size), ("bytes", 1.0))
    return unit, 1.0


def _number(value: float) -> str:
    if value == 0:
        return "0"
    text = f"{abs(value):.2g}" if abs(value) < 0.001 else format_number(abs(value))
    return (_MINUS if value < 0 else "") + text
