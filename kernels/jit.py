"""How kernels are compiled and where the compiled code is kept: the one place for both.

Numba's disk cache looks only at the file a kernel stands in. A kernel that calls another file's kernel, or
uses its constants, would go on running the old code after that file changed. The cache folder is therefore
named after a hash of every kernel's source.
"""

import functools
import hashlib
import os
import stat
import tempfile
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


@functools.cache
def cache_folder() -> Path:
    """Return the folder of the compiled kernels, made if need be.

    It lies below ``NUMBA_CACHE_DIR`` or the user's cache folder, and where neither can be written below the
    folder for temporary files, in a part of this user's own.
    """
    bases = [
        Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("perfmodel")),
        Path(tempfile.gettempdir()) / f"perfmodel-{os.getuid()}",
    ]
    for base in bases:
        folder = base / f"kernels-{source_hash()}"
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and _is_own(folder) and _is_own(base):  # who could swap it could run code here
            return folder
    return Path(tempfile.mkdtemp(prefix="perfmodel-"))


def _is_own(folder: Path) -> bool:
    """Whether this user owns ``folder``, and not everybody may rename what is in it."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & stat.S_IWOTH


def is_cached(kernel: str) -> bool:
    """Whether ``kernel``, such as ``populate.populate_region``, has been compiled from this source before."""
    return any(cache_folder().rglob(f"{kernel}-*.nbi"))


numba.config.CACHE_DIR = str(cache_folder())

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def _without_literals(kernel: Any) -> Any:
    """Make a call with a literal argument, such as a level, use the one version for its type.

    Numba compiles a kernel anew for every combination of literal arguments that other kernels call it with:
    measured on the exact calls, 328 versions instead of 170, and 117 s to compile instead of 57 s.
    """
    resolve = kernel.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: numba.types.unliteral(kind) for name, kind in kws.items()}
        return resolve([numba.types.unliteral(kind) for kind in args], plain)

    kernel.get_call_template = get_call_template
    return kernel


def _compile(function: Callable[..., Any], **options: bool) -> Any:
    if numba.config.DISABLE_JIT:
        return function
    return _without_literals(numba.njit(**_OPTIONS, **options)(function))


def njit(function: Callable[..., Any]) -> Any:
    """Compile a kernel: the decorator of every one.

    Kernels release the GIL, so regions run side by side on Python threads. They neither allocate nor return
    arrays, so Numba's reference counting is off (``_nrt``): with it, every call took and dropped an atomic
    reference to each array of ``Tables``, and populating 4K pages took 175 ns a page instead of 9 ns (forced
    inlining alone: 175 ns).
    """
    return _compile(function)


def step(function: Callable[..., Any]) -> Any:
    """Compile a step of a call that stands in the innermost loops of batches, where it is always inlined."""
    return _compile(function, forceinline=True)
