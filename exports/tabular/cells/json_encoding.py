"""JSON of many values in one go, which takes half the time of one by one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

# Stands between the values.
MARK: Final = "\x00"
MARKED: Final = ', "\\u0000", '


def json_default(value: object) -> object:
    """What a JSONEncoder writes for a value that JSON does not have: another mapping as an object, all else as text."""
    return dict(value) if isinstance(value, Mapping) else str(value)


def encode_each(values: Sequence[Any], encode: Callable[[Any], str]) -> list[str] | None:
    """The JSON of each value, with blanks after commas and colons, or None where a value needs care.

    `encode` is that of a JSONEncoder, which raises what it likes for a value that is no JSON.
    """
    marked: list[Any] = [MARK] * (2 * len(values) - 1)
    marked[::2] = values
    try:
        tokens = encode(marked)[1:-1].split(MARKED)
    except (TypeError, ValueError, RecursionError):
        return None
    # A value may hold the mark.
    return tokens if len(tokens) == len(values) else None
