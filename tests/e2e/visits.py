"""A person at the site in Chromium, and what the recorder wrote down of what they could see."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Browser, Locator, Page

from tests.e2e.stack import FINISH_SECONDS, Stack
from tests.servers import wait_until

RECORDER = Path(__file__).with_name("recorder.js")
FINISH = FINISH_SECONDS * 1000
ZONE = "America/New_York"


@dataclass(frozen=True)
class Entry:
    """What one export's card showed from `at` (milliseconds since 1970) on. `value` is the bar's, None without one."""

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
    """One tab. Signed in unless the context is not."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def go(self, path: str = "/") -> Self:
        self.page.goto(path)
        return self

    def export(self, format: str = "csv", **chosen: str) -> str:
        """Choose, press the format's button, and give the id of the export that appears."""
        for name, value in chosen.items():
            self.page.locator(f"export-form [name={name}]").select_option(value)
        button = self.page.locator(f"export-form button[value={format}]")
        with self.page.expect_response(lambda answer: "/exports/new/" in answer.url) as answered:
            button.click()
        assert answered.value.status == 202, answered.value.text()
        return answered.value.json()["id"]

    def card(self, export_id: str) -> Locator:
        return self.page.locator(f'export-progress[export-id="{export_id}"]')

    def part(self, export_id: str, name: str) -> Locator:
        return self.card(export_id).locator(f"[data-part={name}]")

    def wait_for_status(self, export_id: str, status: str) -> None:
        self.page.locator(f'export-progress[export-id="{export_id}"][status={status}]').wait_for(timeout=FINISH)

    def wait_for_bar(self, export_id: str, value: float = 0.2) -> None:
        """Returns in the middle: the bar is at `value` or beyond. Raises when the end came first."""
        bar = self.part(export_id, "bar").element_handle()
        self.page.wait_for_function("([bar, value]) => bar.value >= value", arg=[bar, value], timeout=FINISH)
        assert self.card(export_id).get_attribute("status") == "running"

    def wait_for_ready(self, export_id: str) -> None:
        """Returns when the page has its end and the link has been asked."""
        self.wait_for_status(export_id, "ready")
        self.page.wait_for_function("(id) => Number(window.recorder.answers[id]) > 0", arg=export_id, timeout=FINISH)

    def entries(self, export_id: str) -> list[Entry]:
        """What this tab has shown of the export since it was loaded last."""
        return [Entry(**entry) for entry in self.page.evaluate("recorder.entries") if entry["id"] == export_id]

    def link_answer(self, export_id: str) -> Any:
        """The status that a GET of the link had at the moment the bar said 100 %."""
        return self.page.evaluate("(id) => recorder.answers[id]", export_id)

    def state(self, export_id: str) -> dict[str, Any]:
        return self.card(export_id).evaluate("(card) => card.state")

    def link_status(self, export_id: str) -> int:
        """What a GET of the link answers now, redirects followed."""
        return self.page.request.get(self.part(export_id, "download").get_attribute("href")).status


@contextmanager
def visiting(stack: Stack, browser: Browser, username: str | None = "ada", **options: Any) -> Iterator[Visit]:
    """A tab in a browser of its own, signed in where a user is named. The options are those of Playwright's context."""
    context = browser.new_context(base_url=stack.url, timezone_id=ZONE, locale="en-US", **options)
    context.set_default_timeout(60_000)
    context.add_init_script(path=RECORDER)
    if username:
        cookies = stack.client(username).cookies.jar
        context.add_cookies([{"name": each.name, "value": each.value, "url": stack.url} for each in cookies])
    with closing(context):
        yield Visit(context.new_page())


def moves(entries: list[Entry]) -> int:
    """How often the bar moved."""
    return sum(before.value != after.value for before, after in pairwise(entries))


def falls(entries: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Where the bar went backwards within a run. Back in the queue it may: there the next run begins."""
    shown = [entry for entry in entries if entry.value is not None]
    return [
        (before, after)
        for before, after in pairwise(shown)
        if is_same_run(before, after) and after.value < before.value
    ]


def is_same_run(before: Entry, after: Entry) -> bool:
    return before.status == "running" and before.attempt == after.attempt and after.status in ("running", "ready")


def seconds_running(entries: list[Entry]) -> float:
    """From the first sight of a worker to the link."""
    [began, *_] = [entry.at for entry in entries if entry.status == "running"]
    [ended, *_] = [entry.at for entry in entries if entry.status == "ready"]
    return (ended - began) / 1000


def assert_whole_life(visit: Visit, export_id: str) -> None:
    """The end that every page must come to: the bar never fell, 100 % and link came together, and the link works."""
    entries = visit.entries(export_id)
    assert falls(entries) == []
    assert entries[-1].status == "ready"
    assert entries[-1].percent == "100%"
    assert visit.link_answer(export_id) == 200
    assert [entry for entry in entries if entry.value == 1 and entry.status != "ready"] == []
    wait_until(lambda: visit.link_status(export_id) == 200)
