"""HTTP rules: the filename header, byte ranges, conditional requests."""

import re
import unicodedata
from email.message import Message
from email.utils import collapse_rfc2231_value
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exports.filenames import MAX_NAME_LENGTH, create_content_disposition, safe_name
from exports.http.ranges import ByteRange, RangeNotSatisfiable, is_match, parse_range

names = st.one_of(
    st.text(),
    st.text(alphabet=st.sampled_from("../\\\"';%\r\n\0 aé日‥\uff0f\uff0e\u202e\u2028\ud800")),
    st.builds("{}.{}".format, st.text(min_size=100), st.text(max_size=12)),
)


def names_of(header: str) -> tuple[str, str]:
    """(fallback, name) of a header, read as RFC 6266 says: the extended one counts where there is one."""
    match = re.fullmatch(r"""(?:attachment|inline); filename="([^"\\]*)"(?:; filename\*=UTF-8''([\w.~%-]*))?""", header)
    assert match is not None, header
    fallback, extended = match.groups()
    return fallback, fallback if extended is None else unquote(extended, errors="strict")


@given(names)
@example("../../etc/passwd")
@example("..\\..\\boot.ini")
@example("report.csv\r\nSet-Cookie: a=b")
@example("‥")
@example("\uff0f\uff0fx")
@example("日本.csv")
@example("a" * 149 + " .csv")
@settings(max_examples=600, deadline=None, print_blob=True)
def test_any_name_becomes_one_header_line_that_reads_back_as_a_plain_filename(filename: str):
    header = create_content_disposition(filename)
    fallback, name = names_of(header)
    assert header.isascii()
    assert header.isprintable()
    for each in (fallback, name):
        assert 0 < len(each) <= MAX_NAME_LENGTH + len("download")
        assert not set(each) & set('/\\:*?"<>|;%')
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in each)
        assert each == each.strip(". ")
    assert name == safe_name(filename)


@given(names)
@settings(max_examples=200, deadline=None)
def test_the_standard_library_reads_the_same_names(filename: str):
    message = Message()
    message["Content-Disposition"] = header = create_content_disposition(filename)
    parameters = message.get_params(header="content-disposition")
    found = {collapse_rfc2231_value(value) for _, value in parameters[1:]}
    assert message.get_content_disposition() == "attachment"
    assert found == set(names_of(header))


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("flights-2013-06-01.xlsx", 'attachment; filename="flights-2013-06-01.xlsx"'),
        ("../../etc/passwd", 'attachment; filename="etc passwd"'),
        ("été 2013.csv", "attachment; filename=\"ete 2013.csv\"; filename*=UTF-8''%C3%A9t%C3%A9%202013.csv"),
        ("日本.csv", "attachment; filename=\"download.csv\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.csv"),
        ("日本", "attachment; filename=\"download\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
        ("Price €5.csv", "attachment; filename=\"Price 5.csv\"; filename*=UTF-8''Price%20%E2%82%AC5.csv"),
        ("", 'attachment; filename="download"'),
        ("...", 'attachment; filename="download"'),
        ("a\r\nX-Evil: 1.csv", 'attachment; filename="a X-Evil 1.csv"'),
        ('say "hi".csv', 'attachment; filename="say hi .csv"'),
        ("cod\u202efdp.exe", 'attachment; filename="cod fdp.exe"'),
        (b"caf\xc3\xa9.csv", "attachment; filename=\"cafe.csv\"; filename*=UTF-8''caf%C3%A9.csv"),
        (b"broken\xff.csv", "attachment; filename=\"broken.csv\"; filename*=UTF-8''broken%EF%BF%BD.csv"),
    ],
)
def test_a_filename_is_sent_as_rfc_6266_says(filename: str | bytes, header: str):
    assert create_content_disposition(filename) == header


def test_a_file_may_be_shown_inline_where_the_caller_says_so():
    assert create_content_disposition("a.csv", attachment=False) == 'inline; filename="a.csv"'


def test_a_long_name_is_cut_before_its_extension():
    name = safe_name("x" * 400 + ".xlsx")
    assert len(name) == MAX_NAME_LENGTH
    assert name.endswith("x.xlsx")


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
def test_one_range_is_understood(header: str, expected: ByteRange):
    assert parse_range(header, 1000) == expected


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "rows=0-1", "bytes=--1",
        "bytes=0x1-2", "bytes=1.0-2", "bytes=٣-٤", "bytes=" + "9" * 400 + "-", "bytes=0-1;x", "bytes=+1-2",
    ],
)  # fmt: skip
def test_what_is_not_one_range_is_answered_with_the_whole_file(header: str):
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
