"""The memory of one run: the guest's layout, what backs it, the platform below, and its shared pages."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.populate import USE_ASKED, USE_NONE, USE_REFUSED, USE_SHARED
from perfmodel.backings.contract import Backing, RegionBacking
from perfmodel.backings.extents import ExtentsBacking
from perfmodel.backings.host import HostBacking
from perfmodel.backings.hugetlb_1g import Hugetlb1GBacking
from perfmodel.backings.hugetlb_2m import Hugetlb2MBacking
from perfmodel.backings.order0 import EVEN_SHARES, Order0Backing
from perfmodel.backings.pfnmap import PfnmapBacking
from perfmodel.backings.thp import ThpBacking
from perfmodel.errors import InputError
from perfmodel.host.model import Host
from perfmodel.host.proc import read_host
from perfmodel.host.storage import load_host
from perfmodel.host.tdmr import build_tdmrs
from perfmodel.layout import GuestLayout
from perfmodel.platform import Platform
from perfmodel.scenario import Scenario
from perfmodel.shattering import Shattering


@dataclass(frozen=True)
class GuestMemory:
    """Everything that decides which page stands where.

    Attributes
    ----------
    scenario : Scenario
        With its memory resolved.
    layout : GuestLayout
    backing : Backing
    platform : Platform
    shattering : Shattering
    notes : dict
        What a result says about the backing beyond the scenario: the host's contiguity, for one.
    """

    scenario: Scenario
    layout: GuestLayout
    backing: Backing
    platform: Platform
    shattering: Shattering
    notes: dict[str, Any]

    @classmethod
    def build(cls, scenario: Scenario) -> "GuestMemory":
        """Resolve ``scenario``: read its files, lay the guest out, draw its shared pages."""
        host = _read_host(scenario)
        if scenario.memory is None and host is not None:
            scenario = replace(scenario, memory=_three_quarters_free(host))
        layout = GuestLayout.build(scenario.layout, scenario.pages)
        shattering = Shattering.draw(
            layout, scenario.shattered, scenario.shared_pages, scenario.shatter_layout, scenario.seed
        )
        backing, notes = _back(scenario, layout, host)
        platform = Platform.covering(backing.blocks())
        if isinstance(backing, HostBacking):
            platform = Platform.of(backing.tdmrs())
        elif host is not None:
            platform = Platform.of(build_tdmrs(host.system_ram))
        return cls(scenario, layout, backing, platform, shattering, notes)

    def region(self, index: int) -> tuple[RegionBacking, npt.NDArray[np.uint8]]:
        """Return the pages behind region ``index`` and what each is used for (``USE_...``, uint8)."""
        behind = self.backing.region(index)
        use = np.full(behind.pfn.shape, USE_ASKED, np.uint8)
        if not self.layout.is_whole(index):
            use[~self.layout.mask(index)] = USE_NONE
        if self.platform.has_holes:
            use[(use == USE_ASKED) & ~self.platform.convertible(behind.pfn)] = USE_REFUSED
        use[self.shattering.shared_pages(index)] = USE_SHARED
        return behind, use

    def asks(self, index: int) -> bool:
        """Whether any page of region ``index`` is private and can be mapped."""
        if self.platform.has_holes:
            return bool((self.region(index)[1] == USE_ASKED).any())
        pages = sum(end - start for start, end in self.layout.in_region(index))
        return pages > self.shattering.shared_pages(index).size


def _read_host(scenario: Scenario) -> Host | None:
    if scenario.host is not None:
        return load_host(scenario.host)
    if scenario.backing == "host":
        return read_host(seed=scenario.seed)
    return None


def _three_quarters_free(host: Host) -> int:
    gib = host.mem_free_kib * 3 // 4 >> 20
    if gib == 0:
        raise InputError(
            f"host: three quarters of MemFree ({host.mem_free_kib} KiB) are less than 1 GiB: give --memory"
        )
    return gib << 30


def _back(scenario: Scenario, layout: GuestLayout, host: Host | None) -> tuple[Backing, dict[str, Any]]:
    seed, shares = scenario.seed, scenario.block_shares or EVEN_SHARES
    match scenario.backing:
        case "hugetlb-1g":
            return Hugetlb1GBacking(layout, seed), {}
        case "hugetlb-2m":
            return Hugetlb2MBacking(layout, seed), {}
        case "pfnmap":
            return PfnmapBacking(layout, seed), {}
        case "thp":
            return ThpBacking(layout, seed, scenario.thp_share, shares), {"block_shares": shares}
        case "order0":
            return Order0Backing(layout, seed, shares), {"block_shares": shares}
        case "extents":
            assert scenario.extents is not None
            return ExtentsBacking(scenario.extents, layout), {}
        case _:
            assert host is not None
            backing = HostBacking(
                host, layout, max_folio_order=scenario.max_folio_order, seed=seed, scale=scenario.scale_host
            )
            return backing, {
                "contiguity": backing.contiguity()._asdict(),
                "missing": msgspec.to_builtins(host.missing),
            }
