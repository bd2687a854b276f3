"""The guests that the page is about when no sweep is given."""

from typing import TYPE_CHECKING

from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.sweep import sweep
from perfmodel.workers import Progress

if TYPE_CHECKING:
    import xarray as xr

_GIB = 1 << 30
_SMALL = tuple(size * _GIB for size in (1, 4, 16, 64, 256))

DEFAULT_GRIDS = (
    {"backing": ("hugetlb-1g",), "shattered": (0.0, 0.01, 0.1), "memory": (*_SMALL, 1024 * _GIB, 4096 * _GIB)},
    {"backing": ("hugetlb-1g",), "shattered": (0.5, 1.0), "memory": _SMALL},
    {"backing": ("hugetlb-2m", "thp", "order0"), "memory": _SMALL},
)
"""Every region of scattered memory is counted by itself, so the largest guests are there only where many are alike."""


def count_default_guests(progress: Progress | None = None) -> "list[xr.Dataset]":
    """Count `DEFAULT_GRIDS`: about half a minute on two cores.

    Parameters
    ----------
    progress : callable, optional
        Called with GiB counted and in all, interface by interface.
    """
    grids = [build_grid(Asked(dict(values))) for values in DEFAULT_GRIDS]
    sizes = [sum(one.point.scenario.memory_bytes >> 30 for one in grid.points if one.point) for grid in grids]
    datasets = []
    for number, grid in enumerate(grids):
        before = sum(sizes[:number])

        def report(done: int, total: int, before: int = before) -> None:
            if progress:
                progress(before + done, sum(sizes))

        datasets.append(sweep(grid, samples=1, progress=lambda what: report if what == "GiB counted" else _silent))
    return datasets


def _silent(done: int, total: int) -> None:
    """Say nothing of pricing: it is over in no time."""
