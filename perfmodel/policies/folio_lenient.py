"""``folio-lenient``: a mapping fits in one folio; a shared page splits 1G to 2M, and its own 2M to 4K.

The two-step split is the future optimisation that Ackerley Tng, "[RFC PATCH v2 00/51] 1G page support for
guest_memfd", 2025-05-14, https://lore.kernel.org/all/cover.1747264138.git.ackerleytng@google.com, names.
"""

import numpy as np
import numpy.typing as npt

from kernels.ranges import RangeFacts
from perfmodel.policies.contract import Policy


def _in_one_folio(facts: RangeFacts) -> npt.NDArray[np.bool_]:
    return np.asarray((facts.folio_order >= 9) & (facts.shared == 0))


FOLIO_LENIENT = Policy("folio-lenient", wrapper="folio", maps_2m=True, in_one_folio=_in_one_folio)
