"""What the counts of a run depend on beyond its scenario: the source of the model itself."""

import functools
import hashlib
from pathlib import Path

from kernels.jit import source_hash
from perfmodel._version import __version__

_FOLDER = Path(__file__).parent
_NOT_COUNTING = ("calibration", "commands", "explore", "ingest", "report", "sweep", "vectors")
"""Parts of the package that take no share in counting."""


@functools.cache
def model_fingerprint() -> str:
    """Return a hash over version, kernels and the Python files that count: equal where the same scenario gives the
    same counts. Prices, which are data, have a hash of their own."""
    digest = hashlib.sha256(f"{__version__} {source_hash()}".encode())
    for path in sorted(_FOLDER.rglob("*.py")):
        inside = path.relative_to(_FOLDER)
        if inside.parts[0] not in _NOT_COUNTING:
            digest.update(str(inside).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
