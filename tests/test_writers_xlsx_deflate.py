"""The deflate engines, their joined blocks, and the CRC-32 of joined pieces."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.exceptions import BadOption
from exports.tabular.writers.xlsx.deflate import (
    EMPTY_LAST_BLOCK,
    HIGHEST_LEVELS,
    Deflate,
    combine_crc,
    combine_crc_in_python,
    stored_block,
)
from tests.written import printed_by

CONTENT = b"".join(b'<c r="A%d"><v>%d</v></c>' % (row, row * 7919 % 1000) for row in range(5_000))
ENGINES_AND_LEVELS = [(engine, level) for engine, highest in HIGHEST_LEVELS.items() for level in (1, highest)]


def decompressed(stream: bytes) -> bytes:
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    content = reader.decompress(stream)
    assert reader.eof
    assert reader.unused_data == b""
    return content


@pytest.mark.parametrize(("engine", "level"), ENGINES_AND_LEVELS)
def test_zlib_reads_the_streams_of_each_engine(engine, level):
    deflate = Deflate(engine, level)
    compressor = deflate.compressor()
    assert decompressed(compressor.compress(CONTENT) + compressor.flush()) == CONTENT
    assert deflate.crc(CONTENT) == zlib.crc32(CONTENT)


@pytest.mark.parametrize(("engine", "level"), ENGINES_AND_LEVELS)
def test_separate_blocks_join_to_one_stream(engine, level):
    pieces = [CONTENT[:7], b"", CONTENT[7:70_000], CONTENT[70_000:]]
    stream = stored_block(b"<head>") + b"".join(map(Deflate(engine, level).block, pieces)) + EMPTY_LAST_BLOCK
    assert decompressed(stream) == b"<head>" + CONTENT


@given(st.binary(max_size=300), st.binary(max_size=300) | st.just(bytes(3_000_001)))
def test_the_crc_of_joined_pieces_comes_from_the_crcs_of_the_pieces(first, second):
    pieces = zlib.crc32(first), zlib.crc32(second), len(second)
    assert combine_crc(*pieces) == combine_crc_in_python(*pieces) == zlib.crc32(first + second)


@pytest.mark.parametrize(("given", "processes", "chosen"), [
    ((), 1, Deflate("zlib-ng", 4)), ((), 2, Deflate("isal", 1)), (("zlib", 6), 1, Deflate("zlib", 6)),
    (("isal",), 1, Deflate("isal", 1)),
])  # fmt: skip
def test_one_process_gets_the_better_ratio_and_several_the_faster_engine(given, processes, chosen):
    assert Deflate.choose(*given, processes=processes) == chosen


@pytest.mark.parametrize(("engine", "level"), [("lzma", None), ("isal", 4), ("zlib", 10), (None, 0)])
def test_an_unknown_engine_or_level_is_refused(engine, level):
    with pytest.raises(BadOption, match=r"here|levels"):
        Deflate.choose(engine, level)


def test_zlib_is_used_where_no_other_engine_is_installed():
    program = (
        "import sys; sys.modules['isal'] = sys.modules['zlib_ng'] = None\n"
        "from exports.tabular.writers.xlsx.deflate import Deflate, combine_crc\n"
        "from exports.exceptions import BadOption\n"
        "import zlib\n"
        "print(Deflate.choose(), Deflate.choose(processes=2), combine_crc(zlib.crc32(b'a'), zlib.crc32(b'bc'), 2))\n"
        "try:\n    Deflate.choose('isal')\nexcept BadOption as error:\n    print(error)\n"
    )
    assert printed_by(program).splitlines() == [
        f"Deflate(engine='zlib', level=1) Deflate(engine='zlib', level=1) {zlib.crc32(b'abc')}",
        "Option 'engine': There is no deflate engine 'isal' here. Installed: zlib.",
    ]
