"""What is to be run: one guest on one backing, under one or more interfaces."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfmodel.accepted import one_of, whole_number
from perfmodel.errors import InputError
from perfmodel.names import (
    BACKINGS,
    DATA_PLACEMENTS,
    GUESTS,
    INTERFACES,
    KEYHOLE_MODES,
    LAYOUTS,
    MAX_BLOCK_ORDER,
    MEMORY_MODELS,
    MODULE_FEATURES,
    MOST_NODES,
    MOST_VCPUS,
    ORDERS,
    SHATTER_LAYOUTS,
    VCPU_STATES,
)
from perfmodel.sizes import format_size, parse_size

_GPA_BITS = {4: 47, 5: 51}
_LARGEST_FOLIO_PAGES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A guest whose private memory is populated; the defaults are those of the command line.

    Attributes
    ----------
    memory : int or str
        Guest memory in bytes, or a size such as ``"64GiB"``; kept as bytes. None with ``backing="host"`` takes
        three quarters of the host's MemFree in whole GiB.
    interfaces : tuple of str
        Mapping-level policies, in the order of the results. Empty: all that the backing allows.
    backing, guest, layout : str
    order : str
        A name, or a CSV file of faults as ``perfmodel ingest --what faults`` writes it. Where vCPUs meet each other, a
        recorded order counts as random.
    levels : {4, 5}
        S-EPT levels.
    shattered : float
        Share of the guest's whole 1 GiB folios that hold shared pages.
    shared_pages : int
        Shared pages in each of those.
    shatter_layout : {"uniform", "clustered"}
    seed : int
    vcpus : int
        vCPUs of the TD; they take up memory together, and meet each other where there is more than one.
    tds : int
        TDs like this one, side by side on the host.
    vcpu_state : {"working", "inside", "halted", "ticking"}
        What the vCPUs beside the first do: take up memory too, run in the TD without touching any, wait outside it,
        or wait and wake for ticks.
    nodes : int
        NUMA nodes, over which the vCPUs of each TD are spread in blocks.
    placement : {"own", "first", "interleave"}
        Where the guest's pages lie: on the node of the vCPU that takes them, on the first node, on each in turn.
    thp_share : float
        For ``thp``: share of 2M ranges in one folio.
    block_shares : dict of int to float
        For ``order0`` and ``thp``: share of the memory by order of the free block it comes from.
    extents : Path, optional
        For ``extents``: the CSV file.
    host : Path, optional
        For ``host``: a file written by ``perfmodel ingest host``; None reads this machine's /proc. With
        ``extents``: the host whose TDMRs hold the extents.
    scale_host : bool
        For ``host``: repeat the host's memory upward until the guest fits.
    max_folio_order : int
        For ``host``: largest folio order that guest_memfd asks the page allocator for.
    flush_first_page_only : bool
        Flush one 4K page a mapping, as the series applied in 2026 does, instead of all (RFC v5).
    keyholes : {"periodic", "exact"}
        How keyhole maps and misses are counted: one replay for each kind of 2M range, or every range replayed.
    memory_model : {"constant", "simulated"}
        What lines of the module's cost: each new S-EPT and PAMT line of an AUG one access to memory, or each line what
        the level costs where simulated caches have it, see :mod:`perfmodel.memory_model`.
    features_off : tuple of str
        Names of :data:`perfmodel.names.MODULE_FEATURES` that the module lacks.
    """

    memory: int | str | None = None
    interfaces: tuple[str, ...] = ()
    backing: str = "hugetlb-1g"
    guest: str = "linux-lazy"
    order: str = "sequential"
    layout: str = "flat"
    levels: int = 4
    shattered: float = 0.0
    shared_pages: int = 1
    shatter_layout: str = "uniform"
    seed: int = 0
    vcpus: int = 1
    tds: int = 1
    vcpu_state: str = "working"
    nodes: int = 1
    placement: str = "own"
    thp_share: float = 0.9
    block_shares: dict[int, float] = field(default_factory=dict)
    extents: Path | None = None
    host: Path | None = None
    scale_host: bool = False
    max_folio_order: int = 9
    flush_first_page_only: bool = False
    keyholes: str = "periodic"
    memory_model: str = "constant"
    features_off: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field, and the fields against each other."""
        one_of("backing", self.backing, BACKINGS)
        one_of("layout", self.layout, LAYOUTS)
        one_of("shatter-layout", self.shatter_layout, SHATTER_LAYOUTS)
        if self.order not in ORDERS:
            self._check_traced_order()
        one_of("keyholes", self.keyholes, KEYHOLE_MODES)
        one_of("memory-model", self.memory_model, MEMORY_MODELS)
        one_of("guest", self.guest, GUESTS)
        for name in self.interfaces:
            one_of("interface", name, INTERFACES)
        for name in self.features_off:
            one_of("module-feature", name, MODULE_FEATURES)
        whole_number("levels", self.levels, 4, 5)
        whole_number("shared-pages", self.shared_pages, 1, _LARGEST_FOLIO_PAGES)
        one_of("vcpu-state", self.vcpu_state, VCPU_STATES)
        one_of("placement", self.placement, DATA_PLACEMENTS)
        whole_number("vcpus", self.vcpus, 1, MOST_VCPUS)
        whole_number("tds", self.tds, 1, MOST_VCPUS)
        whole_number("nodes", self.nodes, 1, MOST_NODES)
        whole_number("seed", self.seed, 0, (1 << 63) - 1)
        whole_number("max-folio-order", self.max_folio_order, 0, MAX_BLOCK_ORDER)
        _share("shattered", self.shattered)
        _share("thp-share", self.thp_share)
        self._check_block_shares()
        self._check_together()
        self._settle_memory()

    def _check_traced_order(self) -> None:
        if not isinstance(self.order, str) or "\0" in self.order or not Path(self.order).is_file():
            raise InputError(f"order {self.order!r}: accepted are {', '.join(ORDERS)}, or a CSV file of faults")
        from perfmodel.traced_order import load_trace

        load_trace(self.order)

    def _check_block_shares(self) -> None:
        for order, share in self.block_shares.items():
            whole_number("block-shares order", order, 0, MAX_BLOCK_ORDER)
            _share(f"block-shares of order {order}", share)
        if self.block_shares and abs(sum(self.block_shares.values()) - 1) > 1e-9:
            raise InputError(f"block-shares sum to {sum(self.block_shares.values()):g}: accepted is a sum of 1")

    def _check_together(self) -> None:
        if len(set(self.interfaces)) != len(self.interfaces):
            raise InputError(f"interface {', '.join(self.interfaces)}: each may be named once")
        if self.vcpus * self.tds > MOST_VCPUS:
            raise InputError(
                f"vcpus {self.vcpus} in each of tds {self.tds} are {self.vcpus * self.tds}: "
                f"accepted are at most {MOST_VCPUS} in all"
            )
        if self.nodes > self.vcpus:
            raise InputError(f"nodes {self.nodes}: accepted are at most as many as vcpus, {self.vcpus}")
        if self.placement != "own" and self.nodes == 1:
            raise InputError(f"placement {self.placement!r}: accepted with nodes 2 or more; one leaves no choice")
        if self.vcpu_state != "working" and self.vcpus == 1:
            raise InputError(f"vcpu-state {self.vcpu_state!r}: accepted with vcpus 2 or more; one vCPU has no others")
        if self.backing == "pfnmap":
            able_interfaces(self.interfaces, has_struct_page=False, backing=self.backing)
        if (self.backing == "extents") != (self.extents is not None):
            raise InputError("backing 'extents' and extents FILE go together: give both or neither")
        needs = {
            "host": (self.host is not None, ("host", "extents")),
            "scale-host": (self.scale_host, ("host",)),
            "max-folio-order": (self.max_folio_order != 9, ("host",)),
            "thp-share": (self.thp_share != 0.9, ("thp",)),
            "block-shares": (bool(self.block_shares), ("order0", "thp")),
        }
        for key, (given, backings) in needs.items():
            if given and self.backing not in backings:
                raise InputError(
                    f"{key} has no meaning with backing {self.backing!r}: accepted with {', '.join(backings)}"
                )

    def _settle_memory(self) -> None:
        if self.memory is None:
            if self.backing != "host":
                object.__setattr__(self, "memory", 64 << 30)
            return
        memory_bytes = parse_size(self.memory)
        largest = 1 << _GPA_BITS[self.levels]
        if memory_bytes > largest - (2 << 30 if self.layout == "q35" else 0):
            raise InputError(
                f"memory {self.memory!r}: {self.levels} S-EPT levels hold at most {format_size(largest)}"
                + (", less the 2 GiB hole of layout q35" if self.layout == "q35" else "")
                + ("; --levels 5 holds more" if self.levels == 4 else "")
            )
        object.__setattr__(self, "memory", memory_bytes)

    @property
    def memory_bytes(self) -> int:
        """Guest memory in bytes."""
        if not isinstance(self.memory, int):
            raise TypeError("the host decides the memory; resolve the scenario first")
        return self.memory

    @property
    def pages(self) -> int:
        """Guest memory in 4K pages."""
        return self.memory_bytes >> 12

    def describe(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, for a result."""
        return {
            "memory_bytes": self.memory_bytes,
            "interfaces": list(self.interfaces),
            "backing": self.backing,
            "guest": self.guest,
            "order": self.order if self.order in ORDERS else Path(self.order).name,
            "layout": self.layout,
            "levels": self.levels,
            "shattered": self.shattered,
            "shared_pages": self.shared_pages,
            "shatter_layout": self.shatter_layout,
            "vcpus": self.vcpus,
            "tds": self.tds,
            "vcpu_state": self.vcpu_state,
            "nodes": self.nodes,
            "placement": self.placement,
            "thp_share": self.thp_share if self.backing == "thp" else None,
            "block_shares": {str(k): v for k, v in sorted(self.block_shares.items())} or None,
            "extents": self.extents.name if self.extents else None,
            "host": self.host.name if self.host else None,
            "scale_host": self.scale_host,
            "max_folio_order": self.max_folio_order if self.backing == "host" else None,
            "flush_first_page_only": self.flush_first_page_only,
            "keyholes": self.keyholes,
            "memory_model": self.memory_model,
            "module": "TDX_1.5.01",
            "module_features": [n for n in MODULE_FEATURES if n not in self.features_off],
        }


def _share(key: str, value: float) -> None:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
        raise InputError(f"{key} {value!r}: accepted is a share from 0 to 1")


def able_interfaces(named: tuple[str, ...], has_struct_page: bool, backing: str) -> tuple[str, ...]:
    """Return the interfaces of a run: those named, or all that can map the memory.

    Raises
    ------
    InputError
        An interface was named that needs a struct page behind the memory, which has none.
    """
    if has_struct_page:
        return named or INTERFACES
    if unable := [name for name in named if name != "pfn"]:
        raise InputError(
            f"interface {unable[0]!r} cannot map backing {backing!r}, whose memory has no struct page: accepted is pfn"
        )
    return ("pfn",)
