"""How a guest takes its private memory into use."""

from typing import NamedTuple


class Guest(NamedTuple):
    """A guest's way of accepting memory.

    Attributes
    ----------
    name : str
    prefault : bool
        The VMM maps all memory with KVM_PRE_FAULT_MEMORY before the guest accepts.
    one_range : bool
        One accept call covers a whole private range, so the loop tries 1G; Linux's page allocator passes at
        most 4 MiB a call and never does.
    touch_first : bool
        Pages are touched, and accepted at 4K when that raises #VE.
    """

    name: str
    prefault: bool = False
    one_range: bool = False
    touch_first: bool = False


GUESTS = {
    guest.name: guest
    for guest in (
        Guest("linux-lazy"),
        Guest("linux-eager"),  # the same calls, all at boot
        Guest("accept-range", one_range=True),
        Guest("touch-first", touch_first=True),
        Guest("prefault", prefault=True),
    )
}
