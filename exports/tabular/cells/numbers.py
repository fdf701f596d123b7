"""Numbers as texts for machines, many at a time: by orjson where it is installed, several times as fast as Python."""

from collections.abc import Sequence

try:
    import orjson
except ImportError:
    orjson = None


def format_numbers(numbers: Sequence[int] | Sequence[float]) -> list[str]:
    """Integers of up to 64 bits, or finite floats with the fewest digits that read back as the same float.

    A large or small float has an exponent, as 1e16 or 1e+16.
    """
    if orjson is None:
        return list(map(repr, numbers))
    return orjson.dumps(numbers)[1:-1].decode().split(",") if numbers else []


def format_integers(integers: Sequence[int]) -> list[str]:
    """Integers of any size, as `str` has them."""
    try:
        return format_numbers(integers)
    except TypeError:  # beyond 64 bits
        return list(map(str, integers))


def format_floats(floats: Sequence[float]) -> list[str]:
    """Floats as `repr` has them, NaN and infinities too."""
    texts = format_numbers(floats)
    joined = "".join(texts)
    # Below 0.0001 and with an exponent the two write differently; what is not finite is null.
    if "e" in joined or "n" in joined or "0.0000" in joined:
        return list(map(repr, floats))
    return texts
