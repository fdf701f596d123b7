"""Byte ranges and conditional requests (RFC 9110)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.http.ranges import ByteRange, RangeNotSatisfiable, is_match, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-499", ByteRange(0, 500)),
        ("bytes=500-", ByteRange(500, 500)),
        ("bytes=-1", ByteRange(999, 1)),
        ("bytes=-5000", ByteRange(0, 1000)),
        ("bytes=999-999", ByteRange(999, 1)),
        ("bytes=10-99999999", ByteRange(10, 990)),
        ("Bytes = 1 - 2", ByteRange(1, 2)),
    ],
)
def test_one_range_is_parsed(header: str, expected: ByteRange):
    assert parse_range(header, 1000) == expected


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "rows=0-1", "bytes=--1",
        "bytes=0x1-2", "bytes=1.0-2", "bytes=٣-٤", "bytes=" + "9" * 400 + "-", "bytes=0-1;x", "bytes=+1-2",
    ],
)  # fmt: skip
def test_anything_else_gives_the_whole_file(header: str):
    assert parse_range(header, 1000) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_a_range_outside_the_file_cannot_be_satisfied(header: str, size: int):
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, size)


@given(st.text(alphabet="bytes=-,0123456789 \t", max_size=40), st.integers(0, 10**12))
@settings(max_examples=400, deadline=None)
def test_no_range_header_leads_outside_the_file(header: str, size: int):
    try:
        part = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    if part is not None:
        assert 0 <= part.first <= part.last < size


@pytest.mark.parametrize(
    ("header", "is_same"),
    [
        (None, False),
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", W/"abc" , "y"', True),
        ("*", True),
        ("abc", False),
        ('"abcd"', False),
        ('"ab", "c"', False),
    ],
)
def test_if_none_match_is_a_list_compared_weakly(header: str | None, is_same: bool):
    assert is_match(header, '"abc"') is is_same
    assert is_match(header, 'W/"abc"') is is_same
