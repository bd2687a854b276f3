"""Parts of a sweep: one small file for each point that was counted and each meeting of vCPUs that was simulated.

A file is named after the hash of all that it depends on, so whatever is there need not be computed again, by this sweep
or by another that shares the folder. Files are written whole; one that is damaged counts as missing.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from perfmodel.errors import InputError
from perfmodel.files import write_whole
from perfmodel.sweep.layout import Layout
from perfmodel.sweep.point import PointCounts, PointMeeting

LAYOUT_FILE = "sweep.json"

_Part = TypeVar("_Part", PointCounts, PointMeeting)


class Parts:
    """A folder of parts, or with no folder parts that live as long as this object.

    Attributes
    ----------
    folder : Path or None
    damaged : list of Path
        Files that were found to be no parts.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.damaged: list[Path] = []
        self._held: dict[str, bytes] = {}
        if folder is not None:
            try:
                for kind in ("counts", "meetings"):
                    (folder / kind).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"parts {str(folder)!r}: {error.strerror}: accepted is a folder") from None

    def counts(self, key: str) -> PointCounts | None:
        """Return what was counted for ``key``, or None."""
        return self._read("counts", key, PointCounts)

    def meeting(self, key: str) -> PointMeeting | None:
        """Return what was simulated for ``key``, or None."""
        return self._read("meetings", key, PointMeeting)

    def keep(self, part: PointCounts | PointMeeting) -> None:
        """Write one part."""
        kind = "counts" if isinstance(part, PointCounts) else "meetings"
        document = msgspec.json.encode(part)
        if self.folder is None:
            self._held[f"{kind}/{part.key}"] = document
        else:
            write_whole(self._path(kind, part.key), document)

    def keep_layout(self, layout: Layout) -> None:
        """Write what the sweep as a whole is about: with it the folder can be read as a result."""
        if self.folder is not None:
            write_whole(self.folder / LAYOUT_FILE, msgspec.json.encode(layout))

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / f"{key}.json"

    def _read(self, kind: str, key: str, of: type[_Part]) -> _Part | None:
        try:
            document = self._held[f"{kind}/{key}"] if self.folder is None else self._path(kind, key).read_bytes()
        except (KeyError, FileNotFoundError):
            return None
        try:
            part = msgspec.json.decode(document, type=of)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            part = None
        if part is not None and part.key == key:
            return part
        self.damaged.append(self._path(kind, key))
        return None


def read_layout(folder: Path) -> Layout:
    """Return the layout of the sweep that ``folder`` was last used for.

    Raises
    ------
    InputError
        The folder holds none, or a damaged one.
    """
    path = folder / LAYOUT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Layout).checked()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: accepted is a folder that 'perfmodel sweep --parts' wrote"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: {error}: accepted is what 'perfmodel sweep --parts' writes") from None
