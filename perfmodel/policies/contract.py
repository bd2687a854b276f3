"""What a mapping-level policy says."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.ranges import RangeFacts


class Policy(NamedTuple):
    """One interface between KVM and the SEAMCALL wrapper, and the level rule that comes with it.

    Attributes
    ----------
    name : str
    wrapper : {"page", "folio", "pfn"}
        What ``tdh_mem_page_aug()`` takes. All but ``pfn`` need a struct page behind the memory.
    maps_2m : bool
        Whether the policy ever maps at 2M.
    in_one_folio : callable, optional
        Given the facts, says for each range whether one folio of order >= 9 still holds it after guest_memfd
        has split the folios with shared pages; None where folios do not matter.
    """

    name: str
    wrapper: Literal["page", "folio", "pfn"]
    maps_2m: bool
    in_one_folio: Callable[[RangeFacts], npt.NDArray[np.bool_]] | None
