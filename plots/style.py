"""How figures look, and how they become files.

Nothing here touches pyplot: figures are plain :class:`matplotlib.figure.Figure` objects, without a window or any
state that outlives them. Colours, hatches and markers are those of :mod:`perfmodel.looks`.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
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
from perfmodel.result import ParametersId
from plots.words import cut

LINE_HEIGHT = 0.19
"""Inches of a line below the title."""

_FILE_DPI = 160
_EDGE = 0.012
_NAME = 40
_SMALL_DPI, _COLOURS = 100, 64
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
        "text.parse_math": False,  # names from files may hold a $
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


def render(figure: Figure, fmt: str, dpi: int = _FILE_DPI) -> bytes:
    """Return ``figure`` as a file: the same bytes whenever and wherever the same matplotlib draws it.

    Parameters
    ----------
    figure : Figure
    fmt : {"png", "svg", "pdf"}
    dpi : int
        Dots an inch, of ``png``.

    Raises
    ------
    ValueError
        Another format.
    """
    if fmt not in _UNDATED:
        raise ValueError(f"format {fmt!r}: accepted are {', '.join(_UNDATED)}")
    file = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")  # a name in a script that the font lacks
        figure.savefig(file, format=fmt, dpi=dpi, metadata=_UNDATED[fmt])
    return file.getvalue()


def render_small(figure: Figure) -> bytes:
    """Return ``figure`` as a PNG of few dots and colours, a fifth as large: for pages that carry many."""
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    with Image.open(io.BytesIO(render(figure, "png", _SMALL_DPI))) as drawn:
        few = drawn.convert("RGB").quantize(_COLOURS, Image.Quantize.FASTOCTREE)  # the others merge rare colours
        few.save(file, "png", optimize=True)
    return file.getvalue()


def add_title(figure: Figure, title: str, *lines: str, gid: str = "scenario") -> None:
    """Write the title, and below it what was run, a line each; empty ones are left out."""
    height = figure.get_figheight()
    figure.suptitle(title, x=_EDGE, y=1 - 0.12 / height, ha="left", va="top", fontsize=13, fontweight="bold")
    if said := "\n".join(line for line in lines if line):
        figure.text(_EDGE, 1 - 0.42 / height, said, va="top", fontsize=9.5, linespacing=1.3, gid=gid)


def source_line(figure: Figure, *parts: str) -> Text:
    """Write at the foot of ``figure`` what made it, such as :func:`priced_by`, a seed, :func:`module_of`."""
    foot = 0.1 / figure.get_figheight()
    return figure.text(_EDGE, foot, " · ".join(parts), fontsize=7.5, color=FAINT, gid="source")


def priced_by(version: str, parameters: ParametersId) -> str:
    """Return the version that made a result, and the parameter set that priced it."""
    return f"perfmodel {cut(version, _NAME)} · parameters {cut(parameters.name, _NAME)} ({parameters.sha256[:12]})"


def module_of(scenario: Mapping[str, Any]) -> str:
    """Return the TDX module that a scenario runs on, with its features."""
    return "module " + " + ".join((scenario["module"], *scenario["module_features"]))
