"""The demo's launcher, with real small processes: readiness, restarts, the order of stopping, nobody left behind."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from project import queue_server
from project.demo import credentials
from project.launcher import REPOSITORY, CannotRun, Demo, Launcher, running
from project.processes import NotStarted, Process

READY_THEN_SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY_THEN_SLEEP}"
SAYS_BYE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0)))
print("ready", flush=True)
time.sleep(60)
"""
HAS_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
print("ready", flush=True)
time.sleep(60)
"""

Make = Callable[..., Process]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(said: list[str]) -> Iterator[Make]:
    """Makes a process that runs Python source; whatever it is called, it does not outlive the test."""
    made = []

    def process(source: str, *, name: str = "worker", **options: object) -> Process:
        command = [sys.executable, "-c", source]
        made.append(Process(name, command, environment=os.environ, report=said.append, **options))
        return made[-1]

    yield process
    for each in made:
        each.kill()
        each.stop()


def wait_for(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_is_ready_when_it_prints_a_line_with_that_word(make: Make, said: list[str]) -> None:
    process = make(
        "import time; print('already here', flush=True); time.sleep(0.3); print('ready', flush=True); time.sleep(60)"
    )
    process.start()
    wait_for(lambda: said)
    assert not process.is_ready
    process.wait_until_ready(timeout=10)
    assert said == ["worker      | already here", "worker      | ready"]


def test_a_process_can_be_asked_whether_it_is_ready(make: Make, tmp_path: Path) -> None:
    mark = tmp_path / "up"
    process = make(f"import time, pathlib; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)", is_ready=mark.exists)
    process.start()
    process.wait_until_ready(timeout=10)
    assert mark.exists()


def test_a_process_that_ends_at_its_start_tells_its_last_words(make: Make) -> None:
    process = make("import sys; print('no such port'); sys.exit(3)")
    process.start()
    with pytest.raises(NotStarted, match=r"worker ended during startup \(exit code 3\)(?s:.*)no such port"):
        process.wait_until_ready(timeout=10)


def test_a_process_that_is_not_ready_in_time_is_said_so(make: Make) -> None:
    process = make("import time; time.sleep(60)")
    process.start()
    with pytest.raises(NotStarted, match="was not ready in time"):
        process.wait_until_ready(timeout=0.2)


def test_a_dead_process_is_started_again_and_the_delay_grows(make: Make, said: list[str]) -> None:
    process = make("raise SystemExit(1)", shows_output=False)
    process.start()
    starts = set()

    def has_died_three_times() -> bool:
        starts.add(process.pid)
        process.restart_if_ended()
        return len(said) == 3

    wait_for(has_died_three_times)
    delays = [re.search(r"Restarting it in ([\d.]+) s", line) for line in said]
    assert [delay and delay[1] for delay in delays] == ["0.25", "0.5", "1"]
    assert len(starts) == 3


def test_a_killed_process_is_reported_with_its_signal_and_runs_again(make: Make, said: list[str]) -> None:
    process = make(READY_THEN_SLEEP)
    process.start()
    process.wait_until_ready(timeout=10)
    first = process.pid
    process.kill()

    def runs_again() -> bool:
        process.restart_if_ended()
        return process.pid != first and process.is_ready

    wait_for(runs_again)
    assert "worker ended (signal 9). Restarting it in 0.25 s." in said


def test_a_process_that_ignores_sigterm_is_killed_after_its_limit(make: Make, said: list[str]) -> None:
    process = make(IGNORES_SIGTERM, stop_seconds=0.3)
    process.start()
    process.wait_until_ready(timeout=10)
    process.stop()
    assert not process.is_running
    assert "worker did not stop within 0.3 s and is killed." in said


def test_stopping_ends_what_the_process_has_started_too(make: Make, said: list[str]) -> None:
    process = make(HAS_A_CHILD)
    process.start()
    process.wait_until_ready(timeout=10)
    child = int(said[0].split()[-1])
    assert is_alive(child)
    process.stop()
    wait_for(lambda: not is_alive(child))


def test_processes_start_by_stages_and_stop_in_reverse(make: Make, said: list[str]) -> None:
    queue, web, worker = (make(SAYS_BYE, name=name) for name in ("queue", "web", "worker"))
    with running(Launcher([[queue], [web, worker]])):
        assert all(process.is_ready for process in (queue, web, worker))
        assert said[0].startswith("queue")
    goodbyes = [line.split()[0] for line in said if line.endswith("bye")]
    assert goodbyes == ["worker", "web", "queue"]


def test_a_launcher_that_cannot_start_stops_what_it_had_started(make: Make) -> None:
    good, bad = make(READY_THEN_SLEEP, name="good"), make("raise SystemExit('broken')", name="bad")
    with pytest.raises(NotStarted, match="bad ended during startup"), running(Launcher([[good], [bad]])):
        pytest.fail("It must not come to this.")
    assert not good.is_running


@pytest.mark.skipif(sys.platform != "linux", reason="The tether holds on Linux only.")
def test_no_process_outlives_a_launcher_that_is_killed() -> None:
    source = (
        "import os, sys, time; from project.processes import Process\n"
        f"process = Process('worker', [sys.executable, '-c', {READY_THEN_SLEEP!r}], environment=os.environ)\n"
        "process.start(); process.wait_until_ready(); print(process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert "ready" in parent.stdout.readline()
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(child))


def test_the_queue_is_the_server_that_redis_url_names(tmp_path: Path) -> None:
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with pytest.raises(queue_server.NoQueueServer, match=r"REDIS_URL names does not answer: .*refused"):
        queue_server.find(environment, var_dir=tmp_path)


def test_a_program_on_the_path_comes_before_the_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue_server.find_program() == str(program)


def test_without_any_server_one_sentence_says_what_to_install() -> None:
    with pytest.raises(queue_server.NoQueueServer, match=r"Install Valkey or Redis .*, or set REDIS_URL"):
        queue_server.find_program(lambda name, path=None: None)


def test_a_second_start_finds_the_server_of_the_first_one(tmp_path: Path) -> None:
    server = queue_server.find({}, var_dir=tmp_path)
    assert server.process is not None
    with running(Launcher([[server.process]])):
        assert queue_server.find({}, var_dir=tmp_path) == queue_server.QueueServer(server.url)
        mode = stat.S_IMODE(queue_server.socket_path(tmp_path).stat().st_mode)
        assert mode == 0o600
    assert queue_server.failure(server.url) is not None


def test_a_folder_too_deep_for_a_socket_gets_a_private_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = Path("/", "d" * 200)
    path = queue_server.socket_path(deep)
    assert path == queue_server.socket_path(deep)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o755)
    with pytest.raises(queue_server.NoQueueServer, match="is not a private folder of yours"):
        queue_server.socket_path(deep)


@pytest.fixture
def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_a_busy_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotRun, match=rf"Port {port} cannot be used .*Choose another: PORT="):
            Demo({"VAR_DIR": str(tmp_path), "PORT": str(port)})


@pytest.mark.parametrize("port", ["web", "0", "65536", "-1"])
def test_what_is_no_port_is_a_sentence(tmp_path: Path, port: str) -> None:
    with pytest.raises(CannotRun, match="PORT must be a number from 1 to 65535"):
        Demo({"VAR_DIR": str(tmp_path), "PORT": port})


def test_two_demos_do_not_share_a_folder(tmp_path: Path, free_port: str) -> None:
    environment = {"VAR_DIR": str(tmp_path), "PORT": free_port}
    with closing(Demo(environment)), pytest.raises(CannotRun, match=r"is already running in"):
        Demo(environment)
    Demo(environment).close()


def test_the_environment_wins_over_what_the_demo_makes_up(tmp_path: Path, free_port: str) -> None:
    given = {
        "VAR_DIR": str(tmp_path),
        "PORT": free_port,
        "SECRET_KEY": "mine",
        "LOG_LEVEL": "",
        "EXPORTS_LEASE_SECONDS": "2",
    }
    with closing(Demo(given)) as demo:
        assert demo.environment["SECRET_KEY"] == "mine"
        assert demo.environment["EXPORTS_LEASE_SECONDS"] == "2"
        assert demo.environment["LOG_LEVEL"] == "WARNING"
        assert demo.environment["BASE_URL"] == f"http://127.0.0.1:{free_port}/"


def test_the_launcher_runs_the_queue_server_and_the_processes_of_the_procfile(tmp_path: Path, free_port: str) -> None:
    with closing(Demo({"VAR_DIR": str(tmp_path), "PORT": free_port, "PATH": os.environ["PATH"]})) as demo:
        processes = demo.launcher().processes
    assert list(processes) == ["queue", "web", "large", "small", "housekeeper"]
    assert processes["large"].command[-1].endswith("exec python manage.py exports work large")


def test_the_secrets_are_made_up_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    first = credentials.ensure(path)
    assert credentials.ensure(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(first["passwords"]) == {"ada", "grace", "staff"}
    assert len(set(first["passwords"].values())) == 3
