"""Rooflines in Numba: what the ``roofline_`` loops of ``peer.c`` do, by the same names and with the same arrays."""

import numpy as np

from kernels.jit import njit
from kernels.pamt_entry import LOCK_MASK, TYPE_MASK
from kernels.sept_entry import FREE, HPA_MASK, MAPPED, PENDING, TDB

_NONE, _ONE, _PAGE_SHIFT = np.uint64(0), np.uint64(1), np.uint64(12)


@njit
def roofline_map(sept, pamt, pfn):
    seen = _NONE
    for i in range(pfn.size):
        seen |= sept[i] | pamt[i, 0]
        sept[i] = PENDING | (np.uint64(pfn[i]) << _PAGE_SHIFT)
        pamt[i, 0] = _ONE
        pamt[i, 1] = _NONE
    return seen


@njit
def roofline_accept(sept, pamt, pfn):
    for i in range(sept.size):
        sept[i] = MAPPED | (sept[i] & HPA_MASK)


@njit
def roofline_block(sept, pamt, pfn):
    for i in range(sept.size):
        sept[i] = TDB | (sept[i] & HPA_MASK)
        pamt[i, 1] = _ONE


@njit
def roofline_remove(sept, pamt, pfn):
    seen = _NONE
    for i in range(sept.size):
        seen |= sept[i] | pamt[i, 1]
        sept[i] = FREE
        pamt[i, 0] &= ~TYPE_MASK
    return seen


@njit
def roofline_demote(sept, pamt, pfn):
    for i in range(sept.size):
        sept[i] = MAPPED | (np.uint64(i) << _PAGE_SHIFT)
        pamt[i, 0] = (pamt[i, 0] & LOCK_MASK) | _ONE
        pamt[i, 1] = _NONE


@njit
def roofline_aug_2m(sept, pamt, pfn):
    seen = _NONE
    for i in range(pamt.shape[0]):
        seen |= pamt[i, 0]
    return seen
