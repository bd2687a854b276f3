"""Sizes as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        (4096, 4096),
        ("4K", 4096),
        ("512M", 512 << 20),
        ("64GiB", 64 << 30),
        ("64 gib", 64 << 30),
        ("64GB", 64 << 30),
        ("1.5T", 3 << 39),
        ("2TiB", 2 << 40),
        (" 1G ", 1 << 30),
        ("0.5G", 1 << 29),
    ],
)
def test_accepted(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "0", "0G", "G", "-1G", "1.5K", "4097", "1e9", "nan", "inf", "64 GiB x", "1P", "٤G", "1.0000000001G"]
)
def test_refused_in_one_line_that_names_key_and_value(text: str) -> None:
    with pytest.raises(InputError, match=r"^memory .*accepted is") as refused:
        parse_size(text)
    assert repr(text) in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.integers(1, 1 << 40))
def test_round_trip(pages: int) -> None:
    assert parse_size(format_size(pages << 12)) == pages << 12
