"""How figures look, and how they become files.

Nothing here touches pyplot: figures are plain :class:`matplotlib.figure.Figure` objects, without a window or any
state that outlives them. Colours, hatches and markers are those of :mod:`perfmodel.looks`.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from perfmodel.looks import FAINT as FAINT
from perfmodel.looks import INK as INK
from perfmodel.looks import INTERFACE_LOOKS as INTERFACE_LOOKS
from perfmodel.looks import OTHER_LOOK as OTHER_LOOK
from perfmodel.looks import PLAIN_LOOK as PLAIN_LOOK
from perfmodel.looks import STAGE_LOOKS as STAGE_LOOKS
from perfmodel.looks import LineLook as LineLook
from perfmodel.looks import Look as Look
from perfmodel.result import Comparison
from perfmodel.scaling.result import ScaleResult

_FILE_DPI = 160
_RC: MappingProxyType[Any, Any] = MappingProxyType(  # the type of the keys is not that of all versions
    {
        "axes.axisbelow": True,
        "axes.edgecolor": FAINT,
        "axes.grid": True,
        "axes.grid.axis": "x",
        "axes.labelcolor": INK,
        "axes.labelsize": 9.5,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "font.size": 9,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.6,
        "legend.frameon": False,
        "pdf.fonttype": 42,  # text that can be searched and copied
        "svg.hashsalt": "perfmodel",  # element ids would be random without it
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "ytick.labelsize": 10,
    }
)
_UNDATED: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
)


@contextmanager
def style() -> Iterator[None]:
    """Make matplotlib's settings those of this project for as long as the block runs, whatever matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def render(figure: Figure, fmt: str) -> bytes:
    """Return ``figure`` as a file: the same bytes whenever and wherever the same matplotlib draws it.

    Parameters
    ----------
    figure : Figure
    fmt : {"png", "svg", "pdf"}

    Raises
    ------
    ValueError
        Another format.
    """
    if fmt not in _UNDATED:
        raise ValueError(f"format {fmt!r}: accepted are {', '.join(_UNDATED)}")
    file = io.BytesIO()
    with style():
        figure.savefig(file, format=fmt, dpi=_FILE_DPI, metadata=_UNDATED[fmt])
    return file.getvalue()


def source_line(figure: Figure, result: Comparison | ScaleResult) -> Text:
    """Write at the foot of ``figure`` what made it: version, parameters, seed and module."""
    made_by = result.parameters
    module = " + ".join((result.scenario["module"], *result.scenario["module_features"]))
    line = (
        f"perfmodel {result.version} · parameters {made_by.name} ({made_by.sha256[:12]}) · "
        f"seed {result.seed} · module {module}"
    )
    return figure.text(0.012, 0.1 / figure.get_figheight(), line, fontsize=7.5, color=FAINT, gid="source")
