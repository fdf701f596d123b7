"""How far a load is, for a person: a bar that redraws itself on a terminal, a few plain lines elsewhere."""

import time
from collections.abc import Callable

WIDTH = 28
REDRAW = 0.1


class ProgressBar:
    """Call it with the number done so far, out of `total`; `finish` ends its line.

    `redraws` says that a carriage return goes back to the start of the line there.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        total: int,
        unit: str,
        redraws: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.write, self.total, self.unit, self.redraws, self.clock = write, total, unit, redraws, clock
        self.started_at = self.drawn_at = clock()
        self.tenths = 0

    def __call__(self, done: int) -> None:
        if self.redraws:
            self.redraw(done)
        else:
            self.print_tenth(done)

    def redraw(self, done: int) -> None:
        if done < self.total and self.clock() - self.drawn_at < REDRAW:
            return
        self.drawn_at = self.clock()
        filled = WIDTH * done // self.total
        self.write(f"\r  [{'#' * filled}{'.' * (WIDTH - filled)}] {self.sentence(done)}\x1b[K")

    def print_tenth(self, done: int) -> None:
        tenths = 10 * done // self.total
        if tenths > self.tenths:
            self.tenths = tenths
            self.write(f"  {self.sentence(done)}\n")

    def sentence(self, done: int) -> str:
        left = (self.clock() - self.started_at) * (self.total - done) / max(done, 1)
        ending = f", {left:.0f} s left" if done < self.total else ""
        return f"{100 * done // self.total:3d} % ({done:,} of {self.total:,} {self.unit}{ending})"

    def finish(self) -> None:
        if self.redraws:
            self.write("\n")
