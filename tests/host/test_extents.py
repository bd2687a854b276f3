"""Is a file of extents read as it stands, and refused in one line when it cannot be?"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.backings.contract import NO_PFN, REGION_PAGES
from perfmodel.backings.extents import ExtentMap, ExtentsBacking
from perfmodel.errors import InputError
from perfmodel.layout import GuestLayout, Slot

HEADER = "gfn,pfn,pages,folio_order,has_struct_page\n"
LAYOUT = GuestLayout((Slot(0, 1024), Slot(REGION_PAGES - 8, 16)))


def write(tmp_path, rows, header=HEADER):
    path = tmp_path / "extents.csv"
    path.write_text(header + rows)
    return path


GOOD = "0,0x1000,512,9,1\n512, 0x9000 ,1024,0,TRUE\n0x3fff0,0x40000000,32,0x3,1\n900000,77,5,0,0\n"


def test_regions(tmp_path):
    backing = ExtentsBacking(write(tmp_path, GOOD), LAYOUT)
    first, second = backing.region(0), backing.region(1)
    expected = np.full(REGION_PAGES, NO_PFN)
    expected[:512] = np.arange(0x1000, 0x1200)
    expected[512:1024] = np.arange(0x9000, 0x9200)
    expected[-8:] = np.arange(0x40000008, 0x40000010)
    assert np.array_equal(first.pfn, expected)
    assert first.pfn.dtype == np.int64
    assert first.folio_order.dtype == np.int8
    assert first.folio_order[[0, 511, 512, 1024, -1]].tolist() == [9, 9, 0, 0, 3]
    assert second.pfn[:9].tolist() == [*range(0x40000010, 0x40000018), NO_PFN]
    assert (backing.region(7).pfn == NO_PFN).all()
    assert backing.blocks().tolist() == [0, 0x1000]
    assert backing.has_struct_page  # the extent without one lies outside the guest


def test_one_used_extent_without_struct_page(tmp_path):
    path = write(tmp_path, GOOD.replace("TRUE", "false"))
    assert not ExtentsBacking(path, LAYOUT).has_struct_page


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,0,x,0,1\n", [":2: pages", "'x'", "1 to"]),
        ("0,-1,4,0,1\n", [":2: pfn", "'-1'"]),
        ("0,1.5,4,0,1\n", [":2: pfn", "'1.5'"]),
        ("0,\u0663,4,0,1\n", [":2: pfn"]),
        ("0,1,0,0,1\n", [":2: pages", "'0'"]),
        ("0,1,4,19,1\n", [":2: folio_order", "'19'", "0 to 18"]),
        ("0,1,4,0,yes\n", [":2: has_struct_page", "'yes'", "true or false"]),
        ("0,1,4,0\n", [":2: row", "5 values"]),
        ("0,0x10000000000,4,0,1\n", [":2: pfn", "0x10000000000"]),
        ("0,0xffffffffff,4,0,1\n", [":2: pages", "'4'", "at most 1"]),
        (f"0,{'9' * 5000},4,0,1\n", [":2: pfn"]),
        ("0,0,2000,0,1\n\n1999,5000,4,0,1\n", [":4: gfn", "1999", "line 2"]),
        ("0,100,512,0,1\n512,90,11,0,1\n", [":2: pfn", "100", "line 3"]),
        ("0,0,512,0,1\n600,5000,900000,0,1\n", ["gfn: 512 is in no extent"]),
        ("0,0,1024,0,1\n", ["gfn: 262136 is in no extent"]),
        ("5000,0,1,0,1\n", ["gfn: 0 is in no extent"]),
        ("", ["no extents"]),
    ],
)
def test_refused_in_one_line(tmp_path, rows, words):
    path = write(tmp_path, rows)
    with pytest.raises(InputError) as caught:
        ExtentsBacking(path, LAYOUT)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in [str(path), *words]:
        assert word in message


@pytest.mark.parametrize("content", [b"", b"gfn,pfn\n", b"\x00\x01\xff\xfe" * 50, b'"' + b"x" * 200_000])
def test_not_extents(tmp_path, content):
    path = tmp_path / "extents.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"extents\.csv"):
        ExtentsBacking(path, LAYOUT)


def test_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        ExtentsBacking(tmp_path, LAYOUT)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 200), cut=st.integers(0, 30), junk=st.binary(max_size=8))
def test_damaged_file_raises_nothing_but_input_error(tmp_path, start, cut, junk):
    whole = (HEADER + GOOD).encode()
    path = tmp_path / "extents.csv"
    path.write_bytes(whole[:start] + junk + whole[start + cut :])
    try:
        ExtentsBacking(path, LAYOUT)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 90_000), st.integers(1, 90_000), st.integers(0, 1 << 30), st.integers(0, 18)),
        max_size=12,
    )
)
def test_map_against_page_by_page(rows):
    gfn, pages, at = [], [], 0
    for gap, length, _, _ in rows:
        gfn.append(at + gap)
        pages.append(length)
        at += gap + length
    columns = [gfn, [row[2] for row in rows], pages, [row[3] for row in rows]]
    extents = ExtentMap(*(np.array(column, np.int64) for column in columns))
    for index in range(2):
        pfn = np.full(REGION_PAGES, NO_PFN, np.int64)
        order = np.zeros(REGION_PAGES, np.int64)
        for first, base, length, k in zip(*columns, strict=True):
            low, high = (
                max(first - index * REGION_PAGES, 0),
                min(first + length - index * REGION_PAGES, REGION_PAGES),
            )
            if low < high:
                pfn[low:high] = np.arange(low, high) + index * REGION_PAGES - first + base
                order[low:high] = k
        region = extents.region(index)
        assert np.array_equal(region.pfn, pfn)
        assert np.array_equal(region.folio_order, order)
