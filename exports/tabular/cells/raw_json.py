"""JSON out of a database: texts that are canonical stay unread, all others are read and written anew.

Canonical is what `json.dumps(json.loads(text), ensure_ascii=False)` gives. The scans take a column's texts joined, cost
little, and are certain where they say yes, but for objects that have a name twice: jsonb has none, the ORM writes none
but of a dict with both 1 and "1", readers disagree about them (RFC 8259, section 4), and they stay as they are.
"""

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from exports.tabular.cells.json_encoding import encode_each
from exports.tabular.cells.raw_columns import RawColumn

_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode

# A string between values that are read in one go. Where a value holds it, it is done one by one.
_BETWEEN: Final = "\ue000between\ue000"
_JOIN: Final = f',"{_BETWEEN}",'

# Every digit is a 1 then, what may follow one in a number that is not whole an e, and a colon a comma.
_SHAPES: Final = bytes.maketrans(b"023456789E.:", b"111111111ee,")
_SPACED: Final = ("{ ", "[ ", " }", " ]", " ,", " :", ",  ", ":  ", " \n")
_FIRST: Final = itemgetter(slice(1))


def decode_jsonb(texts: Sequence[str]) -> RawColumn | list[Any]:
    """PostgreSQL's jsonb: keys once, one blank after commas and colons, escapes as Python writes them, no exponents."""
    lines = "\n".join(texts)
    return _column(texts, lines, is_canonical="." not in lines or b"1e" not in lines.encode().translate(_SHAPES))


def decode_json(texts: Sequence[Any]) -> RawColumn | list[Any]:
    """JSON texts as anybody may have written them; what is no JSON is a string, as JSONField has it."""
    try:
        lines = "\n".join(texts)
    except TypeError:  # SQLite has any type anywhere
        return list(map(_value, texts))
    return _column(texts, lines, is_canonical=_is_canonical(lines))


def parse_json_values(texts: Sequence[str]) -> list[Any]:
    """The values of JSON texts; what is no JSON stays the string that it is."""
    try:
        found = json.loads(f"[{_JOIN.join(texts)}]")
    except ValueError:
        return list(map(_value, texts))
    # Texts that are no JSON alone, "[1" and "2]", may be some together.
    are_apart = len(found) == 2 * len(texts) - 1 and found[1::2] == [_BETWEEN] * (len(texts) - 1)
    return found[::2] if are_apart else list(map(_value, texts))


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _column(texts: Sequence[str], lines: str, *, is_canonical: bool) -> RawColumn | list[Any]:
    """RawColumn where all are lists or objects. A number, a string or null alone has a type of its own."""
    if not _are_containers(texts, lines):
        return parse_json_values(texts)
    if is_canonical:
        return RawColumn(texts, "json")
    values = parse_json_values(texts)
    try:
        return RawColumn(_written(values), "json")
    except RecursionError:
        return values


def _are_containers(texts: Sequence[str], lines: str) -> bool:
    return set(map(_FIRST, texts)) <= {"{", "["} and lines.count("\n") == len(texts) - 1


def _written(values: Sequence[Any]) -> list[str]:
    return encode_each(values, _encode) or list(map(_encode, values))


def _is_canonical(lines: str) -> bool:
    if any(character in lines for character in "\\\t\r") or lines.endswith(" "):
        return False
    shapes = lines.encode().translate(_SHAPES)
    separators = shapes.count(b",")
    if separators != shapes.count(b", "):
        return False
    # Without strings that have blanks, there are no others.
    if lines.count(" ") != separators and any(blank in lines for blank in _SPACED):
        return False
    # A number that Python writes in another way: 1.50, 1E5, -0.
    return b"1e" not in shapes and not ("-" in lines and (" -0" in lines or "[-0" in lines))
