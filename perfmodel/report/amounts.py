"""Numbers of answers as text."""

from perfmodel.report.answer import Row
from perfmodel.show import format_number, format_time

_BYTES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1))


def amount(row: Row) -> str:
    """Return a number with its unit and interval, such as ``1.5 times (1.2 to 2.0)``."""
    if row.low is None or row.high is None:
        return spread(row.unit, row.value)
    return f"{spread(row.unit, row.value)} ({spread(row.unit, row.low, row.high)})"


def spread(unit: str, *values: float) -> str:
    """Return values of one unit joined by ``to``."""
    if unit == "s":
        return _time(*values)
    if unit == "bytes":
        name, size = next((one for one in _BYTES if abs(values[-1]) >= one[1]), _BYTES[-1])
        return f"{' to '.join(_number(value / size) for value in values)} {name}"
    if unit == "" and len(values) == 1 and float(values[0]).is_integer():
        return f"{int(values[0]):,}"
    return f"{' to '.join(_number(value) for value in values)} {unit}".rstrip()


def _time(*seconds: float) -> str:
    """Return times in a unit that suits the largest, signs kept."""
    largest = max(abs(value) for value in seconds)
    if not largest:
        return "0 s"
    unit = format_time(largest).rsplit(" ", 1)[1]
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    return f"{' to '.join(_number(value * scale) for value in seconds)} {unit.replace('us', 'µs')}"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.2g}".replace("-", "−")
    return ("−" if value < 0 else "") + format_number(abs(value))
