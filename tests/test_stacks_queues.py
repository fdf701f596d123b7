"""Celery and django.tasks as the queue, by the how-to in docs/task-queues.md: real workers that work and are killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery, current_app
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from exports import housekeeping, services, storage
from exports.worker import registry as worker_registry
from tests.office import rows
from tests.office.long_export import Long
from tests.servers import Valkey, wait_until
from tests.stacks.project import Project, ProjectProcess, block

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("office", "quick")]

PAGE = "task-queues"
Start = Callable[[ProjectProcess], ProjectProcess]


@pytest.fixture
def quick(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> None:
    pace = {"LEASE_SECONDS": 2.0, "HEARTBEAT_SECONDS": 0.5, "PROGRESS_INTERVAL_SECONDS": 0.1, "WAKE_AGAIN_SECONDS": 0.5}
    settings.EXPORTS = {**settings.EXPORTS, **pace, "WORK_DIR": str(tmp_path / "work")}


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[ProjectProcess] = []

    def begin(process: ProjectProcess) -> ProjectProcess:
        started.append(process)
        process.start()
        return process

    yield begin
    for process in started:
        process.close()


def kill_all(process: ProjectProcess) -> None:
    """Send SIGKILL to a worker and its children at once, as when a host goes down."""
    os.killpg(process.process.pid, signal.SIGKILL)
    process.process.wait()
    process.process = None


# Celery


@pytest.fixture
def broker(valkey: Valkey, settings: LazySettings) -> Iterator[str]:
    """Let Celery of this process send to Valkey, as the web process of the project does; return the broker's URL."""
    url = f"redis+socket://{valkey.socket}?virtual_host=0"
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": "exports.queue.celery"}
    before, app = current_app._get_current_object(), Celery("tests", broker=url, set_as_current=False)
    app.set_current()
    app.set_default()
    yield url
    app.close()
    before.set_current()


def celery_worker(folder: Path, broker: str, *, with_task: bool = True) -> ProjectProcess:
    """Return a worker of the project that the how-to describes, with the tests' broker."""
    settings = block(PAGE, "settings for Celery").replace("redis://127.0.0.1:6379/0", broker)
    if not with_task:
        settings = settings.replace('["exports.queue.celery"]', "[]").replace(
            "exports.queue.celery", "exports.queue.huey"
        )
    project = Project(folder, settings, celery=block(PAGE, "yours/celery.py"))
    project.write("__init__.py", block(PAGE, "yours/__init__.py of Celery"))
    command = block(PAGE, "worker of Celery").splitlines()[0]
    return project.process(f"{command} --loglevel info", ready=" ready.")


@pytest.mark.shows("Celery as the queue")
def test_workers_of_celery_make_files_and_finish_those_of_a_killed_one(
    owner: User, broker: str, tmp_path: Path, start: Start
):
    worker = start(celery_worker(tmp_path, broker))
    export, _ = services.request_export(owner, "report", {"month": 4}, format="csv")
    wait_until(lambda: rows.fresh(export).status == "ready", describe=worker.words)
    with storage.open_file(rows.fresh(export).filehandle.name) as file:
        assert file.read().decode("utf-8-sig") == "Name\r\nowner\r\n"
    long = Long(owner, tmp_path)
    long.wait_until_it_writes()
    assert worker_registry.signs() == []

    kill_all(worker)
    long.let_go()
    wait_until(lambda: housekeeping.sweep().rescued)
    worker.start()
    wait_until(lambda: housekeeping.sweep() and long.row.status == "ready", describe=worker.words)
    assert (long.row.attempts, long.row.crashes) == (2, 1)
    assert long.lines() == ["begin 1", "begin 3", "end 3"]


def test_the_doctor_knows_the_workers_of_celery(
    owner: User, broker: str, tmp_path: Path, start: Start, capsys: pytest.CaptureFixture[str]
):
    start(celery_worker(tmp_path, broker, with_task=False))
    with pytest.raises(CommandError):
        call_command("exports", "doctor")
    told = capsys.readouterr().out
    assert "Celery's broker answers" in told
    assert "does not know the task of the exports" in told
    assert "No worker of Celery answers that reads this queue." in told


# django.tasks


@pytest.fixture
def project(transactional_db: None, tmp_path: Path) -> Iterator[Project]:
    """The project that the how-to describes, with its messages in the database of the test."""
    project = Project(tmp_path, block(PAGE, "settings for django.tasks"))
    project.manage("migrate", "django_tasks_database", "--verbosity=0")
    yield project
    # Its migrations cannot be undone.
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_tasks_database_dbtaskresult")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'django_tasks_database'")


def tasks_worker(project: Project) -> ProjectProcess:
    command = block(PAGE, "worker of django.tasks").splitlines()[0]
    return project.process(f"{command} --interval 0.1 --no-startup-delay", ready="Starting worker")


@pytest.mark.shows("django.tasks as the queue")
def test_workers_of_django_tasks_stop_cleanly_and_finish_files_of_a_killed_one(
    owner: User, project: Project, tmp_path: Path, start: Start
):
    assert "no issues" in project.manage("check", "--tag=exports")
    long = Long(owner, tmp_path, request=lambda criteria: project.request("long", criteria))
    worker = start(tasks_worker(project))
    long.wait_until_it_writes()
    worker.stop(signal.SIGTERM)
    assert (long.row.status, long.row.attempts, long.row.crashes) == ("queued", 0, 0)

    worker.start()
    long.wait_for("running")
    kill_all(worker)
    long.let_go()
    wait_until(lambda: housekeeping.sweep().rescued)
    project.manage("exports", "housekeep", "--once")
    worker.start()
    assert long.wait_for("ready").crashes == 1


def test_the_doctor_and_the_command_say_who_makes_the_files(owner: User, project: Project):
    told = project.manage("exports", "doctor")
    assert "django.tasks: django_tasks_db.backend.DatabaseBackend takes the messages." in told
    assert "manage.py db_worker --queue-name exports.small" in told
    refused = project.manage("exports", "work", "small", succeeds=False)
    assert "run manage.py db_worker --queue-name exports.small" in refused


IMMEDIATE = """
from importlib.util import find_spec
package = "django.tasks" if find_spec("django.tasks") else "django_tasks"
TASKS = {"default": {"BACKEND": f"{package}.backends.immediate.ImmediateBackend", "QUEUES": []}}
"""


@pytest.mark.parametrize(("mistake", "id"), [(IMMEDIATE, "W056"), ('\nTASKS["default"]["QUEUES"].pop()\n', "E046")])
def test_tasks_that_run_in_the_request_and_missing_queues_are_reported(db: None, tmp_path: Path, mistake: str, id: str):
    project = Project(tmp_path, block(PAGE, "settings for django.tasks") + mistake)
    assert f"(exports.{id})" in project.manage("check", "--tag=exports", succeeds=id[0] == "W")
