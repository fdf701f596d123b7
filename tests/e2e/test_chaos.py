"""Faults at random moments: a page never shows a speed or a time left older than six seconds, and ends right.

CHAOS_RUNS=100 .venv/bin/python -m pytest tests/e2e/test_chaos.py makes 100 runs, each at other moments.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import ceil

import pytest

from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import Visit, assert_ended_well

Fault = Callable[[Stack, Visit], AbstractContextManager[None]]

FAULT_SECONDS = 8.0
OLDEST_MS = 6_000

# Sockets whose frames stop arriving while `isBlocked`, and the age of the oldest speed that was shown.
WATCH = """
window.isBlocked = false;
window.oldest = 0;
window.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    this.addEventListener("message", (event) => isBlocked && event.stopImmediatePropagation());
  }
};
let changedAt = Date.now();
document.addEventListener("export:changed", () => (changedAt = Date.now()));
setInterval(() => {
  const details = [...document.querySelectorAll("export-progress[status=running] [data-part=detail]")];
  const isShown = details.some((detail) => /rows\\/s|left/.test(detail.textContent));
  if (isShown) oldest = Math.max(oldest, Date.now() - changedAt);
}, 200);
"""


@contextmanager
def offline(stack: Stack, visit: Visit) -> Iterator[None]:
    visit.page.context.set_offline(True)
    yield
    visit.page.context.set_offline(False)


def frozen(name: str) -> Fault:
    @contextmanager
    def fault(stack: Stack, visit: Visit) -> Iterator[None]:
        pid = stack.processes[name].pid
        os.kill(pid, signal.SIGSTOP)
        yield
        os.kill(pid, signal.SIGCONT)

    return fault


@contextmanager
def blocked(stack: Stack, visit: Visit) -> Iterator[None]:
    visit.page.evaluate("isBlocked = true")
    yield
    visit.page.evaluate("isBlocked = false")


@contextmanager
def asleep(stack: Stack, visit: Visit) -> Iterator[None]:
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    yield
    session.send("Page.setWebLifecycleState", {"state": "active"})


FAULTS: dict[str, Fault] = {
    "offline": offline,
    "web process frozen": frozen("web"),
    "worker frozen": frozen("large"),
    "socket blocked": blocked,
    "tab asleep": asleep,
}


@pytest.mark.usefixtures("slowly")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "offline" else pytest.mark.slow) for name in FAULTS]
)
@pytest.mark.parametrize("run", range(ceil(int(os.environ.get("CHAOS_RUNS", len(FAULTS))) / len(FAULTS))))
def test_a_page_never_shows_an_old_speed_and_ends_right(stack: Stack, open_visit: OpenVisit, name: str, run: int):
    visit = open_visit("ada")
    visit.page.add_init_script(WATCH)
    export_id = visit.go().export()
    visit.wait_for_bar(export_id, random.Random(f"{name} {run}").uniform(0.05, 0.3))
    with FAULTS[name](stack, visit):
        # The clock of a frozen tab stands still.
        time.sleep(FAULT_SECONDS)
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)
    assert visit.page.evaluate("oldest") <= OLDEST_MS
