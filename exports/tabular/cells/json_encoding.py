"""JSON of values of any type, which is the same in every file format; many values in one call.

One call for many values takes half the time of one call per value.
"""

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from exports.tabular.cells.conversion import ConversionContext, family_of
from exports.tabular.cells.texts import text_of

_SEPARATOR: Final = "\x00"
_ENCODED_SEPARATOR: Final = ', "\\u0000", '
# json writes no Decimal as a number, so it is a string between two marks; these are removed with the quotes.
_DECIMAL_MARK: Final = str(uuid.uuid4())
# A JSON string (group 1), or a name that Python writes for a number that JSON does not have.
_STRING_OR_NON_FINITE: Final = re.compile(r'("(?:[^"\\]|\\.)*")|NaN|-?Infinity')
_ERRORS: Final = (TypeError, ValueError, RecursionError)


# Any: JSON is made of values of any type.
def encode_each(values: Sequence[Any], encode: Callable[[Any], str]) -> list[str] | None:
    """Return the JSON of each value, or None where the values must be encoded one by one.

    `encode` is that of a JSONEncoder with the default separators. The result is None if it raises TypeError, ValueError
    or RecursionError, or if a value contains the separator.
    """
    separated: list[Any] = [_SEPARATOR] * (2 * len(values) - 1)
    separated[::2] = values
    try:
        texts = encode(separated)[1:-1].split(_ENCODED_SEPARATOR)
    except _ERRORS:
        return None
    return texts if len(texts) == len(values) else None


def format_json(
    values: Sequence[Any], context: ConversionContext, *, otherwise: Callable[[object], str] = str
) -> Sequence[str]:
    """Return valid JSON with spaces after commas and colons; values at every depth are those of JSON Lines.

    NaN and infinite numbers become strings; the cell is counted. A key has the text of its value. For a value that
    contains itself the text is what `otherwise` returns.
    """
    encoder = _Encoder(context.zone)
    texts = encode_each(values, encoder.encode)
    if texts is None:
        texts = [_encode_one(value, encoder, context, otherwise) for value in values]
    if encoder.has_decimals:
        texts = [text.replace(f'"{_DECIMAL_MARK}', "").replace(f'{_DECIMAL_MARK}"', "") for text in texts]
    return texts


def name_non_finite(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return texts of JSON with strings in place of NaN and infinite numbers. Changed texts are counted."""
    joined = "".join(texts)
    if "NaN" not in joined and "Infinity" not in joined:
        return texts
    named = [_STRING_OR_NON_FINITE.sub(lambda match: match[1] or f'"{match[0]}"', text) for text in texts]
    context.count("not_a_number", sum(map(str.__ne__, named, texts)))
    return named


def non_finite_name(text: str) -> str:
    """Return the name of NaN or of an infinite number, given the text that Python writes for it."""
    if "nan" in text.lower():
        return "NaN"
    return "-Infinity" if text.startswith("-") else "Infinity"


class _Encoder(json.JSONEncoder):
    """Encode values that json does not know by the rules of docs/formats.md. It raises for NaN and for other keys."""

    def __init__(self, zone: tzinfo) -> None:
        super().__init__(ensure_ascii=False, allow_nan=False, check_circular=False)
        self.zone = zone
        self.has_decimals = False

    def default(self, value: Any) -> object:
        match family_of(value):
            case "decimal":
                if not value.is_finite():
                    raise ValueError("JSON has no such number.")
                self.has_decimals = True
                return f"{_DECIMAL_MARK}{value:f}{_DECIMAL_MARK}"
            case "integer":
                return int(value)
            case "float":
                return float(value)
            case "enum":
                return value.value
            case "json":
                return dict(value) if isinstance(value, Mapping) else list(value)
            case _:
                return text_of(value, self.zone)


def _encode_one(
    value: object, encoder: _Encoder, context: ConversionContext, otherwise: Callable[[object], str]
) -> str:
    try:
        return encoder.encode(value)
    except _ERRORS:
        # The value has a key that JSON does not have, contains itself, or contains NaN or an infinite number.
        named: list[str] = []
        try:
            text = encoder.encode(_plain(value, encoder, named))
        except _ERRORS:
            return otherwise(value)
        context.count("not_a_number", min(len(named), 1))
        return text


def _plain(value: Any, encoder: _Encoder, named: list[str]) -> object:
    """Return the value with texts as keys and with names of NaN and infinite numbers, which are added to `named`."""
    match family_of(value):
        case "float" | "decimal" as family:
            is_finite = value.is_finite() if family == "decimal" else math.isfinite(value)
            if not is_finite:
                named.append(non_finite_name(str(value)))
                return named[-1]
        case "enum":
            return _plain(value.value, encoder, named)
        case "json" if isinstance(value, Mapping):
            return {_key(key, encoder, named): _plain(each, encoder, named) for key, each in value.items()}
        case "json":
            return [_plain(each, encoder, named) for each in value]
    return value


def _key(key: object, encoder: _Encoder, named: list[str]) -> str | float | None:
    plain = _plain(key, encoder, named)
    if plain is None or isinstance(plain, str | int | float):
        return plain
    return encoder.encode(plain) if isinstance(plain, dict | list) else text_of(plain, encoder.zone)
