"""Is the share at which interfaces differ the least one, by trying them all?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel import Scenario, compare
from perfmodel.parameters import load_parameters
from perfmodel.report.sampled import Sampled
from perfmodel.report.situation import Situation
from perfmodel.report.thresholds import Shares, find_threshold


def sure(value):
    return Sampled(value, np.full(3, value))


GUEST = {"memory": "12GiB", "interfaces": ("folio-strict", "pfn")}


@pytest.fixture(scope="module")
def tried():
    """Return the ratio for every number of shattered folios."""
    rows = [compare(Scenario(**GUEST, shattered=folios / 12)).rows for folios in range(13)]
    return [strict.ns.total / pfn.ns.total for strict, pfn in rows]


@pytest.fixture(scope="module")
def situation():
    return Situation.of(Scenario(**GUEST, shattered=0.25), load_parameters())


@pytest.mark.parametrize("ratio", [1.01, 1.1, 1.6, 2.5])
def test_least_number_of_folios_by_trying_all(ratio, situation, tried):
    shares = Shares(situation, "folio-strict")
    found = find_threshold(ratio, *shares.line(), 12, shares.ratio)
    assert found.folios == next(folios for folios, one in enumerate(tried) if one >= ratio)
    low, high = found.share.interval
    assert low <= found.share.value <= high
    assert found.folios - 1 <= found.share.value * 12 <= found.folios


costs = st.floats(1.0, 100.0)


@given(above=costs, below=costs, more=costs, less=costs, ratio=st.sampled_from([1.01, 1.1]), folios=st.integers(1, 40))
def test_on_straight_lines(above, below, more, less, ratio, folios):
    def run(number):
        return (above + more * number / folios) / (below + less * number / folios)

    whole, shattered = (sure(above), sure(below)), (sure(above + more), sure(below + less))
    found = find_threshold(ratio, whole, shattered, folios, run)
    reached = [number for number in range(folios + 1) if run(number) >= ratio]
    if above / below < ratio:  # who differs from the start is not asked when it stops
        assert found.folios == (reached[0] if reached else None)
    else:
        assert found.folios == 0


def test_counts_that_jump_move_the_number():
    """A line that is off by a folio is put right by running."""
    whole, shattered = (sure(100.0), sure(100.0)), (sure(200.0), sure(100.0))

    def run(number):
        return 1.0 + (number - 1) / 100 if number else 1.0

    assert find_threshold(1.1, whole, shattered, 100, run).folios == 11


def test_never():
    whole = (sure(100.0), sure(100.0))
    found = find_threshold(1.1, whole, whole, 10, lambda number: 1.0)
    assert found.folios is None
    assert np.isinf(found.share.value)
