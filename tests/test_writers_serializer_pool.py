"""Batches become blocks in order, in one process and in several, with bounded memory; threads and processes end."""

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
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.serializer_pool import (
    BATCHES_PER_PROCESS,
    MAX_WAITING_BATCHES,
    MAX_WAITING_BYTES,
    Block,
    Findings,
    SerializerPool,
)
from exports.tabular.writers.xlsx.deflate import Deflate

POOLS = [(None, 1), (None, 2), (Deflate("isal", 1), 1), (Deflate("isal", 1), 2), (Deflate("zlib", 1), 3)]


@dataclass(frozen=True)
class Lines:
    """Serialize the first column, refuse "=", and end the process at "die"."""

    columns = (Column("cell"),)

    def __call__(self, batch, first: int, findings: Findings) -> bytes:
        findings.alterations["text_cut"] += 1
        if "=" in batch[0]:
            raise FormulaRejected("No formulas.")
        if "die" in batch[0]:
            os._exit(9)
        return "".join(f"{first + number}:{cell};" for number, cell in enumerate(batch[0])).encode()


@contextmanager
def pool_and_blocks(deflate: Deflate | None = None, processes: int = 1) -> Iterator[tuple[SerializerPool, list[Block]]]:
    blocks: list[Block] = []
    pool = SerializerPool(deflate=deflate, processes=processes, on_block=blocks.append)
    try:
        pool.begin(Lines())
        yield pool, blocks
    finally:
        pool.close()


def serialize(pool: SerializerPool, *cells: str) -> None:
    pool.add([cells], first=0)
    pool.drain()


def content(blocks: list[Block], deflate: Deflate | None) -> str:
    joined = b"".join(block.content for block in blocks)
    return (zlib.decompress(joined, -zlib.MAX_WBITS) if deflate else joined).decode()


@pytest.mark.parametrize(("deflate", "processes"), POOLS)
def test_blocks_come_in_the_order_of_the_batches(deflate, processes):
    with pool_and_blocks(deflate, processes) as (pool, blocks):
        for number in range(20):
            pool.add([[f"x{number}"] * (1 + number % 3)], first=number * 10)
        pool.end_stream(b"") if deflate else pool.drain()
    expected = [f"{number * 10 + row}:x{number};" for number in range(20) for row in range(1 + number % 3)]
    assert content(blocks, deflate) == "".join(expected)
    assert sum((block.findings.alterations for block in blocks), Alterations()) == {"text_cut": 20}


@pytest.mark.parametrize(("deflate", "processes"), POOLS)
def test_an_error_of_the_serializer_reaches_the_caller_with_its_column_and_row(deflate, processes):
    expected = pytest.raises(FormulaRejected, match="No formulas")
    with pool_and_blocks(deflate, processes) as (pool, _), expected as raised:
        serialize(pool, "a", "b", "=")
    assert raised.value.__notes__ == ["column 'cell', row 3"]


def test_only_a_few_batches_wait_for_each_process():
    with pool_and_blocks(None, 2) as (pool, blocks):
        for number in range(30):
            pool.add([["x"]], first=number)
            assert number + 1 - len(blocks) <= 2 * BATCHES_PER_PROCESS


def test_the_bytes_that_wait_for_the_compression_thread_are_bounded():
    half = MAX_WAITING_BYTES // 2
    with pool_and_blocks(Deflate("zlib", 1)) as (pool, blocks):
        for number in range(MAX_WAITING_BATCHES):
            pool.add([["z" * half]], first=number)
            assert (number + 1 - len(blocks)) * half <= 2 * MAX_WAITING_BYTES
        pool.end_stream(b"")
    assert sum(block.length for block in blocks) == sum(half + len(f"{n}:;") for n in range(MAX_WAITING_BATCHES))


def test_batches_larger_than_a_pipe_holds_do_not_block_the_pool():
    with pool_and_blocks(None, 2) as (pool, blocks):
        for number in range(8):
            pool.add([["y" * 1_000_000]], first=number)
        pool.drain()
    assert [len(block.content) for block in blocks] == [1_000_003] * 8


def test_a_process_that_dies_raises_process_lost():
    with pool_and_blocks(None, 2) as (pool, _), pytest.raises(ProcessLost, match="exit code 9"):
        serialize(pool, "die")


def test_closing_ends_processes_that_are_at_work():
    with pool_and_blocks(None, 2) as (pool, _):
        started = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
        assert len(started) == 2
        pool.add([["z" * 5_000_000]], first=0)
    assert [process for process in started if process.is_running()] == []


def test_processes_end_when_their_parent_is_killed():
    program = textwrap.dedent("""
        import multiprocessing, sys, time
        from exports.tabular.writers.serializer_pool import SerializerPool
        from tests.test_writers_serializer_pool import Lines
        if __name__ == "__main__":
            pool = SerializerPool(deflate=None, processes=2, on_block=print)
            pool.begin(Lines())
            pool.add([["x"]], first=0)
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


def test_ctrl_c_does_not_end_the_child_processes():
    with pool_and_blocks(None, 2) as (pool, blocks):
        serialize(pool, "x")
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
        pool.add([["y"]], first=1)
        pool.add([["z"]], first=2)
        pool.drain()
    assert content(blocks, None) == "0:x;1:y;2:z;"
