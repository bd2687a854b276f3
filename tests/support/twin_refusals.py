"""Plain-Python twins of the rules that keep a 2M range at 4K (design section 4)."""

from bisect import bisect_left
from collections.abc import Sequence

NONE, ASKED, SHARED, REFUSED = range(4)
INTERFACES = ("page-4k", "folio-strict", "folio-lenient", "pfn")


def split_order(order: int, strict: bool, shared_in_folio: bool) -> int:
    """Order of the folio that holds a page, after guest_memfd has split; its own 2M has no shared page."""
    if not shared_in_folio:
        return order
    return 0 if strict else min(order, 9)


def refusal(
    interface: str,
    pfn: Sequence[int],
    use: Sequence[int],
    order: Sequence[int],
    first: int,
    shared: Sequence[int],
    module_demotes: bool,
) -> str | None:
    """Return the first cause that applies to the 2M range at page ``first`` of a region.

    "mapped" if none does, None if no private page of it is asked for. ``shared`` lists the region's shared
    pages, ascending; a folio of order above 9 is a GPA range aligned to its size.
    """
    pages = range(first, first + 512)
    guest = [i for i in pages if use[i] != NONE]
    private = [i for i in guest if use[i] != SHARED]
    if not private:
        return None
    if interface == "page-4k":
        return "policy"
    if not module_demotes:
        return "module"
    if len(guest) < 512:
        return "partial"
    if len(private) < 512:
        return "mixed"
    if (private[0] - pfn[private[0]]) % 512:
        return "alignment"
    if any(pfn[i] != pfn[first] + i - first for i in guest):
        return "discontiguous"
    if interface != "pfn":
        for i in guest:
            size = 1 << order[i]
            start = i - i % size
            in_folio = order[i] > 9 and bisect_left(shared, start) < bisect_left(shared, start + size)
            if split_order(order[i], interface == "folio-strict", in_folio) < 9:
                return "folio"
    if any(use[i] == REFUSED for i in guest):
        return "not-convertible"
    return "mapped"
