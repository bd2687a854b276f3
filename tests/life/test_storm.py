"""Do the counts of a conversion storm follow from which pages it hits?"""

import numpy as np
import pytest
from life_pair import assert_conserved, by_name, populate_life, start
from numba import config
from twin_life import ASKED, REGION

from kernels.convert import convert_region


@pytest.mark.parametrize("window", [5000, REGION], ids=["hot", "scattered"])
@pytest.mark.parametrize("interface", ["page-4k", "folio-strict", "folio-lenient", "pfn"])
def test_there_and_back(interface: str, window: int) -> None:
    if config.DISABLE_JIT and interface == "page-4k":
        pytest.skip("a whole region at 4K is for compiled kernels")
    huge = interface != "page-4k"
    use = np.full(REGION, ASKED, np.uint8)
    _, life = start(use, np.full(512, huge), np.full(512, 18), interface, dynamic_pamt=True)
    assert populate_life(life, life.map_2m, range(256), False, 0) == 0
    life.counts[:] = 0
    life.inhibited[:] = 0  # those of the populating are not at stake
    pages = np.random.default_rng(0).integers(0, window, 2000)
    storm = np.ones((4000, 3), np.int64)
    storm[:, 0] = np.repeat(pages, 2)
    storm[1::2, 2] = 0
    references = life.references.sum()
    assert convert_region(life, storm) == 0
    hit = len(set((pages // 512).tolist()))
    splits = {"page-4k": 0, "folio-strict": 512}.get(interface, hit)
    n = by_name(life.counts)
    for name in ("REMOVE_4K", "AUG_4K", "ACCEPT_4K", "ACCEPT_EXIT", "PAGE_WBINVD"):
        assert n[name] == 2000
    assert n["MAP_GPA"] == n["SET_ATTRIBUTES"] == 4000
    assert n["WRITE_LOCK"] == 4000 + huge * hit
    assert n.get("DEMOTE", 0) == n["MEM_TRACK"] - 2000 == splits
    assert n.get("GUEST_INHIBIT", 0) == huge * hit
    assert n["FOLIO_SPLIT"] == 2000 * (2 if interface == "folio-lenient" else 1)
    assert n["PAMT_GET"] == n["PAMT_PUT"] + splits
    assert life.references.sum() == references + 513 * splits
    assert life.shared.sum() == 0
    assert (life.use == ASKED).all()


def test_overlapping_requests_keep_the_laws() -> None:
    use = np.full(REGION, ASKED, np.uint8)
    use[4096:] = 0
    _, life = start(use, np.arange(512) < 8, np.full(512, 18), "pfn", dynamic_pamt=True)
    assert populate_life(life, life.map_2m, range(256), False, 0) == 0
    rng = np.random.default_rng(1)
    for _ in range(30):
        first = int(rng.integers(0, 4000))
        pages = int(rng.integers(1, 4096 - first))
        assert convert_region(life, np.array([[first, pages, 1]])) == 0
        assert (life.use[first : first + pages] != ASKED).all()
        assert_conserved(life)
        first += pages // 3
        shared = np.flatnonzero(life.use[first : first + pages] == 2)
        if shared.size and (life.use[first : first + shared[-1] + 1] == 2).all():
            assert convert_region(life, np.array([[first, int(shared[-1]) + 1, 0]])) == 0
            assert_conserved(life)
