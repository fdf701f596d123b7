"""How much memory a process takes while something happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

LOOK_SECONDS = 0.05
MIB = 1 << 20


class Peak:
    """The most that a process and its children had resident at once, in MiB."""

    def __init__(self) -> None:
        self.mib = 0.0

    def look(self, process: psutil.Process) -> None:
        # A child may end between being listed and being asked.
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            self.mib = max(self.mib, sum(each.memory_info().rss for each in family) / MIB)


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    """Looks at the process in short intervals while the block runs."""
    peak, ended, process = Peak(), threading.Event(), psutil.Process(pid)

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            peak.look(process)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
