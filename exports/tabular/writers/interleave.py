"""Rows of text from columns of text, without a function call for each row or cell."""

from collections.abc import Mapping, Sequence
from typing import Final

# Joins the cells of a column while they are encoded. Most texts do not contain it.
SEPARATOR: Final = "\x00"


def interleave(pieces: Sequence[str], columns: Mapping[int, Sequence[str]]) -> bytes:
    """Return rows in UTF-8, made from the pieces of one row.

    `columns` has the texts that take the place of a piece, one for each row, by the index of the piece. A column may
    have several indexes. Example: `interleave(["", ",", "", ";"], {0: ["a", "b"], 2: ["1", "2"]})` is `b"a,1;b,2;"`.

    Assigning slices takes a fifth of the time that formatting each row takes. All texts are held as characters up to
    U+00FF, one for each byte of UTF-8, because one wider character would make the whole text wide and slow to join.
    """
    width, rows = len(pieces), len(next(iter(columns.values())))
    texts = [_bytes_as_text(piece) for piece in pieces] * rows
    encoded: dict[int, Sequence[str]] = {}
    for place, column in columns.items():
        if id(column) not in encoded:
            joined = SEPARATOR.join(column)
            split = column if joined.isascii() else _bytes_as_text(joined).split(SEPARATOR)
            # A text may contain the separator in a format that leaves control characters alone.
            encoded[id(column)] = split if len(split) == len(column) else list(map(_bytes_as_text, column))
        texts[place::width] = encoded[id(column)]
    return "".join(texts).encode("latin-1")


def _bytes_as_text(text: str) -> str:
    """Return the UTF-8 bytes of a text as one character each."""
    return text.encode().decode("latin-1")
