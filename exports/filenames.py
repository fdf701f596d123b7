"""Safe file names and the Content-Disposition header."""

import re
import unicodedata
from urllib.parse import quote

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\/:*?<>|;%\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


LONGEST_NAME = 150


NAMELESS = "download"


def create_content_disposition(filename: str | bytes, attachment: bool = True) -> str:
    """The Content-Disposition header for a file of this name (RFC 6266).

    Unsafe characters become spaces. A name beyond ASCII has an NFKD-ASCII fallback beside the UTF-8 extended name.
    """
    disposition = "attachment" if attachment else "inline"
    name = safe_name(filename.decode("utf-8", "replace") if isinstance(filename, bytes) else filename)
    fallback = _in_ascii(name)
    if fallback == name:
        return f'{disposition}; filename="{name}"'
    return f"{disposition}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"


def safe_name(filename: str) -> str:
    """A name without path, control characters and quotes, never empty, its extension kept."""
    return _tidy(filename.encode("utf-8", "replace").decode("utf-8")) or NAMELESS


def _in_ascii(name: str) -> str:
    """What is left of a safe name in ASCII; a name of which only the extension is left gets another stem."""
    decomposed = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    stem, dot, extension = decomposed.rpartition(".")
    return _tidy(decomposed if stem.strip(". ") or not dot else f"{NAMELESS}.{extension}") or NAMELESS


def _tidy(name: str) -> str:
    return _cut(" ".join(UNSAFE.sub(" ", name).split()).strip(". "))


def _cut(name: str) -> str:
    """At most LONGEST_NAME characters of it, a short extension kept."""
    if len(name) <= LONGEST_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 10:
        return name[:LONGEST_NAME].rstrip(". ")
    return f"{stem[: LONGEST_NAME - len(extension) - 1]}.{extension}"


def extension_of(filename: str) -> str:
    """What a storage key ends with: the extension where it is a plain one, else "bin"."""
    extension = filename.rpartition(".")[2].lower()
    return extension if extension.isascii() and extension.isalnum() and len(extension) <= 10 else "bin"
