"""``hugetlb-1g``: 1 GiB folios; a folio is a GPA range aligned to its size."""

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import REGION_PAGES
from perfmodel.backings.one_block import OneBlockBacking, constant_order

_OFFSETS = np.arange(REGION_PAGES, dtype=np.int64)
_ORDER = constant_order(18)


class Hugetlb1GBacking(OneBlockBacking):
    """Each region is one folio."""

    name = "hugetlb-1g"
    uniform = True

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        return _OFFSETS, _ORDER
