"""The files in docs/deployment: their syntax, and the site that they start, in a plain folder instead of containers.

No container runs here. The steps of the image and the commands of its processes do, with the environment that
compose.yaml gives them, on a real PostgreSQL, Valkey and S3 server.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from tests.bucket.server import Moto
from tests.servers import Postgres, Server, Valkey, free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "deployment"
KUBERNETES = "1.34"
PROCESSES = ("web", "large", "small", "housekeeper")
PYTHON = {"python": sys.executable, "/opt/venv/bin/python": sys.executable}


def dockerfile() -> list[tuple[str, str]]:
    """Return each instruction of the Dockerfile with its arguments."""
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return parsed


def kubernetes() -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())["items"]
    return parsed


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod of each process in Kubernetes."""
    return {
        each["metadata"]["name"].removeprefix("exports-"): each["spec"]["template"]["spec"]
        for each in kubernetes()
        if each["kind"] in ("Deployment", "Job")
    }


def image_command() -> list[str]:
    [command] = [json.loads(rest) for word, rest in dockerfile() if word == "CMD"]
    return list(command)


def commands() -> dict[str, list[str]]:
    services = compose()["services"]
    return {name: services[name].get("command") or image_command() for name in PROCESSES}


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_runs_as_a_user_that_kubernetes_knows_not_to_be_root() -> None:
    [user] = [rest for word, rest in dockerfile() if word == "USER"]
    assert int(user) > 0
    for pod in pods().values():
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("number", range(len(kubernetes())))
def test_kubernetes_knows_each_field(number: int) -> None:
    kubernetes_validate.validate(kubernetes()[number], KUBERNETES, strict=True)


def test_kubernetes_and_compose_run_the_same_commands() -> None:
    in_pods = {name: pod["containers"][0].get("args") or image_command() for name, pod in pods().items()}
    assert {name: in_pods[name] for name in PROCESSES} == commands()


def test_the_units_run_the_same_commands() -> None:
    for name, command in commands().items():
        [unit] = (FOLDER / "systemd").glob(f"exports-{name}*.service")
        [start] = re.findall(r"(?m)^ExecStart=(.*)", unit.read_text())
        expected = " ".join(command[1:]).replace("0.0.0.0", "127.0.0.1")
        assert start == f"/srv/exports/app/.venv/bin/python {expected}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in (FOLDER / "systemd").iterdir():
        text = unit.read_text().replace("/srv/exports/app/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in found.stderr.splitlines() if "exports-" in line]
    assert (found.returncode, ours) == (0, [])


class Service(Server):
    """A process of ours as compose.yaml describes it."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path, *, port: int | None = None) -> None:
        super().__init__()
        self._command = [PYTHON.get(command[0], command[0]), *command[1:]]
        self._options = {"cwd": cwd, "env": environment}
        self._port = port

    def command(self) -> list[str]:
        return self._command

    def options(self) -> dict[str, object]:
        return dict(self._options)

    def answers(self) -> bool:
        if self._port is None:
            return "ready" in self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/health/ready").is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder /app of the image, made by the steps of its first stage that install nothing."""
    app = tmp_path_factory.mktemp("image") / "app"
    (app / "var").mkdir(parents=True)
    # What npm has installed already.
    (ROOT / "var" / "npm").mkdir(parents=True, exist_ok=True)
    (app / "var" / "npm").symlink_to(ROOT / "var" / "npm")
    first_stage = dockerfile()[1 : [word for word, _ in dockerfile()].index("FROM", 1)]
    for word, rest in first_stage:
        if word == "COPY":
            source, target = rest.split()
            copied = subprocess.check_output(["git", "ls-files", "-z", source], cwd=ROOT, text=True).split("\0")
            for name in filter(None, copied):
                to = app / (name if target == "./" else f"{target}/{Path(name).relative_to(source)}")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to, follow_symlinks=False)
        elif word == "RUN" and not rest.startswith(("apt-get", "python -m venv")):
            script = rest.replace("/opt/venv/bin/python", shlex.quote(sys.executable)).replace("/app", str(app))
            subprocess.run(["/bin/sh", "-ec", script], cwd=app, env=bare_environment(), check=True)
    return app


def bare_environment() -> dict[str, str]:
    """Return the environment of this process without its settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TEST_", "EXPORTS_"))}


@pytest.fixture(scope="module")
def site(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the four processes; return the address of the site, and their environment."""
    port, var = free_port(), tmp_path_factory.mktemp("var")
    with Postgres() as postgres, Valkey() as valkey, Moto() as moto, ExitStack() as services:
        changes = {
            "SECRET_KEY": "a-secret-of-fifty-characters-for-the-test-of-the-image",
            "DATABASE_URL": postgres.create_database("deployment"),
            "REDIS_URL": valkey.url,
            "EXPORTS_S3_BUCKET": moto.BUCKET,
            "EXPORTS_S3_REGION": moto.REGION,
            "EXPORTS_S3_ENDPOINT_URL": moto.url,
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        environment = {**bare_environment(), **compose()["services"]["web"]["environment"], **changes}
        environment |= {"STATIC_ROOT": str(image / "static"), "VAR_DIR": str(var)}
        run = compose()["services"]["migrate"]["command"]
        subprocess.run([PYTHON[run[0]], *run[1:]], cwd=image, env=environment, check=True, capture_output=True)
        for name, command in commands().items():
            own_port = port if name == "web" else None
            given = ["127.0.0.1" if word == "0.0.0.0" else str(port) if word == "8000" else word for word in command]
            services.enter_context(Service(given, environment, image, port=own_port))
        yield f"http://127.0.0.1:{port}", environment


@pytest.mark.servers
def test_the_health_check_of_the_container_passes(site: tuple[str, dict[str, str]]) -> None:
    _, program, *arguments = compose()["services"]["web"]["healthcheck"]["test"]
    checked = [word.replace("http://127.0.0.1:8000", site[0]) for word in arguments]
    subprocess.run([PYTHON[program], *checked], check=True)


@pytest.mark.servers
def test_the_processes_of_the_image_make_a_file(site: tuple[str, dict[str, str]], image: Path) -> None:
    url, environment = site
    made = {"DJANGO_SUPERUSER_PASSWORD": "a-long-password-1", "DJANGO_SUPERUSER_EMAIL": "ada@example.com"}
    create = ["manage.py", "createsuperuser", "--noinput", "--username", "ada"]
    subprocess.run(
        [sys.executable, *create], cwd=image, env=environment | made, check=True, capture_output=True, timeout=60
    )
    with httpx.Client(base_url=url, headers={"Host": "localhost"}, follow_redirects=True) as client:
        page = client.get("/login/")
        token, *_ = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        login = {"username": "ada", "password": made["DJANGO_SUPERUSER_PASSWORD"], "csrfmiddlewaretoken": token}
        assert client.post("/login/", data=login, headers={"Referer": url}).is_success
        # Hashed names, of files that are there.
        [script] = re.findall(r'src="(/static/[^"]+\.js)"', client.get("/exports/").text)[:1]
        assert client.get(script).headers["Cache-Control"].endswith("immutable")
        asked = {"format": "csv", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        headers = {"Accept": "application/json", "Referer": url}
        state = client.post("/exports/new/flights/", data=asked, headers=headers).json()

        def ready() -> bool:
            nonlocal state
            state = client.get(state["urls"]["self"], headers=headers).json()
            return state["status"] != "queued" and state["status"] != "running"

        wait_until(ready)
        assert state["status"] == "ready", state
        file = client.get(state["urls"]["download"])
    assert str(file.url).startswith(environment["EXPORTS_S3_ENDPOINT_URL"])
    assert file.text.removeprefix("\ufeff").startswith("Year,Month,Day")
