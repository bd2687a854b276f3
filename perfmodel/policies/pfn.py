"""``pfn``: a mapping is as large as the memory is contiguous; folios do not matter.

Sean Christopherson, RFC v5 "TDX: Dynamic PAMT + S-EPT Hugepage", 2026-01-28,
https://lore.kernel.org/all/20260129011517.3545883-1-seanjc@google.com.
"""

from perfmodel.policies.contract import Policy

PFN = Policy("pfn", wrapper="pfn", maps_2m=True, in_one_folio=None)
