"""Is each 2M range that stays 4K counted once, under the first cause of design section 4 that applies?"""

import numpy as np
import pytest
import twin_refusals as tw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.backings.contract import RegionBacking
from perfmodel.policies import POLICIES
from perfmodel.populate import describe
from perfmodel.refusals import CAUSES, MAPPED_2M, NOT_ASKED, refusal_causes

REGION = 1 << 18
Region = tuple[np.ndarray, np.ndarray, np.ndarray]


def names_of(causes: np.ndarray) -> list[str | None]:
    special = {MAPPED_2M: "mapped", NOT_ASKED: None}
    return [special[c] if c in special else CAUSES[c] for c in causes.tolist()]


def by_kernel(interface: str, region: Region, demotes: bool) -> list[str | None]:
    pfn, use, order = region
    facts = describe(RegionBacking(pfn, order), use)
    return names_of(refusal_causes(POLICIES[interface], facts, demotes))


def by_twin(interface: str, region: Region, demotes: bool, ranges: list[int]) -> list[str | None]:
    pfn, use, order = (a.tolist() for a in region)
    shared = [i for i, kind in enumerate(use) if kind == tw.SHARED]
    return [tw.refusal(interface, pfn, use, order, r * 512, shared, demotes) for r in ranges]


def contiguous(order: int, use: int = tw.ASKED) -> Region:
    """A region that is one aligned run of folios of one order."""
    pfn = (4 << 18) + np.arange(REGION, dtype=np.int64)
    return pfn, np.full(REGION, use, np.uint8), np.full(REGION, order, np.int8)


@st.composite
def regions(draw: st.DrawFn) -> tuple[Region, list[int]]:
    """A region with a few ranges that matter and, where folios are larger than 2M, quiet ones around them."""
    order = draw(st.sampled_from([0, 5, 8, 9, 10, 12, 17, 18]))
    pfn, use, orders = contiguous(order, draw(st.sampled_from([tw.NONE, tw.ASKED])))
    ranges = sorted(draw(st.lists(st.integers(0, 7) | st.integers(0, 511), min_size=1, max_size=4, unique=True)))
    for r in ranges:
        first = r * 512
        use[first : first + 512] = tw.ASKED
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.sampled_from([0, 511]) | st.integers(0, 511))
            length = draw(st.sampled_from([1, 2, 511, 512]))
            piece = slice(first + at, first + min(at + length, 512))
            match draw(st.sampled_from(["use", "use", "shift", "jump", "order"])):
                case "use":
                    use[piece] = draw(st.sampled_from([tw.NONE, tw.SHARED, tw.REFUSED]))
                case "shift":
                    pfn[first : first + 512] += draw(st.sampled_from([1, 511, 512, 256]))
                case "jump":
                    pfn[piece] += draw(st.sampled_from([1, 512, 1 << 18]))
                case "order" if order <= 9:
                    orders[piece] = draw(st.sampled_from([0, 3, 8, 9]))
    for at in draw(st.lists(st.integers(0, REGION - 1) | st.integers(0, 8191), max_size=2)):
        use[at] = tw.SHARED
    pfn[use == tw.NONE] = -1
    return (pfn, use, orders), ranges


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn=regions(), demotes=st.sampled_from([True, True, False]))
def test_against_the_twin(drawn: tuple[Region, list[int]], demotes: bool) -> None:
    region, ranges = drawn
    ranges = sorted({*ranges, *(r for near in ranges for r in (near - 1, near + 1) if 0 <= r < 512), 0, 511})
    for interface in tw.INTERFACES:
        found = by_kernel(interface, region, demotes)
        assert [found[r] for r in ranges] == by_twin(interface, region, demotes, ranges), interface


ORDER_OF_CAUSES = ["policy", "module", "partial", "mixed", "alignment", "discontiguous", "folio", "not-convertible"]


def test_causes_and_their_order() -> None:
    assert (*ORDER_OF_CAUSES, "accept-level", "existing-table") == CAUSES


@pytest.mark.parametrize("first", range(len(ORDER_OF_CAUSES)))
def test_the_first_cause_counts(first: int) -> None:
    """A range to which a cause and all later ones apply is counted under that one."""
    active = ORDER_OF_CAUSES[first:]
    pfn, use, order = contiguous(18)
    part = slice(0, 512)
    if "folio" in active:
        order[:] = 0
    if "not-convertible" in active:
        use[3] = tw.REFUSED
    if "discontiguous" in active:
        pfn[100:512] += 512
    if "alignment" in active:
        pfn[part] += 1
    if "mixed" in active:
        use[5] = tw.SHARED
    if "partial" in active:
        use[500:512] = tw.NONE
    interface = "page-4k" if "policy" in active else "folio-strict"
    demotes = "module" not in active
    assert by_kernel(interface, (pfn, use, order), demotes)[0] == active[0]
    assert by_twin(interface, (pfn, use, order), demotes, [0]) == [active[0]]


def test_one_shared_page_in_a_1g_folio() -> None:
    """Design 5: strict loses the folio, lenient and pfn lose one range."""
    pfn, use, order = contiguous(18)
    use[7 * 512 + 9] = tw.SHARED
    counts = {i: by_kernel(i, (pfn, use, order), True) for i in tw.INTERFACES}
    assert counts["page-4k"] == ["policy"] * 512
    for interface, others in (("folio-strict", "folio"), ("folio-lenient", "mapped"), ("pfn", "mapped")):
        assert counts[interface][7] == "mixed"
        assert set(counts[interface][:7] + counts[interface][8:]) == {others}


def test_a_wholly_shared_range_is_not_asked_for() -> None:
    pfn, use, order = contiguous(18)
    use[512:1024] = tw.SHARED
    for interface in tw.INTERFACES:
        assert by_kernel(interface, (pfn, use, order), True)[1] is None


def test_a_wholly_refused_range_is_asked_for() -> None:
    pfn, use, order = contiguous(9)
    use[512:1024] = tw.REFUSED
    assert by_kernel("pfn", (pfn, use, order), True)[1] == "not-convertible"
    assert by_kernel("page-4k", (pfn, use, order), True)[1] == "policy"
