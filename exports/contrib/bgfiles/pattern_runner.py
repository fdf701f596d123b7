"""Runs a pattern inside the engine: writes its file under a lease and sends its mail through the outbox."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from exports import notifications
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.buffers import Spool, closed_on_error, move_content
from exports.contrib.bgfiles.criteria import Criteria
from exports.contrib.bgfiles.dataset import Dataset, with_progress
from exports.exceptions import InvalidCriteria, InvalidStoredCriteria
from exports.exporters.base import ExportRun
from exports.filenames import extension_of
from exports.models import FileRequest, Notification
from exports.models.locale import locale_of
from exports.models.result import ExportResult


class Pattern(Protocol):
    """The hooks of a WriterPattern that are called when its file is made and its mail is sent."""

    criteria_class: ClassVar[type[Criteria]]

    def get_items(self, criteria: Any) -> Any: ...

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None: ...

    def get_buffer_class(self) -> Any: ...

    def get_filename(self) -> str | None: ...

    def get_content_type(self) -> str: ...

    def get_signer(self) -> toolbox.TokenSigner | None: ...

    def is_requester_only(self) -> bool: ...

    def get_token_data(self, file_request: FileRequest) -> Mapping[str, Any]: ...

    def send_notification(self, file_request: FileRequest, token: str) -> Any: ...


@dataclass
class HandlerRun:
    """A run that is calling a handler, and what a pattern wrote in it."""

    run: ExportRun
    pattern: Pattern | None = None
    result: ExportResult | None = None


_handler_run: ContextVar[HandlerRun | None] = ContextVar("exports_handler_run", default=None)


@contextmanager
def calling_handler(run: ExportRun) -> Iterator[HandlerRun]:
    """Let `create_file` of a pattern write the file of this run inside the block."""
    handler_run = HandlerRun(run)
    token = _handler_run.set(handler_run)
    try:
        yield handler_run
    finally:
        _handler_run.reset(token)


def current_handler_run(export: FileRequest) -> HandlerRun | None:
    """Return the run of this export that is calling a handler in this thread, or None."""
    handler_run = _handler_run.get()
    return handler_run if handler_run is not None and handler_run.run.export.pk == export.pk else None


class PatternExporter:
    """The exporter for a pattern whose `create_file` was called directly, outside a run."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def extension(self, export: FileRequest) -> str:
        return extension_of(self._pattern.get_filename() or export.filename)

    def produce(self, run: ExportRun) -> ExportResult:
        return write_file(self._pattern, run)

    def refusal(self, export: FileRequest) -> str | None:
        return owner_refusal(export)


def owner_refusal(export: FileRequest) -> str | None:
    """Return "permission_lost" if the owner was deactivated, else None. Handlers check everything else themselves."""
    owner = export.requester
    return "permission_lost" if owner is not None and not owner.is_active else None


def write_file(pattern: Pattern, run: ExportRun) -> ExportResult:
    """Write the pattern's file to `run.path`, counting rows as `dataset.items` is read.

    Raises:
        InvalidStoredCriteria: `get_items` raised InvalidCriteria.
        TooManyBytes: the buffer grew too large.

    """
    buffer_class = pattern.get_buffer_class()
    new_buffer = buffer_class(run.work_dir) if buffer_class is Spool else buffer_class()

    def advance(rows_done: int) -> None:
        if hasattr(new_buffer, "tell"):
            run.check_size(new_buffer.tell())
        run.advance(rows_done)

    with closed_on_error(new_buffer) as buffer:
        criteria = pattern.criteria_class.restore_from(run.export)
        try:
            items = pattern.get_items(criteria)
        except InvalidCriteria as error:
            raise InvalidStoredCriteria("The stored criteria are no longer valid.") from error
        pattern.write_bytes(Dataset(criteria, with_progress(items, begin=run.begin, advance=advance)), buffer)
        run.finishing(0, None)
        with run.path.open("wb") as file:
            move_content(buffer, file)
    signer = pattern.get_signer() or toolbox.get_default_signer()
    return ExportResult(
        pattern.get_filename() or run.export.filename,
        pattern.get_content_type() or run.export.content_type,
        run.rows_done,
        retention_seconds=signer.max_age or None,
    )


def send_mail(pattern: Pattern, export: FileRequest) -> Any:
    """Create a token and call the pattern's `send_notification`. Raise NoRecipient if the token needs a requester."""
    is_requester_only = pattern.is_requester_only()
    if is_requester_only and export.requester_id is None:
        raise notifications.NoRecipient("no requester")
    create_token = toolbox.create_token if is_requester_only else toolbox.create_general_token
    signer = pattern.get_signer() or toolbox.get_default_signer()
    token = create_token(export, data=pattern.get_token_data(export), signer=signer)
    return pattern.send_notification(export, token)


def send_mail_now(pattern: Pattern, export: FileRequest) -> None:
    """Send the mail about a new file right away: housekeeping cannot find a pattern that is not registered."""
    with locale_of(export):
        for notification in export.notifications.filter(kind=Notification.Kind.READY):
            if notifications.claim(notification, early=True):
                notifications.deliver([notification], partial(send_mail, pattern, export))
