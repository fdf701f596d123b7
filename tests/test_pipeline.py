"""Batches to blocks in order, in this process and in several, in bounded memory, with a clean end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

from exports.exceptions import FormulaRejected, ProcessLost
from exports.tabular.columns import Alterations
from exports.tabular.writers.serializer_pool import BATCHES_PER_PROCESS as AHEAD
from exports.tabular.writers.serializer_pool import MAX_WAITING_BATCHES as WAITING
from exports.tabular.writers.serializer_pool import MAX_WAITING_BYTES as HELD
from exports.tabular.writers.serializer_pool import PIECE_BYTES as PIECE
from exports.tabular.writers.serializer_pool import Block, SerializerPool
from exports.tabular.writers.xlsx.deflate import Deflate

KINDS = [(None, 1), (None, 2), (Deflate("isal", 1), 1), (Deflate("isal", 1), 2), (Deflate("zlib", 1), 3)]


@dataclass(frozen=True)
class Lines:
    """A serialiser for these tests."""

    mark: str

    def __call__(self, batch, first: int, alterations: Alterations) -> bytes:
        alterations["text_cut"] += 1
        if "=" in batch[0]:
            raise FormulaRejected("No formulas.")
        if "die" in batch[0]:
            os._exit(9)
        return "".join(f"{self.mark}{first + number}:{cell};" for number, cell in enumerate(batch[0])).encode()


@contextmanager
def pipeline(deflate: Deflate | None = None, processes: int = 1) -> Iterator[tuple[SerializerPool, list[Block]]]:
    blocks: list[Block] = []
    line = SerializerPool(deflate=deflate, processes=processes, on_block=blocks.append)
    try:
        line.begin(Lines(""))
        yield line, blocks
    finally:
        line.close()


def serialise(line: SerializerPool, cell: str) -> None:
    line.add([[cell]], first=0)
    line.drain()


def content(blocks: list[Block], deflate: Deflate | None) -> str:
    joined = b"".join(block.content for block in blocks)
    return (zlib.decompress(joined, -zlib.MAX_WBITS) if deflate else joined).decode()


@pytest.mark.parametrize(("deflate", "processes"), KINDS)
def test_blocks_come_in_the_order_of_the_batches(deflate, processes):
    with pipeline(deflate, processes) as (line, blocks):
        for number in range(20):
            line.add([[f"x{number}"] * (1 + number % 3)], first=number * 10)
        line.drain()
    expected = [f"{number * 10 + row}:x{number};" for number in range(20) for row in range(1 + number % 3)]
    assert content(blocks, deflate) == "".join(expected)
    assert sum((block.alterations for block in blocks), Alterations()) == {"text_cut": 20}


@pytest.mark.parametrize(("deflate", "processes"), KINDS)
def test_another_serialiser_may_follow(deflate, processes):
    with pipeline(deflate, processes) as (line, blocks):
        line.add([["a"]], first=0)
        line.drain()
        first = content(blocks, deflate)
        blocks.clear()
        line.begin(Lines("second "))
        line.add([["b"]], first=0)
        line.drain()
        assert (first, content(blocks, deflate)) == ("0:a;", "second 0:b;")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_block_knows_its_length_and_crc_before_the_deflate(processes):
    with pipeline(Deflate("isal", 1), processes) as (line, blocks):
        line.add([["a"]], first=0)
        line.drain()
    assert [(block.length, block.crc) for block in blocks if block.length] == [(4, zlib.crc32(b"0:a;"))]


@pytest.mark.parametrize(("deflate", "processes"), KINDS)
def test_what_a_serialiser_raises_reaches_the_caller(deflate, processes):
    with pipeline(deflate, processes) as (line, _), pytest.raises(FormulaRejected, match="No formulas"):
        serialise(line, "=")


def test_no_more_than_a_few_batches_are_under_way():
    with pipeline(None, 2) as (line, blocks):
        for number in range(30):
            line.add([["x"]], first=number)
            assert number + 1 - len(blocks) <= 2 * AHEAD


def test_the_deflate_beside_takes_batches_together_and_leaves_none_behind():
    deflate = Deflate("zlib", 1)
    with pipeline(deflate) as (line, blocks):
        for number in range(2 * WAITING):
            line.add([["z" * (PIECE // 4)]], first=number)
            assert number + 1 - len(blocks) <= WAITING
        line.add([["end"]], first=99)
        line.drain()
    assert content(blocks, deflate) == "".join(f"{n}:{'z' * (PIECE // 4)};" for n in range(2 * WAITING)) + "99:end;"
    assert sum(1 for block in blocks if block.length) == 2 * WAITING // 4 + 1
    assert sum(block.length for block in blocks) == len(content(blocks, deflate))


def test_what_waits_for_the_deflate_is_bounded_in_bytes_too():
    with pipeline(Deflate("zlib", 1)) as (line, blocks):
        for number in range(WAITING):
            line.add([["z" * (HELD // 2)]], first=number)
            assert (number + 1 - len(blocks)) * (HELD // 2) <= 2 * HELD
        line.drain()
    assert sum(block.length for block in blocks) == sum(HELD // 2 + len(f"{n}:;") for n in range(WAITING))


def test_batches_and_blocks_larger_than_a_pipe_holds_do_not_block_each_other():
    with pipeline(None, 2) as (line, blocks):
        for number in range(8):
            line.add([["y" * 1_000_000]], first=number)
        line.drain()
    assert [len(block.content) for block in blocks] == [1_000_003] * 8


def test_a_process_that_dies_is_told_as_such_and_worth_another_attempt():
    with pipeline(None, 2) as (line, _), pytest.raises(ProcessLost, match="exit code 9"):
        serialise(line, "die")


def test_discarding_ends_the_processes_even_in_the_middle():
    with pipeline(None, 2) as (line, _):
        started = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
        assert len(started) == 2
        line.add([["z" * 5_000_000]], first=0)
    assert [process for process in started if process.is_running()] == []


def test_processes_whose_parent_is_killed_end_by_themselves():
    program = textwrap.dedent("""
        import multiprocessing, sys, time
        from exports.tabular.writers.serializer_pool import SerializerPool
        from tests.test_pipeline import Lines
        if __name__ == "__main__":
            line = SerializerPool(deflate=None, processes=2, on_block=print)
            line.begin(Lines(""))
            line.add([["x"]], first=0)
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_ctrl_c_is_left_to_the_process_that_asked():
    with pipeline(None, 2) as (line, blocks):
        line.add([["x"]], first=0)
        line.drain()
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
        line.add([["y"]], first=1)
        line.add([["z"]], first=2)
        line.drain()
    assert content(blocks, None) == "0:x;1:y;2:z;"
