"""Whatever a file is called, its name is one header line that every client reads back as the same harmless name."""

import email.policy
import unicodedata
from email import message_from_string
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from django.http import HttpResponse
from django.utils.http import parse_header_parameters
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exports.filenames import MAX_NAME_LENGTH, create_content_disposition, extension_of, safe_name

ALL, FEW = 10_000, 100

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
    check_line(header)
    check_name(expected)
    kind, parameters = parse_header_parameters(header)
    assert (kind, parameters["filename"]) == ("attachment", expected)
    check_fallback(header.partition("; filename*=")[0], expected)
    # Django would send a header that is not ASCII encoded, and refuses one with a line break.
    assert HttpResponse(headers={"Content-Disposition": header}).headers["Content-Disposition"] == header


def check_line(header: str) -> None:
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')
    assert len(header) < 8 * 1024


def check_name(name: str) -> None:
    assert name
    assert len(name) <= MAX_NAME_LENGTH
    assert name == name.strip(" .")
    assert not [character for character in name if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(name) & set('/\\:*?"<>|\u202e')
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert name not in (".", "..")


def check_fallback(header: str, name: str) -> None:
    """The part of the header that old clients read, by another parser: a name in ASCII, and no path either."""
    message = message_from_string(f"Content-Disposition: {header}\n\n", policy=email.policy.HTTP)
    assert not message.defects
    fallback = message.get_filename()
    assert fallback.isascii()
    check_name(fallback)
    if name.isascii():
        assert fallback == name


HOSTILE = [
    "../../etc/passwd", "..\\..\\boot.ini", "C:\\Users\\x.csv", "/etc/passwd", "a\r\nSet-Cookie: x=1.csv", "\0", "",
    "...", 'x"; filename*=UTF-8\'\'evil.exe', "report.csv\u202eexe.", "%2e%2e%2fx", "\ud800.csv", b"\xc0\xae\xc0\xae/x",
    b"\xff\xfe", "\uff0e\uff0e\uff0fetc", "x" * 5000 + ".csv", "." * 5000, "é" * 5000, ".htaccess", "a/b.csv",
    "  a  .csv ", "\ufdfa" * 150, "\uff0f" * 3,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_that_means_harm_is_a_name(name: str | bytes):
    check(name)


@given(NAMES)
@example("a.csv")
@settings(max_examples=FEW, deadline=None)
def test_a_hundred_names_are_one_line_and_read_back(name: str | bytes):
    check(name)


@pytest.mark.slow
@given(NAMES)
@settings(max_examples=ALL, deadline=None)
def test_ten_thousand_names_are_one_line_and_read_back(name: str | bytes):
    check(name)


@given(st.text(max_size=60))
@settings(max_examples=FEW, deadline=None)
def test_of_a_name_only_a_plain_extension_gets_into_a_storage_key(name: str):
    extension = extension_of(name)
    assert extension.isascii()
    assert extension.isalnum()
    assert len(extension) <= 10
