"""The deflate engines, their joined blocks, and the CRC-32 of joined pieces."""

import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.exceptions import BadOption
from exports.tabular.writers.xlsx import deflate
from exports.tabular.writers.xlsx.deflate import EMPTY_LAST_BLOCK as END
from exports.tabular.writers.xlsx.deflate import HIGHEST_LEVELS as HIGHEST
from exports.tabular.writers.xlsx.deflate import Deflate
from exports.tabular.writers.xlsx.deflate import combine_crc as combine
from exports.tabular.writers.xlsx.deflate import combine_crc_in_python as combine_plainly
from exports.tabular.writers.xlsx.deflate import stored_block as stored

ENGINES = list(HIGHEST)
CONTENT = b"".join(b'<c r="A%d"><v>%d</v></c>' % (row, row * 7919 % 1000) for row in range(5_000))
ENGINES_AND_LEVELS = [(engine, level) for engine in ENGINES for level in (1, HIGHEST[engine])]


def inflated(stream: bytes) -> bytes:
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    content = reader.decompress(stream)
    assert reader.eof
    assert reader.unused_data == b""
    return content


@pytest.mark.parametrize(("engine", "level"), ENGINES_AND_LEVELS)
def test_each_engine_makes_a_stream_that_zlib_reads(engine, level):
    compressor = Deflate(engine, level).compressor()
    assert inflated(compressor.compress(CONTENT) + compressor.flush()) == CONTENT


@pytest.mark.parametrize(("engine", "level"), ENGINES_AND_LEVELS)
def test_blocks_made_apart_and_stored_pieces_join_to_one_stream(engine, level):
    chosen = Deflate(engine, level)
    pieces = [CONTENT[:7], b"", CONTENT[7:70_000], CONTENT[70_000:]]
    stream = stored(b"<head>") + b"".join(map(chosen.block, pieces)) + END
    assert inflated(stream) == b"<head>" + CONTENT


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_counts_the_same_crc(engine):
    assert Deflate(engine, 1).crc(CONTENT) == zlib.crc32(CONTENT)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_of_two_joined_pieces_comes_from_theirs(first, second):
    whole = zlib.crc32(first + second)
    parts = zlib.crc32(first), zlib.crc32(second), len(second)
    assert combine(*parts) == combine_plainly(*parts) == whole


def test_a_long_second_piece_is_no_trouble():
    zeros = bytes(3_000_001)
    assert combine_plainly(zlib.crc32(b"head"), zlib.crc32(zeros), len(zeros)) == zlib.crc32(b"head" + zeros)


@pytest.mark.parametrize(("processes", "chosen"), [(1, Deflate("zlib-ng", 4)), (2, Deflate("isal", 1))])
def test_one_process_gets_the_better_ratio_and_several_the_faster_engine(processes, chosen):
    assert Deflate.choose(processes=processes) == chosen


def test_what_is_asked_for_is_taken():
    assert Deflate.choose("zlib", 6) == Deflate("zlib", 6)
    assert Deflate.choose("isal") == Deflate("isal", 1)


@pytest.mark.parametrize(("engine", "level"), [("lzma", None), ("isal", 4), ("zlib", 10), (None, 0)])
def test_an_unknown_engine_or_level_is_refused(engine, level):
    with pytest.raises(BadOption, match=r"here|levels"):
        Deflate.choose(engine, level)


def test_zlib_does_where_nothing_else_is_installed():
    program = (
        "import sys; sys.modules['isal'] = sys.modules['zlib_ng'] = None\n"
        "from exports.tabular.writers.xlsx.deflate import Deflate, combine_crc as combine\n"
        "from exports.exceptions import BadOption\n"
        "import zlib\n"
        "print(Deflate.choose(), Deflate.choose(processes=2), combine(zlib.crc32(b'a'), zlib.crc32(b'bc'), 2))\n"
        "try:\n    Deflate.choose('isal')\nexcept BadOption as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        f"Deflate(engine='zlib', level=1) Deflate(engine='zlib', level=1) {zlib.crc32(b'abc')}",
        "Option 'engine': There is no deflate engine 'isal' here. Installed: zlib.",
    ]


def test_every_engine_has_levels_for_both_uses():
    assert set(deflate.LEVELS_IN_A_THREAD) == set(deflate.LEVELS_IN_PROCESSES) == set(ENGINES) == set(HIGHEST)
