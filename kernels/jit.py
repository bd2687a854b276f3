"""How kernels are compiled and where the compiled code is kept: the one place for both.

Numba's disk cache looks only at the file a kernel stands in. A kernel that calls another file's kernel, or
uses its constants, would go on running the old code after that file changed. The cache folder is therefore
named after a hash of every kernel's source.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import platformdirs

_FOLDER = Path(__file__).parent


def source_hash() -> str:
    """Return a hash over the source of all kernels."""
    digest = hashlib.sha256()
    for path in sorted(_FOLDER.rglob("*.py")):
        digest.update(str(path.relative_to(_FOLDER)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of the compiled kernels, below ``NUMBA_CACHE_DIR`` where that is set."""
    base = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("perfmodel")
    return Path(base) / f"kernels-{source_hash()}"


def is_cached() -> bool:
    """Whether some kernels of this source have been compiled here before."""
    return any(cache_folder().rglob("*.nbi"))


numba.config.CACHE_DIR = str(cache_folder())

njit: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
"""Decorator of every kernel.

Kernels release the GIL, so regions run side by side on Python threads. They neither allocate nor return arrays,
so Numba's reference counting is off (``_nrt``): with it, every call took and dropped an atomic reference to each
array of ``Tables``, and populating 4K pages took 175 ns a page instead of 9 ns (forced inlining alone: 175 ns).
"""

step: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
"""Decorator of the steps of one call, which stand in the innermost loops of batches and are inlined there."""
