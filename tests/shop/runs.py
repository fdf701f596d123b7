"""Runs with a scripted exporter, and the states that they publish."""

import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from exports.exceptions import ExportError, RunInterrupted
from exports.models import FileRequest, transitions
from exports.models.result import ExportResult
from exports.models.transitions import Claim
from exports.state import serialize
from exports.worker import registry as worker_registry
from exports.worker import runner, work_dir
from exports.worker.runner import Run
from project.environment import mail_settings
from tests.servers import wait_until
from tests.shop.requests import queued

Make = Callable[[Run], Any]
SECONDS = 20.0


class Scripted:
    """An exporter that calls a function of the test."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def extension(self, request: FileRequest) -> str:
        return "csv"

    def refusal(self, request: FileRequest) -> str | None:
        return None

    def produce(self, run: Run) -> ExportResult:
        self.make(run)
        return ExportResult("orders.csv", "text/csv", run.progress.now.rows_done, {"rows_asked": 3})


class Events(list[FileRequest]):
    """The states that a run publishes, with their times."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[str, Any]] = []
        self.times: list[float] = []

    def send_state(self, export: FileRequest) -> None:
        self.times.append(time.monotonic())
        self.states.append(serialize(export))
        self.append(export)

    @property
    def statuses(self) -> list[str]:
        return [state["status"] for state in self.states]

    def of(self, name: str) -> list[Any]:
        return [state["progress"][name] for state in self.states]


def configure(settings: Any, **changes: Any) -> None:
    """Change EXPORTS for one test."""
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def send_mails_by(settings: Any, backend: str, **options: Any) -> None:
    """Change the mail backend for one test: the name of one of Django's, or a dotted path. `options` are EMAIL_*."""
    path = backend if "." in backend else f"django.core.mail.backends.{backend}.EmailBackend"
    for name, value in mail_settings({"EMAIL_BACKEND": path, **options}).items():
        setattr(settings, name, value)


def use_folders(settings: Any, folder: Path) -> Path:
    """Use folders below `folder` and short intervals for one test; return the folder of the stored files."""
    configure(settings, HEARTBEAT_SECONDS=0.1, PROGRESS_INTERVAL_SECONDS=0.02, WORK_DIR=str(folder / "work"))
    files = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder / "files")}}
    settings.STORAGES = {**settings.STORAGES, "exports": files}
    return folder / "files"


def write(content: bytes, rows: int = 3) -> Make:
    def make(run: Run) -> None:
        run.begin(rows)
        run.path.write_bytes(content)
        run.advance(rows)

    return make


def run_now(make: Make, events: Events, request: FileRequest | None = None, **kwargs: Any) -> tuple[FileRequest, Claim]:
    request, claim = claimed_now(request)
    runner.run(request, claim, Scripted(make), on_change=events.send_state, **kwargs)
    return FileRequest.objects.get(pk=request.pk), claim


def claimed_now(request: FileRequest | None = None) -> tuple[FileRequest, Claim]:
    """Claim a request at the current time, so that the lease is valid; return it and its claim."""
    request = request or queued()
    claim = transitions.claim(request, owner=worker_registry.process_name(), extension="csv")
    assert claim is not None
    request.refresh_from_db()
    return request, claim


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, seconds=SECONDS)


def until_ended(run: Run) -> None:
    """Report row after row, as an exporter does, until the run is interrupted."""
    rows = count()
    until(lambda: run.advance(next(rows)))


def has_ended(run: Run) -> bool:
    """Return True if the run has been interrupted."""
    try:
        run.check()
    except (RunInterrupted, ExportError):
        return True
    return False


def work_folders() -> list[Path]:
    return list(work_dir.root().iterdir()) if work_dir.root().exists() else []


def stored_files(location: Path) -> list[Path]:
    return [path for path in location.rglob("*") if path.is_file()]


def lease_threads_of(request: FileRequest) -> list[threading.Thread]:
    """Return the living threads that keep the lease of this request."""
    return [thread for thread in threading.enumerate() if thread.name.endswith(str(request.pk))]
