"""What it costs to map a TDX guest's private memory, from the EPT violation to the TDX module and back.

``Scenario`` and ``compare`` are loaded when first used: they bring Numba along.
"""

from typing import TYPE_CHECKING, Any

from perfmodel._version import __version__
from perfmodel.errors import InputError

if TYPE_CHECKING:
    from perfmodel.comparison import compare, run
    from perfmodel.scenario import Scenario

__all__ = ["InputError", "Scenario", "__version__", "compare", "run"]


def __getattr__(name: str) -> Any:
    if name == "Scenario":
        from perfmodel.scenario import Scenario

        return Scenario
    if name in ("compare", "run"):
        from perfmodel import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module 'perfmodel' has no attribute {name!r}")
