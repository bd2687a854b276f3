"""The names that users write. Light to import: the command line's help lists them."""

INTERFACES = ("page-4k", "folio-strict", "folio-lenient", "pfn")
BACKINGS = ("order0", "thp", "hugetlb-2m", "hugetlb-1g", "pfnmap", "extents", "host")
GUESTS = ("linux-lazy", "linux-eager", "accept-range", "touch-first", "prefault")
ORDERS = ("sequential", "random", "striped")
LAYOUTS = ("flat", "q35")
SHATTER_LAYOUTS = ("uniform", "clustered")
KEYHOLE_MODES = ("periodic", "exact")
MEMORY_MODELS = ("constant", "simulated")
PLACEMENTS = ("scattered", "window")
TEARDOWNS = ("removal", "reclaim")
WORKLOADS = ("populate", "convert", "split", "teardown")
VCPU_STATES = ("working", "inside", "halted", "ticking")
DATA_PLACEMENTS = ("own", "first", "interleave")
MOST_VCPUS = 1024
"""vCPUs of all TDs together: what the queueing simulation tells apart."""
MOST_NODES = 8
MODULE_FEATURES = ("ENHANCED_DEMOTE_INTERRUPTIBILITY",)
"""TDX_FEATURES0 bits (this one is bit 51) that the model assumes beyond TDX_1.5.01 and that can be turned off."""

MAX_BLOCK_ORDER = 10
"""Largest order of the Linux page allocator on x86 (4 MiB)."""
