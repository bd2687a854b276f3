"""The phases that a scenario file may chain, and the order in which they can follow each other."""

from collections.abc import Sequence

import msgspec

from perfmodel.accepted import one_of, whole_number
from perfmodel.errors import InputError
from perfmodel.names import PLACEMENTS, TEARDOWNS
from perfmodel.sizes import parse_size

PAGE_BYTES = 4096
MAP_GPA_BYTES = 2 << 20
_RANGE_PAGES = 512


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One stretch of a TD's life. ``name`` is what results call it; by default the kind."""

    name: str = ""

    @property
    def kind(self) -> str:
        """What the file calls this phase's kind."""
        return str(self.__struct_config__.tag)

    @property
    def title(self) -> str:
        """The phase's name in results."""
        return self.name or self.kind

    def check(self, memory_bytes: int) -> None:
        """Raise :class:`InputError` where a value cannot be, or does not fit the guest."""

    def check_name(self) -> None:
        """Raise :class:`InputError` where the name would do more to a terminal than be read."""
        if not self.name.isprintable():
            raise InputError(f"name {self.name!r}: accepted is text without control characters")


class Build(Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="build", tag_field="kind"):
    """The initial image by PAGE.ADD, from GPA 0 on, then MR.FINALIZE.

    Attributes
    ----------
    image : str or int
        Bytes. A Linux TD's is about 4 MB.
    measured : bool
        16 MR.EXTEND a page (KVM_TDX_MEASURE_MEMORY_REGION).
    """

    image: str | int = "4MiB"
    measured: bool = True

    @property
    def pages(self) -> int:
        """4K pages of the image."""
        return parse_size(self.image, "image") // PAGE_BYTES

    def check(self, memory_bytes: int) -> None:
        """See :meth:`Phase.check`."""
        _fits("image", self.image, parse_size(self.image, "image"), memory_bytes)


class Boot(Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="boot", tag_field="kind"):
    """The guest takes its private memory into use, in the way that ``guest`` names."""


class Convert(Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="convert", tag_field="kind"):
    """Conversions private to shared by MapGPA.

    Attributes
    ----------
    count : int
    pages : int
        4K pages of each.
    placement : {"scattered", "window"}
        Anywhere in the guest, or in a window as the swiotlb's is.
    window : str or int
        Bytes of the window, at the middle of the guest.
    back : bool
        Each is converted back and accepted again before the next begins.
    """

    count: int = 1
    pages: int = 1
    placement: str = "window"
    window: str | int = "20MiB"
    back: bool = True

    def check(self, memory_bytes: int) -> None:
        """See :meth:`Phase.check`."""
        whole_number("count", self.count, 1, 1 << 32)
        whole_number("pages", self.pages, 1, memory_bytes // PAGE_BYTES)
        one_of("placement", self.placement, PLACEMENTS)
        window_bytes = parse_size(self.window, "window")
        if self.placement == "window":
            _fits("window", self.window, window_bytes, memory_bytes)
            _fits("pages", self.pages, self.pages * PAGE_BYTES, window_bytes, "the window")


class AcceptMismatch(
    Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="accept-mismatch", tag_field="kind"
):
    """The guest accepts its first memory at 4K, as firmware does, where KVM may map 2M.

    Attributes
    ----------
    size : str or int
        Bytes from GPA 0 on, or from the end of the initial image.
    prefault : bool
        KVM_PRE_FAULT_MEMORY has mapped it before, at 2M where the interface allows: the first ACCEPT in each 2M then
        splits a leaf under the write lock. Without, the fault itself maps 4K, and nothing is split.
    """

    size: str | int = "12MiB"
    prefault: bool = True

    @property
    def pages(self) -> int:
        """4K pages that are accepted so."""
        return parse_size(self.size, "size") // PAGE_BYTES

    def check(self, memory_bytes: int) -> None:
        """See :meth:`Phase.check`."""
        _fits("size", self.size, parse_size(self.size, "size"), memory_bytes)


class PunchHole(Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="punch-hole", tag_field="kind"):
    """The VMM takes memory away with fallocate(PUNCH_HOLE), such as a balloon does.

    Attributes
    ----------
    count : int
    size : str or int
        Bytes of each hole.
    """

    count: int = 1
    size: str | int = "2MiB"

    def check(self, memory_bytes: int) -> None:
        """See :meth:`Phase.check`."""
        size_bytes = parse_size(self.size, "size")
        _fits("size", self.size, size_bytes, memory_bytes)
        whole_number("count", self.count, 1, memory_bytes // size_bytes)


class Teardown(Phase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="teardown", tag_field="kind"):
    """The TD's end.

    Attributes
    ----------
    how : {"removal", "reclaim"}
        BLOCK, TRACK, REMOVE leaf by leaf while the HKID is assigned, or RECLAIM after its release.
    """

    how: str = "removal"

    def check(self, memory_bytes: int) -> None:
        """See :meth:`Phase.check`."""
        one_of("how", self.how, TEARDOWNS)


AnyPhase = Build | AcceptMismatch | Boot | Convert | PunchHole | Teardown
KINDS: tuple[str, ...] = ("build", "accept-mismatch", "boot", "convert", "punch-hole", "teardown")
"""In the only order in which the first of each can come; ``convert`` and ``punch-hole`` may repeat and alternate."""

_ONCE = {"build", "accept-mismatch", "boot", "teardown"}
_AGE = {"build": 0, "accept-mismatch": 1, "boot": 2, "convert": 3, "punch-hole": 3, "teardown": 4}


def check_order(kinds: list[str]) -> None:
    """Raise :class:`InputError` where phases stand in an order that no TD lives."""
    for i, kind in enumerate(kinds):
        earlier = kinds[:i]
        if kind in _ONCE and kind in earlier:
            raise InputError(
                f"phase[{i}].kind {kind!r}: a TD goes through it once, and phase[{earlier.index(kind)}] is it"
            )
        late = [at for at, other in enumerate(earlier) if _AGE[other] > _AGE[kind]]
        if late:
            raise InputError(
                f"phase[{i}].kind {kind!r}: comes before {earlier[late[0]]!r} (phase[{late[0]}]), not after"
            )
        if kind in ("convert", "punch-hole", "teardown") and "boot" not in earlier:
            raise InputError(f"phase[{i}].kind {kind!r}: accepted after a phase 'boot', which maps the memory")


def check_prefault(phases: Sequence[AnyPhase], memory_bytes: int) -> None:
    """Raise :class:`InputError` where a prefaulted 2M leaf would be accepted in part and the rest left to the boot."""
    image = sum(phase.pages for phase in phases if isinstance(phase, Build))
    for i, phase in enumerate(phases):
        if not isinstance(phase, AcceptMismatch) or not phase.prefault:
            continue
        end = image + phase.pages
        partly = end % _RANGE_PAGES and end * PAGE_BYTES < memory_bytes
        if partly and end // _RANGE_PAGES * _RANGE_PAGES >= image:
            raise InputError(
                f"phase[{i}].size {phase.size!r}: with prefault accepted is a size that ends at a multiple of 2 MiB, "
                f"the image's {image * PAGE_BYTES >> 10} KiB before it"
            )


def _fits(key: str, value: object, size_bytes: int, within_bytes: int, place: str = "the guest") -> None:
    if size_bytes > within_bytes:
        raise InputError(f"{key} {value!r}: more than {place} has, {within_bytes} bytes")
