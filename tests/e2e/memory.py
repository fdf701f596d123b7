"""Measure the memory of a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

INTERVAL_SECONDS = 0.05
MIB = 1 << 20


class Peak:
    """The largest resident memory of a process and its children together, in MiB."""

    def __init__(self) -> None:
        self.mib = 0.0

    def measure(self, process: psutil.Process) -> None:
        # A child may end after it was listed.
        with suppress(psutil.NoSuchProcess):
            processes = [process, *process.children(recursive=True)]
            self.mib = max(self.mib, sum(each.memory_info().rss for each in processes) / MIB)


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    """Measure the memory of a process at short intervals while the block runs."""
    peak, ended, process = Peak(), threading.Event(), psutil.Process(pid)

    def watch() -> None:
        while not ended.wait(INTERVAL_SECONDS):
            peak.measure(process)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
