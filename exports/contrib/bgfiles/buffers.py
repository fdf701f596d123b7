"""Buffers that a pattern writes its file into.

A buffer is any object with `write`, and with `read` and `seek` or with `getvalue`: BytesIO, StringIO, an open file or
a class of the project. Hence `Any`.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MAX_BYTES_IN_MEMORY = 1 << 20
BLOCK_BYTES = 1 << 20


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """The default buffer: in memory up to one MiB, in a temporary file in `folder` beyond that."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(max_size=MAX_BYTES_IN_MEMORY, mode="w+b", dir=None if folder is None else str(folder))

    def getvalue(self) -> bytes:
        """Return the whole content, like BytesIO.getvalue."""
        self.seek(0)
        return self.read()


@contextmanager
def closed_on_error(buffer: Any) -> Iterator[Any]:
    """Close `buffer` if the block raises, so that its temporary file is deleted at once."""
    try:
        yield buffer
    except BaseException:
        if hasattr(buffer, "close"):
            buffer.close()
        raise


def as_binary(buffer: Any) -> IO[bytes]:
    """Return `buffer` itself if it is a readable binary file, else its content in a Spool; text becomes UTF-8."""
    if hasattr(buffer, "read") and isinstance(buffer.read(0), bytes):
        binary: IO[bytes] = buffer
        return binary
    spool = Spool()
    move_content(buffer, spool)
    return spool


def move_content(buffer: Any, file: IO[bytes]) -> None:
    """Copy the content of `buffer` to `file`, text as UTF-8, and close `buffer`."""
    if hasattr(buffer, "read"):
        buffer.seek(0)
        while block := buffer.read(BLOCK_BYTES):
            file.write(_as_bytes(block))
    else:
        file.write(_as_bytes(buffer.getvalue()))
    if hasattr(buffer, "close"):
        buffer.close()


def _as_bytes(block: bytes | str) -> bytes:
    return block.encode() if isinstance(block, str) else block
