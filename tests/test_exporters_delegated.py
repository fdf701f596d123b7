"""DelegatedExport: an engine makes the file, a worker starts its job, follows it and fetches what it wrote."""

import http.server
import io
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from exports import housekeeping, services, storage
from exports.exceptions import JobLost
from exports.exporters import DelegatedExport, JobProgress, QuerySetExport, Target, registry
from exports.models import DelegatedJob, FileRequest, Status, transitions
from exports.worker import loop, runner
from tests.shop.exports import registered
from tests.shop.requests import NOON, user
from tests.shop.runs import configure, use_folders
from tests.test_checks import basic_checks

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

DONE = JobProgress(2, 2, is_done=True)


class Engine:
    """An engine that notes what it is asked for. `steps` are what it answers about progress; the last one remains."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps) or [JobProgress(), JobProgress(1, 2), DONE]
        self.parts: Any = (io.BytesIO(b"a\r\n1\r\n"), io.BytesIO(b"2\r\n"))
        self.targets: list[Target] = []
        self.cancelled: list[Any] = []
        self.starting: Callable[[], object] = lambda: None
        self.handle: Any = {"job": 7}

    def progress(self, handle: Any) -> JobProgress:
        assert handle == {"job": 7}
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        step = step() if callable(step) else step
        if isinstance(step, Exception):
            raise step
        return step


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture(autouse=True)
def export(settings: Any, tmp_path: Path, engine: Engine) -> Iterator[type[DelegatedExport]]:
    use_folders(settings, tmp_path)
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.02, HEARTBEAT_SECONDS=0.05)

    class Delegated(DelegatedExport):
        file_type = "delegated"
        title = "Delegated"
        formats = ("csv", "parquet")
        for_machines = True
        target_root = "s3://bucket/exports/"
        poll_seconds = 0.01

        def start(self, user: Any, criteria: Any, target: Target) -> Any:
            engine.targets.append(target)
            engine.starting()
            return engine.handle

        def progress(self, handle: Any) -> JobProgress:
            return engine.progress(handle)

        def collect(self, handle: Any) -> Any:
            return engine.parts

        def cancel(self, handle: Any) -> None:
            engine.cancelled.append(handle)

    with registered(Delegated):
        yield Delegated


def asked(format: str = "csv") -> FileRequest:
    return services.request_export(user(), "delegated", {}, format=format)[0]


def made(format: str = "csv") -> FileRequest:
    request = asked(format)
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    return request


def content_of(request: FileRequest) -> bytes:
    assert request.status == Status.READY, request.error_detail
    with storage.open_file(request.filehandle.name) as file:
        return file.read()


def test_the_files_of_the_engine_become_one_and_the_job_is_ended(engine):
    request = made()
    assert content_of(request) == b"a\r\n1\r\n2\r\n"
    assert (request.rows_done, request.receipt["rows_asked"], request.queue_name) == (2, 2, "large")
    [target] = engine.targets
    assert (target.location, target.format) == (f"s3://bucket/exports/{request.pk}", "csv")
    assert engine.cancelled == [{"job": 7}]
    assert not DelegatedJob.objects.exists()


def test_local_files_may_become_an_archive(engine, export, tmp_path):
    export.is_archive = True
    engine.parts = [tmp_path / "one", str(tmp_path / "two")]
    for part in engine.parts:
        Path(part).write_bytes(Path(part).name.encode())
    request = made("parquet")
    with zipfile.ZipFile(io.BytesIO(content_of(request))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "part-00001.parquet": b"one",
            "part-00002.parquet": b"two",
        }
    assert request.filename.endswith(".zip")


@pytest.mark.usefixtures("export")
def test_another_worker_takes_up_the_job_of_one_that_stops(engine):
    engine.steps = [lambda: runner.stopping.set() or JobProgress(1, 2)]
    try:
        request = made()
    finally:
        runner.stopping.clear()
    assert (request.status, engine.cancelled) == (Status.QUEUED, [])
    engine.steps = [DONE]
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, len(engine.targets)) == (Status.READY, 1)


def test_another_worker_takes_up_the_job_of_one_that_was_killed(engine):
    request = asked()
    assert transitions.claim(request, owner="killed", extension="csv")
    DelegatedJob.objects.create(request=request, file_type="delegated", handle={"job": 7})
    FileRequest.objects.update(lease_expires_at=NOON)
    assert housekeeping.sweep().rescued == 1
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, engine.targets) == (Status.READY, [])


def test_an_engine_that_does_not_answer_is_asked_again_about_the_same_job(engine):
    engine.steps = [ConnectionError("away"), DONE]
    request = made()
    assert (request.status, request.error_code) == (Status.QUEUED, "unavailable")
    FileRequest.objects.update(not_before=None)
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, len(engine.targets)) == (Status.READY, 1)


def test_an_export_that_is_cancelled_ends_the_job_within_a_poll(engine):
    ended = threading.Event()

    def cancelling() -> JobProgress:
        if not ended.is_set():
            transitions.cancel(FileRequest.objects.get())
            ended.set()
        return JobProgress(1, 2)

    engine.steps = [cancelling]
    assert made().status == Status.CANCELLED
    assert engine.cancelled == [{"job": 7}]


@pytest.mark.parametrize(
    ("steps", "parts", "format", "code"),
    [
        ([JobLost("The engine restarted.")], [], "csv", "job_lost"),
        ([ValueError("of the engine")], [], "csv", "export_failed"),
        ([lambda: JobProgress(float("nan"), 2)], [], "csv", "export_failed"),
        ([lambda: JobProgress(1, -1)], [], "csv", "export_failed"),
        ([DONE], [], "csv", "no_file"),
        ([DONE], ["one", "two"], "parquet", "export_failed"),
        ([DONE], ["/nowhere"], "csv", "export_failed"),
    ],
)
def test_a_job_that_cannot_be_finished_fails_the_export_and_is_ended(engine, steps, parts, format, code):
    engine.steps, engine.parts = steps, parts
    request = made(format)
    assert (request.status, request.error_code) == (Status.FAILED, code)
    assert engine.cancelled == [{"job": 7}]


@pytest.mark.parametrize("handle", [None, object(), {"rows": float("nan")}, "a\0b"])
def test_a_handle_that_is_no_json_fails_the_export_and_its_job_is_ended(engine, handle):
    if handle == "a\0b" and connection.vendor == "sqlite":
        pytest.skip("SQLite stores every text.")
    engine.handle = handle
    request = made()
    assert "start() returned a" in request.error_detail
    assert engine.cancelled == [handle]


def test_a_handle_that_is_stored_while_housekeeping_looks_is_not_forgotten(engine, export):
    job = DelegatedJob.objects.create(request=None, file_type="delegated")
    DelegatedJob.objects.update(handle={"job": 7})
    assert not export().end(job)
    assert (housekeeping.sweep().ended_jobs, engine.cancelled) == (1, [{"job": 7}])


class Truncating(http.server.BaseHTTPRequestHandler):
    """Ends its answer early."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"a\r\n")

    def log_message(self, *args: Any) -> None:
        """Keep silent."""


def test_an_answer_that_ends_early_is_fetched_again(engine):
    with http.server.HTTPServer(("127.0.0.1", 0), Truncating) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as answer:
            engine.parts = answer
            request = made()
        thread.join()
    assert (request.status, request.error_code) == (Status.QUEUED, "unavailable")


def test_parts_whose_last_line_has_no_end_stay_apart(engine):
    engine.parts = [io.BytesIO(b"a\n1"), io.BytesIO(b""), io.BytesIO(b"2\n"), io.BytesIO(b"3")]
    assert content_of(made()) == b"a\n1\n2\n3"


def test_a_job_that_was_started_twice_is_ended_once(engine):
    # What another worker has stored meanwhile, since this one had lost its lease.
    engine.starting = lambda: DelegatedJob.objects.update(handle={"job": 8})
    assert made().status == Status.RUNNING
    assert engine.cancelled == [{"job": 7}]
    engine.starting, engine.handle, engine.cancelled = DelegatedJob.objects.all().delete, {"job": 7}, []
    FileRequest.objects.update(status=Status.CANCELLED)
    assert made().status == Status.RUNNING
    assert engine.cancelled == [{"job": 7}]


def test_an_engine_that_is_away_at_the_end_is_asked_again_by_housekeeping(engine, export, monkeypatch):
    monkeypatch.setattr(export, "cancel", lambda self, handle: 1 / 0)
    assert made().status == Status.READY
    monkeypatch.undo()
    assert (housekeeping.sweep().ended_jobs, engine.cancelled) == (1, [{"job": 7}])


@pytest.mark.parametrize("goes", [lambda request: transitions.cancel(request), lambda request: request.delete()])
def test_housekeeping_ends_the_jobs_of_exports_that_ended_without_a_worker(engine, export, goes, monkeypatch):
    request = asked()
    DelegatedJob.objects.create(request=request, file_type="delegated", handle={"job": 7})
    assert housekeeping.sweep().ended_jobs == 0
    goes(request)
    monkeypatch.setattr(export, "cancel", lambda self, handle: 1 / 0)
    assert housekeeping.sweep().ended_jobs == 0
    monkeypatch.undo()
    assert housekeeping.sweep().ended_jobs == 1
    assert housekeeping.sweep().ended_jobs == 0


def test_the_jobs_of_a_type_that_is_another_kind_of_export_now_wait(engine, export, monkeypatch, log_lines):
    request = asked()
    DelegatedJob.objects.create(request=request, file_type="delegated", handle={"job": 7})
    transitions.cancel(request)
    with monkeypatch.context() as redeployed:
        redeployed.setitem(registry.handlers, "delegated", QuerySetExport)
        assert housekeeping.sweep().ended_jobs == 0
    assert log_lines("exports.housekeeping") == []
    assert housekeeping.sweep().ended_jobs == 1


def test_what_a_delegated_export_lacks_is_found(export):
    assert [each.msg for each in basic_checks() if each.id == "exports.E062"] == []
    export.target_root, export.for_machines, export.columns = "", False, ["a"]
    assert [each.msg for each in basic_checks() if each.id == "exports.E062"] == [
        "Delegated.target_root is empty.",
        "Delegated.columns has no effect.",
        "Delegated offers CSV or TSV to people.",
    ]
