"""``pfnmap``: contiguous memory without a struct page, such as a VM_PFNMAP mapping of reserved RAM."""

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.backings.one_block import OneBlockBacking, constant_order

_OFFSETS = np.arange(REGION_PAGES, dtype=np.int64)
_ORDER = constant_order(0)


class PfnmapBacking(OneBlockBacking):
    """One contiguous run; no folios."""

    name = "pfnmap"
    uniform = True
    has_struct_page = False

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        return _OFFSETS, _ORDER
