"""Which 2M ranges stay 4K, and the first reason that applies."""

import numpy as np
import numpy.typing as npt

from kernels.ranges import RangeFacts
from perfmodel.policies.contract import Policy

CAUSES = (
    "policy",
    "module",
    "partial",
    "mixed",
    "alignment",
    "discontiguous",
    "folio",
    "not-convertible",
    "accept-level",
    "existing-table",
)
"""In the order in which they are tried; a refused range is counted under the first that applies.

``accept-level`` needs a guest that touches before it accepts, or accepts below 2M where 2M is mapped: no guest
of this version does. ``existing-table`` is found by the kernel, when it meets the table.
"""

MAPPED_2M, NOT_ASKED = -1, -2


def refusal_causes(policy: Policy, facts: RangeFacts, module_demotes: bool) -> npt.NDArray[np.int8]:
    """Decide the level of every 2M range of a region.

    Parameters
    ----------
    policy : Policy
    facts : RangeFacts
    module_demotes : bool
        Whether the module has ENHANCED_DEMOTE_INTERRUPTIBILITY, without which KVM maps no hugepage.

    Returns
    -------
    ndarray of int8, shape (512,)
        Index into :data:`CAUSES`, ``MAPPED_2M`` for a range to be mapped at 2M, ``NOT_ASKED`` for one of which
        no private page is asked for.
    """
    in_folio = policy.in_one_folio(facts) if policy.in_one_folio else np.True_
    applies = {
        "policy": np.full(facts.guest.shape, not policy.maps_2m),
        "module": np.full(facts.guest.shape, not module_demotes),
        "partial": facts.guest < 512,
        "mixed": facts.shared > 0,
        "alignment": ~facts.aligned,
        "discontiguous": ~facts.contiguous,
        "folio": np.broadcast_to(~in_folio, facts.guest.shape),
        "not-convertible": facts.refused > 0,
    }
    cause = np.full(facts.guest.shape, MAPPED_2M, np.int8)
    for name in reversed(applies):
        cause[applies[name]] = CAUSES.index(name)
    cause[facts.asked + facts.refused == 0] = NOT_ASKED
    return cause
