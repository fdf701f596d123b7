"""Serialize and compress batches in order, in this process or in several child processes.

With one process, the rows are serialized at once and compressed in a thread. With more, each child process serializes
and compresses whole batches.
"""

import multiprocessing
import os
import pickle
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Final, Protocol

from exports.exceptions import ProcessLost
from exports.tabular.cells.altered_places import MAX_PLACES, AlteredCell, locate
from exports.tabular.cells.error_places import convert_batch
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.pickling import picklable_batch
from exports.tabular.writers.xlsx import switch_interval
from exports.tabular.writers.xlsx.deflate import EMPTY_LAST_BLOCK, Deflate

# Batches sent to each child process before its first answer is received: one in work and one waiting.
BATCHES_PER_PROCESS: Final = 2
# What may wait for the compression thread, in batches and in bytes.
MAX_WAITING_BATCHES: Final = 8
MAX_WAITING_BYTES: Final = 8 << 20
# Bytes that the thread compresses at a time. Larger pieces mean fewer switches between the threads.
PIECE_BYTES: Final = 1 << 19
EXIT_TIMEOUT_SECONDS: Final = 5.0


@dataclass
class Findings:
    """What a serializer adds about a batch: the cells that it alters and, for XLSX, the width of each column.

    `places` are the first altered cells of each kind that this process has found in the file.
    """

    alterations: Alterations = field(default_factory=Alterations)
    places: list[AlteredCell] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)


class Serializer(Protocol):
    """Turn batches into bytes. For child processes, it is a frozen dataclass at the top of a module: picklable."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of each batch."""

    def __call__(self, batch: Batch, first: int, findings: Findings, /) -> bytes:
        """Return the bytes of a batch whose first row has the number `first` within the table, from 0."""


@dataclass(frozen=True)
class Block:
    """A piece of the file. `length` and `crc` are those of the bytes before compression; 0 without compression."""

    content: bytes
    length: int
    crc: int
    findings: Findings


class SerializerPool:
    """Hand each batch to a serializer, and each block to `on_block` in the order of the batches.

    At most a few batches wait at a time, so memory does not grow with the rows. Call `close` at the end, and after an
    error too. Child processes end by themselves if this process is killed.
    """

    def __init__(self, *, deflate: Deflate | None, processes: int, on_block: Callable[[Block], None]) -> None:
        self._deflate = deflate
        self._on_block = on_block
        self._serialize = BatchSerializer()
        self._members: list[_CompressionThread | _ChildProcess] = []
        self._pending: deque[_CompressionThread | _ChildProcess] = deque()
        if processes > 1:
            self._members = [_ChildProcess(deflate) for _ in range(processes)]
            self._max_pending = processes * BATCHES_PER_PROCESS
        elif deflate:
            self._members = [_CompressionThread(deflate)]
            self._max_pending = MAX_WAITING_BATCHES
        self._round_robin = cycle(self._members)

    def begin(self, serializer: Serializer) -> None:
        """Use this serializer from now on. After batches were added, call `drain` or `end_stream` first."""
        self._serialize.begin(serializer)
        for member in self._members:
            member.begin(serializer)

    def add(self, batch: Batch, first: int) -> None:
        """Serialize a batch whose first row has the number `first` within its table, from 0.

        Raises ProcessLost, and what the serializer raised for this or an earlier batch.
        """
        if not self._members:
            self._on_block(_make_block(self._serialize, None, batch, first))
            return
        pending = self._pending
        while len(pending) == self._max_pending or (pending and pending[0].waiting_bytes > MAX_WAITING_BYTES):
            self._on_block(pending.popleft().receive())
        member = next(self._round_robin)
        member.send(batch, first)
        pending.append(member)

    def drain(self) -> None:
        """Pass every block to `on_block`."""
        while self._pending:
            self._on_block(self._pending.popleft().receive())

    def end_stream(self, tail: bytes) -> None:
        """Pass every block to `on_block`, and one with `tail` and the end of the compressed stream."""
        self.drain()
        self._on_block(self._members[0].end_of_stream(tail))

    def close(self) -> None:
        """End the threads and processes, whatever they are doing."""
        with ExitStack() as closing:
            for member in self._members:
                closing.callback(member.close)


class _CompressionThread:
    """Serialize in this process and compress in a thread, as one stream, several batches at a time.

    `waiting_bytes` counts the serialized bytes whose blocks were not received yet.
    """

    def __init__(self, deflate: Deflate) -> None:
        self._deflate = deflate
        self._serialize = BatchSerializer()
        self._blocks: deque[tuple[int, Future[Block] | Block]] = deque()
        self.waiting_bytes = 0
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="deflate")
        switch_interval.shorten()

    def begin(self, serializer: Serializer) -> None:
        self._serialize.begin(serializer)
        self._compressor = self._deflate.compressor()
        self._uncompressed: list[bytes] = []

    def send(self, batch: Batch, first: int) -> None:
        findings = Findings()
        content = self._serialize(batch, first, findings)
        self._uncompressed.append(content)
        block: Future[Block] | Block = Block(b"", 0, 0, findings)
        if self._thread and sum(map(len, self._uncompressed)) >= PIECE_BYTES:
            block = self._thread.submit(self._compress, self._uncompressed, findings)
            self._uncompressed = []
        self._blocks.append((len(content), block))
        self.waiting_bytes += len(content)

    def receive(self) -> Block:
        size, block = self._blocks.popleft()
        self.waiting_bytes -= size
        return block if isinstance(block, Block) else block.result()

    def end_of_stream(self, tail: bytes) -> Block:
        """Compress what is left and end the stream. All blocks have to be received before."""
        last = self._compress([*self._uncompressed, tail], Findings())
        return replace(last, content=last.content + self._compressor.flush())

    def close(self) -> None:
        if self._thread:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None
            switch_interval.restore()

    def _compress(self, pieces: Sequence[bytes], findings: Findings) -> Block:
        content = b"".join(pieces)
        return Block(self._compressor.compress(content), len(content), self._deflate.crc(content), findings)


class _ChildProcess:
    """Serialize and compress in a child process. Each block can be decompressed without the others."""

    # What a process holds is bounded by BATCHES_PER_PROCESS alone.
    waiting_bytes = 0

    def __init__(self, deflate: Deflate | None) -> None:
        self._deflate = deflate
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=run_child, args=(theirs, deflate), daemon=True)
        with _sigint_blocked():
            self._process.start()
        theirs.close()

    def begin(self, serializer: Serializer) -> None:
        self._serializer = serializer
        self._send(serializer)

    def send(self, batch: Batch, first: int) -> None:
        self._send((convert_batch(picklable_batch, batch, self._serializer.columns, first), first))

    def receive(self) -> Block:
        try:
            answer: Block | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end_of_stream(self, tail: bytes) -> Block:
        if not self._deflate:
            raise ValueError("Without compression there is no stream to end.")
        content, crc = self._deflate.block(tail) + EMPTY_LAST_BLOCK, self._deflate.crc(tail)
        return Block(content, len(tail), crc, Findings())

    def close(self) -> None:
        self._connection.close()
        self._process.join(EXIT_TIMEOUT_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> ProcessLost:
        self._process.join(EXIT_TIMEOUT_SECONDS)
        return ProcessLost(f"A process that serializes rows ended (exit code {self._process.exitcode}).")


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which reaches the whole process group: the parent decides what ends."""
    if not hasattr(signal, "pthread_sigmask"):
        # On Windows, where multiprocessing has no resource tracker either.
        yield
        return
    # multiprocessing starts its resource tracker beside the first process, and it would die of what is blocked here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_child(connection: Connection, deflate: Deflate | None) -> None:
    """Run a child process: answer each batch with a block or an exception until the connection closes."""
    switch_interval.shorten()
    inbox: SimpleQueue[Serializer | tuple[Batch, int]] = SimpleQueue()
    # A thread reads all that arrives, or both sides could wait for the other one to read.
    Thread(target=_read_messages, args=(connection, inbox), daemon=True).start()
    serialize = BatchSerializer()
    while True:
        message = inbox.get()
        if not isinstance(message, tuple):
            serialize.begin(message)
            continue
        answer: Block | Exception
        try:
            answer = _make_block(serialize, deflate, *message)
        except Exception as error:
            answer = error if _is_picklable(error) else RuntimeError(type(error).__name__)
        connection.send(answer)


def _read_messages(connection: Connection, inbox: SimpleQueue[Serializer | tuple[Batch, int]]) -> None:
    # Exit at once: this process holds nothing that has to be closed.
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)
    except BaseException as error:
        print(f"A batch could not be unpickled: {type(error).__name__}", file=sys.stderr)
        os._exit(1)


class BatchSerializer:
    """Serialize batches, and note on errors which cell they are about and in findings where cells are altered."""

    def __init__(self) -> None:
        self._located: Counter[str] = Counter()

    def begin(self, serializer: Serializer) -> None:
        """Use this serializer from now on."""
        self._serializer = serializer

    def __call__(self, batch: Batch, first: int, findings: Findings) -> bytes:
        serializer = self._serializer
        content = convert_batch(lambda some: serializer(some, first, findings), batch, serializer.columns, first)
        missing = {
            kind: min(cells, MAX_PLACES - self._located[kind])
            for kind, cells in findings.alterations.items()
            if self._located[kind] < MAX_PLACES
        }
        if missing:

            def convert(some: Batch, alterations: Alterations) -> None:
                serializer(some, first, Findings(alterations))

            findings.places = locate(convert, batch, len(serializer.columns), first, missing)
            self._located.update(cell.kind for cell in findings.places)
        return content


def _make_block(serialize: BatchSerializer, deflate: Deflate | None, batch: Batch, first: int) -> Block:
    findings = Findings()
    content = serialize(batch, first, findings)
    if deflate is None:
        return Block(content, len(content), 0, findings)
    return Block(deflate.block(content), len(content), deflate.crc(content), findings)


def _is_picklable(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
