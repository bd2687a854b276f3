"""``folio-strict``: a mapping fits in one folio, and one shared page splits its whole folio to 4K.

Yan Zhao, "[PATCH v3 00/24] KVM: TDX huge page support for private memory", 2026-01-06,
https://lore.kernel.org/all/20260106101646.24809-1-yan.y.zhao@intel.com; the splitting is that of Ackerley Tng,
"[RFC PATCH v2 00/51] 1G page support for guest_memfd", 2025-05-14,
https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com.
"""

import numpy as np
import numpy.typing as npt

from kernels.ranges import RangeFacts
from perfmodel.policies.contract import Policy


def _in_one_folio(facts: RangeFacts) -> npt.NDArray[np.bool_]:
    return np.asarray((facts.folio_order >= 9) & ~facts.shared_in_folio)


FOLIO_STRICT = Policy("folio-strict", wrapper="folio", maps_2m=True, in_one_folio=_in_one_folio)
