"""Encode many values as JSON in one call, which takes half the time of one call per value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

_SEPARATOR: Final = "\x00"
_ENCODED_SEPARATOR: Final = ', "\\u0000", '


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
    except (TypeError, ValueError, RecursionError):
        return None
    return texts if len(texts) == len(values) else None


def json_default(value: object) -> object:
    """Return what a JSONEncoder encodes in place of a value it does not know: a dict of any mapping, else its text."""
    return dict(value) if isinstance(value, Mapping) else str(value)
