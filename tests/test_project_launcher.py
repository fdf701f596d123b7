"""The demo's launcher, with small real processes: readiness, restarts, stopping in order, and no orphans."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from project import queue_server
from project.demo import credentials
from project.launcher import REPOSITORY, CannotRun, Demo, Launcher, running
from project.processes import NotStarted, Process
from tests.servers import wait_until

READY = "import time; print('ready', flush=True); time.sleep(60)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
SAYS_BYE = (
    f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit())); {READY}"
)
HAS_A_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
{READY}
"""
SLEEPS = "import time; time.sleep(60)"

Make = Callable[..., Process]


@pytest.fixture
def report() -> list[str]:
    return []


@pytest.fixture
def make(report: list[str]) -> Iterator[Make]:
    """Yield a function that makes a process of Python source, and kill all of them after the test."""
    made = []

    def process(source: str, *, name: str = "worker", **options: object) -> Process:
        command = [sys.executable, "-c", source]
        made.append(Process(name, command, environment=os.environ, report=report.append, **options))
        return made[-1]

    yield process
    for each in made:
        each.kill()
        each.stop()


@pytest.fixture
def started(make: Make) -> Make:
    """Like `make`, but the process is started and ready."""

    def process(source: str, **options: object) -> Process:
        process = make(source, **options)
        process.start()
        process.wait_until_ready(timeout=10)
        return process

    return process


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# One process


def test_a_process_is_ready_once_it_prints_the_word(make: Make, report: list[str], tmp_path: Path):
    go = tmp_path / "go"
    process = make(
        "import time, pathlib; print('already here', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n{READY}"
    )
    process.start()
    wait_until(lambda: report)
    assert not process.is_ready
    go.touch()
    process.wait_until_ready(timeout=10)
    assert report == ["worker      | already here", "worker      | ready"]


def test_a_process_can_be_asked_whether_it_is_ready(started: Make, tmp_path: Path):
    mark = tmp_path / "up"
    started(f"import pathlib; pathlib.Path({str(mark)!r}).touch(); {SLEEPS}", is_ready=mark.exists)
    assert mark.exists()


@pytest.mark.parametrize(
    ("source", "timeout", "message"),
    [
        ("import sys; print('why'); sys.exit(3)", 10, r"ended during startup \(exit code 3\)(?s:.*)why"),
        (SLEEPS, 0.2, "was not ready in time"),
    ],
)
def test_a_process_that_does_not_start_is_explained(make: Make, source: str, timeout: float, message: str):
    process = make(source)
    process.start()
    with pytest.raises(NotStarted, match=message):
        process.wait_until_ready(timeout=timeout)


def test_a_process_that_ends_is_restarted_with_growing_delays(make: Make, report: list[str]):
    process = make("raise SystemExit(1)", shows_output=False)
    process.start()
    pids = set()

    def has_ended_three_times() -> bool:
        pids.add(process.pid)
        process.restart_if_ended()
        return len(report) == 3

    wait_until(has_ended_three_times)
    assert report == [f"worker ended (exit code 1). Restarting it in {delay} s." for delay in ("0.25", "0.5", "1")]
    assert len(pids) == 3


def test_a_killed_process_is_reported_and_runs_again(started: Make, report: list[str]):
    process = started(READY)
    first = process.pid
    process.kill()

    def runs_again() -> bool:
        process.restart_if_ended()
        return process.pid != first and process.is_ready

    wait_until(runs_again)
    assert "worker ended (signal 9). Restarting it in 0.25 s." in report


def test_a_process_that_ignores_sigterm_is_killed(started: Make, report: list[str]):
    process = started(IGNORES_SIGTERM, stop_seconds=0.3)
    process.stop()
    assert not process.is_running
    assert "worker did not stop within 0.3 s and is killed." in report


def test_stopping_a_process_ends_its_children(started: Make, report: list[str]):
    process = started(HAS_A_CHILD)
    child = int(report[0].split()[-1])
    assert is_alive(child)
    process.stop()
    wait_until(lambda: not is_alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the end of a parent")
def test_no_process_outlives_a_launcher_that_is_killed():
    source = (
        "import os, sys, time; from project.processes import Process\n"
        f"process = Process('worker', [sys.executable, '-c', {READY!r}], environment=os.environ)\n"
        "process.start(); process.wait_until_ready(); print(process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert "ready" in parent.stdout.readline()
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_alive(child))


# All processes


def test_processes_start_by_stages_and_stop_in_reverse(make: Make, report: list[str]):
    queue, web, worker = (make(SAYS_BYE, name=name) for name in ("queue", "web", "worker"))
    with running(Launcher([[queue], [web, worker]])):
        assert all(process.is_ready for process in (queue, web, worker))
        assert report[0].startswith("queue")
    assert [line.split()[0] for line in report if line.endswith("bye")] == ["worker", "web", "queue"]


def test_a_launcher_that_cannot_start_stops_what_it_started(make: Make):
    good, bad = make(READY, name="good"), make("raise SystemExit('broken')", name="bad")
    with pytest.raises(NotStarted, match="bad ended during startup"), running(Launcher([[good], [bad]])):
        pytest.fail("The launcher must not start.")
    assert not good.is_running


# The queue's server


def test_a_server_in_redis_url_that_does_not_answer_is_explained(tmp_path: Path):
    with pytest.raises(queue_server.NoQueueServer, match=r"REDIS_URL names does not answer: .*refused"):
        queue_server.find({"REDIS_URL": "redis://127.0.0.1:1/0"}, var_dir=tmp_path)


def test_a_program_on_the_path_is_preferred_or_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue_server.find_program() == str(program)
    with pytest.raises(queue_server.NoQueueServer, match=r"Install Valkey or Redis .*, or set REDIS_URL"):
        queue_server.find_program(lambda name, path=None: None)


def test_a_second_start_uses_the_running_server(tmp_path: Path):
    server = queue_server.find({}, var_dir=tmp_path)
    assert server.process is not None
    with running(Launcher([[server.process]])):
        assert queue_server.find({}, var_dir=tmp_path) == queue_server.QueueServer(server.url)
        assert stat.S_IMODE(queue_server.socket_path(tmp_path).stat().st_mode) == 0o600
    assert queue_server.failure(server.url) is not None


def test_a_path_too_long_for_a_socket_is_replaced_by_a_private_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = Path("/", "d" * 200)
    path = queue_server.socket_path(deep)
    assert path == queue_server.socket_path(deep)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o755)
    with pytest.raises(queue_server.NoQueueServer, match="is not a private folder of yours"):
        queue_server.socket_path(deep)


# The demo


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return {"VAR_DIR": str(tmp_path), "PORT": str(server.getsockname()[1])}


def test_a_port_that_is_in_use_or_invalid_is_explained(environment: dict[str, str]):
    used = rf"Port {environment['PORT']} cannot be used .*Choose another: PORT="
    with socket.create_server(("127.0.0.1", int(environment["PORT"]))), pytest.raises(CannotRun, match=used):
        Demo(environment)
    for port in ("web", "0", "65536", "-1"):
        with pytest.raises(CannotRun, match="PORT must be a number from 1 to 65535"):
            Demo(environment | {"PORT": port})


def test_two_demos_cannot_share_a_folder(environment: dict[str, str]):
    with closing(Demo(environment)), pytest.raises(CannotRun, match="is already running in"):
        Demo(environment)
    Demo(environment).close()


def test_the_demo_runs_the_procfile_and_the_environment_overrides_its_defaults(environment: dict[str, str]):
    given = {"SECRET_KEY": "mine", "LOG_LEVEL": "", "EXPORTS_LEASE_SECONDS": "2"}
    with closing(Demo(environment | given | {"PATH": os.environ["PATH"]})) as demo:
        processes = demo.launcher().processes
    own = {"LOG_LEVEL": "WARNING", "BASE_URL": f"http://127.0.0.1:{environment['PORT']}/"}
    assert demo.environment.items() >= (given | own).items()
    assert list(processes) == ["queue", "web", "large", "small", "housekeeper"]
    assert processes["large"].command[-1].endswith("exec python manage.py exports work large")


def test_the_secrets_are_generated_once_and_private(tmp_path: Path):
    path = tmp_path / "demo.json"
    first = credentials.ensure(path)
    assert credentials.ensure(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(first["passwords"]) == {"ada", "grace", "staff"}
    assert len(set(first["passwords"].values())) == 3
