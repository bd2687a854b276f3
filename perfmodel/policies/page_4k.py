"""``page-4k``: mainline's level rule, always 4K (struct page up to Linux 7.1, PFN from 7.2)."""

from perfmodel.policies.contract import Policy

PAGE_4K = Policy("page-4k", wrapper="page", maps_2m=False, in_one_folio=None)
