"""The site and a browser. Every test below this folder is marked `e2e`."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.stack import Stack, prepared_folder
from tests.e2e.visits import Visit, visiting
from tests.servers import NotInstalled, Postgres, Smtp

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

OpenVisit = Callable[..., Visit]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One database after the other, so that the site is started once for each. Other tests go first: Playwright keeps
    an event loop running in this thread, which tests with a loop of their own do not survive."""
    items.sort(key=place)
    for item in items:
        if is_here(item):
            item.add_marker(pytest.mark.e2e)


def place(item: pytest.Item) -> int:
    if not is_here(item):
        return 0
    return 2 if item.callspec.params["stack"] == "postgres" else 1


def is_here(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.fixture(scope="session", params=["sqlite"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: Any, smtp_server: Smtp) -> Iterator[Stack]:
    """The site with all flights loaded, on SQLite or where a test asks for it on PostgreSQL."""
    folder = prepared_folder(tmp_path_factory.mktemp("site") / "var")
    with ExitStack() as opened:
        database_url = ""
        if request.param == "postgres":
            database_url = opened.enter_context(Postgres()).create_database("flights")
        yield opened.enter_context(Stack(folder, smtp_server, database_url=database_url))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_visit(stack: Stack, browser: Browser) -> Iterator[OpenVisit]:
    """Opens a tab in a browser of its own: open_visit("ada"), open_visit(None), and Playwright's context options."""
    with ExitStack() as opened:
        yield lambda *user, **options: opened.enter_context(visiting(stack, browser, *user, **options))
    stack.cancel_all()


@pytest.fixture
def slowly(stack: Stack) -> Iterator[None]:
    """Exports take long enough to do something in their middle."""
    with stack.slowly():
        yield


@pytest.fixture
def visit(open_visit: OpenVisit) -> Visit:
    """Ada at the start page."""
    return open_visit("ada").go()


def chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        raise NotInstalled("There is no Chromium here. Install the package chromium.")
    return found
