"""Are TDMRs those that Linux would build?"""

import json

import pytest

from perfmodel.errors import InputError
from perfmodel.host import build_tdmrs

GIB = 1 << 30
MIB = 1 << 20


def test_first_mib_and_rounding():
    assert build_tdmrs([(0x1000, 0x9FC00), (MIB, 3 * GIB), (4 * GIB, 25 * GIB)]) == (
        (0, 3 * GIB, ((0, MIB),)),
        (4 * GIB, 21 * GIB, ()),
    )


def test_ranges_that_touch_one_gib_share_it():
    tdmrs = build_tdmrs([(MIB, GIB // 2), (GIB // 2 + MIB, GIB + MIB), (GIB + 2 * MIB, 3 * GIB)])
    assert tdmrs == (
        (0, GIB, ((0, MIB), (GIB // 2, MIB))),
        (GIB, GIB, ((MIB, MIB),)),
        (2 * GIB, GIB, ()),
    )


def test_sample_cmrs(shared):
    expected = json.loads((shared / "facts/samples/expected.json").read_text())["dmesg/tdx_host_cmr.txt"]
    tdmrs = build_tdmrs([(int(start, 16), int(end, 16)) for start, end in expected["cmrs"]])
    assert [tdmr.size // GIB for tdmr in tdmrs] == expected["tdmr_gib"]


def test_sixteen_largest_holes():
    ram = [(MIB + index * 16 * MIB, (index + 1) * 16 * MIB - (index % 5) * 4096) for index in range(40)]
    (tdmr,) = build_tdmrs(ram)
    assert len(tdmr.reserved) == 16
    assert tdmr.reserved == tuple(sorted(tdmr.reserved))
    assert (640 * MIB - 4 * 4096, 384 * MIB + 4 * 4096) in tdmr.reserved


def test_too_many():
    build_tdmrs([(index * 2 * GIB, index * 2 * GIB + GIB) for index in range(64)])
    with pytest.raises(InputError, match="65 TDMRs"):
        build_tdmrs([(index * 2 * GIB, index * 2 * GIB + GIB) for index in range(65)])
