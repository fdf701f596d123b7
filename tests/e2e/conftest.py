"""Fixtures: the running site and a browser. Every test in this folder is marked `e2e`."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from project.demo import source
from tests.e2e.stack import ROOT, Stack
from tests.e2e.visits import Visit, visiting
from tests.servers import NotInstalled, Postgres, Smtp

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

FIREFOX = Path(__file__).with_name("firefox.py")

# By default in Chromium alone, so that bin/test stays under 20 minutes.
firefox = pytest.param("firefox", marks=pytest.mark.slow)
in_both_browsers = pytest.mark.parametrize("browser", ["chromium", firefox], indirect=True)

OpenVisit = Callable[..., Visit]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--save-screenshots", action="store_true", help="Write the pictures of docs/.")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by database, so that the site starts once for each, and after all other tests.

    Playwright keeps an event loop running in this thread, and other async tests need the thread without one.
    """
    e2e_items = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in e2e_items:
        item.add_marker(pytest.mark.e2e)
    databases = {item: item.callspec.params.get("stack") for item in e2e_items if hasattr(item, "callspec")}
    order = {item: 2 if databases.get(item) == "postgres" else 1 for item in e2e_items}
    items.sort(key=lambda item: order.get(item, 0))


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: Any, smtp_server: Smtp) -> Path:
    """Return a folder with all flights in SQLite, which a stack copies. They are downloaded once into var/data."""
    folder = tmp_path_factory.mktemp("loaded") / "var"
    (folder / "data").mkdir(parents=True)
    shutil.copy(source.fetch(ROOT / "var" / "data"), folder / "data")
    demo = Stack(folder, smtp_server).demo
    with demo.lock:
        demo.prepare()
    return folder


@pytest.fixture(scope="session", params=["sqlite"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: Any, loaded: Path, smtp_server: Smtp) -> Iterator[Stack]:
    """The site with all flights loaded, on SQLite, or on PostgreSQL for tests that ask for it."""
    folder = shutil.copytree(loaded, tmp_path_factory.mktemp("site") / "var")
    with ExitStack() as opened:
        database = opened.enter_context(Postgres()) if request.param == "postgres" else None
        yield opened.enter_context(Stack(folder, smtp_server, database=database))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as environment:
        # Playwright keeps an event loop running in this thread, in which tests ask the database.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield playwright


@pytest.fixture(scope="session", params=["chromium"])
def browser(request: pytest.FixtureRequest, playwright: Playwright) -> Iterator[Browser]:
    """Chromium, or Firefox for tests that ask for it."""
    if request.param == "firefox":
        # Its first line asks for the interpreter by name.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = os.environ | {"PATH": path}
        browser = playwright.firefox.launch(channel="moz-firefox", executable_path=FIREFOX, env=environment)
    else:
        browser = playwright.chromium.launch(executable_path=chromium_program(), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def open_visit(stack: Stack, browser: Browser) -> Iterator[OpenVisit]:
    """Return a function that opens a tab in a new browser context: of a user, or of None for an anonymous user."""
    with ExitStack() as opened:
        yield lambda *user, **options: opened.enter_context(visiting(stack, browser, *user, **options))
    stack.cancel_all()


@pytest.fixture
def slowly(stack: Stack) -> Iterator[None]:
    """Slow exports down, so that a test can interrupt them."""
    with stack.slowly():
        yield


@pytest.fixture
def visit(open_visit: OpenVisit) -> Visit:
    """A tab of ada with the start page."""
    return open_visit("ada").go()


def chromium_program() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        raise NotInstalled("Chromium was not found. Install the package chromium.")
    return found


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the pictures of the documentation: docs/ if they are to be written."""
    return ROOT / "docs" if request.config.getoption("--save-screenshots", default=False) else tmp_path
