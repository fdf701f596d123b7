"""A ZIP archive (PKWARE APPNOTE 6.3) of entries that are compressed elsewhere; their first bytes may be written last.

Sizes of 4 GiB and more go to ZIP64 fields. An entry's local header is written again at the end and must not grow: until
then, the "growth hint" field takes the room of a ZIP64 field, as in files of Microsoft Office.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final

from exports.tabular.writers.xlsx.deflate import EMPTY_LAST_BLOCK, combine_crc, stored_block

LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
CENTRAL_HEADER: Final = struct.Struct("<4s6H3L5H2L")
END_OF_DIRECTORY: Final = struct.Struct("<4s4H2LH")
ZIP64_END_OF_DIRECTORY: Final = struct.Struct("<4sQ2H2L4Q")
ZIP64_LOCATOR: Final = struct.Struct("<4sLQL")

VERSION: Final = 20
ZIP64_VERSION: Final = 45
DEFLATED: Final = 8
# 1 January 1980, the first day that ZIP has: the same content gives the same bytes at any time.
DOS_DATE: Final = 1 << 5 | 1
SEE_ZIP64: Final = 0xFFFFFFFF
MAX_ENTRIES: Final = 0xFFFF

ZIP64_FIELD: Final = 0x0001
# Id, length, signature, padding value and padding: as long as a ZIP64 field of two sizes.
GROWTH_HINT: Final = struct.pack("<4H12x", 0xA220, 16, 0xA028, 0)

MAX_STORED_BLOCK: Final = 0xFFFF


@dataclass
class ZipEntry:
    """A file in the archive.

    Its content is `reserved_size` bytes with the CRC-32 `reserved_crc`, written last, then `rest_size` bytes with the
    CRC-32 `rest_crc`. In the archive it takes `packed_size` bytes behind a header at `offset` bytes from the start.
    """

    name: bytes
    offset: int
    reserved_size: int
    reserved_crc: int
    rest_size: int = 0
    rest_crc: int = 0
    packed_size: int = 0

    @property
    def size(self) -> int:
        return self.reserved_size + self.rest_size

    @property
    def crc(self) -> int:
        return combine_crc(self.reserved_crc, self.rest_crc, self.rest_size)


class ZipArchive:
    """Write entries one after the other into a seekable file, from its current position.

    An entry is one raw deflate stream, whose pieces the caller adds.
    """

    # The smallest number that does not fit into a field of four bytes; the field then refers to ZIP64.
    limit: ClassVar[int] = SEE_ZIP64

    def __init__(self, file: BinaryIO, on_write: Callable[[int], None] = lambda size: None) -> None:
        """Begin an archive. `on_write` gets the size of the archive so far, in bytes, after each write."""
        self.size = 0
        self._file = file
        self._on_write = on_write
        self._start = file.tell()
        self._entries: list[ZipEntry] = []

    def begin(self, name: str, reserved: int = 0) -> ZipEntry:
        """Begin an entry. If bytes are `reserved` at its beginning, call `fill` for them before `close`."""
        blanks = b" " * reserved
        entry = ZipEntry(name.encode("ascii"), self._tell(), reserved, zlib.crc32(blanks))
        self._entries.append(entry)
        self._write(self._local_header(entry))
        entry.packed_size += self._write_stored(blanks)
        return entry

    def add(self, content: bytes, length: int, crc: int) -> None:
        """Add a piece of the last entry's deflate stream, with the length and CRC-32 of what it decompresses to."""
        entry = self._entries[-1]
        self._write(content)
        entry.packed_size += len(content)
        entry.rest_crc = combine_crc(entry.rest_crc, crc, length)
        entry.rest_size += length

    def put(self, name: str, content: bytes) -> None:
        """Add a complete entry."""
        self.begin(name)
        compressor = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
        self.add(compressor.compress(content) + compressor.flush(), len(content), zlib.crc32(content))

    def put_reserved(self, name: str, reserved: int) -> ZipEntry:
        """Add a complete entry of `reserved` bytes, to be filled later."""
        entry = self.begin(name, reserved)
        self.add(EMPTY_LAST_BLOCK, 0, 0)
        return entry

    def fill(self, entry: ZipEntry, content: bytes) -> None:
        """Write the reserved bytes of an entry. Raises ValueError for content of another length."""
        if len(content) != entry.reserved_size:
            raise ValueError(f"{len(content):,} bytes for the {entry.reserved_size:,} that are reserved.")
        entry.reserved_crc = zlib.crc32(content)
        end = self._tell()
        self._seek(entry.offset + len(self._local_header(entry)))
        self._write_stored(content)
        self._seek(end)

    def close(self) -> None:
        """Write the final local headers, then the central directory. The file stays open, at its end."""
        start = self._tell()
        for entry in self._entries:
            self._seek(entry.offset)
            self._write(self._local_header(entry))
        self._seek(start)
        for entry in self._entries:
            self._write(self._central_header(entry))
        self._write_end_of_directory(start, self._tell() - start)

    def _write_stored(self, content: bytes) -> int:
        starts = range(0, len(content), MAX_STORED_BLOCK)
        blocks = b"".join(stored_block(content[start : start + MAX_STORED_BLOCK]) for start in starts)
        self._write(blocks)
        return len(blocks)

    def _local_header(self, entry: ZipEntry) -> bytes:
        """Return the local header, which has the same length whatever the sizes are."""
        sizes, extra, version = [entry.packed_size, entry.size], GROWTH_HINT, VERSION
        if max(sizes) >= self.limit:
            extra, version = _zip64_field([entry.size, entry.packed_size]), ZIP64_VERSION
            sizes = [SEE_ZIP64, SEE_ZIP64]
        return (
            LOCAL_HEADER.pack(
                b"PK\x03\x04", version, 0, DEFLATED, 0, DOS_DATE, entry.crc, *sizes, len(entry.name), len(extra)
            )
            + entry.name
            + extra
        )  # fmt: skip

    def _central_header(self, entry: ZipEntry) -> bytes:
        numbers = [entry.size, entry.packed_size, entry.offset]
        large = [number for number in numbers if number >= self.limit]
        size, packed_size, offset = (SEE_ZIP64 if number >= self.limit else number for number in numbers)
        extra, version = (_zip64_field(large), ZIP64_VERSION) if large else (b"", VERSION)
        return (
            CENTRAL_HEADER.pack(
                b"PK\x01\x02", version, version, 0, DEFLATED, 0, DOS_DATE, entry.crc, packed_size, size,
                len(entry.name), len(extra), 0, 0, 0, 0, offset,
            )
            + entry.name
            + extra
        )  # fmt: skip

    def _write_end_of_directory(self, start: int, size: int) -> None:
        entries = len(self._entries)
        if max(start, size) >= self.limit or entries >= MAX_ENTRIES:
            place = self._tell()
            length = ZIP64_END_OF_DIRECTORY.size - 12
            self._write(
                ZIP64_END_OF_DIRECTORY.pack(
                    b"PK\x06\x06", length, ZIP64_VERSION, ZIP64_VERSION, 0, 0, entries, entries, size, start
                )
            )
            self._write(ZIP64_LOCATOR.pack(b"PK\x06\x07", 0, place, 1))
            size, start = min(size, SEE_ZIP64), SEE_ZIP64
        entries = min(entries, MAX_ENTRIES)
        self._write(END_OF_DIRECTORY.pack(b"PK\x05\x06", 0, 0, entries, entries, size, start, 0))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self.size = max(self.size, self._tell())
        self._on_write(self.size)

    def _tell(self) -> int:
        return self._file.tell() - self._start

    def _seek(self, offset: int) -> None:
        self._file.seek(offset + self._start)


def _zip64_field(numbers: list[int]) -> bytes:
    return struct.pack(f"<2H{len(numbers)}Q", ZIP64_FIELD, 8 * len(numbers), *numbers)
