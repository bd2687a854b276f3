"""How figures look, and how they become files.

Nothing here touches pyplot: figures are plain :class:`matplotlib.figure.Figure` objects, without a window or any
state that outlives them. Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Related
stages share a hue, and hatches tell stages apart without it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from perfmodel.report.answer import Report
from perfmodel.result import Comparison
from perfmodel.scaling.result import ScaleResult

INK = "#222222"
FAINT = "#767676"

_FILE_DPI = 160
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
        "xtick.color": INK,
        "ytick.color": INK,
        "ytick.labelsize": 10,
    }
)
_UNDATED: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
)


class Look(NamedTuple):
    """Fill and hatch of one kind of bar; the hatch is drawn in :data:`INK`."""

    colour: str
    hatch: str


STAGE_LOOKS = MappingProxyType(
    {
        # transitions between TD and host: blue
        "exit": Look("#0072b2", ""),
        "entry": Look("#56b4e9", "////"),
        # KVM's own work: orange and yellow
        "kvm_fault": Look("#e69f00", "--"),
        "guest_memfd": Look("#f0e442", "oo"),
        "mirror": Look("#f6c766", "xxxx"),
        # the host's work on every line of the page: vermilion
        "host_clear": Look("#d55e00", "\\\\\\\\"),
        "flush": Look("#f4a77a", "...."),
        # SEAMCALLs and the module's work in them: green
        "seamcall": Look("#009e73", "||||"),
        "module_keyhole": Look("#7fceb9", "//"),
        "module_locks": Look("#004433", ""),
        "module_memory": Look("#bfe6dc", "**"),
        "module_fill": Look("#40b696", "++++"),
        "module_code": Look("#d9f1ea", "----"),
        # ACCEPT: purple
        "guest_accept": Look("#cc79a7", ""),
        "guest_zero": Look("#e9c6da", "xx"),
        "guest_ve": Look("#b05f90", "O"),
        # the rest of a TD's life, SEAMCALLs: brown
        "build": Look("#8c6d31", "/o"),
        "measure": Look("#bd9e39", "\\\\|"),
        "block": Look("#e7cb94", "|*"),
        "track": Look("#f3e3bd", "-\\\\"),
        "demote": Look("#a5783c", "+o"),
        "promote": Look("#cfa35f", "+*"),
        "remove": Look("#d9b26f", "x*"),
        "wbinvd": Look("#c49c5a", "o-"),
        "reclaim": Look("#f7edd8", "O|"),
        "pamt": Look("#6b4f1d", "O."),
        # ... and the host's own work: grey
        "convert": Look("#9aa5b1", "*-"),
        "mmu_lock": Look("#c9d1d9", "|"),
        "kick": Look("#5f6b78", "-"),
        "reset": Look("#b3bcc6", "..//"),
    }
)
"""No two share a hatch unless their greys are far apart: black and white prints stay readable."""

OTHER_LOOK = Look("#ffffff", "")
PLAIN_LOOK = Look("#d9d9d9", "")


class LineLook(NamedTuple):
    """Colour, marker and line style of one curve; ``size`` is the marker's, ``filled`` whether it hides what is below.

    Curves that coincide stay apart: a small filled marker lies within a large open one.
    """

    colour: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]
    size: float
    filled: bool

    def of_line(self) -> dict[str, Any]:
        """Return it as ``Axes.plot`` takes it."""
        return {
            "color": self.colour, "marker": self.marker, "linestyle": self.line, "markersize": self.size,
            "markerfacecolor": self.colour if self.filled else "white", "markeredgecolor": self.colour,
        }  # fmt: skip


INTERFACE_LOOKS = MappingProxyType(
    {
        "page-4k": LineLook("#d55e00", "o", "-", 5.0, True),
        "folio-strict": LineLook("#009e73", "^", (0, (6, 1.5)), 5.5, True),
        "folio-lenient": LineLook("#56b4e9", "s", "-", 8.0, False),
        "pfn": LineLook("#0072b2", "D", (0, (4, 1.5, 1, 1.5)), 4.0, True),
    }
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
    with style():
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


def source_line(figure: Figure, result: Comparison | ScaleResult | Report) -> Text:
    """Write at the foot of ``figure`` what made it: version, parameters, seed and module."""
    made_by = result.parameters
    module = " + ".join((result.scenario["module"], *result.scenario["module_features"]))
    line = (
        f"perfmodel {result.version} · parameters {made_by.name} ({made_by.sha256[:12]}) · "
        f"seed {result.seed} · module {module}"
    )
    return figure.text(0.012, 0.1 / figure.get_figheight(), line, fontsize=7.5, color=FAINT, gid="source")
