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
    """

    name: str
    prefault: bool = False
    one_range: bool = False


GUESTS = {
    guest.name: guest
    for guest in (
        Guest("linux-lazy"),
        Guest("linux-eager"),  # the same calls, all at boot
        Guest("accept-range", one_range=True),
        Guest("prefault", prefault=True),
    )
}
