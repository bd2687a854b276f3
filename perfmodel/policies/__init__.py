"""Mapping-level policies: which 2M ranges KVM maps with one leaf. One file a policy."""

from perfmodel.policies.contract import Policy
from perfmodel.policies.folio_lenient import FOLIO_LENIENT
from perfmodel.policies.folio_strict import FOLIO_STRICT
from perfmodel.policies.page_4k import PAGE_4K
from perfmodel.policies.pfn import PFN

POLICIES: dict[str, Policy] = {p.name: p for p in (PAGE_4K, FOLIO_STRICT, FOLIO_LENIENT, PFN)}
