"""docs/quickstart.md as a new user follows it: a new virtual environment, the built wheel, a browser, each server.

The text is used as it stands, but for the port: others may use 8000.
"""

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, WebSocket

from exports import faults
from tests.doc_blocks import ROOT, Block, blocks_of
from tests.e2e.stack import Client
from tests.e2e.visits import checking_frames
from tests.servers import free_port, wait_until

GUIDE = ROOT / "docs" / "quickstart.md"
BLOCKS = list(blocks_of(GUIDE))
FILE = re.compile(r"`(mysite/\w+\.py)`:\s*\Z")
FINISH_MILLISECONDS = 60_000
LEASE_SECONDS = 60


class NewUser:
    """A folder, and what its user has done in it: seconds of the commands, files and settings touched."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.seconds: list[tuple[str, float]] = []
        self.files: set[str] = set()
        self.settings: set[str] = set()
        self.port = free_port()
        # The released package stands beside the index of packages.
        own = {"PIP_FIND_LINKS": str(wheel.parent), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        path = f"{folder / '.venv' / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = inherited | own | {"PATH": path}

    def run(self, commands: str, *, name: str = "") -> str:
        began = time.monotonic()
        ended = subprocess.run(
            ["bash", "-eu", "-c", commands], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stdout}{ended.stderr}"
        self.seconds.append((name or commands.split("\n")[0], time.monotonic() - began))
        return ended.stdout

    def edit(self, block: Block) -> None:
        """Write or append to the file that the sentence before the block names."""
        before = "\n".join(GUIDE.read_text().splitlines()[: block.line - 1])
        found = FILE.search(before)
        assert found is not None, block.name
        path = self.folder / found[1]
        appends = "to the end of" in before.splitlines()[-1]
        path.write_text(f"{path.read_text()}\n{block.code}" if appends else block.code)
        self.files.add(found[1])
        if found[1].endswith("settings.py"):
            self.settings |= set(assigned_names(block.code))

    @contextmanager
    def serving(self, command: str, *, environment: dict[str, str] | None = None, starts: int = 1) -> Iterator[str]:
        """Run a server of the guide, and yield its address. Meanwhile its workers start `starts` times."""
        command = re.sub(r"--port 8000", f"--port {self.port}", command)
        command += f" {self.port}" if command.endswith("runserver") else ""
        log = self.folder / "server.log"
        url, began = f"http://127.0.0.1:{self.port}", time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                command.split(), cwd=self.folder, env=environment or self.environment, stdout=output, stderr=output
            )
            try:
                wait_until(lambda: process.poll() is not None or answers(url), seconds=60)
                assert process.poll() is None, log.read_text()
                self.seconds.append((command, time.monotonic() - began))
                yield url
            finally:
                process.terminate()
                process.wait(30)
        said = log.read_text()
        assert "Traceback" not in said, said
        assert said.count("for development only") == starts, said


NOT_INHERITED = ("DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


def assigned_names(code: str) -> Iterator[str]:
    """Yield the settings that this code assigns, whole or in part."""
    for statement in ast.parse(code).body:
        [target] = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        while isinstance(target, ast.Subscript):
            target = target.value
        yield target.id


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code > 0
    except httpx.TransportError:
        return False


def bash_of(heading: str) -> list[str]:
    """Return the shell blocks below this heading."""
    return [block.code.strip() for block in below(heading) if block.language == "bash"]


def below(heading: str) -> list[Block]:
    lines = GUIDE.read_text().splitlines()
    first = lines.index(f"## {heading}") + 1
    end = next((n for n, line in enumerate(lines, 1) if n > first and line.startswith("## ")), len(lines))
    return [block for block in BLOCKS if first < block.line < end]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> NewUser:
    """A user who has installed the wheel and made a project, as the guide says."""
    user = NewUser(tmp_path_factory.mktemp("quickstart"), wheel)
    [install] = bash_of("Install it")
    user.run(install, name="installation")
    return user


@pytest.fixture(scope="module")
def project(user: NewUser) -> NewUser:
    """The user after all that the guide says before the first server starts, whose command is left."""
    for heading in ("Change the settings", "Add the URLs", "Declare an export"):
        [block] = below(heading)
        user.edit(block)
    assert "no issues" in user.run("python manage.py check")
    user.run("\n".join(commands_to_run()[:-1]), name="migrate, createsuperuser, rows")
    return user


def commands_to_run() -> list[str]:
    [block] = bash_of("Run it")
    return block.splitlines()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(accept_downloads=True) as context, checking_frames(context):
        yield context.new_page()


def export(page: Page, url: str) -> list[str]:
    """Sign in, press the button, wait for the file, and return the status texts that the page showed."""
    page.goto(f"{url}/exports/new/users/")
    page.get_by_label("Username:").fill("ada")
    page.get_by_label("Password:").fill("change-me")
    page.get_by_role("button", name="Log in").click()
    button = page.get_by_role("button", name="Export", exact=True)
    button.wait_for()
    with page.expect_response(
        lambda response: "/exports/new/" in response.url and response.status in (202, 303)
    ) as answered:
        button.click()
    # A page whose script has not loaded yet sends the form without it.
    answer = answered.value
    export_id = answer.json()["id"] if answer.status == 202 else answer.headers["location"].split("/")[-3]
    card = page.locator(f"export-progress[export-id='{export_id}']")
    texts: list[str] = []
    status = card.locator("[data-part=status]")
    ends_at = time.monotonic() + FINISH_MILLISECONDS / 1000
    while not texts or not texts[-1].startswith("Ready"):
        assert time.monotonic() < ends_at, texts
        if (text := status.inner_text()) not in texts[-1:]:
            texts.append(text)
        page.wait_for_timeout(20)
    with page.expect_download() as downloading:
        card.get_by_role("link", name="Download").click()
    assert Path(downloading.value.path()).read_bytes().startswith(b"PK")
    return texts


def test_the_quickstart_leads_to_a_live_export_on_each_server(project: NewUser, page: Page):
    user = project
    with user.serving(commands_to_run()[-1]) as url:
        texts = export(page, url)
    # It asks every second or two: the progress of a short run is not always seen.
    assert len(texts) > 1, texts
    first = f"{len(user.files)} files, {len(user.settings)} settings: {sorted(user.files)}, {sorted(user.settings)}"
    assert (len(user.files), len(user.settings)) <= (3, 4), first

    asgi, daphne_settings = (block for block in below("Let the server push progress") if block.language == "python")
    user.edit(asgi)
    daphne, uvicorn, runserver = bash_of("Let the server push progress")
    install, uvicorn = uvicorn.splitlines()
    user.run(install, name="installation of uvicorn")
    for server in (daphne, uvicorn, runserver):
        if server == runserver:
            user.edit(daphne_settings)
        page.context.clear_cookies()
        frames: list[str] = []

        def keep(socket: WebSocket, kept: list[str] = frames) -> None:
            socket.on("framereceived", lambda payload: kept.append(str(payload)))

        page.on("websocket", keep)
        with user.serving(server) as url:
            export(page, url)
            # The run is short: the page may have polled its end before the socket was open.
            for _ in range(50):
                if frames:
                    break
                page.wait_for_timeout(200)
        # Sockets of uvicorn are in test_stacks_servers.py; here its page often polls the end of the short run first.
        assert frames or server == uvicorn, f"No message came over a socket of {server!r}."
    print(f"\nTo the first live export: {first}")
    for name, seconds in user.seconds:
        print(f"{seconds:6.1f} s  {name}")
    commands_alone = sum(seconds for name, seconds in user.seconds if not name.startswith("installation"))
    print(f"{commands_alone:6.1f} s  without the installation, on all servers")


@pytest.mark.slow
def test_an_export_that_a_reload_interrupts_is_made_again(project: NewUser):
    slowed = project.environment | {faults.VARIABLE: "mid_rows=sleep:0.03"}
    command, client = commands_to_run()[-1], Client(f"http://127.0.0.1:{project.port}")
    with client, project.serving(command, environment=slowed, starts=2):
        login = f"/admin/login/?next={client.get('/exports/new/users/').headers['location'].partition('next=')[2]}"
        client.get(login)
        assert client.send_form(login, username="ada", password="change-me").status_code == 302
        state = client.wait_for(client.request_export("users"), "running")
        (project.folder / "mysite" / "urls.py").touch()
        began = time.monotonic()
        wait_until(lambda: not answers(client.base_url), seconds=20)
        wait_until(lambda: answers(client.base_url), seconds=20)
        state = client.wait_for(state, "ready")
    assert time.monotonic() - began < LEASE_SECONDS
    assert state["attempt"] == 1


def test_the_command_sets_up_a_new_project(user: NewUser, tmp_path: Path):
    mine = NewUser(tmp_path, user.folder)
    mine.environment["PATH"] = user.environment["PATH"]
    mine.run("django-admin startproject mysite .")
    [settings], [write] = below("Change the settings"), bash_of("Let the command do it")
    with (tmp_path / "mysite" / "settings.py").open("a") as file:
        file.write(settings.code.splitlines()[0])
    printed = mine.run(write.removesuffix(" --write"))
    assert printed.count("  add to mysite/") == 5, printed
    assert mine.run(write).count("  added to mysite/") == 5
    assert "Nothing is missing" in mine.run(write)
    # The guide and the command say the same.
    for line in settings.code.splitlines()[1:]:
        assert line.startswith("#") or line in (tmp_path / "mysite" / "settings.py").read_text()
    assert "with_exports(get_asgi_application())" in (tmp_path / "mysite" / "asgi.py").read_text()
    assert 'include("exports.urls")' in (tmp_path / "mysite" / "urls.py").read_text()
    assert "no issues" in mine.run("python manage.py check")
