"""Deflate (RFC 1951) by the fastest library that is installed, and the CRC-32 of joined pieces."""

import zlib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final, Protocol, Self

from exports.exceptions import BadOption

# With one process, the compression has a core to itself and affords the better ratio. With several, each of them
# serializes and compresses in turn, and speed matters more. The fastest engine that is installed comes first.
LEVELS_IN_A_THREAD: Final = {"zlib-ng": 4, "isal": 1, "zlib": 1}
LEVELS_IN_PROCESSES: Final = {"isal": 1, "zlib-ng": 2, "zlib": 1}
HIGHEST_LEVELS: Final = {"zlib-ng": 9, "isal": 3, "zlib": 9}

# Ends a deflate stream whose blocks were flushed.
EMPTY_LAST_BLOCK: Final = b"\x03\x00"
CRC32_POLYNOMIAL: Final = 0xEDB88320


class Compressor(Protocol):
    """What `zlib.compressobj` returns."""

    def compress(self, content: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Deflate:
    """An engine, "zlib-ng", "isal" or "zlib", and its level. All of them release the interpreter's lock."""

    engine: str
    level: int

    @classmethod
    def choose(cls, engine: str | None = None, level: int | None = None, *, processes: int = 1) -> Self:
        """Return this engine and level; where they are None, those that are best for this number of processes.

        Raises BadOption for an engine that is unknown or not installed, and for a level that it does not have.
        """
        levels = LEVELS_IN_A_THREAD if processes == 1 else LEVELS_IN_PROCESSES
        installed = [name for name in levels if _is_installed(name)]
        engine = engine or installed[0]
        if engine not in installed:
            known = ", ".join(name for name in HIGHEST_LEVELS if name in installed)
            raise BadOption("engine", f"There is no deflate engine {engine!r} here. Installed: {known}.")
        level = levels[engine] if level is None else level
        if not 1 <= level <= HIGHEST_LEVELS[engine]:
            raise BadOption("level", f"{engine} has the levels 1 to {HIGHEST_LEVELS[engine]}, not {level!r}.")
        return cls(engine, level)

    def compressor(self) -> Compressor:
        """Return a compressor of one raw stream."""
        compressor: Compressor = _module(self.engine).compressobj(self.level, zlib.DEFLATED, -zlib.MAX_WBITS)
        return compressor

    def block(self, content: bytes) -> bytes:
        """Compress a piece of a stream, flushed to whole bytes and independent of the pieces before it."""
        compressor = self.compressor()
        return compressor.compress(content) + compressor.flush(zlib.Z_FULL_FLUSH)

    def crc(self, content: bytes) -> int:
        """Return the CRC-32."""
        crc: int = _module(self.engine).crc32(content)
        return crc


def stored_block(content: bytes) -> bytes:
    """Return a piece of a stream without compression, which can be overwritten. At most 65,535 bytes."""
    size = len(content)
    return b"\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + content


def combine_crc(first: int, second: int, length: int) -> int:
    """Return the CRC-32 of two joined pieces, from the CRC of each and the length of the second one."""
    for engine in ("zlib-ng", "isal"):
        if _is_installed(engine):
            crc: int = _module(engine).crc32_combine(first, second, length)
            return crc
    return combine_crc_in_python(first, second, length)


def combine_crc_in_python(first: int, second: int, length: int) -> int:
    """Do the same where only Python's zlib is installed.

    Appending a zero byte is a linear map over GF(2), a 32 x 32 matrix. The first CRC is multiplied by the matrices for
    1, 2, 4, ... zero bytes that add up to the length of the second piece.
    """
    power = 0
    while length:
        if length & 1:
            first = _multiply(_zero_bytes_matrix(power), first)
        length >>= 1
        power += 1
    return first ^ second


@cache
def _zero_bytes_matrix(power: int) -> tuple[int, ...]:
    """Return the columns of the matrix that appends 2 to the `power` zero bytes."""
    if power > 0:
        half = _zero_bytes_matrix(power - 1)
        return tuple(_multiply(half, column) for column in half)
    matrix = (CRC32_POLYNOMIAL, *(1 << bit for bit in range(31)))
    for _ in range(3):
        # From one zero bit to two, four and eight.
        matrix = tuple(_multiply(matrix, column) for column in matrix)
    return matrix


def _multiply(matrix: tuple[int, ...], vector: int) -> int:
    product = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            product ^= column
        vector >>= 1
    return product


@cache
def _is_installed(engine: str) -> bool:
    try:
        _module(engine)
    except ImportError:
        return False
    return True


@cache
def _module(engine: str) -> ModuleType:
    return import_module({"zlib-ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib", "zlib": "zlib"}[engine])
