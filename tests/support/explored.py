"""What the page of explore shows, read from its elements, and what Python makes of the same."""

from typing import Any

import pytest

from perfmodel.costs import cost_ratio, price_many
from perfmodel.explore.guests import Guest, Guests
from perfmodel.parameters import ParameterSet

_NUMBERS = """table => Object.fromEntries([...document.querySelectorAll("#times-table tbody tr")].map(row =>
  [row.querySelector("th").textContent, [...row.querySelectorAll("td")].map(cell =>
    [...cell.querySelectorAll("data")].map(one => Number(one.value)))]))"""


def shown_times(page: Any) -> dict[str, list[list[float]]]:
    """Return by interface: time in ns, GiB/s, time over the headline's interface; value, low, high of each."""
    found: dict[str, list[list[float]]] = page.evaluate(_NUMBERS)
    return found


def shown_headline(page: Any) -> list[float]:
    """Return the speed-up of the headline: value, low, high."""
    values = page.locator("#headline .main data").evaluate_all("all => all.map(one => Number(one.value))")
    return list(values)


def choose(page: Any, **choice: str) -> None:
    """Choose by axis (or fast, slow) what is shown, as a user does."""
    for name, label in choice.items():
        page.select_option(f"#choice-{name}", label=label)


def guest_of(guests: Guests, **choice: str) -> Guest:
    """Return the one guest with these labels."""
    [found] = [guest for guest in guests.guests if choice.items() <= guest.choice.items()]
    return found


def agrees(page: Any, guest: Guest, parameters: ParameterSet, fast: str = "pfn", slow: str = "folio-strict") -> None:
    """Hold every number of the page against Python's, to 1e-9."""
    shown = shown_times(page)
    assert list(shown) == list(guest.work)
    ledgers = [work.ledger for work in guest.work.values()]
    for (name, work), price in zip(guest.work.items(), price_many(ledgers, parameters), strict=True):
        times, speed, over = shown[name]
        gib = work.mapped_pages / (1 << 18)
        assert times == pytest.approx([price.total_ns, price.low_ns, price.high_ns], rel=1e-9)
        expected = [gib / ns * 1e9 for ns in (price.total_ns, price.high_ns, price.low_ns)]
        assert speed == pytest.approx(expected if gib else [], rel=1e-9)
        assert over == pytest.approx(_ratio(guest, name, fast, parameters), rel=1e-9)
    assert shown_headline(page) == pytest.approx(_ratio(guest, slow, fast, parameters), rel=1e-9)


def _ratio(guest: Guest, above: str, below: str, parameters: ParameterSet) -> list[float]:
    ratio = cost_ratio(guest.work[above].ledger, guest.work[below].ledger, parameters)
    return [ratio.value, ratio.low, ratio.high]
