"""Deflate (RFC 1951) by the fastest engine that is installed, and the CRC-32 of joined pieces."""

import zlib
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final, Self

from exports.exceptions import BadOption

ENGINES: Final = ("zlib-ng", "isal", "zlib")
# Beside one process another core is free for the better ratio; with several the deflate takes their own time.
LEVELS_BESIDE: Final = {"zlib-ng": 4, "isal": 1, "zlib": 1}
LEVELS_WITHIN: Final = {"isal": 1, "zlib-ng": 2, "zlib": 1}
HIGHEST: Final = {"zlib-ng": 9, "isal": 3, "zlib": 9}

# An empty last block, which ends a stream of blocks that were flushed.
END: Final = b"\x03\x00"
POLYNOMIAL: Final = 0xEDB88320


@dataclass(frozen=True)
class Deflate:
    """An engine of ENGINES and its level. All of them release the interpreter's lock while they work."""

    engine: str
    level: int

    @classmethod
    def chosen(cls, engine: str | None = None, level: int | None = None, *, processes: int = 1) -> Self:
        """The engine and level asked for; what is left open is the best that is installed for so many processes.

        Raises BadOption for an engine that does not exist or is not installed, and for a level that it does not have.
        """
        levels = LEVELS_BESIDE if processes == 1 else LEVELS_WITHIN
        engine = engine or next(name for name in levels if _is_installed(name))
        if engine not in ENGINES or not _is_installed(engine):
            known = ", ".join(name for name in ENGINES if _is_installed(name))
            raise BadOption("engine", f"There is no deflate engine {engine!r} here. Installed: {known}.")
        level = levels[engine] if level is None else level
        if not 1 <= level <= HIGHEST[engine]:
            raise BadOption("level", f"{engine} has the levels 1 to {HIGHEST[engine]}, not {level!r}.")
        return cls(engine, level)

    def compressor(self) -> Any:
        """A compressobj of a raw stream."""
        module = _module(self.engine)
        return module.compressobj(self.level, zlib.DEFLATED, -zlib.MAX_WBITS)

    def block(self, content: bytes) -> bytes:
        """A piece of a stream, flushed to whole bytes and independent of what stands before it."""
        compressor = self.compressor()
        return compressor.compress(content) + compressor.flush(zlib.Z_FULL_FLUSH)

    def crc(self, content: bytes) -> int:
        return _module(self.engine).crc32(content)


def stored(content: bytes) -> bytes:
    """A piece of a stream that is not compressed, so that it can be changed in its place. At most 65,535 bytes."""
    size = len(content)
    return b"\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + content


def combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of two joined pieces, from those of each and the length of the second."""
    for engine in ("zlib-ng", "isal"):
        if _is_installed(engine):
            return _module(engine).crc32_combine(first, second, length)
    return combine_plainly(first, second, length)


def combine_plainly(first: int, second: int, length: int) -> int:
    """The same where only zlib is installed.

    The CRC of the first piece goes through as many zero bytes as the second has, by squaring the shift of one byte.
    """
    shift = 0
    while length:
        if length & 1:
            first = _through(_zeros(shift), first)
        length >>= 1
        shift += 1
    return first ^ second


def _through(matrix: tuple[int, ...], vector: int) -> int:
    """A matrix over GF(2), as its columns, times a vector."""
    product = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            product ^= column
        vector >>= 1
    return product


@cache
def _zeros(power: int) -> tuple[int, ...]:
    """What 2 to the `power` zero bytes do to a CRC."""
    half = _one_zero_bit() if power == 0 else _zeros(power - 1)
    squares = 3 if power == 0 else 1
    for _ in range(squares):
        half = tuple(_through(half, column) for column in half)
    return half


def _one_zero_bit() -> tuple[int, ...]:
    return (POLYNOMIAL, *(1 << bit for bit in range(31)))


def _is_installed(engine: str) -> bool:
    try:
        _module(engine)
    except ImportError:
        return False
    return True


@cache
def _module(engine: str) -> ModuleType:
    if engine == "isal":
        from isal import isal_zlib

        return isal_zlib
    if engine == "zlib-ng":
        from zlib_ng import zlib_ng

        return zlib_ng
    return zlib
