"""``hugetlb-2m``: 2 MiB folios in random places."""

import numpy as np
import numpy.typing as npt

from perfmodel.backings.contract import RANGE_PAGES, REGION_PAGES
from perfmodel.backings.one_block import OneBlockBacking, constant_order

_ORDER = constant_order(9)


class Hugetlb2MBacking(OneBlockBacking):
    """Each 2M range is one folio; which 2M of the block it is, the seed draws."""

    name = "hugetlb-2m"

    def _fill(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        folios = self._random(index).permutation(REGION_PAGES // RANGE_PAGES).astype(np.int64)
        return (folios[:, None] * RANGE_PAGES + np.arange(RANGE_PAGES)).ravel(), _ORDER
