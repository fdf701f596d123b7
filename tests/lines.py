"""A slow line between a browser and a server, which can be cut."""

import asyncio
import contextlib
import threading
from typing import Self

from tests.servers import free_port

STEP_SECONDS = 0.05


class SlowLine:
    """A TCP proxy in a thread, whose way to the client carries `bytes_per_second` in all. `cut` closes what is open."""

    def __init__(self, target: int, *, bytes_per_second: int) -> None:
        self.port = free_port()
        self.carried = 0
        self._target, self._step = target, int(bytes_per_second * STEP_SECONDS)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Close all connections, as a proxy does that has had enough; new ones are accepted."""

        async def close() -> None:
            for writer in self._open:
                writer.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._lock = asyncio.Lock()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, back}
            try:
                await asyncio.gather(self._carry(reader, back, 1 << 16), self._carry(there, writer, self._step))
            finally:
                self._open -= {writer, back}
                back.close()
                writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: int) -> None:
        while block := await reader.read(step):
            if step == self._step:
                # One after the other: the connections of a browser share the line.
                async with self._lock:
                    await asyncio.sleep(STEP_SECONDS * len(block) / step)
                    self.carried += len(block)
            writer.write(block)
            await writer.drain()
        writer.close()
