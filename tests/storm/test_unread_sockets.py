"""Fifty sockets that never read cost little memory and do not delay other pages."""

import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread

import psutil
import pytest

from tests.storm.pages import OpenPages, Page
from tests.storm.programs import ROOT
from tests.storm.site import Site

UNREAD = 50
# As many states as two exports send in ten minutes, four a second each; twelve exports send them within 40 s.
EXPORTS, CHANGES, EVERY = 12, 400, 0.1
WARM_UP = 60
MEBIBYTE = 1 << 20
TINY = 2048


@pytest.mark.slow
def test_fifty_unread_sockets_cost_less_than_20_mib_and_delay_no_other_page(tmp_path: Path, needs_postgres: None):
    with ExitStack() as opened:
        site = opened.enter_context(Site(tmp_path, workers=(), housekeepers=0, rows=10))
        publishing = [site.request(0, first=number + 1, rows=1).id for number in range(EXPORTS)]
        watched = site.request(1, first=1, rows=1).id
        page = Page(site, 1, [watched], Random(1))
        opened.enter_context(OpenPages(site, [page]))
        web = psutil.Process(site.programs["web"].process.pid)

        without = median_latency(page, publish(site, WARM_UP, [*publishing, watched]))
        before = web.memory_info().rss
        with peak_memory(web) as peak:
            for _ in range(UNREAD):
                opened.enter_context(unread_socket(site, user=0))
            beside = median_latency(page, publish(site, CHANGES, [*publishing, watched]))
    grown = (peak[0] - before) / MEBIBYTE
    print(f"{grown:.1f} MiB more; latency {without * 1000:.1f} ms without them, {beside * 1000:.1f} ms with them")
    assert grown < 20
    # Other tests run beside this one; a page that waits for the others is seconds late.
    assert beside < without + 0.25


def publish(site: Site, changes: int, ids: Sequence[str]) -> dict[int, float]:
    """Change the exports, and return when each change of the last one was made, by seq."""
    command = [sys.executable, "-m", "tests.storm.publisher", str(changes), str(EVERY), *ids]
    done = subprocess.run(command, cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def median_latency(page: Page, published: Mapping[int, float]) -> float:
    """Return the median of the seconds from a change until the page received it."""
    received = {seq: at for at, _, seq in reversed(page.received)}
    latencies = [received[seq] - at for seq, at in published.items() if seq in received]
    assert len(latencies) >= 0.8 * len(published)
    return statistics.median(latencies)


@contextmanager
def unread_socket(site: Site, *, user: int) -> Iterator[socket.socket]:
    """Open a socket for all exports of this user and never read from it."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY)
        raw.connect(("127.0.0.1", site.port))
        raw.settimeout(10)
        host = f"127.0.0.1:{site.port}"
        lines = [
            "GET /ws/exports/ HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Cookie: sessionid={site.sessions[user]}", "", "",
        ]  # fmt: skip
        raw.sendall("\r\n".join(lines).encode())
        assert raw.recv(12) == b"HTTP/1.1 101"
        yield raw


@contextmanager
def peak_memory(process: psutil.Process) -> Iterator[list[int]]:
    """Measure the peak of its memory in bytes, as the only element of the list."""
    peak, is_over = [0], Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
