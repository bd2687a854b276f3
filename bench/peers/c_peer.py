"""The C peer: ``peer.c``, compiled for this processor when it is asked for, and called on the kernels' own arrays."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.counters import ACCEPT_4K, AUG_4K, PAMT_LINES, SEPT_LINES, WALK_READS_GUEST, WALK_READS_HOST
from kernels.tables import TD_CHLDCNT, TD_LEVELS, TD_ROOT, TD_TDR_PFN, Tables

_SOURCE = Path(__file__).with_name("peer.c")
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_TD = (TD_TDR_PFN, TD_ROOT, TD_LEVELS, TD_CHLDCNT)
COUNTED = (AUG_4K, ACCEPT_4K, WALK_READS_HOST, WALK_READS_GUEST, SEPT_LINES, PAMT_LINES)
"""The kernels' counters in the order of the peer's."""


class _Tables(ctypes.Structure):
    _fields_ = (
        ("sept", ctypes.c_void_p), ("sept_pfn", ctypes.c_int64), ("pamt_1g", ctypes.c_void_p),
        ("pamt_2m", ctypes.c_void_p), ("pamt_4k", ctypes.c_void_p), ("slot", ctypes.c_void_p),
        ("blocks", ctypes.c_int64), ("td", ctypes.c_void_p),
    )  # fmt: skip


@functools.cache
def library() -> ctypes.CDLL:
    """Compile and load the peer; skip the benchmark where there is no gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("the C peer needs gcc")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "peer.so"
        subprocess.run([gcc, *_FLAGS, "-o", target, _SOURCE], check=True)
        return ctypes.CDLL(str(target))


def _address(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class CPeer:
    """The peer's calls on ``tables``; CHLDCNT and the counts are kept apart from the kernels'.

    Attributes
    ----------
    counts : ndarray of int64, shape (len(COUNTED),)
    """

    def __init__(self, tables: Tables) -> None:
        self._library = library()
        self._kept = tables
        self._td = tables.td[list(_TD)].copy()
        self.counts = np.zeros(len(COUNTED), np.int64)
        self._tables = _Tables(
            *(_address(tables.sept), tables.sept_pfn, _address(tables.pamt_1g), _address(tables.pamt_2m)),
            *(_address(tables.pamt_4k), _address(tables.slot), tables.slot.size, _address(self._td)),
        )

    @property
    def children(self) -> int:
        """TDR.CHLDCNT."""
        return int(self._td[-1])

    def augment_region(self, gfn: int, pfn: npt.NDArray[np.int64]) -> int:
        call = self._library.peer_aug_region
        return call(ctypes.byref(self._tables), ctypes.c_int64(gfn), _address(pfn), _address(self.counts))

    def accept_region(self, gfn: int) -> int:
        call = self._library.peer_accept_region
        return call(ctypes.byref(self._tables), ctypes.c_int64(gfn), _address(self.counts))

    def walk_many(self, gfns: npt.NDArray[np.int64], level: int, *out: npt.NDArray[Any]) -> None:
        sizes = (ctypes.c_int64(gfns.size), ctypes.c_int64(level))
        self._library.peer_walk_many(ctypes.byref(self._tables), _address(gfns), *sizes, *map(_address, out))

    def lookup_many(self, pfns: npt.NDArray[np.int64], *out: npt.NDArray[Any]) -> None:
        size = ctypes.c_int64(pfns.size)
        self._library.peer_lookup_many(ctypes.byref(self._tables), _address(pfns), size, *map(_address, out))


def roofline(name: str, sept: npt.NDArray[Any], pamt: npt.NDArray[Any], pfn: npt.NDArray[Any]) -> None:
    """Run the roofline loop ``name`` over ``sept`` (n words), ``pamt`` (n pairs) and ``pfn`` (n)."""
    getattr(library(), name)(_address(sept), _address(pamt), _address(pfn), ctypes.c_int64(sept.size))
