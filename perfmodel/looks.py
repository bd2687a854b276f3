"""Colours, hatches and markers by stage and interface: of the figures and of the page alike.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Related stages share a hue, and hatches
tell stages apart without it. Data only: importing it brings no library that draws.
"""

from types import MappingProxyType
from typing import Any, NamedTuple

INK = "#222222"
FAINT = "#767676"


class Look(NamedTuple):
    """Fill and hatch of one kind of bar; the hatch is drawn in :data:`INK`."""

    colour: str
    hatch: str

    def of_bar(self) -> dict[str, Any]:
        """Return it as ``Axes.bar`` and ``Patch`` take it."""
        return {"facecolor": self.colour, "hatch": self.hatch or None, "edgecolor": INK, "linewidth": 0.4}


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
