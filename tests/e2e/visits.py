"""A user with the site in Chromium, and what recorder.js has recorded of the cards on the page."""

import json
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocket

from exports.realtime import SOCKET_PATH
from tests import asyncapi
from tests.e2e.stack import FINISH_SECONDS, Stack
from tests.servers import wait_until

RECORDER = Path(__file__).with_name("recorder.js")
FINISH = FINISH_SECONDS * 1000
ZONE = "America/New_York"
FILE_TYPE = "flights"


@dataclass(frozen=True)
class Entry:
    """What the card of an export showed from `at` on (milliseconds since 1970). `value` is that of the bar, or None."""

    at: float
    id: str
    status: str
    attempt: int | None
    value: float | None
    percent: str
    text: str
    link: str | None
    troubled: bool


class Visit:
    """One browser tab."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.stack = stack

    def new_tab(self) -> "Visit":
        return Visit(self.page.context.new_page(), self.stack)

    def go(self, path: str = "/") -> Self:
        self.page.goto(path)
        return self

    def export(self, format: str = "csv", **chosen: str) -> str:
        """Fill in the form, choose the format, press the button, and return the id of the new export."""
        for name, value in chosen.items():
            self.page.locator(f"export-form [name={name}]").select_option(value)
        with self.page.expect_response(lambda answer: answer.url.endswith(f"/exports/new/{FILE_TYPE}/")) as answered:
            press_export(self.page, format)
        assert answered.value.status == 202, answered.value.text()
        return answered.value.json()["id"]

    def card(self, export_id: str) -> Locator:
        return self.page.locator(f'export-progress[export-id="{export_id}"]')

    def part(self, export_id: str, name: str) -> Locator:
        return self.card(export_id).locator(f"[data-part={name}]")

    def wait_for_status(self, export_id: str, status: str) -> None:
        self.page.locator(f'export-progress[export-id="{export_id}"][status={status}]').wait_for(timeout=FINISH)

    def wait_for_bar(self, export_id: str, value: float = 0.2) -> None:
        """Wait until the bar of a running export has reached `value`, 0 to 1."""
        bar = self.part(export_id, "bar").element_handle()
        self.page.wait_for_function("([bar, value]) => bar.value >= value", arg=[bar, value], timeout=FINISH)
        assert self.card(export_id).get_attribute("status") == "running"

    def wait_for_ready(self, export_id: str) -> None:
        """Wait until the page shows READY and the recorder has requested the link. Workers no longer pause."""
        self.stack.hurry()
        self.wait_for_status(export_id, "ready")
        self.page.wait_for_function("(id) => Number(window.recorder.answers[id]) > 0", arg=export_id, timeout=FINISH)

    def entries(self, export_id: str) -> list[Entry]:
        """Return what this tab has shown of the export since it was loaded."""
        return [Entry(**entry) for entry in self.page.evaluate("recorder.entries") if entry["id"] == export_id]

    def link_answer(self, export_id: str) -> Any:
        """Return the status of a GET of the link, sent at the moment when the bar reached 100 %."""
        return self.page.evaluate("(id) => recorder.answers[id]", export_id)

    def state(self, export_id: str) -> dict[str, Any]:
        return self.card(export_id).evaluate("(card) => card.state")

    def link_status(self, export_id: str) -> int:
        """Return the status of a GET of the link after redirects."""
        return self.page.request.get(self.part(export_id, "download").get_attribute("href")).status


def press_export(page: Page, format: str = "csv") -> None:
    """Choose the format in the form of the page, and press its button."""
    page.locator("export-form [name=format]").select_option(format)
    page.get_by_role("button", name="Export", exact=True).click()


@contextmanager
def visiting(stack: Stack, browser: Browser, username: str | None = "ada", **options: Any) -> Iterator[Visit]:
    """Open a tab in a new browser context with these options of Playwright, signed in if a user is named."""
    context = browser.new_context(base_url=stack.url, timezone_id=ZONE, locale="en-US", **options)
    context.set_default_timeout(60_000)
    context.add_init_script(path=RECORDER)
    if username:
        cookies = stack.client(username).cookies.jar
        context.add_cookies([{"name": each.name, "value": each.value, "url": stack.url} for each in cookies])
    with closing(context), checking_frames(context):
        yield Visit(context.new_page(), stack)


@contextmanager
def checking_frames(context: BrowserContext) -> Iterator[None]:
    """Raise AssertionError at the end if a frame of the pages opened inside is not as docs/asyncapi.yaml says."""
    wrong: list[str] = []
    context.on("page", lambda page: page.on("websocket", lambda socket: check_frames(socket, wrong)))
    yield
    assert wrong == []


def check_frames(socket: WebSocket, wrong: list[str]) -> None:
    """Note each frame of a socket of this app that is not as docs/asyncapi.yaml says."""
    if not urlsplit(socket.url).path.startswith(SOCKET_PATH):
        wrong.append(f"an unknown socket: {socket.url}")

    def check(names: Collection[str], frame: str | bytes) -> None:
        wrong.extend(f"{error} in {frame!r}" for error in asyncapi.errors_of(json.loads(frame), names))

    socket.on("framereceived", partial(check, asyncapi.SENT))
    socket.on("framesent", partial(check, asyncapi.RECEIVED))


def moves(entries: list[Entry]) -> int:
    """Return how often the bar moved."""
    return sum(before.value != after.value for before, after in pairwise(entries))


def falls(entries: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Return where the bar went backwards within a run. A new run after the queue may start lower."""
    shown = [entry for entry in entries if entry.value is not None]
    return [
        (before, after)
        for before, after in pairwise(shown)
        if is_same_run(before, after) and after.value < before.value
    ]


def is_same_run(before: Entry, after: Entry) -> bool:
    return before.status == "running" and before.attempt == after.attempt and after.status in ("running", "ready")


def seconds_running(entries: list[Entry]) -> float:
    """Return the seconds from the first sign of a worker to the link."""
    [began, *_] = [entry.at for entry in entries if entry.status == "running"]
    [ended, *_] = [entry.at for entry in entries if entry.status == "ready"]
    return (ended - began) / 1000


def assert_ended_well(visit: Visit, export_id: str) -> None:
    """Assert that the bar never fell, that 100 % and the link came together, and that the link works."""
    entries = visit.entries(export_id)
    assert falls(entries) == []
    assert entries[-1].status == "ready"
    assert entries[-1].percent == "100%"
    assert visit.link_answer(export_id) == 200
    assert [entry for entry in entries if entry.value == 1 and entry.status != "ready"] == []
    wait_until(lambda: visit.link_status(export_id) == 200)
