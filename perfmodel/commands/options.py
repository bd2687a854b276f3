"""The options that ``compare`` and ``run`` share, and what they build."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfmodel import names
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from perfmodel.parameters import ParameterSet
    from perfmodel.scenario import Scenario

_FILE = click.Path(path_type=Path)


def _either(accepted: tuple[str, ...]) -> str:
    return ", ".join(accepted)


SCENARIO_OPTIONS = [
    click.option("--memory", metavar="SIZE", help="Guest memory, such as 64GiB or 1.5T (binary units). "
                 "[default: 64GiB; with --backing host three quarters of MemFree in whole GiB]"),
    click.option("--interface", "interfaces", multiple=True, metavar="NAME",
                 help=f"Mapping-level policy: {_either(names.INTERFACES)}. Repeatable. [default: all]"),
    click.option("--backing", default="hugetlb-1g", show_default=True, metavar="NAME",
                 help=f"Where the memory comes from: {_either(names.BACKINGS)}."),
    click.option("--guest", default="linux-lazy", show_default=True, metavar="NAME",
                 help=f"How the guest accepts: {_either(names.GUESTS)}."),
    click.option("--order", default="sequential", show_default=True, metavar="NAME",
                 help=f"Order by 4 MiB chunk: {_either(names.ORDERS)}, or a CSV file of faults (gfn,level,vcpu,time)."),
    click.option("--layout", default="flat", show_default=True, metavar="NAME",
                 help=f"Guest-physical layout: {_either(names.LAYOUTS)}."),
    click.option("--levels", default=4, show_default=True, metavar="N", help="S-EPT levels, 4 or 5."),
    click.option("--shattered", default=0.0, show_default=True, metavar="SHARE",
                 help="Share of the whole 1G folios that hold shared 4K pages, 0 to 1."),
    click.option("--shared-pages", default=1, show_default=True, metavar="N",
                 help="Shared 4K pages in each of those."),
    click.option("--shatter-layout", default="uniform", show_default=True, metavar="NAME",
                 help=f"Where they lie: {_either(names.SHATTER_LAYOUTS)}."),
    click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of everything drawn."),
    click.option("--vcpus", default=1, show_default=True, metavar="N",
                 help="vCPUs of the TD, which take up memory together; times are then those that pass."),
    click.option("--tds", default=1, show_default=True, metavar="N", help="TDs like this one, side by side."),
    click.option("--vcpu-state", default="working", show_default=True, metavar="NAME",
                 help=f"What the vCPUs beside the first do: {_either(names.VCPU_STATES)}."),
    click.option("--nodes", default=1, show_default=True, metavar="N",
                 help="NUMA nodes over which the vCPUs of each TD are spread, in blocks."),
    click.option("--placement", default="own", show_default=True, metavar="NAME",
                 help="Where the guest's pages lie: own (the node of the vCPU that takes them), first (node 0), "
                 "interleave."),
    click.option("--thp-share", default=0.9, show_default=True, metavar="SHARE",
                 help="Backing thp: share of the 2M ranges in one folio."),
    click.option("--block-shares", metavar="ORDER=SHARE,...",
                 help="Backings order0 and thp: share of the memory by order of the free block it comes from, "
                 "such as 0=0.2,10=0.8. [default: the same for each order]"),
    click.option("--extents", type=_FILE, metavar="FILE",
                 help="Backing extents: CSV with the header gfn,pfn,pages,folio_order,has_struct_page."),
    click.option("--host", type=_FILE, metavar="FILE",
                 help="Backing host: a host stored by 'perfmodel ingest host'. [default: this machine]"),
    click.option("--scale-host", is_flag=True,
                 help="Backing host: repeat the host's memory until the guest fits."),
    click.option("--max-folio-order", default=9, show_default=True, metavar="N",
                 help="Backing host: largest folio order asked for; 0 is guest_memfd as it is upstream."),
    click.option("--flush-first-page-only", is_flag=True,
                 help="Flush one 4K page a mapping, as applied upstream, not every page (RFC v5)."),
    click.option("--keyholes", default="periodic", show_default=True, metavar="NAME",
                 help=f"Count of the module's keyhole misses: {_either(names.KEYHOLE_MODES)}. exact replays every call "
                 "(about 2 us a 4K fault), periodic one range of each kind; ranges that are no run are sampled."),
    click.option("--memory-model", default="constant", show_default=True, metavar="NAME",
                 help=f"Cost of the module's cache lines: {_either(names.MEMORY_MODELS)}. simulated runs the lines of "
                 "S-EPT, PAMT, control pages and keyholes through caches; a guest above 2 GiB is sampled "
                 "(--keyholes exact: run whole)."),
    click.option("--module-feature", "features", multiple=True, metavar="NAME=off",
                 help=f"Turn a feature of the module off: {_either(names.MODULE_FEATURES)}."),
]  # fmt: skip

SCENARIO_NAMES = (
    "memory", "interfaces", "backing", "guest", "order", "layout", "levels", "shattered", "shared_pages",
    "shatter_layout", "seed", "vcpus", "tds", "vcpu_state", "nodes", "placement", "thp_share", "block_shares",
    "extents", "host", "scale_host", "max_folio_order", "flush_first_page_only", "keyholes", "memory_model",
    "features",
)  # fmt: skip
"""What the functions below call the values of ``SCENARIO_OPTIONS``."""

PARAMETER_OPTIONS = [
    click.option("--preset", metavar="NAME", help="Processor whose parameters to use; 'perfmodel params' lists them. "
                 "[default: spr-8480p]"),
    click.option("--params", type=_FILE, metavar="FILE", help="TOML file with parameters of your own."),
    click.option("--uncalibrated", is_flag=True,
                 help="Start from the priors, without what was fitted to public measurements."),
    click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Change one parameter. Repeatable."),
]  # fmt: skip

RUN_OPTIONS = [
    click.option("--generation", metavar="NAME",
                 help="Kernel whose mapping rule and knobs to use, such as mainline-4k or hugepage-v3; "
                 "docs/costs.md has them."),
    click.option("--threads", metavar="N", type=int, help="Threads; no result depends on it. [default: one a core]"),
    click.option("--every-region", is_flag=True,
                 help="Run regions of 1 GiB that are alike one by one too; no result depends on it."),
    click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; - for stdout."),
]  # fmt: skip


def add_options(*groups: list[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``groups`` of options to a command, in their order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def build_scenario(given: dict[str, Any]) -> "Scenario":
    """Return the scenario of the given option values; takes them out of ``given``."""
    from perfmodel.scenario import Scenario

    block_shares = parse_block_shares(given.pop("block_shares"))
    features_off = tuple(parse_feature_off(text) for text in given.pop("features"))
    fields = Scenario.__dataclass_fields__.keys() & given.keys()
    return Scenario(block_shares=block_shares, features_off=features_off, **{name: given.pop(name) for name in fields})


def build_parameters(given: dict[str, Any]) -> "ParameterSet":
    """Return the parameters of the given option values; takes them out of ``given``."""
    from perfmodel.parameters import DEFAULT_PRESET, load_parameters

    preset, calibrated = given.pop("preset") or DEFAULT_PRESET, not given.pop("uncalibrated")
    return load_parameters(preset, given.pop("params"), tuple(given.pop("overrides")), calibrated)


def parse_feature_off(text: str) -> str:
    """Return the name of the feature that ``NAME=off`` turns off."""
    name, _, value = text.partition("=")
    if value != "off":
        raise InputError(f"module-feature {text!r}: accepted is NAME=off, NAME of {_either(names.MODULE_FEATURES)}")
    return name


def parse_block_shares(text: str | None) -> dict[int, float]:
    """Return shares by order of ``ORDER=SHARE,...``."""
    shares: dict[int, float] = {}
    for item in text.split(",") if text else ():
        order, _, share = item.partition("=")
        try:
            key, value = int(order), float(share)
        except ValueError:
            raise InputError(f"block-shares {item!r}: accepted is ORDER=SHARE, such as 10=0.8") from None
        if key in shares:
            raise InputError(f"block-shares {item!r}: order {key} may be named once")
        shares[key] = value
    return shares
