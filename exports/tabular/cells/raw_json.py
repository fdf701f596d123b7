"""JSON from a database: canonical texts are passed on unread, all others are parsed and encoded again.

Canonical is what `json.dumps(json.loads(text), ensure_ascii=False)` returns. The tests for it scan all texts of a
column at once. They are cheap, and certain where they say yes, except for objects that have a name twice: jsonb has
none, the ORM writes none (unless a dict has both 1 and "1" as keys), and readers disagree about them (RFC 8259,
section 4). Such texts are passed on.
"""

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from exports.tabular.cells.json_encoding import encode_each
from exports.tabular.cells.raw_columns import RawColumn, Values

_encode_canonical: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode

# A string between the texts of a column, so that one call parses them all.
_TEXT_SEPARATOR: Final = "\ue000between\ue000"
_JOIN: Final = f',"{_TEXT_SEPARATOR}",'

# Maps digits to 1, colons to commas, and what follows a digit in a number that is not an integer to "e".
_SHAPES: Final = bytes.maketrans(b"023456789E.:", b"111111111ee,")
# Spaces that canonical JSON has within strings only.
_EXTRA_SPACES: Final = ("{ ", "[ ", " }", " ]", " ,", " :", ",  ", ":  ", " \n")
_first_character: Final = itemgetter(slice(1))


def decode_jsonb(texts: Sequence[str]) -> Values:
    """Return the column of PostgreSQL's jsonb texts.

    PostgreSQL writes each name once, one space after commas and colons, escapes as Python does, and no exponents.
    """
    lines = "\n".join(texts)
    return _column(texts, lines, is_canonical="." not in lines or b"1e" not in lines.encode().translate(_SHAPES))


def decode_json(texts: Values) -> Values:
    """Return the column of JSON texts of any style. What is not JSON is a string, as for Django's JSONField."""
    try:
        lines = "\n".join(texts)
    except TypeError:  # SQLite stores any type in any column
        return list(map(_parse, texts))
    return _column(texts, lines, is_canonical=_is_canonical(lines))


def parse_json_values(texts: Sequence[str]) -> Values:
    """Return the values of JSON texts. What is not JSON stays a string."""
    try:
        found = json.loads(f"[{_JOIN.join(texts)}]")
    except ValueError:
        return list(map(_parse, texts))
    # "[1" and "2]" are JSON together only, so check that the separators are where they should be.
    is_separated = len(found) == 2 * len(texts) - 1 and found[1::2] == [_TEXT_SEPARATOR] * (len(texts) - 1)
    return found[::2] if is_separated else list(map(_parse, texts))


# Any: the value of a JSON text has any type.
def _parse(text: Any) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _column(texts: Sequence[str], lines: str, *, is_canonical: bool) -> Values:
    """Return a RawColumn if all texts are objects or arrays. A number, string or null by itself has its own type."""
    if not set(map(_first_character, texts)) <= {"{", "["} or lines.count("\n") != len(texts) - 1:
        return parse_json_values(texts)
    if is_canonical:
        return RawColumn(texts, "json")
    values = parse_json_values(texts)
    try:
        return RawColumn(encode_each(values, _encode_canonical) or map(_encode_canonical, values), "json")
    except RecursionError:
        return values


def _is_canonical(lines: str) -> bool:
    if any(character in lines for character in "\\\t\r") or lines.endswith(" "):
        return False
    shapes = lines.encode().translate(_SHAPES)
    separators = shapes.count(b",")
    if separators != shapes.count(b", "):
        return False
    # If there are as many spaces as separators, there are no others.
    if lines.count(" ") != separators and any(spaces in lines for spaces in _EXTRA_SPACES):
        return False
    # A number that Python writes differently: 1.50, 1E5, -0.
    return b"1e" not in shapes and not ("-" in lines and (" -0" in lines or "[-0" in lines))
