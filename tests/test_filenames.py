"""File names: each becomes a safe name and one Content-Disposition line that clients read back as that name."""

import email.policy
import re
import unicodedata
from email import message_from_string
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from django.http import HttpResponse
from django.utils.http import parse_header_parameters
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exports.filenames import MAX_NAME_LENGTH, create_content_disposition, extension_of, safe_name

MANY, FEW = 10_000, 100

PIECES = [
    "..", ".", "/", "\\", "../", "..\\", "C:", "~", "%", "%2e", "%2f", "%00", "%0d%0a", "\r\n", "\n", "\r", "\0",
    "\t", '"', "'", ";", ":", "*", "?", "<", ">", "|", "filename=", "filename*=UTF-8''", 'x"; filename="evil.exe',
    "\x1b[31m", "\u202e", "\u2028", "\u2029", "\u0085", "\u2066", "\ufeff", "\u200b", "\ud800", "\udfff", "\U0001f600",
    "é", "e\u0301", "日本", "ﬁ", "\uff0e\uff0e\uff0f", "CON", "nul", ".csv", ".xlsx", ".tar.gz", " ", "  ", "a",
    "report", "x" * 200, "é" * 200, "\ufdfa", "\uff0f",
]  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=st.characters(codec=None, categories=None), max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.binary(max_size=80),
)


def check(name: str | bytes) -> None:
    header = create_content_disposition(name)
    expected = safe_name(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    assert header.isascii()
    assert header.isprintable()
    assert len(header) < 8 * 1024
    check_name(expected)
    kind, parameters = parse_header_parameters(header)
    assert (kind, parameters["filename"]) == ("attachment", expected)
    # The part that old clients read, with another parser: a safe name in ASCII.
    old = header.partition("; filename*=")[0]
    message = message_from_string(f"Content-Disposition: {old}\n\n", policy=email.policy.HTTP)
    fallback = message.get_filename()
    assert not message.defects
    assert fallback.isascii()
    check_name(fallback)
    assert fallback == expected or not expected.isascii()
    # Django would send a header that is not ASCII encoded, and refuses one with a line break.
    assert HttpResponse(headers={"Content-Disposition": header}).headers["Content-Disposition"] == header


def check_name(name: str) -> None:
    assert 0 < len(name) <= MAX_NAME_LENGTH
    assert name == name.strip(" .")
    assert not [character for character in name if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(name) & set('/\\:*?"<>|\u202e')
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name


HOSTILE = [
    "../../etc/passwd", "..\\..\\boot.ini", "C:\\Users\\x.csv", "/etc/passwd", "a\r\nSet-Cookie: x=1.csv", "\0", "",
    "...", 'x"; filename*=UTF-8\'\'evil.exe', "report.csv\u202eexe.", "%2e%2e%2fx", "\ud800.csv", b"\xc0\xae\xc0\xae/x",
    b"\xff\xfe", "\uff0e\uff0e\uff0fetc", "x" * 5000 + ".csv", "." * 5000, "é" * 5000, ".htaccess", "a/b.csv",
    "  a  .csv ", "\ufdfa" * 150, "\uff0f" * 3,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_becomes_a_safe_name(name: str | bytes):
    check(name)


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


def test_a_file_can_be_shown_inline():
    assert create_content_disposition("a.csv", attachment=False) == 'inline; filename="a.csv"'


def test_a_long_name_is_shortened_before_its_extension():
    name = safe_name("x" * 400 + ".xlsx")
    assert len(name) == MAX_NAME_LENGTH
    assert name.endswith("x.xlsx")


@given(NAMES)
@example("a.csv")
@example("‥")
@example("日本.csv")
@example("a" * 149 + " .csv")
@settings(max_examples=FEW, deadline=None)
def test_any_name_becomes_one_line_that_reads_back(name: str | bytes):
    check(name)


@pytest.mark.slow
@given(NAMES)
@settings(max_examples=MANY, deadline=None)
def test_ten_thousand_names_become_one_line_that_reads_back(name: str | bytes):
    check(name)


@given(st.text(max_size=60))
@settings(max_examples=FEW, deadline=None)
def test_a_storage_key_gets_a_plain_extension(name: str):
    extension = extension_of(name)
    assert re.fullmatch("[0-9A-Za-z]{1,10}", extension)
