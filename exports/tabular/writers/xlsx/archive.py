"""A ZIP archive (PKWARE's APPNOTE 6.3) of entries that were deflated elsewhere, and whose fronts may be filled in last.

Sizes of 4 GiB and more stand in ZIP64 fields. Their room in an entry's local header is kept by the field that Office
itself keeps it with, the growth hint.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final

from exports.tabular.writers.xlsx.deflate import END, combine, stored

LOCAL: Final = struct.Struct("<4s5H3L2H")
CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
END_OF_CENTRAL: Final = struct.Struct("<4s4H2LH")
END_OF_CENTRAL_64: Final = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64: Final = struct.Struct("<4sLQL")

VERSION: Final = 20
VERSION_64: Final = 45
DEFLATED: Final = 8
# The first day that an entry can have, 1 January 1980: the same bytes whenever they are made.
DATE: Final = 1 << 5 | 1
IN_ZIP64: Final = 0xFFFFFFFF
MANY: Final = 0xFFFF

ZIP64_FIELD: Final = 0x0001
# Id, length, signature, the byte that pads, padding: as long as a ZIP64 field of two sizes.
GROWTH_HINT: Final = struct.pack("<4H12x", 0xA220, 16, 0xA028, 0)

LONGEST_STORED: Final = 0xFFFF


@dataclass
class Entry:
    """A file in the archive, its header `offset` bytes from the archive's start.

    It begins with `reserved` bytes whose CRC-32 is `front_crc`; `rest` bytes with `rest_crc` follow them. All of them
    are `packed` bytes in the archive.
    """

    name: bytes
    offset: int
    reserved: int
    front_crc: int
    rest: int = 0
    rest_crc: int = 0
    packed: int = 0

    @property
    def size(self) -> int:
        return self.reserved + self.rest

    @property
    def crc(self) -> int:
        return combine(self.front_crc, self.rest_crc, self.rest)


class Archive:
    """Entries, one after the other, in a binary file that can be written and sought, from where it stands.

    An entry is one raw deflate stream, whose pieces the caller adds.
    """

    # The least number that has no room in a field of four bytes, since that one points to ZIP64.
    limit: ClassVar[int] = IN_ZIP64

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self._entries: list[Entry] = []

    def begin(self, name: str, reserved: int = 0) -> Entry:
        """Begin an entry; where bytes are `reserved`, `fill` is to give them before the end."""
        blanks = b" " * reserved
        entry = Entry(name.encode("ascii"), self._tell(), reserved, zlib.crc32(blanks))
        self._entries.append(entry)
        self._file.write(self._local_header(entry))
        entry.packed += self._write_stored(blanks)
        return entry

    def add(self, content: bytes, length: int, crc: int) -> None:
        """Add a piece of the last entry's deflate stream, which inflates to `length` bytes of this CRC-32."""
        entry = self._entries[-1]
        self._file.write(content)
        entry.packed += len(content)
        entry.rest_crc = combine(entry.rest_crc, crc, length)
        entry.rest += length

    def put(self, name: str, content: bytes) -> None:
        """Add a whole entry."""
        self.begin(name)
        self.add(deflated(content), len(content), zlib.crc32(content))

    def put_reserved(self, name: str, reserved: int) -> Entry:
        """Add a whole entry of `reserved` bytes, to be filled."""
        entry = self.begin(name, reserved)
        self.add(END, 0, 0)
        return entry

    def fill(self, entry: Entry, content: bytes) -> None:
        """Write the reserved bytes of an entry, of which there are as many."""
        if len(content) != entry.reserved:
            raise ValueError(f"{len(content):,} bytes for the {entry.reserved:,} that are reserved.")
        entry.front_crc = zlib.crc32(content)
        end = self._tell()
        self._seek(entry.offset + len(self._local_header(entry)))
        self._write_stored(content)
        self._seek(end)

    def close(self) -> None:
        """Write the sizes into the local headers, then the central directory. The file stays open, at its end."""
        start = self._tell()
        for entry in self._entries:
            self._seek(entry.offset)
            self._file.write(self._local_header(entry))
        self._seek(start)
        for entry in self._entries:
            self._file.write(self._central_header(entry))
        self._write_end(start, self._tell() - start)

    def _write_stored(self, content: bytes) -> int:
        pieces = [stored(piece) for piece in _pieces(content)]
        self._file.write(b"".join(pieces))
        return sum(map(len, pieces))

    def _local_header(self, entry: Entry) -> bytes:
        """As long at the end as at the beginning, whatever the sizes became."""
        sizes, extra, version = [entry.packed, entry.size], GROWTH_HINT, VERSION
        if max(sizes) >= self.limit:
            sizes, extra, version = [IN_ZIP64] * 2, _zip64_field([entry.size, entry.packed]), VERSION_64
        return (
            LOCAL.pack(
                b"PK\x03\x04", version, 0, DEFLATED, 0, DATE, entry.crc, *sizes, len(entry.name), len(extra)
            )
            + entry.name
            + extra
        )  # fmt: skip

    def _central_header(self, entry: Entry) -> bytes:
        numbers = [entry.size, entry.packed, entry.offset]
        large = [number for number in numbers if number >= self.limit]
        size, packed, offset = (IN_ZIP64 if number >= self.limit else number for number in numbers)
        extra, version = (_zip64_field(large), VERSION_64) if large else (b"", VERSION)
        return (
            CENTRAL.pack(
                b"PK\x01\x02", version, version, 0, DEFLATED, 0, DATE, entry.crc, packed, size,
                len(entry.name), len(extra), 0, 0, 0, 0, offset,
            )
            + entry.name
            + extra
        )  # fmt: skip

    def _write_end(self, start: int, size: int) -> None:
        entries = len(self._entries)
        if max(start, size) >= self.limit or entries >= MANY:
            place = self._tell()
            record = END_OF_CENTRAL_64.size - 12
            self._file.write(
                END_OF_CENTRAL_64.pack(
                    b"PK\x06\x06", record, VERSION_64, VERSION_64, 0, 0, entries, entries, size, start
                )
            )
            self._file.write(LOCATOR_64.pack(b"PK\x06\x07", 0, place, 1))
            size, start = min(size, IN_ZIP64), IN_ZIP64
        entries = min(entries, MANY)
        self._file.write(END_OF_CENTRAL.pack(b"PK\x05\x06", 0, 0, entries, entries, size, start, 0))

    def _tell(self) -> int:
        return self._file.tell() - self._start

    def _seek(self, offset: int) -> None:
        self._file.seek(offset + self._start)


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), LONGEST_STORED):
        yield content[start : start + LONGEST_STORED]


def _zip64_field(numbers: list[int]) -> bytes:
    return struct.pack(f"<2H{len(numbers)}Q", ZIP64_FIELD, 8 * len(numbers), *numbers)
