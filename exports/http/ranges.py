"""Byte ranges and conditional requests (RFC 9110), without Django's request and response objects."""

import re
from dataclasses import dataclass

from django.utils.http import parse_etags


class RangeNotSatisfiable(ValueError):
    """The range lies outside the file (RFC 9110, 15.5.17)."""


@dataclass(frozen=True)
class ByteRange:
    """A part of a file: the offset of its first byte and the number of bytes."""

    first: int
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1


def is_match(header: str | None, etag: str) -> bool:
    """Return True if an If-None-Match header names this entity tag, compared weakly (RFC 9110, 13.1.2)."""
    given = parse_etags(header) if header else []
    opaque_tag = etag.removeprefix("W/")
    return given == ["*"] or opaque_tag in given or f"W/{opaque_tag}" in given


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the range that a Range header asks for, or None if the whole file is the answer (RFC 9110, 14.2).

    Several ranges, other units and malformed headers are answered with the whole file. Raises RangeNotSatisfiable.
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header, re.ASCII | re.IGNORECASE)
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        count = min(int(last), size)
        if count == 0:
            raise RangeNotSatisfiable("The last 0 bytes were asked for.")
        return ByteRange(size - count, count)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise RangeNotSatisfiable(header)
    end = min(int(last), size - 1) if last else size - 1
    return ByteRange(int(first), end - int(first) + 1)
