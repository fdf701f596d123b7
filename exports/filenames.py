"""Safe file names and the Content-Disposition header."""

import re
import unicodedata
from urllib.parse import quote

# Controls, quotes, path separators, what Windows forbids, and characters that change the direction of text.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\/:*?<>|;%\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# The part of them that a name must not contain even on a page: it would show as another name, or as two lines.
INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
MAX_NAME_LENGTH = 150
MAX_EXTENSION_LENGTH = 10
MAX_SLUG_BYTES = 80
DEFAULT_NAME = "download"


def create_content_disposition(filename: str | bytes, attachment: bool = True) -> str:
    """Return the Content-Disposition header (RFC 6266) for a file of this name.

    Unsafe characters become spaces. A name that is not ASCII is sent as UTF-8 with an ASCII fallback.
    """
    disposition = "attachment" if attachment else "inline"
    name = safe_name(filename.decode("utf-8", "replace") if isinstance(filename, bytes) else filename)
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    stem, dot, extension = ascii_name.rpartition(".")
    if dot and not stem.strip(". "):
        ascii_name = f"{DEFAULT_NAME}.{extension}"
    fallback = _tidy(ascii_name) or DEFAULT_NAME
    if fallback == name:
        return f'{disposition}; filename="{name}"'
    return f"{disposition}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"


def safe_name(filename: str) -> str:
    """Return a name without path, control characters and quotes. It is never empty and keeps its extension."""
    return _tidy(filename.encode("utf-8", "replace").decode("utf-8")) or DEFAULT_NAME


def visible_name(filename: str) -> str:
    """Return a name as it is stored and shown: without control characters, line breaks and changes of direction."""
    return INVISIBLE.sub(" ", filename).strip()


def shorten(name: str, length: int) -> str:
    """Return a name of at most `length` characters, which keeps its extension unless that is too long for one."""
    if len(name) <= length:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > MAX_EXTENSION_LENGTH:
        return name[:length].rstrip(". ")
    return f"{stem[: length - len(extension) - 1]}.{extension}"


def slug_of(text: str) -> str:
    """Return the letters and digits of a text in lower case, with hyphens between its words: a part of a file name.

    It keeps the script of its language. In UTF-8 it has at most MAX_SLUG_BYTES, since file systems count bytes.
    """
    # Marks belong to letters: the vowels of Hindi and Thai, the dots of a decomposed "ü".
    kept = "".join(
        character if unicodedata.category(character)[0] in "LMN" else " "
        for character in unicodedata.normalize("NFC", text.lower())
    )
    slug = "-".join(kept.split())
    return slug.encode()[:MAX_SLUG_BYTES].decode(errors="ignore").rstrip("-")


def extension_of(filename: str) -> str:
    """Return the lower-case extension if it is short and alphanumeric, else "bin"."""
    extension = filename.rpartition(".")[2].lower()
    is_plain = extension.isascii() and extension.isalnum() and len(extension) <= MAX_EXTENSION_LENGTH
    return extension if is_plain else "bin"


def _tidy(name: str) -> str:
    """Replace unsafe characters and runs of white space by one space, and shorten the stem of a long name."""
    return shorten(" ".join(UNSAFE.sub(" ", name).split()).strip(". "), MAX_NAME_LENGTH)
