"""TDMRs, reserved areas, and the size of the PAMT."""

import numpy as np
import pytest

from kernels.pamt_entry import ENTRIES_4K_PER_BLOCK, PT_NDA, PT_RSVD, page_type
from perfmodel.host.tdmr import Tdmr
from perfmodel.platform import Platform, static_pamt_bytes
from perfmodel.td_tables import TdTables

GIB = 1 << 30


@pytest.mark.parametrize(
    ("tdmrs_gib", "kib"),
    [((2, 1021, 1023), 8_396_820), ((2, 254, 256, 256, 256), 4_202_516), ((2, 382, 384), 3_151_892)],
)
def test_pamt_size_of_public_logs(tdmrs_gib: tuple[int, ...], kib: int) -> None:
    assert sum(static_pamt_bytes(gib * GIB) for gib in tdmrs_gib) == kib * 1024


def test_convertible_is_inside_a_tdmr_and_outside_its_reserved_areas() -> None:
    platform = Platform.of([Tdmr(0, 2 * GIB, ((0, 1 << 20), (GIB, 4096))), Tdmr(4 * GIB, GIB, ())])
    hpas = np.array([0, (1 << 20) - 4096, 1 << 20, GIB - 4096, GIB, GIB + 4096, 2 * GIB, 4 * GIB, 5 * GIB])
    assert platform.convertible(hpas >> 12).tolist() == [False, False, True, True, False, True, False, True, False]
    assert platform.has_holes
    assert platform.control_block == 5


def test_reserved_areas_become_rsvd_entries_in_the_blocks_that_are_loaded() -> None:
    platform = Platform.of([Tdmr(0, 4 * GIB, ((GIB, 8192), (2 * GIB - 4096, 8192)))])
    td = TdTables(platform)
    for blocks, reserved in (([1], {0, 1, ENTRIES_4K_PER_BLOCK - 1}), ([2], {0}), ([3], set()), ([1], {0, 1, 262143})):
        td.load(blocks)
        slot = int(td.tables.slot[blocks[0]])
        types = td.tables.pamt_4k[slot * ENTRIES_4K_PER_BLOCK : (slot + 1) * ENTRIES_4K_PER_BLOCK, 0]
        assert {i for i in np.flatnonzero(types) if page_type(types[i]) == PT_RSVD} == reserved
        assert all(page_type(types[i]) == PT_NDA for i in range(ENTRIES_4K_PER_BLOCK) if i not in reserved)


def test_blocks_without_a_tdmr_get_no_entries() -> None:
    td = TdTables(Platform.of([Tdmr(GIB, GIB, ())]))
    td.load([0, 1])
    assert td.tables.slot.tolist() == [-1, 1, 0]
