"""Batches to blocks of bytes, in order: in this process with the deflate beside it, or in several processes.

A serialiser is a callable `(batch, first, alterations) -> bytes`, `first` being the number of the batch's first row in
its table, from 0. For other processes it must be picklable: a frozen dataclass at the top of a module.
"""

import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from exports.exceptions import ProcessLost
from exports.tabular.columns import Alterations
from exports.tabular.writers.base import Batch
from exports.tabular.writers.pickling import portable
from exports.tabular.writers.xlsx import switch_interval
from exports.tabular.writers.xlsx.deflate import END, Deflate

Serialise = Callable[[Batch, int, Alterations], bytes]

# Batches under way in each process: one to work at, one to go on with.
AHEAD: Final = 2
# What may wait for the deflate beside, in batches and in bytes; and the bytes that it takes at once: few pieces are few
# changes of threads.
WAITING: Final = 8
HELD: Final = 8 << 20
PIECE: Final = 1 << 19
PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Block:
    """A piece of the file: `length` bytes with this CRC-32 before they were deflated (0 where they are not)."""

    content: bytes
    length: int
    crc: int
    alterations: Alterations


class Pipeline:
    """Hands each batch to a serialiser and each block, in the order of the batches, to `on_block`.

    Memory is bounded: at most a few batches are under way. To end it, call `drain` and then `discard`; after an error
    `discard` alone. Processes that are left alone, because this one was killed, end by themselves.
    """

    def __init__(self, *, deflate: Deflate | None, processes: int, on_block: Callable[[Block], None]) -> None:
        self._deflate = deflate
        self._on_block = on_block
        self._waiting: deque[_Here | _Process] = deque()
        if processes == 1:
            self._workers: list[_Here | _Process] = [_Here(deflate)]
            self._limit = WAITING if deflate else 1
        else:
            self._workers = [_Process(deflate) for _ in range(processes)]
            self._limit = processes * AHEAD
        self._turns = cycle(self._workers)

    def begin(self, serialise: Serialise) -> None:
        """What follows is serialised by this one. Call `drain` before where something was added."""
        for worker in self._workers:
            worker.begin(serialise)

    def add(self, batch: Batch, first: int) -> None:
        """Raises what the serialiser raised for this or an earlier batch, and ProcessLost."""
        while len(self._waiting) == self._limit or (self._waiting and self._waiting[0].held > HELD):
            self._deliver()
        worker = next(self._turns)
        worker.send(batch, first)
        self._waiting.append(worker)

    def drain(self) -> None:
        """Deliver every block; with deflate, the end of the stream as a last one."""
        while self._waiting:
            self._deliver()
        if self._deflate:
            self._on_block(self._workers[0].end())

    def discard(self) -> None:
        """Let go of the threads and processes, whatever they are doing."""
        for worker in self._workers:
            worker.close()

    def _deliver(self) -> None:
        self._on_block(self._waiting.popleft().receive())


class _Here:
    """Serialises at once; deflates in a thread, as one stream, several batches together.

    `held` counts the bytes of its blocks that were not received yet, before their deflate.
    """

    def __init__(self, deflate: Deflate | None) -> None:
        self._deflate = deflate
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deflate") if deflate else None
        if self._thread is not None:
            switch_interval.shorten()
        self._blocks: deque[tuple[int, Future[Block] | Block]] = deque()
        self.held = 0

    def begin(self, serialise: Serialise) -> None:
        self._serialise = serialise
        self._compressor = self._deflate.compressor() if self._deflate else None
        self._gathered: list[bytes] = []

    def send(self, batch: Batch, first: int) -> None:
        alterations = Alterations()
        content = self._serialise(batch, first, alterations)
        self._blocks.append((len(content), self._begun(content, alterations)))
        self.held += len(content)

    def _begun(self, content: bytes, alterations: Alterations) -> Future[Block] | Block:
        if self._deflate is None:
            return Block(content, len(content), 0, alterations)
        self._gathered.append(content)
        if sum(map(len, self._gathered)) < PIECE:
            return Block(b"", 0, 0, alterations)
        gathered, self._gathered = self._gathered, []
        return self._thread.submit(self._deflated, gathered, alterations)

    def receive(self) -> Block:
        size, block = self._blocks.popleft()
        self.held -= size
        return block if isinstance(block, Block) else block.result()

    def end(self) -> Block:
        """What is still gathered, and the end of the stream."""
        last = self._deflated(self._gathered, Alterations())
        return replace(last, content=last.content + self._compressor.flush())

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True, cancel_futures=True)
            switch_interval.restore()

    def _deflated(self, gathered: Sequence[bytes], alterations: Alterations) -> Block:
        content = b"".join(gathered)
        compressed = self._compressor.compress(content)
        return Block(compressed, len(content), self._deflate.crc(content), alterations)


class _Process:
    """A process of its own that serialises and deflates; each of its blocks is independent of the others."""

    held = 0

    def __init__(self, deflate: Deflate | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, deflate), daemon=True)
        with _without_ctrl_c():
            self._process.start()
        theirs.close()

    def begin(self, serialise: Serialise) -> None:
        self._send(serialise)

    def send(self, batch: Batch, first: int) -> None:
        self._send((portable(batch), first))

    def receive(self) -> Block:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> Block:
        return Block(END, 0, 0, Alterations())

    def close(self) -> None:
        self._connection.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> ProcessLost:
        self._process.join(PATIENCE)
        return ProcessLost(f"A process that serialises rows ended (exit code {self._process.exitcode}).")


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """For what is started meanwhile. The terminal's Ctrl-C reaches the whole group; the process that asked decides."""
    # It is started beside the first process, and would end what is blocked here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(connection: Connection, deflate: Deflate | None) -> None:
    """The life of a serialising process: it ends when the other end of the connection does."""
    switch_interval.shorten()
    inbox: SimpleQueue[Any] = SimpleQueue()
    # What comes is taken at once, so that neither side waits for the other to read.
    Thread(target=_take_in, args=(connection, inbox), daemon=True).start()
    serialise: Serialise | None = None
    while True:
        message = inbox.get()
        if isinstance(message, tuple):
            _answer(connection, serialise, deflate, *message)
        else:
            serialise = message


def _take_in(connection: Connection, inbox: SimpleQueue[Any]) -> None:
    # Nothing is kept in this process that would have to be closed first.
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)
    except BaseException as error:
        print(f"A batch could not be taken in: {type(error).__name__}", file=sys.stderr)
        os._exit(1)


def _answer(connection: Connection, serialise: Serialise, deflate: Deflate | None, batch: Batch, first: int) -> None:
    try:
        answer = _block(serialise, deflate, batch, first)
    except Exception as error:
        answer = error if _travels(error) else RuntimeError(type(error).__name__)
    connection.send(answer)


def _block(serialise: Serialise, deflate: Deflate | None, batch: Batch, first: int) -> Block:
    alterations = Alterations()
    content = serialise(batch, first, alterations)
    if deflate is None:
        return Block(content, len(content), 0, alterations)
    return Block(deflate.block(content), len(content), deflate.crc(content), alterations)


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
